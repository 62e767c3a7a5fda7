//! The system calls that need `unsafe`. All of this crate's `unsafe` is here.
#![allow(unsafe_code)]

use nix::errno::Errno;

/// seccomp(2): installs a filter in this thread.
pub(super) fn seccomp(program: &[libc::sock_filter]) -> Result<(), Errno> {
    let len = program.len().try_into().map_err(|_| Errno::E2BIG)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel reads `len` instructions at `filter`, which outlive the call.
    let done = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    };
    Errno::result(done).map(drop)
}
