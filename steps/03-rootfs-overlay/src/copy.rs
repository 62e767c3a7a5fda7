//! Copies what an image has at a volume's place into the volume, the first time.
//!
//! Without this, a volume on /var/lib/data would hide what the image brings there, and
//! its owner and mode with it. It happens in the child, before the volume is mounted on
//! that place: there the layers are one tree, and ids are the container's.

use std::collections::HashMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use namespaces::{Context, Error, Result};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg, OFlag, openat, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstat, mkdirat,
    mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};

use crate::root::{list, lstat};
use crate::{Root, sys};

/// Stands in the volume while it is being filled. Found there later, it means that the
/// copy was interrupted, and is done again.
const UNFINISHED: &str = ".coracle-copy-unfinished";

// ANCHOR: copy_up
/// Copies the directory `from` of the container into `source` of the host (`subpath` in
/// it), if that is an empty directory: contents, owners, modes, times, extended
/// attributes, hard links.
///
/// Two containers that start at once with one volume do it one after the other, and
/// the second finds it done.
pub(crate) fn copy_up(
    root: &Root,
    from: &Path,
    source: &Path,
    subpath: Option<&Path>,
) -> Result<()> {
    let doing = || format!("copy {} of the image to {}", from.display(), source.display());
    let readable = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let volume = Root::open(source)
        .and_then(|volume| volume.open_with(subpath.unwrap_or(Path::new(".")), readable, 0));
    let (from, volume) = match (root.open_with(from, readable, 0), volume) {
        // The image has nothing there, or the source is a file: nothing to copy.
        (Err(Errno::ENOENT | Errno::ENOTDIR), _) | (_, Err(Errno::ENOTDIR)) => return Ok(()),
        (from, volume) => (from.doing(doing)?, volume.doing(doing)?),
    };
    let volume = Flock::lock(File::from(volume), FlockArg::LockExclusive)
        .map_err(|(_, errno)| Error::os(doing(), errno))?;
    let into = volume.as_fd();
    let present = list(volume.try_clone().doing(doing)?.into()).doing(doing)?;
    if !present.is_empty() && !present.iter().any(|name| name == UNFINISHED) {
        return Ok(());
    }
    copy_marked(&from, into).doing(doing)
}
// ANCHOR_END: copy_up

// ANCHOR: copy_marked
fn copy_marked(from: &OwnedFd, into: BorrowedFd) -> nix::Result<()> {
    match mknodat(into, UNFINISHED, SFlag::S_IFREG, Mode::S_IRUSR, 0) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(error) => return Err(error),
    }
    let mut copy = Copy { top: into, links: HashMap::new() };
    copy.children(from.as_fd(), into, Path::new(""))?;
    unlinkat(into, UNFINISHED, UnlinkatFlags::NoRemoveDir)?;
    // The directory itself comes last, as its children change its time.
    let attributes = fstat(from)?;
    copy_xattrs(from.as_fd(), into, OsStr::new("."))?;
    own(into, OsStr::new("."), &attributes)?;
    fchmod(into, mode(&attributes))?;
    set_times(into, OsStr::new("."), &attributes)
}
// ANCHOR_END: copy_marked

struct Copy<'v> {
    /// The volume.
    top: BorrowedFd<'v>,
    /// The first copy, below `top`, of each file that has several names.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Copy<'_> {
    fn children(&mut self, from: BorrowedFd, into: BorrowedFd, below: &Path) -> nix::Result<()> {
        let readable = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        for name in list(openat(from, ".", readable, Mode::empty())?)? {
            self.one(from, into, &name, &below.join(&name))?;
        }
        Ok(())
    }

    fn one(
        &mut self,
        from: BorrowedFd,
        into: BorrowedFd,
        name: &OsStr,
        path: &Path,
    ) -> nix::Result<()> {
        let stat = lstat(from, name)?;
        if self.is_linked(&stat, into, name, path)? {
            return Ok(());
        }
        match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFDIR => self.directory(from, into, name, path)?,
            SFlag::S_IFREG => regular(from, into, name)?,
            SFlag::S_IFLNK => {
                replace(into, name, || symlinkat(&*readlinkat(from, name)?, into, name))?
            }
            kind => {
                match replace(into, name, || mknodat(into, name, kind, mode(&stat), stat.st_rdev)) {
                    // A user namespace has no device nodes.
                    Err(Errno::EPERM) => return Ok(()),
                    made => made?,
                }
            }
        }
        copy_attributes(from, into, name, &stat)
    }

    /// True if this file was copied already, under another name.
    fn is_linked(
        &mut self,
        stat: &FileStat,
        into: BorrowedFd,
        name: &OsStr,
        path: &Path,
    ) -> nix::Result<bool> {
        let is_dir = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
        if stat.st_nlink < 2 || is_dir {
            return Ok(false);
        }
        let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) else {
            self.links.insert((stat.st_dev, stat.st_ino), path.to_owned());
            return Ok(false);
        };
        // A container that has the volume already could put a link in the way of a longer
        // path, to have one of the host's files linked here.
        let top = Root::from_fd(self.top.try_clone_to_owned().map_err(|_| Errno::EMFILE)?);
        let above = top.resolve_plain(first.parent().unwrap_or(Path::new("")))?;
        let last = first.file_name().ok_or(Errno::EINVAL)?;
        replace(into, name, || linkat(&above, last, into, name, AtFlags::empty()))?;
        Ok(true)
    }

    fn directory(
        &mut self,
        from: BorrowedFd,
        into: BorrowedFd,
        name: &OsStr,
        path: &Path,
    ) -> nix::Result<()> {
        match mkdirat(into, name, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error),
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let from = openat(from, name, flags, Mode::empty())?;
        let into = openat(into, name, flags, Mode::empty())?;
        self.children(from.as_fd(), into.as_fd(), path)
    }
}

