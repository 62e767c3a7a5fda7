//! A directory that lives exactly as long as its container.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use namespaces::{CloneArgs, Context, Mechanism, Result, userns};

use crate::Upper;

/// A temporary directory for an upper layer and the place of the root.
///
/// Add it before [`Rootfs`](crate::Rootfs): what comes first is torn down last.
#[derive(Debug)]
pub struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    /// Will be made below `parent` under a name that no other process uses.
    pub fn below(parent: &Path) -> Scratch {
        let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let nanos = started.map_or(0, |since| since.as_nanos());
        let name = format!("coracle-{}-{nanos:x}", std::process::id());
        Scratch { dir: parent.join(name) }
    }

    /// The directories of the layer that takes the changes.
    pub fn upper(&self) -> Upper {
        Upper { upper: self.dir.join("upper"), work: self.dir.join("work") }
    }

    /// Where the root is attached before it becomes `/`.
    pub fn target(&self) -> PathBuf {
        self.dir.join("rootfs")
    }
}

impl Mechanism for Scratch {
    fn before_clone(&mut self, _: &mut CloneArgs) -> Result<()> {
        // The upper directory is the root that all users of the container walk through;
        // the one around it keeps the users of the host out.
        let dirs = [
            (self.dir.clone(), 0o711),
            (self.upper().upper, 0o755),
            (self.upper().work, 0o700),
            (self.target(), 0o755),
        ];
        for (dir, mode) in dirs {
            DirBuilder::new()
                .mode(mode)
                .create(&dir)
                .doing(|| format!("create {}", dir.display()))?;
        }
        Ok(())
    }

    // ANCHOR: remove
    fn teardown(&mut self) -> Result<()> {
        // What the container's users own belongs to ids that only mean something in a
        // user namespace.
        if userns::needed() && self.dir.exists() {
            return userns::run_in(|| remove(&self.dir));
        }
        remove(&self.dir)
    }
    // ANCHOR_END: remove
}

/// Removes a directory and everything in it; content if it is not there.
fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).doing(|| format!("remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
