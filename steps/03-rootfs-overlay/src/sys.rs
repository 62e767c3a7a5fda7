//! The kernel's newer mount calls, which libc does not wrap.
//!
//! A filesystem is configured and a tree is copied *detached*, known by a file
//! descriptor only; it is then attached on another descriptor. No path is walked
//! between the check of a target and its use, so there is nothing to race for.
//!
//! All `unsafe` of this crate is here.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::NixPath;
use nix::errno::Errno;

/// Opens a context for a new filesystem of type `kind`: fsopen(2).
pub fn fsopen(kind: &str) -> nix::Result<OwnedFd> {
    let kind = cstring(kind)?;
    // SAFETY: `kind` is NUL-terminated and outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), libc::FSOPEN_CLOEXEC) };
    owned(fd)
}

/// One request to fsconfig(2).
#[derive(Debug, Clone, Copy)]
pub enum Config<'a> {
    /// `key` alone, as `ro`.
    Flag(&'a str),
    /// `key=value`; the kernel takes at most 255 bytes.
    Text(&'a str, &'a str),
    /// `key=` an open file: overlayfs takes its layers so since Linux 6.13.
    Fd(&'a str, BorrowedFd<'a>),
    /// Make the superblock.
    Create,
}

/// Configures what [`fsopen`] returned: fsconfig(2).
pub fn fsconfig(fs: BorrowedFd, request: Config) -> nix::Result<()> {
    let (command, key, value, aux) = match request {
        Config::Flag(key) => (libc::FSCONFIG_SET_FLAG, Some(cstring(key)?), None, 0),
        Config::Text(key, value) => {
            (libc::FSCONFIG_SET_STRING, Some(cstring(key)?), Some(cstring(value)?), 0)
        }
        Config::Fd(key, fd) => (libc::FSCONFIG_SET_FD, Some(cstring(key)?), None, fd.as_raw_fd()),
        Config::Create => (libc::FSCONFIG_CMD_CREATE, None, None, 0),
    };
    // SAFETY: key and value are NULL or NUL-terminated strings that outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            fs.as_raw_fd(),
            command,
            pointer(&key),
            pointer(&value),
            aux,
        )
    };
    Errno::result(done).map(drop)
}

/// Makes a detached mount of a created filesystem: fsmount(2).
/// `attributes` are `MOUNT_ATTR_*`.
pub fn fsmount(fs: BorrowedFd, attributes: u64) -> nix::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe {
        libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), libc::FSMOUNT_CLOEXEC, attributes)
    };
    owned(fd)
}

// ANCHOR: open_tree
/// Makes a detached copy of the mount at `path` (at `dir` itself if `path` is
/// empty), with the mounts below it if `recursive`: open_tree(2).
pub fn open_tree<P: ?Sized + NixPath>(
    dir: BorrowedFd,
    path: &P,
    recursive: bool,
) -> nix::Result<OwnedFd> {
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    if path.is_empty() {
        flags |= libc::AT_EMPTY_PATH as u32;
    }
    if recursive {
        flags |= libc::AT_RECURSIVE as u32;
    }
    // SAFETY: `path` is NUL-terminated for the length of the call.
    let fd = path.with_nix_path(|path| unsafe {
        libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags)
    })?;
    owned(fd)
}
// ANCHOR_END: open_tree

/// Attaches the detached `mount` on the file or directory `target`: move_mount(2).
pub fn move_mount(mount: BorrowedFd, target: BorrowedFd) -> nix::Result<()> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are empty, static strings.
    let done = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            flags,
        )
    };
    Errno::result(done).map(drop)
}

/// Sets `MOUNT_ATTR_*` bits and, unless 0, the propagation (`MS_PRIVATE`…) of a
/// mount, and of all below it if `recursive`: mount_setattr(2).
pub fn mount_setattr(
    mount: BorrowedFd,
    set: u64,
    propagation: u64,
    recursive: bool,
) -> nix::Result<()> {
    // The access-time bits are one field: whoever sets it must clear it.
    let clear = if set & libc::MOUNT_ATTR__ATIME != 0 { libc::MOUNT_ATTR__ATIME } else { 0 };
    let attributes = libc::mount_attr { attr_set: set, attr_clr: clear, propagation, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `attributes` is the structure that the kernel expects, with its size.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &attributes,
            size_of_val(&attributes),
        )
    };
    Errno::result(done).map(drop)
}

/// Reads an extended attribute of `path`, which may name a `/proc/self/fd` link;
/// a last symbolic link is not followed unless `follow`.
/// `None` if there is no such attribute, or the filesystem keeps none.
pub fn getxattr(path: &CStr, name: &CStr, follow: bool) -> nix::Result<Option<Vec<u8>>> {
    let get = if follow { libc::getxattr } else { libc::lgetxattr };
    let mut value = vec![0u8; 256];
    loop {
        // SAFETY: both strings are NUL-terminated; the buffer is as long as said.
        let length =
            unsafe { get(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
        match Errno::result(length) {
            Ok(length) => {
                value.truncate(length as usize);
                return Ok(Some(value));
            }
            Err(Errno::ERANGE) => value.resize(value.len() * 4, 0),
            Err(Errno::ENODATA | Errno::EOPNOTSUPP) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// The names of the extended attributes of `path`, not following a last link.
pub fn listxattr(path: &CStr) -> nix::Result<Vec<CString>> {
    let mut names = vec![0u8; 1024];
    loop {
        // SAFETY: `path` is NUL-terminated; the buffer is as long as said.
        let length =
            unsafe { libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
        match Errno::result(length) {
            Ok(length) => {
                let names = names[..length as usize].split(|byte| *byte == 0);
                let names = names.filter(|name| !name.is_empty());
                return Ok(names.filter_map(|name| CString::new(name).ok()).collect());
            }
            Err(Errno::ERANGE) => names.resize(names.len() * 4, 0),
            Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
    }
}

/// Sets an extended attribute of `path`, not following a last link.
pub fn setxattr(path: &CStr, name: &CStr, value: &[u8]) -> nix::Result<()> {
    // SAFETY: both strings are NUL-terminated; the buffer is as long as said.
    let done = unsafe {
        libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0)
    };
    Errno::result(done).map(drop)
}

fn owned(fd: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel has just given us this descriptor; no one else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn cstring(text: &str) -> nix::Result<CString> {
    CString::new(text).map_err(|_| Errno::EINVAL)
}

fn pointer(text: &Option<CString>) -> *const libc::c_char {
    text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr())
}
