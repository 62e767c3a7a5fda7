//! Where a session is typed: a home, an engine's root and a network of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::geteuid;
use tempfile::TempDir;
use testkit::{NetNs, User};

use crate::console::Prompt;
use crate::programs;
use crate::registry::Registry;

/// A place for one session, and for whatever it makes.
pub struct Sandbox {
    registry: Option<Registry>,
    netns: Option<NetNs>,
    user: Option<User>,
    place: TempDir,
    programs: PathBuf,
}

impl Sandbox {
    pub fn new(prompt: Prompt, text: &str, with_registry: bool) -> Sandbox {
        let place = testkit::temp_dir();
        let programs = programs::folder_for(text, place.path());
        let netns = geteuid().is_root().then(network);
        let registry = match &netns {
            Some(netns) if with_registry => {
                Some(Registry::start(netns, &place.path().join("registry")))
            }
            _ => None,
        };
        let user = match prompt {
            Prompt::User => Some(testkit::user().expect("an ordinary user")),
            Prompt::Root => None,
        };
        if user.is_none() {
            std::fs::create_dir(place.path().join("home")).expect("create a folder");
        }
        let sandbox = Sandbox { registry, netns, user, place, programs };
        sandbox.copy_repository();
        sandbox
    }

    /// A line as the reader would see it: with the places of their machine.
    pub fn as_at_home(&self, line: &str) -> String {
        let home = self.home().display().to_string();
        let place = self.place.path().display().to_string();
        match &self.user {
            Some(user) => line
                .replace(&home, "/home/you")
                .replace(&*user.runtime_dir().to_string_lossy(), "/run/user/1000")
                .replace(&user.name, "you"),
            None => {
                line.replace(&format!("{place}/engine"), "/var/lib/coracle").replace(&home, "/root")
            }
        }
    }

    /// What is in the sandbox has this in its name.
    pub fn names(&self) -> Vec<String> {
        let mut names = vec![self.place.path().display().to_string()];
        names.extend(self.user.iter().map(|user| user.home().display().to_string()));
        names
    }

    /// Where the reader types: in the repository, of which the sources are there.
    fn repository(&self) -> PathBuf {
        self.home().join("coracle")
    }

    fn copy_repository(&self) {
        let copy = self.repository();
        std::fs::create_dir(&copy).expect("create a folder");
        let root = book::pages::root();
        let mut cp = Command::new("cp");
        cp.arg("-r").args(["steps", "Cargo.toml", "README.md"].map(|name| root.join(name)));
        assert!(cp.arg(&copy).status().is_ok_and(|status| status.success()), "cp -r");
        if let Some(user) = self.user.as_ref().filter(|_| geteuid().is_root()) {
            let owner = format!("{}:{}", user.uid, user.gid);
            let status = Command::new("chown").arg("-R").arg(owner).arg(&copy).status();
            assert!(status.is_ok_and(|status| status.success()), "chown -R");
        }
    }

    fn home(&self) -> PathBuf {
        match &self.user {
            Some(user) => user.home(),
            None => self.place.path().join("home"),
        }
    }

    /// A shell that reads this script.
    pub fn shell(&self, script: &Path) -> Command {
        let mut command = match (&self.netns, &self.user) {
            (Some(netns), Some(user)) => {
                let mut command = netns.command("setpriv");
                command.arg(format!("--reuid={}", user.uid)).arg(format!("--regid={}", user.gid));
                command.args(["--clear-groups", "bash"]);
                command.env("XDG_RUNTIME_DIR", user.runtime_dir());
                command.env("USER", &user.name).env("LOGNAME", &user.name);
                command
            }
            (Some(netns), None) => netns.command("bash"),
            (None, Some(user)) => user.command("bash"),
            (None, None) => Command::new("bash"),
        };
        for name in ["XDG_DATA_HOME", "XDG_CONFIG_HOME", "DOCKER_HOST", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}:/usr/sbin:/sbin", self.programs.display());
        command.env("PATH", path).env("HOME", self.home()).env("LC_ALL", "C.UTF-8");
        match self.user {
            Some(_) => command.env_remove("CORACLE_ROOT"),
            None => command.env("CORACLE_ROOT", self.place.path().join("engine")),
        };
        command.env("TERM", "dumb").env("COLUMNS", "100").current_dir(self.repository());
        command.arg(script);
        command
    }

    /// A new file's path in the sandbox.
    pub fn file(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Ends what serves the session from outside.
    pub fn close(&mut self) {
        self.registry = None;
    }
}

/// A network that leads nowhere, but has a way out as a laptop's has: who looks for one finds it.
fn network() -> NetNs {
    let netns = NetNs::new();
    netns.ip("link add name eth0 type veth peer name far");
    netns.ip("link set far up");
    netns.ip("address add 192.0.2.2/24 dev eth0");
    netns.ip("link set eth0 up");
    netns.ip("route add default via 192.0.2.1");
    netns
}
