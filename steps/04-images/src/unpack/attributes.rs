//! What a file has besides its bytes: an owner, a mode, times, extended attributes.
//!
//! The order is the kernel's: a new owner takes away setuid and capabilities, so the
//! owner is first; and anything but a time changes a time, so the time is last.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use namespaces::Error;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmod, fchmodat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, getegid, geteuid};

use super::archive::{Entry, Kind};
use super::folder::{Place, proc_path};
use crate::sys;

/// Attributes that belong to overlayfs alone. From a layer they could redirect a
/// folder to another one, or make up whiteouts; so they are never taken from one.
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// Who owns what this process makes, and with which mode.
pub(super) struct Owner {
    uid: u32,
    gid: u32,
    /// The bits that the kernel takes away from the mode of a new file.
    umask: u32,
    /// A refusal to change the owner is accepted.
    ignore: bool,
}

impl Owner {
    /// The owner of new files in `folder`, which becomes an ordinary folder: setgid on
    /// it would be inherited.
    pub(super) fn of_new_files(folder: BorrowedFd, ignore: bool) -> nix::Result<Self> {
        fchmod(folder, Mode::S_IRWXU)?;
        Ok(Self { uid: geteuid().as_raw(), gid: getegid().as_raw(), umask: umask(), ignore })
    }

    /// Gives a file to its owner with `chown`, if it is not theirs already. False if
    /// the kernel refused, and that is accepted.
    fn give(
        &self,
        owner: Option<(u32, u32)>,
        chown: impl FnOnce(Option<Uid>, Option<Gid>) -> nix::Result<()>,
    ) -> nix::Result<bool> {
        match owner {
            Some((uid, gid)) if (uid, gid) != (self.uid, self.gid) => {
                match chown(Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))) {
                    // EINVAL: this user namespace has no such id.
                    Err(Errno::EPERM | Errno::EINVAL) if self.ignore => Ok(false),
                    other => other.map(|()| true),
                }
            }
            _ => Ok(true),
        }
    }
}

/// The umask of this thread. Reading it from /proc changes it for nobody, as umask(2) would.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    let umask = line.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok());
    // Not known: every mode is set once more.
    umask.unwrap_or(0o777)
}

/// The attributes of one entry.
pub(super) struct Attributes {
    mode: u32,
    /// User and group; nobody in particular for a folder that no entry describes.
    owner: Option<(u32, u32)>,
    mtime: Option<(i64, i64)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    is_symlink: bool,
    /// Of a folder: what the layers below have in it is hidden.
    pub(super) opaque: bool,
}

impl Default for Attributes {
    /// A folder that no entry describes.
    fn default() -> Self {
        let (owner, mtime, xattrs) = (None, None, Vec::new());
        Self { mode: 0o755, owner, mtime, xattrs, is_symlink: false, opaque: false }
    }
}

/// What could not be kept, in words.
type LeftOut = Vec<String>;

impl Attributes {
    pub(super) fn of(entry: Entry) -> Self {
        Self {
            mode: entry.mode,
            owner: Some((entry.uid, entry.gid)),
            mtime: Some(entry.mtime),
            is_symlink: entry.kind == Kind::Symlink,
            xattrs: entry.xattrs,
            opaque: false,
        }
    }

    /// The same, for a folder that hides what the layers below have in it.
    pub(super) fn hiding(self, opaque: bool) -> Self {
        Self { opaque, ..self }
    }

    // ANCHOR: set_on_file
    /// Of a file that was made with this mode's permissions, and is complete.
    pub(super) fn set_on_file(&self, file: &File, owner: &Owner) -> nix::Result<LeftOut> {
        let given = owner.give(self.owner, |uid, gid| fchown(file, uid, gid))?;
        let mode = self.mode_for(given);
        if mode & (owner.umask | 0o7000) != 0 {
            fchmod(file, Mode::from_bits_truncate(mode))?;
        }
        let left_out = self.set_xattrs(|name, value| sys::fsetxattr(file.as_fd(), name, value))?;
        if let Some(time) = self.time() {
            futimens(file, &time, &time)?;
        }
        Ok(left_out)
    }
    // ANCHOR_END: set_on_file

