//! Whose a group is: a lock on its folder, which the kernel takes back from the dead.
//!
//! An empty folder does not tell whether a container is about to enter it or was killed
//! before it could. So whoever makes a group holds flock(2) on its folder:
//!
//! ```text
//!   locked                   the name is taken
//!   not locked, processes    the name is taken: its owner was killed, they not yet
//!   not locked, none         left behind; whoever locks it may remove it
//! ```

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use namespaces::{Context, Error, Result};

use crate::group::{Folder, Group, create_folder, pids_below};

impl Group {
    /// All its folders, beginning with the one by which its name is claimed. That is not
    /// the one that comes and goes with a cpuset.
    pub(crate) fn claimed_first(&self) -> impl Iterator<Item = &Folder> {
        let of_some = |folder: &&Folder| folder.is_for_cpusets_alone();
        let of_all = |folder: &&Folder| !folder.is_for_cpusets_alone();
        self.folders().rev().filter(of_all).chain(self.folders().filter(of_some))
    }

    /// Removes the group if whoever was making it was killed: nobody claims it, and no
    /// process is in it.
    pub(crate) fn remove_if_abandoned(&self) -> Result<()> {
        let Some(folder) = self.claimed_first().next() else { return Ok(()) };
        match claim(&folder.path) {
            Ok(Some(_held)) if pids_below(&folder.path).is_ok_and(|pids| pids.is_empty()) => {
                self.remove()
            }
            // It may have come no further than to a folder above.
            Ok(None) => {
                folder.remove_empty_above();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The folder by which the name is claimed, and the claim.
pub(crate) fn create_claimed(folder: &Folder, give: &dyn Fn(&Path) -> Result<()>) -> Result<File> {
    // Until it is claimed, somebody may take it for left behind, and remove it.
    for _ in 0..100 {
        create_folder(folder, give)?;
        if let Some(claim) = claim(&folder.path)? {
            return Ok(claim);
        }
    }
    Err(in_use(&folder.path))
}

/// The folder `path`, locked until it is dropped; `None` if it is not there any more.
///
/// # Errors
/// Somebody else has it.
pub(crate) fn claim(path: &Path) -> Result<Option<File>> {
    let folder = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        folder => folder.doing(|| format!("open {}", path.display()))?,
    };
    match folder.try_lock() {
        Err(TryLockError::WouldBlock) => Err(in_use(path)),
        Err(TryLockError::Error(error)) => Err(error).doing(|| format!("lock {}", path.display())),
        // It may have been removed before it was locked, and made anew by somebody else.
        Ok(()) => Ok(is_at(&folder, path).then_some(folder)),
    }
}

fn is_at(folder: &File, path: &Path) -> bool {
    match (folder.metadata(), path.metadata()) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

pub(crate) fn in_use(path: &Path) -> Error {
    Error::new(format!("the cgroup {} is in use", path.display()))
}
