//! A daemon of a test's own engine, and how it is spoken to.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Tended, wait_until};

use super::engine::Engine;

/// Two busy cores are slow.
pub const SOON: Duration = Duration::from_secs(30);

/// A daemon of an engine, ended with the test.
pub struct Daemon<'a> {
    engine: &'a Engine,
    pub process: Tended,
}

impl<'a> Daemon<'a> {
    pub fn start(engine: &'a Engine) -> Self {
        let mut command = engine.command(&["daemon"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = testkit::spawn(command).unwrap();
        let daemon = Self { engine, process };
        assert!(wait_until(SOON, || daemon.connect().is_ok()), "no daemon listens");
        daemon
    }

    pub fn socket(&self) -> std::path::PathBuf {
        self.engine.root.path().join("run/coracle.sock")
    }

    pub fn connect(&self) -> std::io::Result<UnixStream> {
        UnixStream::connect(self.socket())
    }

    pub fn end(mut self, signal: Signal) {
        kill(Pid::from_raw(self.process.0.id() as i32), signal).unwrap();
        self.process.0.wait().unwrap();
    }

    /// The whole answer to a request.
    pub fn get(&self, path: &str) -> String {
        let mut stream = self.connect().unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub fn docker(&self, words: &[&str]) -> Command {
        let mut docker = Command::new("docker");
        docker.args(words).env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
        docker.stdin(Stdio::null());
        docker
    }

    pub fn ask(&self, words: &[&str]) -> Output {
        self.docker(words).output().unwrap()
    }

    #[track_caller]
    pub fn tell(&self, words: &[&str]) -> String {
        let output = self.ask(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }
}

/// `run` without a network, in a cgroup that carries the engine's word.
pub fn run<'a>(engine: &'a Engine, words: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["run", "--network", "none", "--cgroup-parent", &engine.word];
    all.extend(words);
    all
}

/// What has happened to whom the filter admits, in order.
pub fn actions(engine: &Engine, filter: &str) -> Vec<String> {
    let words =
        ["events", "--since", "1h", "--until", "0s", "-f", filter, "--format", "{{.Action}}"];
    engine.tell(&words).lines().map(str::to_owned).collect()
}
