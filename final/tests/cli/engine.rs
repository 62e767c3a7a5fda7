//! An engine of a test's own, and how it is spoken to.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use testkit::{Leftovers, NetNs, wait_until};

/// An engine of the test's own. Nothing of it may be left.
pub struct Engine {
    pub root: tempfile::TempDir,
    /// In its paths and in the name of its cgroups: what is left is told by it.
    pub word: String,
    pub network: Option<NetNs>,
    pub leftovers: Leftovers,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Engine {
    pub fn new() -> Self {
        Self::made(None)
    }

    pub fn with_network() -> Self {
        Self::made(Some(NetNs::new()))
    }

    pub fn made(network: Option<NetNs>) -> Self {
        let root = testkit::temp_dir();
        let word = root.path().file_name().unwrap().to_string_lossy().replace('.', "");
        let path = root.path().to_string_lossy().into_owned();
        let leftovers = Leftovers::matching(&[&word, &path]);
        Self { root, word, network, leftovers }
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_coracle");
        let mut command = match &self.network {
            Some(network) => network.command(program),
            None => Command::new(program),
        };
        command.args(words).env("CORACLE_ROOT", self.root.path()).stdin(Stdio::null());
        command
    }

    #[track_caller]
    pub fn ask(&self, words: &[&str]) -> Said {
        let output = self.command(words).output().expect("run coracle");
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// What a command prints that succeeds.
    #[track_caller]
    pub fn tell(&self, words: &[&str]) -> String {
        let said = self.ask(words);
        assert_eq!(said.code, 0, "{words:?}: {said:?}");
        said.out.trim_end().to_owned()
    }

    /// `run`, in a cgroup that carries our word, and without a network unless they ask
    /// for one.
    pub fn words<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec!["run", "--quiet", "--cgroup-parent", &self.word];
        if self.network.is_none() && !words.contains(&"--network") {
            all.extend(["--network", "none"]);
        }
        all.extend(words);
        all
    }

    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Said {
        self.ask(&self.words(words))
    }

    pub fn start(&self, words: &[&str]) -> Child {
        let mut command = self.command(&self.words(words));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("start coracle")
    }

    /// The process that owns a container.
    pub fn shim_of(&self, name: &str) -> nix::unistd::Pid {
        let pid = self.tell(&["inspect", "-f", "{{.State.Pid}}", name]).parse().unwrap();
        parent_of(nix::unistd::Pid::from_raw(pid)).expect("it runs")
    }

    /// Nothing is left of any container: on disk, in the kernel, or as a process.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        for folder in ["containers", "names"] {
            // A shim that removes its container does so after it has told of the end.
            let folder = self.root.path().join(folder);
            let left = || -> Vec<_> { fs::read_dir(&folder).unwrap().flatten().collect() };
            let empty = wait_until(Duration::from_secs(2), || left().is_empty());
            assert!(empty, "{}: {:?}", folder.display(), left());
        }
        assert_eq!(self.tell(&["ps", "-aq"]), "");
        self.leftovers.assert_none();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Ok(ids) = self.command(&["ps", "-aq"]).output() {
            for id in String::from_utf8_lossy(&ids.stdout).lines() {
                let _ = self.command(&["rm", "-f", id]).output();
            }
        }
    }
}

/// The parent of a process that lives: field 4 of proc_pid_stat(5).
pub fn parent_of(pid: nix::unistd::Pid) -> Option<nix::unistd::Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(nix::unistd::Pid::from_raw(rest.split(' ').nth(1)?.parse().ok()?))
}

/// What a command said, when it has ended.
pub fn finish(child: Child) -> Said {
    let output = child.wait_with_output().unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