fn regular(from: BorrowedFd, into: BorrowedFd, name: &OsStr) -> nix::Result<()> {
    let common = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut from = File::from(openat(from, name, OFlag::O_RDONLY | common, Mode::empty())?);
    let create = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | common;
    let mut into = File::from(openat(into, name, create, Mode::S_IRUSR | Mode::S_IWUSR)?);
    // copy_file_range(2) where both ends can, so that blocks may even be shared.
    let copied = std::io::copy(&mut from, &mut into);
    copied.map(drop).map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

/// Makes a name that an interrupted copy may have made already.
fn replace(into: BorrowedFd, name: &OsStr, make: impl Fn() -> nix::Result<()>) -> nix::Result<()> {
    match make() {
        Err(Errno::EEXIST) => {
            unlinkat(into, name, UnlinkatFlags::NoRemoveDir)?;
            make()
        }
        made => made,
    }
}

/// The owner comes before the mode, because chown(2) takes the set-user-ID bit away,
/// and the attributes before the mode, because a read-only file takes none.
fn copy_attributes(
    from: BorrowedFd,
    into: BorrowedFd,
    name: &OsStr,
    stat: &FileStat,
) -> nix::Result<()> {
    own(into, name, stat)?;
    copy_xattrs(from, into, name)?;
    if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFLNK.bits() {
        change_mode(into, name, mode(stat))?;
    }
    set_times(into, name, stat)
}

// ANCHOR: change_mode
/// chmod(2) that follows no link, which one that has the volume already could have put
/// there meanwhile: it would change a file of the host.
fn change_mode(into: BorrowedFd, name: &OsStr, mode: Mode) -> nix::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = openat(into, name, flags, Mode::empty())?;
    if fstat(&file)?.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFLNK.bits() {
        return Err(Errno::ELOOP);
    }
    let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
    fchmodat(AT_FDCWD, itself.as_str(), mode, FchmodatFlags::FollowSymlink)
}
// ANCHOR_END: change_mode

fn own(into: BorrowedFd, name: &OsStr, stat: &FileStat) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    match fchownat(into, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW) {
        // An owner outside of the user namespace's map cannot be given on.
        Err(Errno::EINVAL) => Ok(()),
        done => done,
    }
}

fn mode(stat: &FileStat) -> Mode {
    Mode::from_bits_truncate(stat.st_mode & 0o7777)
}

fn set_times(into: BorrowedFd, name: &OsStr, stat: &FileStat) -> nix::Result<()> {
    let accessed = TimeSpec::new(stat.st_atime, stat.st_atime_nsec);
    let modified = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
    utimensat(into, name, &accessed, &modified, UtimensatFlags::NoFollowSymlink)
}

/// All attributes that the volume's filesystem takes; overlayfs does not show its own.
fn copy_xattrs(from: BorrowedFd, into: BorrowedFd, name: &OsStr) -> nix::Result<()> {
    let path = |dir: BorrowedFd| {
        let mut path = OsString::from(format!("/proc/self/fd/{}/", dir.as_raw_fd()));
        path.push(name);
        CString::new(path.as_bytes()).map_err(|_| Errno::EINVAL)
    };
    let (source, target) = (path(from)?, path(into)?);
    for attribute in sys::listxattr(&source)? {
        let Some(value) = sys::getxattr(&source, &attribute, false)? else { continue };
        match sys::setxattr(&target, &attribute, &value) {
            Ok(()) | Err(Errno::EPERM | Errno::EOPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
