//! A daemon, and one who speaks to it byte by byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::wait_until;

use crate::engine::Engine;

/// An engine that listens.
pub struct Daemon {
    pub engine: Engine,
    process: Child,
}

impl Daemon {
    pub fn start() -> Self {
        Self::of(Engine::new())
    }

    /// One in a network of its own.
    pub fn with_network() -> Self {
        Self::of(Engine::with_network())
    }

    fn of(engine: Engine) -> Self {
        let process = engine.command(&["daemon"]).spawn().expect("start the daemon");
        let daemon = Self { engine, process };
        let up = || UnixStream::connect(daemon.socket()).is_ok();
        assert!(wait_until(Duration::from_secs(20), up), "the daemon does not listen");
        // The built-in image, made of this machine's programs.
        assert_eq!(daemon.ask("POST", "/images/create?fromImage=host", Value::Null).0, 200);
        daemon
    }

    pub fn socket(&self) -> std::path::PathBuf {
        self.engine.root.path().join("run/coracle.sock")
    }

    /// Sends a request, and leaves its answer to be read. A path may begin with a version.
    pub fn send(&self, method: &str, path: &str, more: &str, body: &Value) -> UnixStream {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let version = if path.starts_with("/v1.") { "" } else { "/v1.43" };
        let head = format!(
            "{method} {version}{path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{more}\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        stream
    }

    /// The status and the body of an answer.
    pub fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let stream = self.send(method, path, "Connection: close\r\n", &body);
        let (status, head, mut rest) = head(stream);
        let mut text = String::new();
        rest.read_to_string(&mut text).unwrap();
        if head.contains("transfer-encoding: chunked") {
            text = text.split("\r\n").skip(1).step_by(2).collect();
        }
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Ends it, and looks at what it leaves.
    #[track_caller]
    pub fn end(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.engine.assert_nothing_left();
    }

    /// A container that runs this.
    pub fn container(&self, words: &[&str]) -> String {
        let body = json!({ "Image": "host", "Cmd": words,
            "HostConfig": { "NetworkMode": "none", "CgroupParent": self.engine.word } });
        let (status, answer) = self.ask("POST", "/containers/create", body);
        assert_eq!(status, 201, "{answer}");
        answer["Id"].as_str().unwrap().to_owned()
    }

    /// An exec in a container that runs.
    pub fn exec(&self, container: &str, words: &[&str]) -> String {
        let body = json!({ "Cmd": words, "AttachStdout": true, "AttachStderr": true });
        let (status, answer) = self.ask("POST", &format!("/containers/{container}/exec"), body);
        assert_eq!(status, 201, "{answer}");
        answer["Id"].as_str().unwrap().to_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The status, the head in small letters, and what follows.
pub fn head(stream: UnixStream) -> (u16, String, BufReader<UnixStream>) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).unwrap(), 0, "{head}");
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), stream)
}

/// Asks for the connection.
pub const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: tcp\r\n";
