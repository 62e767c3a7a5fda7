//! Stop time for a container.
//!
//! `docker pause` stops all processes of a container, without a signal that they could see.
//! Write the two functions that do it. In version 2 one writes 1 or 0 to `cgroup.freeze`,
//! and the group's `cgroup.events` says `frozen 1` when it is done; in version 1 one writes
//! FROZEN or THAWED to `freezer.state`, and reads there what has come of it. In both, the
//! write only asks: return when it is true.
//!
//! Minutes: 25
//! Needs: root

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cgroups::{Cgroup, DevicePolicy, Limits, Mounts, Tree};
use namespaces::cli::exit_with;
use namespaces::{Container, Context, Error, Namespaces, Process, Result};
use nix::unistd::Pid;

/// A place where a container can be frozen.
struct Freezer {
    v2: bool,
    /// The group's folder.
    folder: PathBuf,
}

impl Freezer {
    /// Stops every process in the group; returns when all have stopped.
    fn freeze(&self) -> Result<()> {
        todo!("ask, and wait until it is so")
    }

    /// Lets them go on.
    fn thaw(&self) -> Result<()> {
        todo!("ask; there is nothing to wait for")
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        fs::write(self.folder.join(file), value).doing(|| format!("write {value} to {file}"))
    }

    fn read(&self, file: &str) -> Result<String> {
        fs::read_to_string(self.folder.join(file)).doing(|| format!("read {file}"))
    }

    /// That of a container: in the tree of version 2, where there is one, else in v1's.
    fn of(pid: Pid) -> Result<Self> {
        let mounts = Mounts::of_process(&pid.to_string())?;
        let can = |tree: &Tree| tree.own.join("cgroup.freeze").exists();
        let v2 = mounts.v2.filter(can);
        let v1 = || mounts.v1.into_iter().find(|tree| tree.own.join("freezer.state").exists());
        let tree = v2.or_else(v1).ok_or_else(|| Error::new("no tree of cgroups here freezes"))?;
        Ok(Self { v2: tree.v2, folder: tree.own })
    }
}

/// Two processes that each add a dot to a file, twenty times a second.
const SCRIPT: &str = "dots() { while :; do printf . >>$1; sleep 0.05; done; }; \
    dots one & dots two";

/// Those of the two files that grow, looked at until both do, or patience ends.
fn alive(folder: &Path, patience: Duration) -> Vec<&'static str> {
    let length = |name: &str| fs::metadata(folder.join(name)).map_or(0, |file| file.len());
    let names = ["one", "two"];
    let before = names.map(length);
    let end = Instant::now() + patience;
    loop {
        let pairs = names.into_iter().zip(before);
        let growing = pairs.filter(|(name, before)| length(name) > *before);
        let growing: Vec<_> = growing.map(|(name, _)| name).collect();
        if growing.len() == names.len() || Instant::now() > end {
            return growing;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn main() {
    exit_with(run())
}

fn run() -> Result<u8> {
    let folder = std::env::current_dir().doing(|| "find the current directory")?;
    let mut process = Process::new(["sh", "-c", SCRIPT]);
    process.cwd = folder.clone();
    let name = format!("coracle-exercise-{}", std::process::id());
    let group = Cgroup::new(&name, Limits::default(), DevicePolicy::All);
    let namespaces = Namespaces::none().and(libc::CLONE_NEWPID);
    let running = Container::new(process).with(namespaces).with(group).start()?;
    let freezer = Freezer::of(running.pid())?;
    let (long, short) = (Duration::from_secs(10), Duration::from_millis(1200));
    println!("at first these are alive: {:?}", alive(&folder, long));
    freezer.freeze()?;
    println!("frozen, these are alive: {:?}", alive(&folder, short));
    freezer.thaw()?;
    println!("thawed, these are alive: {:?}", alive(&folder, long));
    Ok(0)
}
