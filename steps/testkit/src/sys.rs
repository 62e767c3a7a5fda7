//! The one file with `unsafe`: what must happen between fork and exec.
#![allow(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets the kernel kill the command when the thread that starts it is gone.
///
/// The order matters for a command that changes its uid: the kernel forgets the
/// wish at that moment, and std changes the uid before it calls us.
pub(crate) fn die_with_parent(command: &mut Command) {
    // SAFETY: the closure makes one async-signal-safe system call and touches no
    // memory of the parent.
    unsafe {
        command.pre_exec(|| {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0 {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        });
    }
}

/// Gives the command a network namespace of its own.
pub(crate) fn unshare_network(command: &mut Command) {
    // SAFETY: as above; `unshare` acts on the forked child alone.
    unsafe {
        command.pre_exec(|| {
            if libc::unshare(libc::CLONE_NEWNET) == 0 {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        });
    }
}
