//! What has its name but may not be on the disk yet.
//!
//! To put a layer of 200 MB on the disk takes seconds, and the kernel does it anyway
//! within a minute. A pull does not wait for that. Instead it writes down first, durably,
//! which blobs and layers will come:
//!
//! ```text
//! images/unsynced.json   {"boot": "<boot id>", "parts": {"sha256:…": <when>, …}}
//! ```
//!
//! Within one boot every process sees what every other wrote, on the disk or not. If the
//! machine has booted since, what is listed is doubted: layers are unpacked again from
//! their blobs, and blobs are kept only if they still have their digests. A part leaves
//! the list when it has certainly reached the disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Doing, Result};
use crate::layout::{read_json, write_atomically};
use crate::pipeline::drain;
use crate::store::Store;

/// After this, the kernel has written what it was given, and a sync has little to do.
const SETTLED: Duration = Duration::from_secs(60);

#[derive(Debug, Default, Serialize, Deserialize)]
struct List {
    boot: String,
    /// Blobs by their digests and layers by their diff-ids, and when they were announced.
    parts: BTreeMap<Digest, SystemTime>,
}

impl Store {
    /// Writes down that parts with these names will come.
    pub(crate) fn announce(&self, parts: impl IntoIterator<Item = Digest>) -> Result<()> {
        let mut parts = parts.into_iter().peekable();
        if parts.peek().is_none() {
            return Ok(());
        }
        self.layout.locked(|| {
            let mut list = self.list_of_unsynced()?.unwrap_or_default();
            list.boot = boot_id()?;
            list.parts.extend(parts.map(|part| (part, SystemTime::now())));
            self.write_unsynced(&list)
        })
    }

    /// After a reboot: looks at what was not on the disk for certain.
    pub(crate) fn doubt(&self) -> Result<()> {
        // Without the lock first: as good as always there is nothing to do.
        let is_doubtful = |list: &List| boot_id().is_ok_and(|boot| boot != list.boot);
        if !self.list_of_unsynced()?.is_some_and(|list| is_doubtful(&list)) {
            return Ok(());
        }
        self.layout.locked(|| {
            let list = self.list_of_unsynced()?.filter(is_doubtful).unwrap_or_default();
            for part in list.parts.keys() {
                self.layers.discard(part)?;
                if self.layout.has(part) && drain(self.layout.reader(part)?).is_err() {
                    self.layout.remove_blob(part)?;
                }
            }
            self.write_unsynced(&List::default())
        })?;
        self.layers.sweep();
        Ok(())
    }

    /// Puts everything that came a while ago on the disk, and takes it off the list.
    /// A daemon calls this when it has nothing else to do; a pull, before it begins.
    pub fn settle(&self) -> Result<()> {
        let old = |at: &SystemTime| at.elapsed().is_ok_and(|age| age > SETTLED);
        let is_here = |part: &Digest| self.layout.has(part) || self.layers.has(part);
        let mut settled = self.list_of_unsynced()?.unwrap_or_default().parts;
        settled.retain(|part, at| old(at) && is_here(part));
        if settled.is_empty() {
            return Ok(());
        }
        for folder in [self.layout.dir(), self.layers.dir()] {
            let sync = File::open(folder).and_then(|open| Ok(nix::unistd::syncfs(open)?));
            sync.doing(|| format!("sync the filesystem of {}", folder.display()))?;
        }
        self.layout.locked(|| {
            let mut list = self.list_of_unsynced()?.unwrap_or_default();
            // What was announced once more in the meantime stays.
            list.parts.retain(|part, at| settled.get(part) != Some(at));
            self.write_unsynced(&list)
        })
    }

    fn unsynced_file(&self) -> PathBuf {
        self.layout.dir().join("unsynced.json")
    }

    fn list_of_unsynced(&self) -> Result<Option<List>> {
        read_json(&self.unsynced_file())
    }

    fn write_unsynced(&self, list: &List) -> Result<()> {
        let file = self.unsynced_file();
        if list.parts.is_empty() {
            return crate::layout::ignore_missing(std::fs::remove_file(&file))
                .doing(|| format!("remove {}", file.display()));
        }
        write_atomically(&file, &serde_json::to_vec(list).expect("a list is JSON"))
    }
}

/// A number that the kernel draws at each boot.
fn boot_id() -> Result<String> {
    let file = "/proc/sys/kernel/random/boot_id";
    let id = std::fs::read_to_string(file).doing(|| format!("read {file}"))?;
    Ok(id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A store with a good blob, a bad blob and a layer, all announced.
    fn store(folder: &std::path::Path) -> (Store, [Digest; 3]) {
        let store = Store::open(folder).unwrap();
        let parts = [b"good", b"bad.", b"tar."].map(|bytes| Digest::of(bytes));
        store.announce(parts).unwrap();
        fs::write(store.layout.blob(&parts[0]), "good").unwrap();
        fs::write(store.layout.blob(&parts[1]), "\0\0\0\0").unwrap();
        fs::create_dir(store.layers.path(&parts[2])).unwrap();
        (store, parts)
    }

    #[test]
    fn within_a_boot_nothing_is_doubted() {
        let folder = tempfile::tempdir().unwrap();
        let (_, [good, bad, layer]) = store(folder.path());
        let store = Store::open(folder.path()).unwrap();
        assert!(store.layout.has(&good) && store.layout.has(&bad) && store.layers.has(&layer));
        store.settle().unwrap();
        assert!(store.unsynced_file().exists(), "it is too early");
    }

    #[test]
    fn after_a_reboot_only_what_is_whole_remains() {
        let folder = tempfile::tempdir().unwrap();
        let (store, [good, bad, layer]) = store(folder.path());
        let mut list = store.list_of_unsynced().unwrap().unwrap();
        list.boot = "another".into();
        store.write_unsynced(&list).unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert!(store.layout.has(&good));
        assert!(!store.layout.has(&bad) && !store.layers.has(&layer));
        assert!(!store.unsynced_file().exists());
    }

    #[test]
    fn what_came_a_while_ago_is_settled() {
        let folder = tempfile::tempdir().unwrap();
        let (store, parts) = store(folder.path());
        let mut list = store.list_of_unsynced().unwrap().unwrap();
        list.parts.insert(parts[0], SystemTime::now() - 2 * SETTLED);
        list.parts.insert(Digest::of(b"not here"), SystemTime::now() - 2 * SETTLED);
        store.write_unsynced(&list).unwrap();
        store.settle().unwrap();
        let list = store.list_of_unsynced().unwrap().unwrap();
        assert_eq!(list.parts.len(), 3);
        assert!(!list.parts.contains_key(&parts[0]));
    }
}
