//! What is known of a volume, and how it comes to be on disk.
//!
//! ```text
//! <name>/
//!   volume.json     the record
//!   _data/          what is mounted
//!   refs/           empty: who needs the volume is `store.rs`'s business
//! ```
//!
//! A volume is made beside the others under a hidden name and gets its name by
//! rename(2): whoever looks finds all of it, or nothing.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use namespaces::Context;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, input};

/// The version of the record that this crate writes.
pub(crate) const VERSION: u32 = 1;
/// Marks a volume that nobody named, as Docker does.
pub const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// What is known of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Of this record.
    pub version: u32,
    /// Docker's grammar: a letter or digit, then letters, digits, `_`, `.`, `-`.
    pub name: String,
    /// When it was made, in RFC 3339.
    pub created_at: String,
    /// What keeps it: always `local`.
    pub driver: String,
    /// Anything.
    pub labels: BTreeMap<String, String>,
    /// The driver's: `type`, `device`, `o`.
    pub options: BTreeMap<String, String>,
}

impl Record {
    /// Nobody named it.
    pub fn is_anonymous(&self) -> bool {
        self.labels.contains_key(ANONYMOUS)
    }
}

/// What a new volume is to be.
#[derive(Debug, Clone, Default)]
pub struct NewVolume {
    /// `None`: a name of 64 random hexadecimal digits.
    pub name: Option<String>,
    /// What keeps it: `local` if nothing is said.
    pub driver: Option<String>,
    /// Anything.
    pub labels: BTreeMap<String, String>,
    /// The driver's.
    pub options: BTreeMap<String, String>,
}

impl NewVolume {
    /// A volume with this name and nothing special.
    pub fn named(name: &str) -> NewVolume {
        NewVolume { name: Some(name.into()), ..NewVolume::default() }
    }
}

// ANCHOR: write
/// Makes the volume's folder in `dir`, whole: with its record, its data and its references.
pub(crate) fn write(dir: &Path, record: &Record) -> Result<()> {
    let hidden = dir.join(format!(".new-{}", record.name));
    let doing = || format!("create the volume {}", record.name);
    // What a killed process has left here, nobody has ever seen.
    match fs::remove_dir_all(&hidden) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        gone => gone.doing(doing)?,
    }
    for (folder, mode) in
        [(hidden.clone(), 0o711), (hidden.join("_data"), 0o755), (hidden.join("refs"), 0o700)]
    {
        DirBuilder::new().mode(mode).create(folder).doing(doing)?;
    }
    let text = serde_json::to_vec_pretty(record).map_err(std::io::Error::from).doing(doing)?;
    let mut file = OpenOptions::new();
    let mut file = file
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(hidden.join("volume.json"))
        .doing(doing)?;
    file.write_all(&text).and_then(|()| file.sync_all()).doing(doing)?;
    sync(&hidden)?;
    fs::rename(&hidden, dir.join(&record.name)).doing(doing)?;
    sync(dir)
}
// ANCHOR_END: write

/// The record of the volume `name` in `dir`, if there is one.
pub(crate) fn read(dir: &Path, name: &str) -> Result<Option<Record>> {
    let file = dir.join(name).join("volume.json");
    let text = match fs::read(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.doing(|| format!("read {}", file.display()))?,
    };
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let broken = |error| Error::Input(format!("read {}: {error}", file.display()));
    let Version { version } = serde_json::from_slice(&text).map_err(broken)?;
    if version > VERSION {
        return Err(Error::Newer(format!(
            "the volume {name} was written by a newer version of this engine: use that one, or pass another --root"
        )));
    }
    serde_json::from_slice(&text).map(Some).map_err(broken)
}

/// Flushes a folder: the names in it.
pub(crate) fn sync(dir: &Path) -> Result<()> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.doing(|| format!("sync {}", dir.display())).map_err(Error::System)
}

/// Docker's grammar, and Docker's words.
pub fn check_name(name: &str) -> Result<()> {
    if name.len() == 1 {
        return input(format!(
            "create {name}: volume name is too short, names should be at least two alphanumeric characters"
        ));
    }
    let first = |c: char| c.is_ascii_alphanumeric();
    let further = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if !name.starts_with(first)
        || !name.chars().all(further)
        || name.len() > 255 - ".removed-".len()
    {
        return input(format!(
            "create {name}: {name:?} includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        ));
    }
    Ok(())
}

/// 64 hexadecimal digits.
pub(crate) fn random_name() -> Result<String> {
    let mut bytes = [0u8; 32];
    let read = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    read.doing(|| "read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        let told =
            |name: &str| check_name(name).map_or_else(|error| error.to_string(), |()| "ok".into());
        for name in ["ab", "a.b-c_d", "0x", &"a".repeat(64)] {
            assert_eq!(told(name), "ok");
        }
        insta::assert_snapshot!(told("a"), @"create a: volume name is too short, names should be at least two alphanumeric characters");
        insta::assert_snapshot!(told("a/b"), @r#"create a/b: "a/b" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path"#);
        for name in ["", "..", ".hidden", "-a", "a b", "ä-", "a\0b", "../x"] {
            assert_ne!(told(name), "ok", "{name:?}");
        }
    }

    #[test]
    fn a_newer_record_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        fs::write(dir.path().join("data/volume.json"), r#"{"version": 9}"#).unwrap();
        let error = read(dir.path(), "data").unwrap_err();
        insta::assert_snapshot!(error.to_string(), @"the volume data was written by a newer version of this engine: use that one, or pass another --root");
    }
}
