//! The life of a container, as a mechanism sees it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::unistd::Pid;

use crate::Result;

/// One isolation mechanism, seen at the four moments of a container's life.
///
/// The moments come in this order, and each is walked through all mechanisms
/// in the order in which they were added, `teardown` in reverse:
///
// ANCHOR: moments
/// ```text
///            parent                         child
///   before_clone   flags, cgroup fd
///          clone3 ─────────────────────────▶ waits for "go"
///   in_parent      id maps, veth
///          go ─────────────────────────────▶ in_child   mounts, hostname, user
///          ◀───────────────────────── ready, waits for "start"
///          start ──────────────────────────▶ execve
///   teardown       after exit, or a failed start
/// ```
// ANCHOR_END: moments
// ANCHOR: mechanism
pub trait Mechanism {
    /// Parent, before the clone: add flags, offer a cgroup fd, take what must
    /// be taken (a name, an address), so that a conflict costs no process.
    fn before_clone(&mut self, _: &mut CloneArgs) -> Result<()> {
        Ok(())
    }

    /// Parent, while the child waits: what needs the child's pid, or rights
    /// that the child does not have. Id maps, veth.
    fn in_parent(&mut self, _: &Child) -> Result<()> {
        Ok(())
    }

    /// Child, before exec: mounts, hostname, capabilities, seccomp.
    fn in_child(&self) -> Result<()> {
        Ok(())
    }

    /// Parent, in reverse order, after the exit or a failed start: give back
    /// what the kernel does not take back by itself.
    ///
    /// Idempotent, and content with whatever was made, or not made. It may run
    /// in another process, the sentinel, which knows what `before_clone` knew
    /// and nothing later; or, should this process be killed in the middle of that,
    /// only what it was made with. Its descriptors all lead to `/dev/null` there: name
    /// things by their names.
    fn teardown(&mut self) -> Result<()> {
        Ok(())
    }
}
// ANCHOR_END: mechanism

// ANCHOR: clone_args
/// What `clone3` will be asked for.
#[derive(Debug, Default)]
pub struct CloneArgs {
    /// `CLONE_NEW*` flags, see clone(2).
    pub flags: u64,
    /// A cgroup v2 folder that the child is born into (`CLONE_INTO_CGROUP`).
    pub cgroup: Option<OwnedFd>,
    /// Existing namespaces that the child is born into, in this order: what setns(2)
    /// takes, a pidfd or a namespace's own file, and which namespaces (`CLONE_NEW*`).
    /// Those of `flags` are made after them.
    pub join: Vec<(OwnedFd, u64)>,
    /// What it joins is no pid namespace, or one that the parent visits: the child needs
    /// no second birth.
    pub(crate) once: bool,
}
// ANCHOR_END: clone_args

/// The child, from the parent's side, between the clone and the exec.
#[derive(Debug)]
pub struct Child {
    /// Its pid, as the parent's pid namespace counts.
    pub pid: Pid,
    pub(crate) pidfd: OwnedFd,
}

impl Child {
    /// A descriptor that means this process and never another one, however
    /// often its number is used again. See pidfd_open(2).
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
