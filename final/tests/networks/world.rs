//! A world for one test: a host with an engine, and another machine.

use std::process::Command;
use std::time::Duration;

use testkit::{NetNs, wait_until};

use crate::engine::{Engine, Said};

/// An engine in a network of its own, with another machine on its wire.
pub struct World {
    pub engine: Engine,
    pub machine: NetNs,
}

/// The host's address on the wire.
pub const HOST: &str = "192.0.2.1";
/// The other machine's.
pub const MACHINE: &str = "192.0.2.9";

impl World {
    pub fn new() -> Self {
        let (host, machine) = (NetNs::new(), NetNs::new());
        host.connect(&machine, "wire0", &format!("{HOST}/24"), &format!("{MACHINE}/24"));
        machine.ip(&format!("route add 10.0.0.0/8 via {HOST}"));
        Self { engine: Engine::made(Some(host)), machine }
    }

    pub fn tell(&self, words: &[&str]) -> String {
        self.engine.tell(words)
    }

    pub fn refuse(&self, words: &[&str]) -> String {
        let said = self.engine.ask(words);
        assert_ne!(said.code, 0, "{words:?}: {said:?}");
        said.err.trim_end().to_owned()
    }

    /// A container that sleeps.
    #[track_caller]
    pub fn sleeper(&self, name: &str, flags: &[&str]) {
        let said = self.try_sleeper(name, flags);
        assert_eq!(said.code, 0, "{name} {flags:?}: {said:?}");
    }

    pub fn try_sleeper(&self, name: &str, flags: &[&str]) -> Said {
        let words = [&["-d", "--name", name], flags, &["host", "sleep", "1000"]].concat();
        self.engine.run(&words)
    }

    /// A program of the host, in the network of a container.
    pub fn inside(&self, container: &str, program: &str) -> Command {
        let pid = self.tell(&["inspect", "-f", "{{.State.Pid}}", container]);
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{pid}/ns/net")).arg("--").arg(program);
        command
    }

    /// What the name server says to somebody in a container's network.
    pub fn names(&self, container: &str, questions: &[&str]) -> Vec<String> {
        let own = std::env::current_exe().unwrap();
        let mut command = self.inside(container, own.to_str().unwrap());
        let output = command.arg("dns-ask").args(questions).output().unwrap();
        assert!(output.status.success(), "{questions:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    pub fn address(&self, container: &str, network: &str) -> String {
        let template = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
        self.tell(&["inspect", "-f", &template, container])
    }

    pub fn reaches(&self, container: &str, address: &str) -> bool {
        let mut ping = self.inside(container, "ping");
        ping.args(["-c1", "-W1", address]).output().unwrap().status.success()
    }

    /// No bridge, cable or table is left. The kernel takes cables away in its own time.
    #[track_caller]
    pub fn assert_clean(&self) {
        let clean = wait_until(Duration::from_secs(5), || self.things().is_empty());
        assert!(clean, "left behind: {:?}", self.things());
    }

    /// The interfaces and nft tables of the host.
    pub fn things(&self) -> Vec<String> {
        let host = self.engine.network.as_ref().unwrap();
        let text = |mut command: Command| {
            String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
        };
        let mut links = host.command("ip");
        links.args(["-br", "link"]);
        let mut tables = host.command("nft");
        tables.args(["list", "tables"]);
        let (links, tables) = (text(links), text(tables));
        let links = links.lines().map(|line| line.split([' ', '@']).next().unwrap().to_owned());
        let own = |link: &String| link != "lo" && link != "wire0";
        links.filter(own).chain(tables.lines().map(str::to_owned)).collect()
    }
}
