//! The system calls that need `unsafe`. All of this crate's `unsafe` is here.
#![allow(unsafe_code)]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::SigSet;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::unistd::Pid;

use crate::terminal::Size;

/// `CLONE_INTO_CGROUP` of the kernel's `sched.h`; glibc's constant is truncated to 0.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// Which of the two processes that return from [`clone3`] this one is.
pub(crate) enum Cloned {
    /// The process that called, with the child's pid and pidfd.
    Parent(Pid, OwnedFd),
    /// The new process.
    Child,
}

// ANCHOR: clone3
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
// ANCHOR_END: clone3

/// fork(2): the child's pid in the parent, nothing in the child. Safe only in a
/// process with a single thread, as [`clone3`].
pub(crate) fn fork() -> Result<Option<Pid>, Errno> {
    // SAFETY: the process has a single thread, so no lock is left locked in the child.
    let pid = Errno::result(unsafe { libc::fork() })?;
    Ok((pid != 0).then(|| Pid::from_raw(pid)))
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
pub(crate) fn pidfd_send_signal(pidfd: impl AsFd, signal: i32) -> Result<(), Errno> {
    // SAFETY: no siginfo is passed; the other arguments are numbers.
    let sent = unsafe {
        let info = std::ptr::null::<libc::siginfo_t>();
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_fd().as_raw_fd(), signal, info, 0)
    };
    Errno::result(sent).map(drop)
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
/// Rust ignores SIGPIPE, and what is ignored stays ignored through exec. The kernel is
/// asked itself: the C library keeps two signals, 32 and 33, from sigaction(3), which a
/// caller may have ignored too.
pub(crate) fn reset_signal_actions() {
    // The kernel's struct sigaction: SIG_DFL, no flags, no restorer, an empty mask.
    let default = [0u64; 4];
    for signal in 1..=64 {
        // SAFETY: the kernel reads the array, whose mask is as long as we say. SIG_DFL is
        // no code of ours. SIGKILL and SIGSTOP are refused, and rightly so.
        unsafe {
            let old = std::ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), old, size_of::<u64>())
        };
    }
}

/// Has the ends of children told and kept until they are asked for, if that was off. Whoever
/// started this process may have ignored SIGCHLD, which goes through exec; then the kernel
/// forgets a child's exit code, see sigaction(2). A handler stays.
pub(crate) fn expect_children() {
    // SAFETY: both calls take a valid sigaction, for which all zeroes is SIG_DFL without
    // flags, or null.
    unsafe {
        let mut found: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGCHLD, std::ptr::null(), &raw mut found);
        if found.sa_sigaction == libc::SIG_IGN {
            let default: libc::sigaction = std::mem::zeroed();
            libc::sigaction(libc::SIGCHLD, &raw const default, std::ptr::null_mut());
        }
    }
}

/// Closes every descriptor from `first` on. For a process that will not go back to
/// anything that owns one.
pub(crate) fn close_from(first: RawFd) {
    // SAFETY: takes three numbers; the caller never returns to the owners.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
}

/// Closes every descriptor from `first` on, but for `kept`, which becomes close-on-exec.
/// For a process that ends in an exec, or at once.
pub(crate) fn close_from_but(first: RawFd, kept: BorrowedFd) {
    let kept = kept.as_raw_fd();
    let close = |first: RawFd, last: libc::c_uint, flags: libc::c_uint| {
        // SAFETY: takes three numbers; whoever owns these descriptors never comes back
        // to use or to close them.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    };
    if kept > first {
        close(first, kept as libc::c_uint - 1, 0);
    }
    close(kept, kept as libc::c_uint, libc::CLOSE_RANGE_CLOEXEC);
    close(first.max(kept + 1), libc::c_uint::MAX, 0);
}

/// Writes `text` over the strings that the kernel has put on this process's stack at its
/// exec: its arguments and environment, `from` up to `to`. The rest becomes zeroes.
///
/// For a process that reads neither any more, and in which `from` and `to` are what
/// proc_pid_stat(5) says of it: `arg_start` and `arg_end` or `env_end`.
pub(crate) fn overwrite_arguments(from: usize, to: usize, text: &[u8]) {
    let length = to.saturating_sub(from);
    let text = &text[..text.len().min(length)];
    // SAFETY: the kernel has made this memory, which is writable, for strings that belong
    // to nobody; those who could still look at them have been told not to.
    unsafe {
        let area = std::ptr::with_exposed_provenance_mut::<u8>(from);
        std::ptr::write_bytes(area, 0, length);
        std::ptr::copy_nonoverlapping(text.as_ptr(), area, text.len());
    }
}

/// Puts a duplicate of `with` in the place of descriptor `fd`. For a process that will
/// not use it any more, and must not hold it.
pub(crate) fn replace_fd(fd: RawFd, with: BorrowedFd) {
    // SAFETY: takes three numbers; whoever owns `fd` here finds an open descriptor still.
    unsafe { libc::dup3(with.as_raw_fd(), fd, libc::O_CLOEXEC) };
}

/// Makes standard input the controlling terminal of this session: TIOCSCTTY of
/// ioctl_tty(2). Never takes it from a session that has it (that would be 1).
pub(crate) fn take_controlling_terminal() -> Result<(), Errno> {
    // SAFETY: TIOCSCTTY takes a number.
    Errno::result(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) }).map(drop)
}

