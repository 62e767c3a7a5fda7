//! Stop a fork bomb.
//!
//! The container's program starts children until the kernel says no, and at 50 it stops
//! by itself, being a tame one. Let the kernel say no earlier: make a group with
//! `pids.max`, get the container into it, and leave nothing behind. Both versions of
//! cgroups have the file; they differ in the file through which a process enters. The
//! man page is cgroups(7).
//!
//! Minutes: 25
//! Needs: root
//! Observe: cgroup pids.max

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use cgroups::{Mounts, Tree};
use namespaces::cli::exit_with;
use namespaces::{CloneArgs, Container, Context, Error, Mechanism, Namespaces, Process, Result};

/// A group with a limit of processes.
struct PidsLimit {
    max: u32,
    /// The group's folder, which is not there yet.
    folder: PathBuf,
    /// The file through which a single-threaded process enters: write 0, which means itself.
    entrance: PathBuf,
}

impl PidsLimit {
    /// Finds the tree that counts processes: one of version 1, or that of version 2.
    fn new(max: u32) -> Result<Self> {
        let mounts = Mounts::of_this_process()?;
        let counts = |tree: &&Tree| tree.controllers.iter().any(|name| name == "pids");
        let tree = mounts.v1.iter().find(counts).or(mounts.v2.as_ref().filter(counts));
        let tree = tree.ok_or_else(|| Error::new("no tree of cgroups here counts processes"))?;
        if tree.v2 {
            let file = tree.mountpoint.join("cgroup.subtree_control");
            fs::write(&file, "+pids").doing(|| format!("write +pids to {}", file.display()))?;
        }
        let folder = tree.mountpoint.join(format!("coracle-exercise-{}", std::process::id()));
        let entrance = folder.join(if tree.v2 { "cgroup.procs" } else { "tasks" });
        Ok(Self { max, folder, entrance })
    }
}

impl Mechanism for PidsLimit {
    fn before_clone(&mut self, _: &mut CloneArgs) -> Result<()> {
        // YOURS: make the folder, and write the limit to its pids.max
        // Before the clone: what is refused here costs no process. The kernel fills the new
        // folder with the group's files.
        let file = self.folder.join("pids.max");
        fs::create_dir(&self.folder).doing(|| format!("mkdir {}", self.folder.display()))?;
        fs::write(&file, self.max.to_string()).doing(|| format!("write {}", file.display()))
        // END
    }

    fn in_child(&self) -> Result<()> {
        // YOURS: enter the group
        // In the child, before its program: its children are born where it is. Were it the
        // parent that writes the child's pid, some of them might be born before.
        fs::write(&self.entrance, "0").doing(|| format!("enter {}", self.folder.display()))
        // END
    }

    fn teardown(&mut self) -> Result<()> {
        // YOURS: give the folder back
        // rmdir, not rm -r: the files in it cannot be unlinked, and go with it. It may have
        // been called before, or the folder may never have been made: that is no error.
        match fs::remove_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.doing(|| format!("rmdir {}", self.folder.display())),
        }
        // END
    }
}

/// The container's program.
fn bomb() {
    let mut children = 0;
    let refusal = loop {
        match Command::new("sleep").arg("10").spawn() {
            Ok(_) => children += 1,
            Err(error) => break Some(error),
        }
        if children == 50 {
            break None;
        }
    };
    match refusal {
        Some(error) => println!("{children} children, and then: {error}"),
        None => println!("{children} children, and nobody said no"),
    }
    println!("ready");
    let _ = std::io::stdin().read_line(&mut String::new());
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("bomb") => bomb(),
        _ => exit_with(run()),
    }
}

/// Starts the container with this very program in it.
fn run() -> Result<u8> {
    let process = Process::new(["/proc/self/exe", "bomb"]);
    let namespaces = Namespaces::none().and(libc::CLONE_NEWPID);
    let container = Container::new(process).with(namespaces).with(PidsLimit::new(8)?);
    let mut running = container.start()?;
    let code = running.wait()?.code();
    running.teardown()?;
    Ok(code)
}
