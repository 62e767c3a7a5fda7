//! Hides and protects what tells about, or would change, the host.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use namespaces::{Context, Error, Result};
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{SFlag, fstat, major, minor};

use crate::act::new_filesystem;
use crate::mount::Flags;
use crate::{Root, sys};

/// What is put over the hidden paths: made once, shown many times.
#[derive(Default)]
struct Covers {
    null: Option<OwnedFd>,
    empty: Option<OwnedFd>,
}

// ANCHOR: mask
/// Covers each file by /dev/null and each directory by an empty one. What does not
/// exist needs no cover.
pub(crate) fn mask(root: &Root, paths: &[PathBuf]) -> Result<()> {
    let mut covers = Covers::default();
    for path in paths {
        let doing = || format!("mask {}", path.display());
        let Some(target) = existing(root, path).doing(doing)? else { continue };
        let kind = fstat(&target).doing(doing)?.st_mode & SFlag::S_IFMT.bits();
        if kind == SFlag::S_IFDIR.bits() {
            cover(&target, &mut covers.empty, empty_directory, doing)?;
        } else {
            cover(&target, &mut covers.null, null_device, doing)?;
        }
    }
    Ok(())
}
// ANCHOR_END: mask

/// The first place gets the cover itself, the others a copy: before Linux 6.15 only
/// what is attached can be copied.
fn cover(
    target: &OwnedFd,
    first: &mut Option<OwnedFd>,
    make: fn() -> Result<OwnedFd>,
    doing: impl Fn() -> String,
) -> Result<()> {
    match first {
        Some(first) => {
            let copy = sys::open_tree(first.as_fd(), "", false).doing(&doing)?;
            sys::move_mount(copy.as_fd(), target.as_fd()).doing(doing)
        }
        None => {
            let made = first.insert(make()?);
            sys::move_mount(made.as_fd(), target.as_fd()).doing(doing)
        }
    }
}

fn empty_directory() -> Result<OwnedFd> {
    let options = ["ro", "nr_blocks=1", "nr_inodes=2"].map(str::to_owned);
    new_filesystem("tmpfs", &options, Flags::NONE.read_only())
}

// ANCHOR: null_device
/// The host's /dev/null, not the image's. That it is one is checked on the tree that
/// will be mounted: a cover that is a link or a file covers nothing (CVE-2025-31133).
fn null_device() -> Result<OwnedFd> {
    let tree = sys::open_tree(AT_FDCWD, "/dev/null", false).doing(|| "open /dev/null")?;
    let found = fstat(&tree).doing(|| "look at /dev/null")?;
    let is_device = found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits();
    if !is_device || (major(found.st_rdev), minor(found.st_rdev)) != (1, 3) {
        return Err(Error::new("/dev/null of this machine is not the null device"));
    }
    // Or the container's root could chmod(2) the host's. Writing to the device remains.
    let flags = Flags { nosuid: true, noexec: true, ..Flags::NONE }.read_only();
    sys::mount_setattr(tree.as_fd(), flags.bits(), 0, false).doing(|| "protect /dev/null")?;
    Ok(tree)
}
// ANCHOR_END: null_device

/// Mounts each path, with all that is mounted below it, read-only on itself.
pub(crate) fn make_read_only(root: &Root, paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        let doing = || format!("make {} read-only", path.display());
        let Some(target) = existing(root, path).doing(doing)? else { continue };
        let copy = sys::open_tree(target.as_fd(), "", true).doing(doing)?;
        sys::mount_setattr(copy.as_fd(), libc::MOUNT_ATTR_RDONLY, 0, true).doing(doing)?;
        sys::move_mount(copy.as_fd(), target.as_fd()).doing(doing)?;
    }
    Ok(())
}

fn existing(root: &Root, path: &Path) -> nix::Result<Option<OwnedFd>> {
    match root.resolve(path) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}
