//! Say why a process died: read the OOM from the group's files.
//!
//! Exit code 137 means SIGKILL, and not who sent it. The memory controller keeps a book of
//! those whom it killed, in version 2 in `memory.events`, in version 1 in
//! `memory.oom_control`: lines with a name and a number. Read it, and say in a sentence
//! what happened. Mind the container that ends well although one of its processes was
//! killed, and the one that was killed by somebody else.
//!
//! Minutes: 25
//! Needs: root
//! Observe: cgroup memory.max

use std::fs;
use std::path::PathBuf;

use cgroups::{Mounts, Tree};
use namespaces::cli::exit_with;
use namespaces::{CloneArgs, Container, Context, Error, Exit, Mechanism, Process, Result};

/// How often the kernel has killed a process of the group for want of memory.
fn oom_kills(group: &Group) -> Result<u64> {
    // YOURS: find the line oom_kill in memory.events (v2) or memory.oom_control (v1)
    // The name must be the whole word: v1 also has a line oom_kill_disable, v2 has
    // oom_group_kill.
    let file = if group.v2 { "memory.events" } else { "memory.oom_control" };
    let text = fs::read_to_string(group.folder.join(file)).doing(|| format!("read {file}"))?;
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let number = lines.find(|(name, _)| *name == "oom_kill").map(|(_, number)| number);
    Ok(number.and_then(|number| number.parse().ok()).unwrap_or(0))
    // END
}

/// One sentence about the end of a container.
fn told(exit: Exit, oom_kills: u64) -> &'static str {
    // YOURS: tell "killed: out of memory" from "a process in it was killed: out of memory"
    // (the container went on), "killed, but not for want of memory", and "it ended by itself"
    // Both facts are needed: the code alone does not know why, the count alone not whom.
    match (exit, oom_kills) {
        (Exit::Signal(9), 1..) => "killed: out of memory",
        (_, 1..) => "a process in it was killed: out of memory",
        (Exit::Signal(9), 0) => "killed, but not for want of memory",
        _ => "it ended by itself",
    }
    // END
}

/// A group with 16 MiB of memory and no swap.
struct Group {
    v2: bool,
    folder: PathBuf,
}

impl Group {
    fn new() -> Result<Self> {
        let mounts = Mounts::of_this_process()?;
        let has_memory = |tree: &&Tree| tree.controllers.iter().any(|name| name == "memory");
        let tree = mounts.v1.iter().find(has_memory).or(mounts.v2.as_ref().filter(has_memory));
        let tree = tree.ok_or_else(|| Error::new("no tree of cgroups here counts memory"))?;
        if tree.v2 {
            let file = tree.mountpoint.join("cgroup.subtree_control");
            fs::write(&file, "+memory").doing(|| format!("write +memory to {}", file.display()))?;
        }
        Ok(Self {
            v2: tree.v2,
            folder: tree.mountpoint.join(format!("coracle-exercise-{}", std::process::id())),
        })
    }
}

impl Mechanism for &'static Group {
    fn before_clone(&mut self, _: &mut CloneArgs) -> Result<()> {
        fs::create_dir(&self.folder).doing(|| format!("mkdir {}", self.folder.display()))?;
        let (limit, with_swap) = match self.v2 {
            true => ("memory.max", ("memory.swap.max", "0")),
            false => ("memory.limit_in_bytes", ("memory.memsw.limit_in_bytes", "16777216")),
        };
        fs::write(self.folder.join(limit), "16777216").doing(|| format!("write {limit}"))?;
        let swap = self.folder.join(with_swap.0);
        // A kernel that does not count swap does without.
        if swap.exists() {
            fs::write(&swap, with_swap.1).doing(|| format!("write {}", swap.display()))?;
        }
        Ok(())
    }

    fn in_child(&self) -> Result<()> {
        let entrance = self.folder.join(if self.v2 { "cgroup.procs" } else { "tasks" });
        fs::write(entrance, "0").doing(|| "enter the group")
    }

    fn teardown(&mut self) -> Result<()> {
        match fs::remove_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.doing(|| format!("rmdir {}", self.folder.display())),
        }
    }
}

/// Runs a script in a container with 16 MiB, and says how it ended.
fn run_in(group: &'static Group, what: &str, script: &str) -> Result<()> {
    let process = Process::new(["sh", "-c", script]);
    let mut running = Container::new(process).with(group).start()?;
    let exit = running.wait()?;
    // Asked after the teardown, the group would know nothing any more.
    println!("{what}: {}", told(exit, oom_kills(group)?));
    running.teardown()
}

fn main() {
    exit_with(run())
}

fn run() -> Result<u8> {
    let group: &'static Group = Box::leak(Box::new(Group::new()?));
    let large = "dd if=/dev/zero of=/dev/null bs=64M count=1";
    run_in(group, "too large", &format!("exec {large}"))?;
    run_in(group, "too large a child", &format!("{large}; echo ready; read _; exit 0"))?;
    run_in(group, "killed by hand", "kill -KILL $$")?;
    run_in(group, "small", "exit 3")?;
    Ok(0)
}
