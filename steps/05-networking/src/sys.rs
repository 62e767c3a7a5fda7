//! The `unsafe` of this crate: two system calls that no library wraps safely.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{ForkResult, Pid};

/// Forks. `None` is the child.
///
/// # Errors
///
/// `EAGAIN` at the limit of processes; `EDEADLK` from a threaded process, whose
/// child could find a lock held by a thread that it does not have.
pub(crate) fn fork() -> nix::Result<Option<Pid>> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(Errno::EDEADLK);
    }
    // SAFETY: this process has one thread, so the child owns every lock it sees.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Closes every descriptor but those in `keep`, by close_range(2).
pub(crate) fn close_all_but(keep: &[RawFd]) {
    let mut keep = keep.to_vec();
    keep.sort_unstable();
    let mut first = 0;
    for fd in keep.into_iter().map(|fd| fd as u32).chain([u32::MAX]) {
        if first < fd {
            let last = if fd == u32::MAX { fd } else { fd - 1 };
            // SAFETY: the caller is a fresh child that uses nothing but `keep`.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
        first = fd.saturating_add(1);
    }
}

/// Leaves without running destructors or exit handlers, which are the parent's.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) takes any code and does not return.
    unsafe { libc::_exit(code) }
}

/// Gives a signal its default action again.
pub(crate) fn default_action(number: Signal) -> nix::Result<()> {
    // SAFETY: SIG_DFL runs no code of this process.
    unsafe { signal(number, SigHandler::SigDfl) }.map(drop)
}

/// poll(2): waits, and leaves the answers in `fds`. A negative descriptor is not
/// asked about, which the safe wrappers cannot say.
pub(crate) fn poll(fds: &mut [libc::pollfd], milliseconds: i32) -> nix::Result<()> {
    // SAFETY: the slice is as long as we say.
    let count = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, milliseconds) };
    Errno::result(count).map(drop)
}

/// pidfd_open(2): a descriptor that means this process and never a later one.
pub(crate) fn pidfd_open(pid: u32) -> nix::Result<OwnedFd> {
    // SAFETY: no pointers; the result is a new descriptor that nobody owns yet.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = Errno::result(fd)? as RawFd;
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
