//! Volumes on disk.
//!
//! ```text
//! volumes/
//!   .lock             held while a volume is made, taken or removed
//!   <name>/
//!     volume.json     the record
//!     _data/          what is mounted
//!     refs/<id>       one empty file for each container that needs the volume
//! ```
//!
//! A volume is made beside the others under a hidden name and gets its name by
//! rename(2), and goes the same way: whoever looks finds all of it, or nothing.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use namespaces::{Context, userns};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, input};
use crate::options::check_options;

/// The version of the record that this crate writes.
const VERSION: u32 = 1;
/// Marks a volume that nobody named, as Docker does.
pub const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// The volumes below one folder. Any number of processes may work on them at once.
#[derive(Debug, Clone)]
pub struct Volumes {
    dir: PathBuf,
}

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

impl Volumes {
    /// The volumes under an engine's root folder, which is made if it is missing.
    pub fn open(root: &Path) -> Result<Volumes> {
        let dir = root.join("volumes");
        // A container reaches its volume by a mount. Others on the host must not by a path:
        // a program in there may be root's and set-user-ID.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.doing(|| format!("create {}", dir.display()))?;
        Ok(Volumes { dir })
    }

    /// The directory that is mounted.
    pub fn data(&self, name: &str) -> PathBuf {
        self.dir.join(name).join("_data")
    }

    /// Makes a volume. If there is one with this name, that is it.
    ///
    /// # Errors
    /// A bad name, an unknown driver or option.
    pub fn create(&self, new: &NewVolume) -> Result<Record> {
        let _lock = self.lock()?;
        self.create_locked(new)
    }

    // ANCHOR: create
    fn create_locked(&self, new: &NewVolume) -> Result<Record> {
        let mut labels = new.labels.clone();
        let name = match &new.name {
            Some(name) => name.clone(),
            None => {
                labels.insert(ANONYMOUS.into(), String::new());
                random_name()?
            }
        };
        check_name(&name)?;
        let driver = new.driver.as_deref().unwrap_or("local");
        if driver != "local" {
            return input(format!(
                "create {name}: Error looking up volume plugin {driver}: plugin {driver:?} not found: this engine has the driver \"local\" only"
            ));
        }
        check_options(&new.options).map_err(|why| Error::Input(format!("create {name}: {why}")))?;
        if let Some(record) = self.read(&name)? {
            return Ok(record);
        }
        let record = Record {
            version: VERSION,
            created_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            driver: driver.into(),
            options: new.options.clone(),
            labels,
            name,
        };
        self.write(&record)?;
        Ok(record)
    }
    // ANCHOR_END: create

