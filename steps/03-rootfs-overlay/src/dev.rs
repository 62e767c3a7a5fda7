//! The container's /dev: its nodes, its links, its console.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use namespaces::explain::step;
use namespaces::{Context, Error, Mechanism, Result};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstat, major, makedev, minor, mknodat};
use nix::unistd::{Gid, Uid, fchownat, isatty, symlinkat};

use crate::mount::Device;
use crate::{CHAPTER, Root, sys};

/// mknod(2). Only real root may.
pub(crate) fn make_nodes(root: &Root, devices: &[Device]) -> Result<()> {
    let places = Places::open(root);
    for device in devices {
        let doing = || format!("make the device {}", device.path.display());
        let (parent, name) = places.find(&device.path)?;
        let parent = parent.as_fd();
        let kind = if device.block { SFlag::S_IFBLK } else { SFlag::S_IFCHR };
        let number = makedev(device.major.into(), device.minor.into());
        let mode = Mode::from_bits_truncate(device.mode);
        match mknodat(parent, name, kind, mode, number) {
            Err(Errno::EEXIST) => continue,
            made => made.doing(doing)?,
        }
        // The umask has taken bits away.
        fchmodat(parent, name, mode, FchmodatFlags::FollowSymlink).doing(doing)?;
        if (device.uid, device.gid) != (0, 0) {
            let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
            fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
                .doing(doing)?;
        }
    }
    Ok(())
}

// ANCHOR: bind_nodes
/// Where no node can be made: an empty file, and the host's node bound on it.
pub(crate) fn bind_nodes(root: &Root, devices: &[Device]) -> Result<()> {
    let places = Places::open(root);
    for device in devices {
        let doing = || format!("bind the host's {}", device.source.display());
        let tree = sys::open_tree(AT_FDCWD, &device.source, false).doing(doing)?;
        if !is_device(&tree, device).doing(doing)? {
            return Err(Error::new(doing()).hint("it is not the device that it should be"));
        }
        let (parent, name) = places.find(&device.path)?;
        let parent = parent.as_fd();
        match mknodat(parent, name, SFlag::S_IFREG, Mode::from_bits_truncate(0o666), 0) {
            Err(Errno::EEXIST) => {}
            made => made.doing(doing)?,
        }
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let target = nix::fcntl::openat(parent, name, flags, Mode::empty()).doing(doing)?;
        sys::move_mount(tree.as_fd(), target.as_fd()).doing(doing)?;
    }
    Ok(())
}
// ANCHOR_END: bind_nodes

fn is_device(fd: &OwnedFd, device: &Device) -> nix::Result<bool> {
    let found = fstat(fd)?;
    let kind = if device.block { SFlag::S_IFBLK } else { SFlag::S_IFCHR };
    let number = (major(found.st_rdev), minor(found.st_rdev));
    Ok(found.st_mode & SFlag::S_IFMT.bits() == kind.bits()
        && number == (device.major.into(), device.minor.into()))
}

/// symlink(2); what is there already, stays.
pub(crate) fn make_links(root: &Root, links: &[(PathBuf, PathBuf)]) -> Result<()> {
    let places = Places::open(root);
    for (path, target) in links {
        let doing = || format!("link {} to {}", path.display(), target.display());
        let (parent, name) = places.find(path)?;
        match symlinkat(target, parent.as_fd(), name) {
            Err(Errno::EEXIST) => {}
            made => made.doing(doing)?,
        }
    }
    Ok(())
}

/// Almost all that is made here is made in /dev, so that is resolved once.
struct Places<'r> {
    root: &'r Root,
    dev: Option<OwnedFd>,
}

enum Place<'p> {
    Dev(&'p OwnedFd),
    Other(OwnedFd),
}

impl AsFd for Place<'_> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Place::Dev(fd) => fd.as_fd(),
            Place::Other(fd) => fd.as_fd(),
        }
    }
}

impl<'r> Places<'r> {
    fn open(root: &'r Root) -> Self {
        Places { root, dev: root.resolve_plain("/dev").ok() }
    }

    /// The directory that `path` is to be made in, made itself if it is missing.
    fn find<'p>(&self, path: &'p Path) -> Result<(Place<'_>, &'p OsStr)> {
        let doing = || format!("find the directory of {}", path.display());
        let name = path.file_name().ok_or(Errno::EINVAL).doing(doing)?;
        match (path.parent(), &self.dev) {
            (Some(parent), Some(dev)) if parent == Path::new("/dev") => Ok((Place::Dev(dev), name)),
            (parent, _) => {
                let parent = parent.unwrap_or(Path::new("/"));
                Ok((Place::Other(self.root.mkdir_all(parent, 0o755).doing(doing)?), name))
            }
        }
    }
}

/// /dev/console shows the terminal of standard input.
///
/// Comes after the mechanism that made the terminal, in the container's own devpts.
#[derive(Debug, Default)]
pub struct DevConsole;

impl Mechanism for DevConsole {
    fn in_child(&self) -> Result<()> {
        step(CHAPTER, || "bind the terminal on /dev/console".into(), bind_console)
    }
}

/// What is mounted is the open descriptor itself, and the place is a file that we have
/// just made on the container's own /dev: no name can be exchanged (CVE-2025-52565).
fn bind_console() -> Result<()> {
    let doing = || "bind the terminal on /dev/console";
    let stdin = std::io::stdin();
    if !isatty(&stdin).doing(doing)? {
        return Err(Error::new(doing()).hint("standard input is not a terminal"));
    }
    let root = Root::open("/").doing(doing)?;
    let dev = root.resolve_plain("dev").doing(doing)?;
    match mknodat(&dev, "console", SFlag::S_IFREG, Mode::from_bits_truncate(0o600), 0) {
        Err(Errno::EEXIST) => {}
        made => made.doing(doing)?,
    }
    let target =
        root.open_with("dev/console", OFlag::O_PATH | OFlag::O_NOFOLLOW, 0).doing(doing)?;
    let tree = sys::open_tree(stdin.as_fd(), "", false).doing(doing)?;
    sys::move_mount(tree.as_fd(), target.as_fd()).doing(doing)
}
