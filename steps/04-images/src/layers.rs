//! Unpacked layers: one folder each, read-only, shared by all images and containers.
//!
//! ```text
//! layers/
//!   <hex>/            the layer, under the digest of its tar; complete
//!   <hex>.json        what its archive said beyond its files
//!   <hex>.partial/    being unpacked, locked by who does it
//!   <hex>.trash/      being removed, likewise
//! ```
//!
//! The lock is on the folder itself, so a killed process leaves no lock behind:
//! what ends in `.partial` or `.trash` and is not locked is rubbish.

use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Doing, Result};
use crate::layout::{ignore_missing, is_still, lock, named_by_digest, read_json};
use crate::unpack::Unpacked;

/// The folder `layers/` of a store.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    dir: PathBuf,
}

/// What is known of an unpacked layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Bytes of file content.
    pub(crate) size: u64,
    /// It hides all layers below it.
    pub(crate) opaque: bool,
    /// What an ordinary user's layer lacks.
    #[serde(default)]
    pub(crate) left_out: Vec<String>,
}

impl From<Unpacked> for Record {
    fn from(unpacked: Unpacked) -> Self {
        Self { size: unpacked.bytes, opaque: unpacked.opaque, left_out: unpacked.left_out }
    }
}

impl Layers {
    pub(crate) fn open(dir: PathBuf) -> Result<Self> {
        // A container reaches a layer by a mount. Others on the host must not by a path: a
        // layer has set-user-ID programs that are root's (CVE-2021-41091 was Docker's).
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.doing(|| format!("create {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where an unpacked layer is, if it is here.
    pub(crate) fn path(&self, diff_id: &Digest) -> PathBuf {
        self.dir.join(diff_id.hex())
    }

    /// True if the layer is here, and then complete.
    pub(crate) fn has(&self, diff_id: &Digest) -> bool {
        self.path(diff_id).exists()
    }

    /// What is known of a layer; nothing of one that is not here. What lies where its record
    /// will be may be half of one then, of a process that was killed or had no space left.
    pub(crate) fn record(&self, diff_id: &Digest) -> Result<Record> {
        if !self.has(diff_id) {
            return Ok(Record::default());
        }
        Ok(read_json(&self.beside(diff_id, "json"))?.unwrap_or_default())
    }

    /// All unpacked layers, and when each came.
    pub(crate) fn all(&self) -> Vec<(Digest, SystemTime)> {
        named_by_digest(&self.dir)
    }

    fn beside(&self, diff_id: &Digest, suffix: &str) -> PathBuf {
        self.dir.join(format!("{}.{suffix}", diff_id.hex()))
    }

    /// An empty folder to unpack a layer into, ours alone; `None` if the layer is
    /// here, perhaps because we waited for another process that unpacked it.
    pub(crate) fn begin(&self, diff_id: &Digest) -> Result<Option<NewLayer>> {
        let partial = self.beside(diff_id, "partial");
        let doing = || format!("create {}", partial.display());
        while !self.has(diff_id) {
            match fs::create_dir(&partial) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                other => other.doing(doing)?,
            }
            let Ok(folder) = File::open(&partial) else { continue };
            let lock = lock(folder).doing(doing)?;
            if !is_still(&lock, &partial) {
                continue;
            }
            let new = NewLayer { layers: self.clone(), diff_id: *diff_id, partial, _lock: lock };
            if self.has(diff_id) {
                break;
            }
            new.clear()?;
            return Ok(Some(new));
        }
        Ok(None)
    }

    /// Takes a layer out of sight; [`Layers::sweep`] takes it off the disk.
    pub(crate) fn discard(&self, diff_id: &Digest) -> Result<()> {
        let path = self.path(diff_id);
        let doing = || format!("remove {}", path.display());
        for number in 0.. {
            let trash = self.beside(diff_id, &format!("{number}.trash"));
            match fs::rename(&path, &trash) {
                // An earlier one of the same name is still being removed.
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
                other => {
                    ignore_missing(other).doing(doing)?;
                    break;
                }
            }
        }
        ignore_missing(fs::remove_file(self.beside(diff_id, "json"))).doing(doing)
    }

    /// Removes what was discarded, and what killed processes left.
    pub(crate) fn sweep(&self) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let rubbish = path.extension().is_some_and(|e| e == "partial" || e == "trash");
            let Some(folder) = rubbish.then(|| File::open(&path).ok()).flatten() else { continue };
            if let Ok(_lock) = Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
                let _ = fs::remove_dir_all(&path);
            }
        }
    }
}

/// A layer being unpacked; it is gone if it is dropped before [`NewLayer::commit`].
#[derive(Debug)]
pub(crate) struct NewLayer {
    layers: Layers,
    diff_id: Digest,
    partial: PathBuf,
    _lock: Flock<File>,
}

impl NewLayer {
    /// Where to unpack.
    pub(crate) fn path(&self) -> &Path {
        &self.partial
    }

    /// Empties what a killed process began.
    fn clear(&self) -> Result<()> {
        let doing = || format!("empty {}", self.partial.display());
        for entry in fs::read_dir(&self.partial).doing(doing)? {
            let entry = entry.doing(doing)?;
            let is_folder = entry.file_type().doing(doing)?.is_dir();
            let path = entry.path();
            let gone = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            gone.doing(doing)?;
        }
        Ok(())
    }

    // ANCHOR: commit
    /// Shows the layer to everyone. It was announced.
    pub(crate) fn commit(self, record: &Record) -> Result<()> {
        let json = serde_json::to_vec(record).expect("a record is JSON");
        let (file, path) =
            (self.layers.beside(&self.diff_id, "json"), self.layers.path(&self.diff_id));
        fs::write(&file, json)
            .inspect_err(|_| drop(fs::remove_file(&file)))
            .doing(|| format!("write {}", file.display()))?;
        fs::rename(&self.partial, &path).doing(|| format!("rename to {}", path.display()))
    }
    // ANCHOR_END: commit
}

impl Drop for NewLayer {
    fn drop(&mut self) {
        // After a commit there is nothing of this name any more.
        let _ = fs::remove_dir_all(&self.partial);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn half_a_record_is_nobodys() {
        let folder = tempfile::tempdir().unwrap();
        let layers = Layers::open(folder.path().join("layers")).unwrap();
        let (id, record) = (Digest::of(b"tar"), Record { size: 7, ..Record::default() });
        fs::write(layers.beside(&id, "json"), "{\"si").unwrap();
        assert_eq!(layers.record(&id).unwrap(), Record::default());
        layers.begin(&id).unwrap().unwrap().commit(&record).unwrap();
        assert_eq!(layers.record(&id).unwrap(), record);
    }

    #[test]
    fn others_of_the_host_do_not_get_at_layers() {
        let folder = tempfile::tempdir().unwrap();
        let layers = Layers::open(folder.path().join("new/layers")).unwrap();
        assert_eq!(fs::metadata(layers.dir()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