/// The slave's end of a pty, unlocked: TIOCSPTLCK and TIOCGPTPEER of ioctl_tty(2).
pub(crate) fn open_pty_peer(master: BorrowedFd) -> Result<OwnedFd, Errno> {
    let locked: libc::c_int = 0;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the first reads one number through a valid pointer, the second takes
    // a number and returns a new descriptor.
    unsafe {
        Errno::result(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const locked))?;
        let fd = Errno::result(libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// TIOCGWINSZ of ioctl_tty(2).
pub(crate) fn window_size(terminal: BorrowedFd) -> Result<Size, Errno> {
    // SAFETY: winsize is four numbers, which the kernel fills.
    let size = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        Errno::result(libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size))?;
        size
    };
    Ok(Size { rows: size.ws_row, columns: size.ws_col })
}

/// TIOCSWINSZ of ioctl_tty(2).
pub(crate) fn set_window_size(terminal: BorrowedFd, size: Size) -> Result<(), Errno> {
    let size =
        libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel reads one winsize through a valid pointer.
    let done = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    Errno::result(done).map(drop)
}

/// Sends a descriptor along with a message that is not empty: SCM_RIGHTS of unix(7).
pub(crate) fn send_fd(socket: BorrowedFd, fd: BorrowedFd, message: &[u8]) -> Result<(), Errno> {
    let rights = [fd.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&rights)];
    let message = [IoSlice::new(message)];
    sendmsg::<()>(socket.as_raw_fd(), &message, &control, MsgFlags::MSG_NOSIGNAL, None).map(drop)
}

/// Receives a message, its length at least, and the descriptor that came with it, if
/// one did, close-on-exec.
pub(crate) fn receive_fd(
    socket: BorrowedFd,
    message: &mut [u8],
) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut space = nix::cmsg_space!(RawFd);
    let mut message = [IoSliceMut::new(message)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut message, Some(&mut space), flags)?;
    for control in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control
            && let Some(&fd) = fds.first()
        {
            // SAFETY: the kernel has just put it into our table; nobody else owns it.
            return Ok((received.bytes, Some(unsafe { OwnedFd::from_raw_fd(fd) })));
        }
    }
    Ok((received.bytes, None))
}

/// Leaves the caller's keys: a session keyring of one's own, see keyrings(7). Content
/// where a seccomp filter forbids it, as Docker's does.
pub(crate) fn join_new_session_keyring() {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: no name is given; nothing else is read.
    unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<u8>()) };
}

/// Waits until one of the blocked `signals` arrives, and takes it: sigwaitinfo(2).
pub(crate) fn wait_for_signal(signals: &SigSet) -> Result<i32, Errno> {
    // SAFETY: the set is valid, and no information but the number is asked for.
    Errno::result(unsafe { libc::sigwaitinfo(signals.as_ref(), std::ptr::null_mut()) })
}

/// kill(2), for any number: realtime signals have no name. Content if nobody is there.
pub(crate) fn kill(pid: Pid, signal: i32) {
    // SAFETY: takes two numbers.
    unsafe { libc::kill(pid.as_raw(), signal) };
}

/// The system calls that nothing works without, where the kernel or a seccomp filter
/// does not have them, with the answer. Each is asked for something harmless.
pub(crate) fn missing_calls() -> Vec<(&'static str, Errno)> {
    let pid = std::process::id();
    // SAFETY: clone3 is given no arguments, and says EINVAL; the others take numbers,
    // and the only descriptor that is made is ours to close.
    let answers = unsafe {
        let clone3 = Errno::result(libc::syscall(libc::SYS_clone3, 0, 0));
        let pidfd = Errno::result(libc::syscall(libc::SYS_pidfd_open, pid, 0));
        if let Ok(fd) = pidfd {
            drop(OwnedFd::from_raw_fd(fd as RawFd));
        }
        let (none, flags) = (libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
        let close_range = Errno::result(libc::syscall(libc::SYS_close_range, none, none, flags));
        [("clone3", clone3), ("pidfd_open", pidfd), ("close_range", close_range)]
    };
    let missing = |errno: &Errno| matches!(errno, Errno::ENOSYS | Errno::EPERM | Errno::EACCES);
    let refused = answers.into_iter().filter_map(|(name, answer)| Some((name, answer.err()?)));
    refused.filter(|(_, errno)| missing(errno)).collect()
}
