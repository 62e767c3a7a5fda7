//! The way into a container that runs already: setns(2).

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::unistd::Pid;

use crate::error::{Context, Error, Result};
use crate::mechanism::{Child, CloneArgs, Mechanism};
use crate::{flags, sys, userns};

/// In the place of [`Namespaces`](crate::Namespaces): the process is born into all
/// namespaces of another one that are not the caller's already.
#[derive(Debug)]
pub struct Join {
    pidfd: Option<OwnedFd>,
    flags: u64,
    at_once: bool,
    visit: Option<Visit>,
}

impl Join {
    // ANCHOR: join_pid
    /// The namespaces of process `pid`, a container's first one.
    ///
    /// # Errors
    /// If there is no such process, it is another user's, or it lives in the very
    /// namespaces of the caller.
    pub fn pid(pid: Pid) -> Result<Self> {
        // First the descriptor, then the look: at the end it must be the same process still.
        let pidfd = sys::pidfd_open(pid).doing(|| format!("find process {pid}"))?;
        let flags = foreign_namespaces(pid)?;
        sys::pidfd_send_signal(&pidfd, 0).or_else(|errno| match errno {
            Errno::EPERM => Ok(()),
            errno => Err(errno).doing(|| format!("find process {pid}")),
        })?;
        match flags {
            0 => Err(Error::new(format!(
                "process {pid} is in no container: it shares all our namespaces"
            ))),
            flags => Ok(Self { pidfd: Some(pidfd), flags, at_once: false, visit: None }),
        }
    }
    // ANCHOR_END: join_pid
}

// ANCHOR: foreign_namespaces
/// Those in which `pid` lives and we do not. An inode of `/proc/PID/ns` is the
/// namespace's identity; see namespaces(7).
fn foreign_namespaces(pid: Pid) -> Result<u64> {
    let mut foreign = 0;
    for (flag, _, file) in flags::ALL {
        let identity = |process: &str| {
            let path = format!("/proc/{process}/ns/{file}");
            match fs::metadata(&path) {
                Ok(metadata) => Ok(Some((metadata.dev(), metadata.ino()))),
                // A kernel without this kind of namespace.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error).doing(|| format!("look at {path}")),
            }
        };
        let refused = |error: Error| match error.is(Errno::EACCES) {
            true => error.hint("only its owner or root may join the namespaces of a process"),
            false => error,
        };
        if identity(&pid.to_string()).map_err(refused)? != identity("self")? {
            foreign |= flag;
        }
    }
    Ok(foreign)
}
// ANCHOR_END: foreign_namespaces

impl Join {
    /// One birth instead of two, where there is no user namespace to join: this process
    /// goes to the pid namespace before the clone, with all that it clones until the
    /// child is there, and comes back. So not for a container that is guarded: its
    /// sentinel would be born there too, and die with the container.
    pub fn at_once(self) -> Self {
        Self { at_once: true, ..self }
    }
}

/// While it lives, children of this process are born in another pid namespace.
#[derive(Debug)]
struct Visit {
    home: fs::File,
}

impl Visit {
    fn begin(pidfd: BorrowedFd) -> Result<Self> {
        let home = fs::File::open("/proc/self/ns/pid").doing(|| "open /proc/self/ns/pid")?;
        // The child will be seen from there, and still is our program (CVE-2019-5736).
        prctl::set_dumpable(false).doing(|| "prctl(PR_SET_DUMPABLE, 0)")?;
        let visit = Self { home };
        setns(pidfd, CloneFlags::CLONE_NEWPID).doing(|| "setns(CLONE_NEWPID)")?;
        Ok(visit)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // One's own namespace is never refused.
        let _ = setns(&self.home, CloneFlags::CLONE_NEWPID);
        let _ = prctl::set_dumpable(true);
    }
}

impl Mechanism for Join {
    fn before_clone(&mut self, args: &mut CloneArgs) -> Result<()> {
        let Some(pidfd) = self.pidfd.take() else { return Ok(()) };
        let pid_namespace = self.flags & libc::CLONE_NEWPID as u64;
        if self.at_once && args.flags == 0 && self.flags & libc::CLONE_NEWUSER as u64 == 0 {
            self.visit = Some(Visit::begin(pidfd.as_fd())?);
            self.flags &= !pid_namespace;
            args.once = true;
        }
        args.join.push((pidfd, self.flags));
        Ok(())
    }

    fn in_parent(&mut self, _: &Child) -> Result<()> {
        self.visit = None;
        Ok(())
    }

    fn in_child(&self) -> Result<()> {
        // In a foreign user namespace we are nobody at first, though with all capabilities.
        match self.flags & libc::CLONE_NEWUSER as u64 {
            0 => Ok(()),
            _ => userns::become_root(),
        }
    }

    fn teardown(&mut self) -> Result<()> {
        self.visit = None;
        Ok(())
    }
}
