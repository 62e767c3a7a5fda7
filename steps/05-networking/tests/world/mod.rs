//! A world for one test: a host, another machine on its wire, an engine's root.
//! Nothing of it is the real host's.
#![allow(dead_code)]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use testkit::{NetNs, Tended, temp_dir, wait_until};

/// The host's address on the wire.
pub const HOST: &str = "192.0.2.1";
/// The other machine's.
pub const MACHINE: &str = "192.0.2.9";

pub struct World {
    pub host: NetNs,
    pub machine: NetNs,
    root: TempDir,
}

impl World {
    pub fn new() -> World {
        let (host, machine) = (NetNs::new(), NetNs::new());
        host.connect(&machine, "wire0", &format!("{HOST}/24"), &format!("{MACHINE}/24"));
        // The other machine would find the containers, if they let it.
        machine.ip(&format!("route add 10.0.0.0/8 via {HOST}"));
        World { host, machine, root: temp_dir() }
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// `networking --root … WORDS`
    pub fn command(&self, words: &[&str]) -> Command {
        self.command_at(self.root(), words)
    }

    /// The same for an engine with another root.
    pub fn command_at(&self, root: &Path, words: &[&str]) -> Command {
        let mut command = self.host.command(env!("CARGO_BIN_EXE_networking"));
        command.arg("--root").arg(root).args(words);
        command
    }

    /// `networking run FLAGS sh -c SCRIPT`, to its end.
    #[track_caller]
    pub fn run(&self, flags: &[&str], script: &str) -> Done {
        let words = [&["run", "--rootfs"], flags, &["/", "sh", "-c", script]].concat();
        Done::of(self.command(&words))
    }

    /// A web server in a container, in the background.
    pub fn serve(&self, flags: &[&str]) -> Tended {
        let page = "mkdir /www; printf hello > /www/index.html";
        self.start(flags, &format!("{page}; exec busybox httpd -f -p 80 -h /www"))
    }

    /// Any container in the background.
    pub fn start(&self, flags: &[&str], script: &str) -> Tended {
        let mut command =
            self.command(&[&["run", "--rootfs"], flags, &["/", "sh", "-c", script]].concat());
        command.stdin(Stdio::null());
        testkit::spawn(command).expect("start a container")
    }

    /// The addresses that are leased at this moment.
    pub fn leases(&self) -> Vec<String> {
        let networks = std::fs::read_dir(self.root().join("networks")).into_iter().flatten();
        let leases = networks.flatten().map(|entry| entry.path().join("leases"));
        let files = leases.filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
        files.map(|file| file.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Waits for the one container to have its address.
    #[track_caller]
    pub fn address(&self) -> String {
        wait("a lease", || self.leases().len() == 1);
        self.leases().remove(0)
    }

    /// The engine's bridge.
    pub fn bridge(&self) -> String {
        let list = Done::of(self.command(&["network", "ls"])).out;
        let line = list.lines().nth(1).expect("a network");
        line.split_whitespace().nth(2).expect("a bridge").to_owned()
    }

    /// The elements of the engine's map of published ports.
    pub fn published(&self) -> String {
        let mut nft = self.host.command("nft");
        Done::of_any(nft.args(["list", "map", "ip", &self.bridge(), "published"])).out
    }
}

/// What a web server says to somebody; nothing if it cannot be reached.
pub fn ask(from: &NetNs, authority: &str) -> String {
    let mut curl = from.command("curl");
    Done::of_any(curl.args(["-s", "-m", "2", &format!("http://{authority}/")])).out
}

/// Waits until a web server answers.
#[track_caller]
pub fn wait_for(from: &NetNs, authority: &str) {
    wait(authority, || ask(from, authority) == "hello");
}

#[track_caller]
pub fn wait(what: &str, done: impl FnMut() -> bool) {
    assert!(wait_until(Duration::from_secs(10), done), "waited in vain for {what}");
}

/// What came of a command.
#[derive(Debug)]
pub struct Done {
    pub out: String,
    pub err: String,
    pub code: Option<i32>,
}

impl Done {
    /// Runs a command that must succeed.
    #[track_caller]
    pub fn of(mut command: Command) -> Done {
        let done = Done::of_any(&mut command);
        assert_eq!(done.code, Some(0), "{command:?}: {done:?}");
        done
    }

    /// Runs a command that may fail.
    #[track_caller]
    pub fn of_any(command: &mut Command) -> Done {
        let output: Output = command.stdin(Stdio::null()).output().expect("run a command");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        Done { out: text(&output.stdout), err: text(&output.stderr), code: output.status.code() }
    }
}