    /// All volumes, by name.
    pub fn list(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        let doing = || format!("list {}", self.dir.display());
        for entry in fs::read_dir(&self.dir).doing(doing)? {
            let name = entry.doing(doing)?.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                records.extend(self.read(&name)?);
            }
        }
        records.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(records)
    }

    /// One volume.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get(&self, name: &str) -> Result<Record> {
        let found = if check_name(name).is_ok() { self.read(name)? } else { None };
        found.ok_or_else(|| Error::NotFound(format!("get {name}: no such volume")))
    }

    /// The containers that need a volume.
    pub fn users(&self, name: &str) -> Result<Vec<String>> {
        let refs = self.dir.join(name).join("refs");
        let entries = match fs::read_dir(&refs) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.doing(|| format!("list {}", refs.display()))?,
        };
        let mut users: Vec<_> = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        users.sort();
        Ok(users)
    }

    // ANCHOR: attach
    /// Makes a volume if there is none, and keeps it from being removed until
    /// [`release`](Volumes::release), in one step.
    pub fn attach(&self, new: &NewVolume, container: &str) -> Result<Record> {
        let _lock = self.lock()?;
        let record = self.create_locked(new)?;
        let refs = self.dir.join(&record.name).join("refs");
        let file = refs.join(container);
        File::create(&file).doing(|| format!("create {}", file.display()))?;
        sync(&refs)?;
        Ok(record)
    }
    // ANCHOR_END: attach

    /// `container` needs no volume any more. Idempotent. What it had for itself only,
    /// without a name, is removed if `with_anonymous`, and named here.
    pub fn release(&self, container: &str, with_anonymous: bool) -> Result<Vec<String>> {
        let _lock = self.lock()?;
        let mut removed = Vec::new();
        for record in self.list()? {
            let file = self.dir.join(&record.name).join("refs").join(container);
            match fs::remove_file(&file) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                gone => gone.doing(|| format!("remove {}", file.display()))?,
            }
            if with_anonymous && record.is_anonymous() && self.users(&record.name)?.is_empty() {
                self.remove_locked(&record.name)?;
                removed.push(record.name);
            }
        }
        Ok(removed)
    }

    /// Releases what containers hold that are not `alive`: their owner was killed, or
    /// the machine was.
    pub fn reconcile(&self, alive: impl Fn(&str) -> bool) -> Result<()> {
        let mut holders = Vec::new();
        for record in self.list()? {
            holders.extend(self.users(&record.name)?);
        }
        holders.sort();
        holders.dedup();
        for dead in holders.iter().filter(|holder| !alive(holder)) {
            self.release(dead, true)?;
        }
        Ok(())
    }

    /// Removes a volume and all that is in it.
    ///
    /// # Errors
    /// [`Error::NotFound`], unless `force`; [`Error::InUse`].
    pub fn remove(&self, name: &str, force: bool) -> Result<()> {
        let _lock = self.lock()?;
        match self.get(name) {
            Err(Error::NotFound(_)) if force => return Ok(()),
            found => found?,
        };
        let users = self.users(name)?;
        if !users.is_empty() {
            let users = users.join(", ");
            return Err(Error::InUse(format!("remove {name}: volume is in use - [{users}]")));
        }
        self.remove_locked(name)
    }

    /// Removes what no container needs: what has no name, or everything if `all`.
    /// Returns the names, and the bytes that were freed.
    pub fn prune(&self, all: bool, keep: impl Fn(&Record) -> bool) -> Result<(Vec<String>, u64)> {
        let _lock = self.lock()?;
        let (mut names, mut bytes) = (Vec::new(), 0);
        for record in self.list()? {
            let wanted = !all && !record.is_anonymous() || keep(&record);
            if wanted || !self.users(&record.name)?.is_empty() {
                continue;
            }
            bytes += self.size(&record.name)?;
            self.remove_locked(&record.name)?;
            names.push(record.name);
        }
        Ok((names, bytes))
    }

    /// The bytes that the files of a volume hold.
    pub fn size(&self, name: &str) -> Result<u64> {
        let data = self.data(name);
        Ok(as_owner(|| size_of(&data).doing(|| format!("measure {}", data.display())))?)
    }

    // ANCHOR: remove
    fn remove_locked(&self, name: &str) -> Result<()> {
        let hidden = self.dir.join(format!(".removed-{name}"));
        let doing = || format!("remove the volume {name}");
        fs::rename(self.dir.join(name), &hidden).doing(doing)?;
        sync(&self.dir)?;
        Ok(as_owner(|| fs::remove_dir_all(&hidden).doing(doing))?)
    }
    // ANCHOR_END: remove

    // ANCHOR: write
    fn write(&self, record: &Record) -> Result<()> {
        let hidden = self.dir.join(format!(".new-{}", record.name));
        let doing = || format!("create the volume {}", record.name);
        // What a killed process has left here, nobody has ever seen.
        match fs::remove_dir_all(&hidden) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            gone => gone.doing(doing)?,
        }
        for (dir, mode) in
            [(hidden.clone(), 0o711), (hidden.join("_data"), 0o755), (hidden.join("refs"), 0o700)]
        {
            DirBuilder::new().mode(mode).create(dir).doing(doing)?;
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
        fs::rename(&hidden, self.dir.join(&record.name)).doing(doing)?;
        sync(&self.dir)
    }
    // ANCHOR_END: write

    fn read(&self, name: &str) -> Result<Option<Record>> {
        let file = self.dir.join(name).join("volume.json");
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

    fn lock(&self) -> Result<Flock<File>> {
        let path = self.dir.join(".lock");
        let doing = || format!("lock {}", path.display());
        let file =
            OpenOptions::new().create(true).append(true).mode(0o600).open(&path).doing(doing)?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| errno)
            .doing(doing)
            .map_err(Error::System)
    }
}

/// What a container's users own can be read and removed by its root only: an ordinary
/// user becomes that for a moment.
fn as_owner<T>(work: impl FnOnce() -> namespaces::Result<T>) -> namespaces::Result<T>
where
    T: Serialize + serde::de::DeserializeOwned,
{
    if userns::needed() { userns::run_in(work) } else { work() }
}

fn size_of(path: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let found = entry.metadata()?;
        bytes += if found.is_dir() { size_of(&entry.path())? } else { found.len() };
    }
    Ok(bytes)
}

