//! The `CLONE_NEW*` flags by name.

use nix::errno::Errno;

use crate::{Error, userns};

/// Every namespace that clone(2) can make: flag, name, and the file in `/proc/PID/ns`.
pub(crate) const ALL: [(u64, &str, &str); 8] = [
    (libc::CLONE_NEWUSER as u64, "CLONE_NEWUSER", "user"),
    (libc::CLONE_NEWNS as u64, "CLONE_NEWNS", "mnt"),
    (libc::CLONE_NEWPID as u64, "CLONE_NEWPID", "pid"),
    (libc::CLONE_NEWUTS as u64, "CLONE_NEWUTS", "uts"),
    (libc::CLONE_NEWIPC as u64, "CLONE_NEWIPC", "ipc"),
    (libc::CLONE_NEWNET as u64, "CLONE_NEWNET", "net"),
    (libc::CLONE_NEWCGROUP as u64, "CLONE_NEWCGROUP", "cgroup"),
    (libc::CLONE_NEWTIME as u64, "CLONE_NEWTIME", "time"),
];

/// `CLONE_NEWPID|CLONE_NEWNS`, or `0`.
pub(crate) fn names(flags: u64) -> String {
    let names: Vec<_> =
        ALL.iter().filter(|(flag, ..)| flags & flag != 0).map(|(_, name, _)| *name).collect();
    if names.is_empty() { "0".into() } else { names.join("|") }
}

/// Adds the likely cause of a refused clone.
pub(crate) fn explain_refusal(error: Error, flags: u64) -> Error {
    let refused = [Errno::EPERM, Errno::EACCES].iter().any(|errno| error.is(*errno));
    let asks_for = |flag: i32| flags & flag as u64 != 0;
    if asks_for(libc::CLONE_NEWUSER) && (refused || error.is(Errno::ENOSPC)) {
        error.hint("this kernel does not let you make user namespaces; `doctor` says which switch forbids it")
    } else if refused && !userns::needed() {
        error.hint("root here lacks CAP_SYS_ADMIN, as inside Docker; `doctor` says more")
    } else if refused {
        error.hint("only root, or root of a user namespace, may make these")
    } else if error.is(Errno::ENOSYS) {
        error.hint("the kernel is too old, or a seccomp filter hides the call; `doctor` says which")
    } else if error.is(Errno::EINVAL) && asks_for(libc::CLONE_NEWTIME) {
        error.hint("this kernel has no time namespaces")
    } else {
        error
    }
}
