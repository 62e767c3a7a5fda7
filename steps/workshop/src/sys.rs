//! The one file with `unsafe`: what must happen between fork and exec.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::chdir;

/// What a program of root's could spoil: the machine's name, mounts, network, queues.
const WORLD: CloneFlags = CloneFlags::CLONE_NEWUTS
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWIPC);

/// Gives the command a copy of the machine's world, to be spoilt in its place.
pub(crate) fn unshare_world(command: &mut Command) {
    let enter = || {
        unshare(WORLD)?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        Ok::<_, io::Error>(())
    };
    // SAFETY: the closure makes two system calls, allocates nothing, and touches no
    // memory of the parent.
    unsafe { command.pre_exec(enter) };
}

/// Lets the command join these namespaces, and start in `folder`, which joining a mount
/// namespace would otherwise make `/`.
pub(crate) fn join(command: &mut Command, namespaces: Vec<File>, folder: CString) {
    let enter = move || {
        for namespace in &namespaces {
            setns(namespace, CloneFlags::empty())?;
        }
        chdir(folder.as_c_str())?;
        Ok::<_, io::Error>(())
    };
    // SAFETY: as above; what the closure needs was made before the fork.
    unsafe { command.pre_exec(enter) };
}
