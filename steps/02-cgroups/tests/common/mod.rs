//! What both test files do with the lesson's binary.
#![allow(dead_code, reason = "each test file uses its part")]

use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cgroups::{Group, Stats};
use testkit::Leftovers;

/// A cgroup parent that no other test has, and the proof that it goes.
pub struct Lab {
    pub parent: String,
    leftovers: Leftovers,
}

impl Lab {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let parent = format!("coracle-test-{}-{number}", std::process::id());
        Self { leftovers: Leftovers::matching(&[&parent]), parent }
    }

    /// `cgroups VERB --cgroup-parent … ARGS`.
    pub fn command(&self, verb: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cgroups"));
        command.args([verb, "--cgroup-parent", &self.parent]).args(args);
        command
    }

    /// Runs a container to its end; nothing is left then.
    pub fn run(&self, args: &[&str]) -> Ran {
        let output = self.command("run", args).output().expect("start the binary");
        self.leftovers.assert_none();
        Ran::from(output)
    }

    /// Runs another command to its end, which must be a good one.
    pub fn ask(&self, verb: &str, args: &[&str]) -> String {
        let ran = Ran::from(self.command(verb, args).output().expect("start the binary"));
        assert_eq!(ran.code, 0, "{verb}: {}", ran.err);
        ran.out
    }

    /// Starts a container named `box` that prints, and waits until it has printed
    /// a first byte: then it runs.
    pub fn start(&self, args: &[&str]) -> Running<'_> {
        let mut args = args.to_vec();
        args.splice(0..0, ["--name", "box"]);
        let mut command = self.command("run", &args);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("start the binary");
        let mut byte = [0];
        use std::io::Read;
        let stdout = child.stdout.as_mut().expect("it is piped");
        stdout.read_exact(&mut byte).expect("the container prints something");
        Running { lab: self, child }
    }

    pub fn group(&self) -> Group {
        Group::open(&format!("{}/box", self.parent)).expect("the container has a group")
    }

    pub fn stats(&self) -> Stats {
        serde_json::from_str(&self.ask("stats", &["--json", "box"])).expect("stats are JSON")
    }

    pub fn assert_nothing_left(&self) {
        self.leftovers.assert_none();
    }
}

/// A container that runs, and is ended with the test.
pub struct Running<'a> {
    lab: &'a Lab,
    pub child: Child,
}

impl Running<'_> {
    /// Waits for the end; nothing is left then.
    pub fn end(&mut self) -> i32 {
        let status = self.child.wait().expect("wait for the binary");
        self.lab.assert_nothing_left();
        status.code().unwrap_or(-1)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            self.lab.assert_nothing_left();
        }
    }
}

/// What a command has said.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Long enough for a machine that is ten times slower.
pub const SOON: Duration = Duration::from_secs(20);