fn sync(dir: &Path) -> Result<()> {
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

fn random_name() -> Result<String> {
    let mut bytes = [0u8; 32];
    let read = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    read.doing(|| "read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volumes() -> (tempfile::TempDir, Volumes) {
        let dir = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(dir.path()).unwrap();
        (dir, volumes)
    }

    fn names(volumes: &Volumes) -> Vec<String> {
        volumes.list().unwrap().into_iter().map(|record| record.name).collect()
    }

    #[test]
    fn creating_twice_is_creating_once() {
        let (_dir, volumes) = volumes();
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        let first = volumes.create(&NewVolume { labels, ..NewVolume::named("data") }).unwrap();
        fs::write(volumes.data("data").join("file"), "kept").unwrap();
        let second = volumes.create(&NewVolume::named("data")).unwrap();
        assert_eq!(first, second);
        assert!(volumes.data("data").join("file").exists());
        assert_eq!(names(&volumes), ["data"]);
    }

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
    fn a_volume_in_use_is_not_removed() {
        let (_dir, volumes) = volumes();
        volumes.attach(&NewVolume::named("data"), "c1").unwrap();
        volumes.attach(&NewVolume::named("data"), "c2").unwrap();
        let error = volumes.remove("data", true).unwrap_err();
        assert_eq!(error.to_string(), "remove data: volume is in use - [c1, c2]");
        assert_eq!(volumes.prune(true, |_| false).unwrap().0, [""; 0]);
        volumes.release("c1", true).unwrap();
        volumes.release("c1", true).unwrap();
        volumes.release("c2", true).unwrap();
        volumes.remove("data", false).unwrap();
        assert_eq!(names(&volumes), [""; 0]);
        let error = volumes.remove("data", false).unwrap_err();
        assert_eq!(error.to_string(), "get data: no such volume");
        volumes.remove("data", true).unwrap();
    }

    #[test]
    fn what_has_no_name_goes_with_its_container_if_asked() {
        let (_dir, volumes) = volumes();
        let mine = volumes.attach(&NewVolume::default(), "c1").unwrap();
        assert_eq!(mine.name.len(), 64);
        volumes.attach(&NewVolume::named("data"), "c1").unwrap();
        assert_eq!(volumes.release("c1", true).unwrap(), [mine.name]);
        assert_eq!(names(&volumes), ["data"]);
    }

    #[test]
    fn the_dead_hold_nothing() {
        let (_dir, volumes) = volumes();
        volumes.attach(&NewVolume::named("data"), "dead").unwrap();
        volumes.attach(&NewVolume::named("data"), "alive").unwrap();
        volumes.attach(&NewVolume::default(), "dead").unwrap();
        volumes.reconcile(|holder| holder == "alive").unwrap();
        assert_eq!(names(&volumes), ["data"]);
        assert_eq!(volumes.users("data").unwrap(), ["alive"]);
    }

    #[test]
    fn prune_spares_names_unless_told() {
        let (_dir, volumes) = volumes();
        volumes.create(&NewVolume::named("data")).unwrap();
        let nameless = volumes.create(&NewVolume::default()).unwrap();
        fs::write(volumes.data(&nameless.name).join("file"), "12345").unwrap();
        assert_eq!(volumes.prune(false, |_| false).unwrap(), (vec![nameless.name], 5));
        assert_eq!(volumes.prune(true, |record| record.name == "data").unwrap().0, [""; 0]);
        assert_eq!(volumes.prune(true, |_| false).unwrap().0, ["data"]);
    }

    #[test]
    fn half_made_volumes_are_nobodys() {
        let (dir, volumes) = volumes();
        fs::create_dir_all(dir.path().join("volumes/.new-data/_data")).unwrap();
        assert_eq!(names(&volumes), [""; 0]);
        volumes.create(&NewVolume::named("data")).unwrap();
        assert_eq!(names(&volumes), ["data"]);
    }

    #[test]
    fn a_newer_record_is_refused() {
        let (_dir, volumes) = volumes();
        volumes.create(&NewVolume::named("data")).unwrap();
        fs::write(volumes.dir.join("data/volume.json"), r#"{"version": 9}"#).unwrap();
        let error = volumes.get("data").unwrap_err();
        insta::assert_snapshot!(error.to_string(), @"the volume data was written by a newer version of this engine: use that one, or pass another --root");
    }

    #[test]
    fn an_unknown_driver_is_refused() {
        let (_dir, volumes) = volumes();
        let new = NewVolume { driver: Some("nfs".into()), ..NewVolume::named("data") };
        insta::assert_snapshot!(volumes.create(&new).unwrap_err().to_string(), @r#"create data: Error looking up volume plugin nfs: plugin "nfs" not found: this engine has the driver "local" only"#);
    }
}
