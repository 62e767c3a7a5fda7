//! A record is a JSON object with a version, replaced as a whole or not at all.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use namespaces::{Context, Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Something that is kept on disk.
pub trait Record: Serialize + DeserializeOwned {
    /// The newest version that this program can read, and the one that it writes.
    /// Raised when an older program would misread what is written.
    const VERSION: u32;
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u32,
    #[serde(flatten)]
    record: &'a T,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// Reads a record. `None` if there is none.
///
/// # Errors
/// A record of a newer version, or one that is no JSON, with its path.
pub fn read<T: Record>(path: &Path) -> Result<Option<T>> {
    let what = || format!("read {}", path.display());
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::os(what(), error)),
    };
    let broken = |error: serde_json::Error| Error::new(format!("{}: {error}", what()));
    let Version { version } = serde_json::from_slice(&bytes).map_err(broken)?;
    if version > T::VERSION {
        return Err(Error::new(format!(
            "{}: it is of version {version}, and this program knows up to {}",
            what(),
            T::VERSION
        ))
        .hint("a newer coracle wrote it: use that one, or another --root"));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(broken)
}

/// Replaces a record. `durable`: it also outlives the machine's sudden end.
pub fn write<T: Record>(path: &Path, record: &T, durable: bool) -> Result<()> {
    let mut bytes = serde_json::to_vec(&Versioned { version: T::VERSION, record })
        .map_err(|error| Error::new(format!("write {}: {error}", path.display())))?;
    bytes.push(b'\n');
    write_atomic(path, &bytes, durable)
}

/// Writes over a record in the room that it has: where the disk is full, there is no
/// other. A machine that ends in the midst of it may leave neither the old one nor the new.
pub fn write_over<T: Record>(path: &Path, record: &T) -> Result<()> {
    let what = || format!("write over {}", path.display());
    let mut bytes = serde_json::to_vec(&Versioned { version: T::VERSION, record })
        .map_err(|error| Error::new(format!("{}: {error}", what())))?;
    let file = File::options().write(true).open(path).doing(what)?;
    let found = file.metadata().doing(what)?;
    // In one write(2), with blanks up to the old end: what is read is always whole.
    bytes.resize(bytes.len().max(found.len() as usize), b' ');
    let room = found.blocks() * ST_BLOCK;
    if bytes.len() as u64 > room {
        return Err(Error::new(format!("{}: it has room for {room} bytes", what())));
    }
    file.write_all_at(&bytes, 0).doing(what)
}

/// The unit of `st_blocks`: stat(3type).
const ST_BLOCK: u64 = 512;

/// Puts `bytes` at `path`: a reader finds the old ones or the new ones, never a part.
pub fn write_atomic(path: &Path, bytes: &[u8], durable: bool) -> Result<()> {
    let what = || format!("write {}", path.display());
    let temporary = beside(path);
    let result = fill(&temporary, bytes, durable).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result.doing(what)?;
    if durable {
        // The rename itself is an entry of the folder, and that too is only in memory.
        let folder = path.parent().unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).doing(what)?;
    }
    Ok(())
}

fn fill(path: &Path, bytes: &[u8], durable: bool) -> std::io::Result<()> {
    let mut options = File::options();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    if durable { file.sync_data() } else { Ok(()) }
}

/// A name in the same folder that nobody else uses at this moment.
fn beside(path: &Path) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.{count}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        text: String,
    }

    impl Record for Note {
        const VERSION: u32 = 2;
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("note.json");
        assert_eq!(read::<Note>(&path).unwrap(), None);
        for text in ["first", "second"] {
            let note = Note { text: text.into() };
            write(&path, &note, true).unwrap();
            assert_eq!(read(&path).unwrap(), Some(note));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file is left");
    }

    #[test]
    fn a_record_is_written_over_only_in_the_room_that_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("note.json");
        write(&path, &Note { text: "first and long".into() }, true).unwrap();
        let note = Note { text: "second".into() };
        write_over(&path, &note).unwrap();
        assert_eq!(read(&path).unwrap().as_ref(), Some(&note));
        assert!(write_over(&path, &Note { text: "x".repeat(1 << 20) }).is_err());
        assert_eq!(read(&path).unwrap(), Some(note));
    }

    #[test]
    fn a_record_of_a_newer_version_is_refused_in_one_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("note.json");
        fs::write(&path, r#"{"version":3,"words":[]}"#).unwrap();
        let error = read::<Note>(&path).unwrap_err().to_string();
        let error = error.replace(&folder.path().display().to_string(), "DIR");
        insta::assert_snapshot!(error, @"read DIR/note.json: it is of version 3, and this program knows up to 2: a newer coracle wrote it: use that one, or another --root");
    }
}
