//! What only cgroup v2 has: one tree, controllers given downwards, freeze and kill by one file.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use namespaces::{Context, Error, Result};
use nix::errno::Errno;

use crate::group::write_file;
use crate::stats::field;

/// The controllers that a container is given, where there are any.
const GIVEN: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// The group into which the processes of a group go that is to have groups below it.
const LEAF: &str = "coracle-leaf";

/// A process's own group, or the one above it if we have moved the process.
pub(crate) fn without_leaf(own: &Path) -> &Path {
    match own.parent() {
        Some(above) if own.ends_with(LEAF) => above,
        _ => own,
    }
}

// ANCHOR: give_controllers
/// Lets the groups below `path` have the controllers that `path` has.
///
/// A group has processes, or gives controllers to groups below it, but not both (the
/// kernel makes an exception for the top of the tree, which has no `cgroup.type`). So
/// processes that are in the way are moved, but only if there are `limits` to set.
///
/// A controller that cannot be given is no error here: it is one if a limit needs it.
pub(crate) fn give_controllers(path: &Path, limits: bool) -> Result<()> {
    let read = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
    let (has, gives) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
    let missing: Vec<&str> = GIVEN
        .into_iter()
        .filter(|name| has.split_whitespace().any(|has| has == *name))
        .filter(|name| !gives.split_whitespace().any(|given| given == *name))
        .collect();
    let processes = read("cgroup.procs");
    if !missing.is_empty() && !processes.is_empty() && path.join("cgroup.type").exists() {
        if !limits {
            return Ok(());
        }
        move_to_a_leaf(path, &processes)?;
    }
    for name in missing {
        // One at a time, because one that is refused would refuse them all.
        let _ = write_file(&path.join("cgroup.subtree_control"), &format!("+{name}"));
    }
    Ok(())
}
// ANCHOR_END: give_controllers

/// Moves the processes of a group that was delegated to us one step down.
fn move_to_a_leaf(path: &Path, processes: &str) -> Result<()> {
    let leaf = path.join(LEAF);
    fs::create_dir_all(&leaf).doing(|| format!("mkdir {}", leaf.display()))?;
    for pid in processes.lines() {
        match write_file(&leaf.join("cgroup.procs"), pid) {
            // It has ended meanwhile.
            Err(error) if error.is(Errno::ESRCH) => {}
            result => result?,
        }
    }
    Ok(())
}

/// Kills all at once. False if the kernel cannot (it can since 5.14).
pub(crate) fn kill(path: &Path) -> Result<bool> {
    match write_file(&path.join("cgroup.kill"), "1") {
        Err(error) if error.is(Errno::ENOENT) || error.is(Errno::EACCES) => Ok(false),
        result => result.map(|()| true),
    }
}

// ANCHOR: freeze
/// Asks for a stop, and waits until all have stopped.
pub(crate) fn freeze(path: &Path) -> Result<()> {
    write_file(&path.join("cgroup.freeze"), "1")?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while field(&path.join("cgroup.events"), "frozen") != Some(1) {
        if Instant::now() > deadline {
            thaw(path)?;
            return Err(Error::new(format!("freeze {}", path.display()))
                .hint("a process in it does not stop, it may be waiting for a disk"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
// ANCHOR_END: freeze

pub(crate) fn thaw(path: &Path) -> Result<()> {
    write_file(&path.join("cgroup.freeze"), "0")
}
