//! A network of the test's own, so that no test touches the host's.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use crate::nursery::{Tended, spawn};
use crate::sys;

/// A network namespace with loopback up, held open by a sleeping process.
///
/// It is gone when that process is: on drop, and when the test is killed.
#[derive(Debug)]
pub struct NetNs {
    holder: Tended,
}

impl NetNs {
    /// Makes a namespace (needs root). Panics where the kernel refuses.
    #[expect(clippy::new_without_default, reason = "a namespace is not a value")]
    pub fn new() -> NetNs {
        let mut sleep = Command::new("sleep");
        sleep.arg("infinity").stdin(Stdio::null()).stdout(Stdio::null());
        sys::unshare_network(&mut sleep);
        let holder = spawn(sleep).expect("start a process in a new network namespace");
        let netns = NetNs { holder };
        netns.ip("link set lo up");
        netns
    }

    /// The process that holds the namespace: `ip link set X netns PID`.
    pub fn pid(&self) -> u32 {
        self.holder.0.id()
    }

    /// The namespace as a file, for setns(2) and nsenter(1).
    pub fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.pid())
    }

    /// A command that runs in this network and dies with the test's thread.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg("--").arg(program);
        sys::die_with_parent(&mut command);
        command
    }

    /// Runs `ip` with these words in the namespace. Panics when it fails.
    #[track_caller]
    pub fn ip(&self, words: &str) {
        let output = self.command("ip").args(words.split(' ')).output();
        let output = output.expect("run ip");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {words}: {error}");
    }

    /// Lays a cable to another namespace: each end is named `name` and gets its
    /// address ("192.0.2.1/24").
    #[track_caller]
    pub fn connect(&self, other: &NetNs, name: &str, own: &str, others: &str) {
        let peer = other.pid();
        self.ip(&format!("link add name {name} type veth peer name {name} netns {peer}"));
        for (end, address) in [(self, own), (other, others)] {
            end.ip(&format!("address add {address} dev {name}"));
            end.ip(&format!("link set {name} up"));
        }
    }
}
