//! What a container has changed in its image: `docker diff`.
//!
//! overlayfs keeps the changes in the upper directory:
//!
// ANCHOR: format
//! ```text
//! a file or directory    is new, or replaces the one below
//! character device 0:0   whiteout: what is below was removed
//! xattr overlay.whiteout on an empty file: the same
//! xattr overlay.opaque   on a directory, "y": nothing of the one below is seen
//! ```
// ANCHOR_END: format
//!
//! The attributes begin with `trusted.`, or with `user.` in a user namespace.

use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use namespaces::{Context, Result};
use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag};
use serde::{Deserialize, Serialize};

use crate::{Root, sys};

/// One difference between an image and a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// The path, absolute, in the container.
    pub path: PathBuf,
    /// What became of it.
    pub kind: ChangeKind,
}

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ChangeKind {
    /// It is in the image, and is different.
    Changed,
    /// It is not in the image.
    Added,
    /// It is in the image only.
    Deleted,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.kind {
            ChangeKind::Changed => 'C',
            ChangeKind::Added => 'A',
            ChangeKind::Deleted => 'D',
        };
        write!(f, "{letter} {}", self.path.display())
    }
}

/// What the engine itself puts into every container, so that there is a place to mount
/// on. As long as it is as empty as it was made, it is not a change by the container.
const PLACES: [&str; 12] = [
    "/dev",
    "/dev/console",
    "/dev/pts",
    "/dev/shm",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/mtab",
    "/etc/resolv.conf",
    "/proc",
    "/sys",
    "/.dockerenv",
    "/etc",
];

/// All changes that `upper` makes to the layers in `lower` (bottom first), sorted by
/// path.
///
/// # Errors
/// A directory that cannot be read. In a user namespace the files may belong to ids of
/// its map: call it from inside.
pub fn changes(lower: &[PathBuf], upper: &Path) -> Result<Vec<Change>> {
    let open = |dir: &Path| Root::open(dir).doing(|| format!("open {}", dir.display()));
    let lower = lower.iter().rev().map(|dir| open(dir)).collect::<Result<Vec<_>>>()?;
    let walk = Walk { upper: open(upper)?, lower };
    let layers: Vec<&Root> = walk.lower.iter().collect();
    let mut found = Vec::new();
    walk.directory(Path::new("/"), &layers, &mut found)
        .doing(|| format!("compare {} with the image", upper.display()))?;
    found.sort();
    Ok(found)
}

struct Walk {
    upper: Root,
    lower: Vec<Root>,
}

impl Walk {
    /// Compares the directory `path`, of which `layers` (top first) are seen.
    fn directory(&self, path: &Path, layers: &[&Root], found: &mut Vec<Change>) -> nix::Result<()> {
        let mut hidden = BTreeSet::new();
        for name in self.upper.list(path)? {
            self.entry(&path.join(&name), layers, found)?;
            hidden.insert(name);
        }
        if is_opaque(&self.upper, path)? {
            for name in merged_names(path, layers)?.difference(&hidden) {
                found.push(Change { path: path.join(name), kind: ChangeKind::Deleted });
            }
        }
        Ok(())
    }

    fn entry(&self, path: &Path, layers: &[&Root], found: &mut Vec<Change>) -> nix::Result<()> {
        let mut push = |kind| found.push(Change { path: path.to_owned(), kind });
        let new = self.upper.stat(path)?;
        let old = beneath(path, layers)?;
        if is_whiteout(&self.upper, path, &new)? {
            if old.is_some() {
                push(ChangeKind::Deleted);
            }
            return Ok(());
        }
        let is_dir = |stat: &FileStat| stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
        let at = found.len();
        match (&old, is_dir(&new)) {
            (Some((old, layers)), true) if is_dir(old) => self.directory(path, layers, found)?,
            (_, true) => self.directory(path, &[], found)?,
            _ => {}
        }
        let places = PLACES.iter().any(|place| path == Path::new(place));
        let kind = match old {
            None if places && found.len() == at && (is_dir(&new) || new.st_size == 0) => {
                return Ok(());
            }
            None => ChangeKind::Added,
            // A directory comes up when something below it changes.
            Some((old, layers)) => {
                let same = found.len() == at
                    && is_same(&old, &new)
                    && capability(layers[0], path, &old)? == capability(&self.upper, path, &new)?;
                if same {
                    return Ok(());
                }
                ChangeKind::Changed
            }
        };
        found.insert(at, Change { path: path.to_owned(), kind });
        Ok(())
    }
}

