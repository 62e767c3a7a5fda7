//! The store on disk: an OCI image layout, which other tools read too.
//!
//! ```text
//! images/
//!   oci-layout            {"imageLayoutVersion": "1.0.0"}
//!   coracle.json          {"version": 1}: what of this store is ours
//!   index.json            the images; a name is the annotation …image.ref.name
//!   blobs/sha256/<hex>    manifests, configs, layers: complete, under their digests
//!   ingest/               what is on its way into blobs/
//!   unsynced.json         what may not be on the disk yet (see `unsynced.rs`)
//!   lock                  held, exclusively, while one of these tables changes
//! ```
//!
//! Nothing is ever changed in place. A file is written beside, synced, and renamed:
//! whoever is killed, at whatever point, leaves the old state or the new.
//!
//! <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};
use serde::Deserialize;

use crate::digest::{Digest, Hasher, VerifyingReader};
use crate::error::{Doing, Error, Result};
use crate::manifest::{Index, OCI_INDEX};

/// The version of this layout's own rules: names in `ingest/`, records in `layers/`.
const VERSION: u64 = 1;
/// How long what came for nothing is kept, because another try may want it.
pub(crate) const A_WHILE: Duration = Duration::from_secs(24 * 3600);
/// What a name is written as, in an entry of index.json.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The digest that a registry has a manifest under, in an entry of index.json, if the
/// entry points to the same image in OCI's words.
pub(crate) const MANIFEST: &str = "coracle.manifest";

