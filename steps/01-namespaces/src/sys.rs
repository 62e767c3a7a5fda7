//! The system calls that need `unsafe`. All of this crate's `unsafe` is here.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::Pid;

/// `CLONE_INTO_CGROUP` of the kernel's `sched.h`; glibc's constant is truncated to 0.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// Which of the two processes that return from [`clone3`] this one is.
pub(crate) enum Cloned {
    /// The process that called, with the child's pid and pidfd.
    Parent(Pid, OwnedFd),
    /// The new process.
    Child,
}

/// clone3(2) without a shared memory: it returns twice, like fork(2).
///
/// `as_sibling` makes the new process a child of the caller's parent
/// (`CLONE_PARENT`). Safe only in a process with a single thread, which the
/// caller has checked: a lock that another thread holds would stay locked in the
/// child for ever.
pub(crate) fn clone3(
    flags: u64,
    cgroup: Option<BorrowedFd>,
    as_sibling: bool,
) -> Result<Cloned, Errno> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain old data, for which all zeroes is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    if as_sibling {
        // The kernel wants no exit signal here: a sibling takes over its parent's.
        args.flags |= libc::CLONE_PARENT as u64;
    } else {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: args outlives the call and is as long as we say. Without CLONE_VM the
    // child has its own copy of this memory; the process has a single thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of_val(&args)) };
    match Errno::result(pid)? {
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: the kernel has just put a new descriptor there, owned by no one else.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent(Pid::from_raw(pid as i32), pidfd))
        }
    }
}

/// pidfd_open(2).
pub(crate) fn pidfd_open(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: takes two numbers, returns a descriptor or an error.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel has just made it, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// pidfd_send_signal(2).
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd, signal: i32) -> Result<(), Errno> {
    // SAFETY: no siginfo is passed; the other arguments are numbers.
    let sent = unsafe {
        let info = std::ptr::null::<libc::siginfo_t>();
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0)
    };
    Errno::result(sent).map(drop)
}

/// Marks every descriptor from `first` on as close-on-exec: close_range(2).
pub(crate) fn close_on_exec_from(first: RawFd) -> Result<(), Errno> {
    // SAFETY: takes three numbers; nothing is closed before the exec.
    let done = unsafe {
        libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    };
    Errno::result(done).map(drop)
}

/// setdomainname(2).
pub(crate) fn setdomainname(name: &str) -> Result<(), Errno> {
    // SAFETY: a pointer to bytes and their number.
    Errno::result(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// Ends this process at once: no destructors, no `atexit`, which are the parent's.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(code) }
}

/// Sets every signal to its default action.
///
/// Rust ignores SIGPIPE, and what is ignored stays ignored through exec.
pub(crate) fn reset_signal_actions() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL is no code of ours. SIGKILL, SIGSTOP and glibc's own
        // signals are refused, and rightly so.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Closes every descriptor from `first` on. For a process that will not go back to
/// anything that owns one.
pub(crate) fn close_from(first: RawFd) {
    // SAFETY: takes three numbers; the caller never returns to the owners.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
}

/// Makes standard input the controlling terminal of this session, if it is one.
pub(crate) fn take_controlling_terminal() -> bool {
    // SAFETY: TIOCSCTTY takes a number, and 1 means: take it from the session that has it.
    unsafe { libc::ioctl(0, libc::TIOCSCTTY, 1) == 0 }
}
