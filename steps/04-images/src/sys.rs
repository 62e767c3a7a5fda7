//! The system calls that need `unsafe`. All of this crate's `unsafe` is here.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

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

/// fgetxattr(2): the whole value, or nothing where there is no such attribute.
pub(crate) fn getxattr(file: impl AsFd, name: &CStr) -> std::io::Result<Option<Vec<u8>>> {
    // Of the attributes read here none is longer.
    let mut value = vec![0u8; 256];
    // SAFETY: the name ends in NUL, and the kernel writes no more than we offer.
    let length = unsafe {
        let room = value.as_mut_ptr().cast();
        libc::fgetxattr(file.as_fd().as_raw_fd(), name.as_ptr(), room, value.len())
    };
    match Errno::result(length) {
        Ok(length) => {
            value.truncate(length as usize);
            Ok(Some(value))
        }
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
