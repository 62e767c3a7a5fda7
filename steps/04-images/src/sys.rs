//! The system calls that need `unsafe`. All of this crate's `unsafe` is here.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// fsetxattr(2).
pub(crate) fn fsetxattr(fd: BorrowedFd, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    // SAFETY: the name ends in NUL, and the value is as long as we say.
    let done = unsafe {
        let bytes = value.as_ptr().cast();
        libc::fsetxattr(fd.as_raw_fd(), name.as_ptr(), bytes, value.len(), 0)
    };
    Errno::result(done).map(drop)
}

/// lsetxattr(2): on what stands at the path itself, even if that is a symbolic link.
pub(crate) fn lsetxattr(path: &CStr, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    // SAFETY: path and name end in NUL, and the value is as long as we say.
    let done = unsafe {
        let bytes = value.as_ptr().cast();
        libc::lsetxattr(path.as_ptr(), name.as_ptr(), bytes, value.len(), 0)
    };
    Errno::result(done).map(drop)
}
