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
//! A volume gets its name by rename(2), and loses it so: whoever looks finds all of it,
//! or nothing. How the folder of one is written is in `record.rs`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use namespaces::{Context, userns};
use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;

use crate::error::{Error, Result, input};
use crate::options::check_options;
use crate::record::{self, ANONYMOUS, NewVolume, Record, check_name, random_name, sync};

/// The volumes below one folder. Any number of processes may work on them at once.
#[derive(Debug, Clone)]
pub struct Volumes {
    dir: PathBuf,
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
        if let Some(record) = record::read(&self.dir, &name)? {
            return Ok(record);
        }
        let record = Record {
            version: record::VERSION,
            created_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            driver: driver.into(),
            options: new.options.clone(),
            labels,
            name,
        };
        record::write(&self.dir, &record)?;
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
                records.extend(record::read(&self.dir, &name)?);
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
        let found = if check_name(name).is_ok() { record::read(&self.dir, name)? } else { None };
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

    // ANCHOR: reconcile
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
    // ANCHOR_END: reconcile

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

    // ANCHOR: prune
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
    // ANCHOR_END: prune

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

// ANCHOR: as_owner
/// What a container's users own can be read and removed by its root only: an ordinary
/// user becomes that for a moment.
fn as_owner<T>(work: impl FnOnce() -> namespaces::Result<T>) -> namespaces::Result<T>
where
    T: Serialize + serde::de::DeserializeOwned,
{
    if userns::needed() { userns::run_in(work) } else { work() }
}
// ANCHOR_END: as_owner

fn size_of(path: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let found = entry.metadata()?;
        bytes += if found.is_dir() { size_of(&entry.path())? } else { found.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
    fn an_unknown_driver_is_refused() {
        let (_dir, volumes) = volumes();
        let new = NewVolume { driver: Some("nfs".into()), ..NewVolume::named("data") };
        insta::assert_snapshot!(volumes.create(&new).unwrap_err().to_string(), @r#"create data: Error looking up volume plugin nfs: plugin "nfs" not found: this engine has the driver "local" only"#);
    }
}