/// The folder `images/` of a store.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// Opens the layout, and makes it where there is none.
    pub(crate) fn open(dir: PathBuf) -> Result<Self> {
        for folder in ["blobs/sha256", "ingest"] {
            let folder = dir.join(folder);
            fs::create_dir_all(&folder).doing(|| format!("create {}", folder.display()))?;
        }
        let layout = Self { dir };
        layout.check_versions()?;
        Ok(layout)
    }

    /// Refuses a store of the future, and signs a new one.
    fn check_versions(&self) -> Result<()> {
        let newer = |found: &dyn std::fmt::Display| {
            Error::Newer(format!(
                "the store {} was written by a newer version (its layout is {found}): use that version, or pass --root with another folder",
                self.dir.display()
            ))
        };
        #[derive(Deserialize)]
        struct Ours {
            version: u64,
        }
        match self.read_json::<Ours>("coracle.json")? {
            Some(ours) if ours.version > VERSION => return Err(newer(&ours.version)),
            Some(_) => {}
            None => self.sign("coracle.json", &format!(r#"{{"version":{VERSION}}}"#))?,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Oci {
            image_layout_version: String,
        }
        match self.read_json::<Oci>("oci-layout")? {
            Some(oci) if !oci.image_layout_version.starts_with("1.") => {
                Err(newer(&oci.image_layout_version))
            }
            Some(_) => Ok(()),
            None => self.sign("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
        }
    }

    fn sign(&self, name: &str, content: &str) -> Result<()> {
        let _lock = self.lock()?;
        write_atomically(&self.dir.join(name), content.as_bytes())
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Does something alone among all processes.
    pub(crate) fn locked<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let _lock = self.lock()?;
        act()
    }

    fn lock(&self) -> Result<Flock<File>> {
        let path = self.dir.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.doing(|| format!("open {}", path.display()))?;
        lock(file).doing(|| format!("lock {}", path.display()))
    }

    fn read_json<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<Option<T>> {
        read_json(&self.dir.join(name))
    }

    /// The table of images; empty in a new store.
    pub(crate) fn index(&self) -> Result<Index> {
        let none = || Index {
            schema_version: 2,
            media_type: Some(OCI_INDEX.into()),
            manifests: Vec::new(),
        };
        Ok(self.read_json("index.json")?.unwrap_or_else(none))
    }

    /// Changes the table of images, alone among all processes.
    ///
    /// Nothing is written if `change` fails. What it returns, and whether the table
    /// is as it was, is up to it.
    pub(crate) fn change_index<T>(
        &self,
        change: impl FnOnce(&mut Index) -> Result<T>,
    ) -> Result<T> {
        let _lock = self.lock()?;
        let before = self.index()?;
        let mut index = before.clone();
        let result = change(&mut index)?;
        if index != before {
            let json = serde_json::to_vec_pretty(&index).expect("an index is JSON");
            write_atomically(&self.dir.join("index.json"), &json)?;
        }
        Ok(result)
    }

    /// Where a blob is, if it is here.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    /// True if the blob is here, and then whole.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.blob(digest).exists()
    }

    /// The blob's content, compared with its name. For manifests and configs.
    pub(crate) fn read(&self, digest: &Digest) -> Result<Vec<u8>> {
        let (mut reader, mut bytes) = (self.reader(digest)?, Vec::new());
        reader.read_to_end(&mut bytes).doing(|| format!("read {}", self.blob(digest).display()))?;
        Ok(bytes)
    }

    /// The blob's content, compared with its name at the end.
    pub(crate) fn reader(&self, digest: &Digest) -> Result<VerifyingReader<File>> {
        let path = self.blob(digest);
        let doing = || format!("read {}", path.display());
        let file = File::open(&path).doing(doing)?;
        let size = file.metadata().doing(doing)?.len();
        Ok(VerifyingReader::new(file, *digest, size))
    }

    /// Writes a blob whose digest is not known before its last byte.
    pub(crate) fn writer(&self) -> Result<BlobWriter> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let name = format!("new-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
            // A killed process may have had our pid: then the next number is free.
            if let Some(file) = self.ingest(&name, true)? {
                return Ok(BlobWriter {
                    layout: self.clone(),
                    ingest: file,
                    hasher: Hasher::default(),
                });
            }
        }
    }

    /// Writes these bytes as a blob.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if !self.has(&digest) {
            let mut writer = self.writer()?;
            writer.write_all(bytes).doing(|| format!("write {digest}"))?;
            writer.finish()?;
        }
        Ok(digest)
    }

    /// Opens a file on its way into `blobs/`, and waits until nobody else has it open.
    /// `None` if it must be new and is not.
    pub(crate) fn ingest(&self, name: &str, new: bool) -> Result<Option<Ingest>> {
        let path = self.dir.join("ingest").join(name);
        let doing = || format!("open {}", path.display());
        let mut how = OpenOptions::new();
        how.read(true).write(true).create(!new).create_new(new);
        loop {
            let file = match how.open(&path) {
                Err(error) if new && error.kind() == ErrorKind::AlreadyExists => return Ok(None),
                file => lock(file.doing(doing)?).doing(doing)?,
            };
            // Whoever had it before us may have moved it into blobs/ or thrown it away.
            if is_still(&file, &path) {
                return Ok(Some(Ingest { path, file, keep: false }));
            }
        }
    }

    /// Moves a complete file to its place. It is on the disk, or was announced.
    pub(crate) fn admit(&self, ingest: Ingest, digest: &Digest) -> Result<()> {
        let path = self.blob(digest);
        let mut ingest = ingest;
        fs::rename(&ingest.path, &path).doing(|| format!("rename to {}", path.display()))?;
        ingest.keep = true;
        Ok(())
    }

    /// Puts the names of all blobs on the disk: before the table speaks of them.
    pub(crate) fn sync(&self) -> Result<()> {
        let folder = self.dir.join("blobs/sha256");
        let sync = File::open(&folder).and_then(|folder| folder.sync_all());
        sync.doing(|| format!("sync {}", folder.display()))
    }

    /// All blobs, and when each came.
    pub(crate) fn blobs(&self) -> Vec<(Digest, SystemTime)> {
        named_by_digest(&self.dir.join("blobs/sha256"))
    }

    /// Forgets a blob.
    pub(crate) fn remove_blob(&self, digest: &Digest) -> Result<()> {
        let path = self.blob(digest);
        ignore_missing(fs::remove_file(&path)).doing(|| format!("remove {}", path.display()))
    }

    /// Removes what nobody works on: new blobs of killed processes at once, downloads
    /// after a while, because a second pull goes on from where they stopped.
    pub(crate) fn sweep(&self) {
        for entry in fs::read_dir(self.dir.join("ingest")).into_iter().flatten().flatten() {
            let modified = entry.metadata().and_then(|data| data.modified());
            let fresh = modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < A_WHILE));
            let is_download = Digest::from_hex(&entry.file_name().to_string_lossy()).is_some();
            if is_download && fresh {
                continue;
            }
            let Ok(file) = File::open(entry.path()) else { continue };
            if let Ok(_lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// A file in `ingest/`, locked. It is removed on drop unless it is to be kept.
#[derive(Debug)]
pub(crate) struct Ingest {
    pub(crate) path: PathBuf,
    pub(crate) file: Flock<File>,
    /// A later download may go on from here.
    pub(crate) keep: bool,
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A blob in the making; it is gone if it is dropped before [`BlobWriter::finish`].
#[derive(Debug)]
pub struct BlobWriter {
    layout: Layout,
    ingest: Ingest,
    hasher: Hasher,
}

impl BlobWriter {
    /// Puts the blob under its digest, durably, and answers that and its size.
    pub fn finish(self) -> Result<(Digest, u64)> {
        let doing = || format!("sync {}", self.ingest.path.display());
        self.ingest.file.sync_data().doing(doing)?;
        let size = self.hasher.length();
        let digest = self.hasher.finish();
        self.layout.admit(self.ingest, &digest)?;
        Ok((digest, size))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let count = (&*self.ingest.file).write(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Waits for the exclusive lock of an open file or folder. The kernel gives it back
/// with the last descriptor, also of a process that was killed.
pub(crate) fn lock(file: File) -> nix::Result<Flock<File>> {
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)
}

/// True if the open file is what the path leads to.
pub(crate) fn is_still(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), fs::symlink_metadata(path)) else { return false };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

/// What in a folder is named by a digest, and when it got this name: a rename is
/// the last change of an inode's status, whatever times an archive wants for it.
pub(crate) fn named_by_digest(folder: &Path) -> Vec<(Digest, SystemTime)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| {
        let digest = Digest::from_hex(entry.file_name().to_str()?)?;
        let changed = u64::try_from(entry.metadata().ok()?.ctime()).unwrap_or(0);
        Some((digest, SystemTime::UNIX_EPOCH + Duration::from_secs(changed)))
    });
    named.collect()
}

/// A JSON file, if it is there.
pub(crate) fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes.doing(|| format!("read {}", path.display()))?,
    };
    let json = serde_json::from_slice(&bytes);
    json.map(Some)
        .map_err(|error| Error::Corrupt(format!("unreadable {}: {error}", path.display())))
}

// ANCHOR: write_atomically
/// Writes beside, syncs, renames, and syncs the folder: the file is there whole, or
/// as it was before, also after a power cut. The caller holds the lock of the layout:
/// two writers would have the same file beside.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let doing = || format!("write {}", path.display());
    let folder = path.parent().expect("a path below the store");
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    };
    write()
        .inspect_err(|_| {
            let _ = fs::remove_file(&beside);
        })
        .doing(doing)
}
// ANCHOR_END: write_atomically

/// What is not there need not be removed.
pub(crate) fn ignore_missing(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