// ANCHOR: beneath
/// What is at `path` in the layers together, and which of them have a say about what is
/// below it.
fn beneath<'r>(path: &Path, layers: &[&'r Root]) -> nix::Result<Option<(FileStat, Vec<&'r Root>)>> {
    let mut found: Option<(FileStat, Vec<&Root>)> = None;
    for layer in layers {
        let stat = match layer.stat(path) {
            Ok(stat) => stat,
            Err(Errno::ENOENT | Errno::ENOTDIR) => continue,
            Err(error) => return Err(error),
        };
        let is_dir = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
        if is_whiteout(layer, path, &stat)? || found.is_some() && !is_dir {
            break;
        }
        found.get_or_insert((stat, Vec::new())).1.push(layer);
        if !is_dir || is_opaque(layer, path)? {
            break;
        }
    }
    Ok(found)
}
// ANCHOR_END: beneath

fn merged_names(path: &Path, layers: &[&Root]) -> nix::Result<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    for layer in layers {
        match layer.list(path) {
            Ok(found) => names.extend(found),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(error) => return Err(error),
        }
    }
    let mut seen = BTreeSet::new();
    for name in names {
        if beneath(&path.join(&name), layers)?.is_some() {
            seen.insert(name);
        }
    }
    Ok(seen)
}

// ANCHOR: is_same
/// Nobody sees a difference: overlayfs copies a file up already when it is opened for
/// writing.
fn is_same(old: &FileStat, new: &FileStat) -> bool {
    let what = |stat: &FileStat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev);
    let is_dir = new.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
    let content = |stat: &FileStat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    what(old) == what(new) && (is_dir || content(old) == content(new))
}
// ANCHOR_END: is_same

/// What a program may do beyond its user: setcap(8) changes nothing else of a file.
fn capability(layer: &Root, path: &Path, stat: &FileStat) -> nix::Result<Option<Vec<u8>>> {
    if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() {
        return Ok(None);
    }
    let file = layer.resolve(path)?;
    sys::getxattr(&magic_link(file.as_fd()), c"security.capability", true)
}

// ANCHOR: is_whiteout
fn is_whiteout(layer: &Root, path: &Path, stat: &FileStat) -> nix::Result<bool> {
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFCHR => Ok(stat.st_rdev == 0),
        SFlag::S_IFREG if stat.st_size == 0 => Ok(attribute(layer, path, "whiteout")?.is_some()),
        _ => Ok(false),
    }
}
// ANCHOR_END: is_whiteout

fn is_opaque(layer: &Root, path: &Path) -> nix::Result<bool> {
    Ok(attribute(layer, path, "opaque")?.is_some_and(|value| value == b"y"))
}

fn attribute(layer: &Root, path: &Path, name: &str) -> nix::Result<Option<Vec<u8>>> {
    let file = layer.resolve(path)?;
    let file = magic_link(file.as_fd());
    for prefix in ["trusted.overlay.", "user.overlay."] {
        let name = CString::new(format!("{prefix}{name}")).expect("no NUL in it");
        if let Some(value) = sys::getxattr(&file, &name, true)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Calls on extended attributes do not take an `O_PATH` descriptor, but this name of it.
pub(crate) fn magic_link(fd: std::os::fd::BorrowedFd) -> CString {
    use std::os::fd::AsRawFd;
    CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).expect("no NUL in it")
}