    /// Of a folder, whose contents are complete.
    pub(super) fn set_on_folder(&self, folder: OwnedFd, owner: &Owner) -> nix::Result<LeftOut> {
        let mut left_out =
            self.set_xattrs(|name, value| sys::fsetxattr(folder.as_fd(), name, value))?;
        if self.opaque {
            set_opaque(folder.as_fd())?;
        }
        let given = owner.give(self.owner, |uid, gid| fchown(&folder, uid, gid))?;
        fchmod(&folder, Mode::from_bits_truncate(self.mode_for(given)))?;
        if let Some(time) = self.time() {
            futimens(&folder, &time, &time)?;
        }
        left_out.dedup();
        Ok(left_out)
    }

    /// Of a symbolic link, a device or a fifo, none of which may be opened.
    pub(super) fn set_on_node(&self, place: &Place, owner: &Owner) -> nix::Result<LeftOut> {
        let (parent, name) = (&*place.parent, place.name.as_os_str());
        let given = owner.give(self.owner, |uid, gid| {
            fchownat(parent, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)
        })?;
        let mode = self.mode_for(given);
        if !self.is_symlink && mode & (owner.umask | 0o7000) != 0 {
            let mode = Mode::from_bits_truncate(mode);
            fchmodat(parent, name, mode, FchmodatFlags::NoFollowSymlink)?;
        }
        let left_out = self.set_xattrs(|attribute, value| {
            // There is no setxattrat(2) before Linux 6.13.
            let path = proc_path(parent.as_fd().as_raw_fd()).join(name);
            let path = CString::new(path.into_os_string().into_vec()).map_err(|_| Errno::EINVAL)?;
            sys::lsetxattr(&path, attribute, value)
        })?;
        if let Some(time) = self.time() {
            utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)?;
        }
        Ok(left_out)
    }

    /// What the kernel says of these attributes, and what to do about it.
    pub(super) fn refused(&self, path: &Path, errno: Errno) -> Error {
        let error = Error::os(format!("set the attributes of {path:?}"), errno);
        match (errno, self.owner) {
            (Errno::EINVAL, Some((uid, gid))) => error.hint(format!(
                "it belongs to {uid}:{gid}, which this user has no id for: give more in \
                 /etc/subuid and /etc/subgid"
            )),
            _ => error,
        }
    }

    /// A file that stayed ours must not run as us where it was to run as another.
    fn mode_for(&self, given: bool) -> u32 {
        if given { self.mode } else { self.mode & !0o6000 }
    }

    fn time(&self) -> Option<TimeSpec> {
        self.mtime.map(|(seconds, nanos)| TimeSpec::new(seconds, nanos))
    }

    fn set_xattrs(
        &self,
        set: impl Fn(&std::ffi::CStr, &[u8]) -> nix::Result<()>,
    ) -> nix::Result<LeftOut> {
        let mut left_out = Vec::new();
        for (name, value) in &self.xattrs {
            let shown = String::from_utf8_lossy(name);
            if OVERLAY.iter().any(|prefix| name.starts_with(prefix)) {
                left_out.push(format!("attribute {shown}: overlayfs' own, not a layer's"));
                continue;
            }
            let Ok(name) = CString::new(&name[..]) else {
                left_out.push(format!("attribute {shown:?}: not a name"));
                continue;
            };
            match set(&name, value) {
                // Not for an ordinary user, or not for this filesystem.
                Err(errno @ (Errno::EPERM | Errno::EOPNOTSUPP | Errno::EINVAL)) => {
                    left_out.push(format!("attribute {shown}: {}", errno.desc()));
                }
                other => other?,
            }
        }
        Ok(left_out)
    }
}

/// Hides what the layers below have in this folder, from whoever mounts an overlay.
///
/// `trusted.*` is for the host's root; overlayfs in a user namespace, mounted with
/// `userxattr`, looks for `user.*` instead.
pub fn set_opaque(folder: BorrowedFd) -> nix::Result<()> {
    match sys::fsetxattr(folder, c"trusted.overlay.opaque", b"y") {
        Err(Errno::EPERM) => sys::fsetxattr(folder, c"user.overlay.opaque", b"y"),
        other => other,
    }
}
