//! The part of the engine's record of a container that its shim looks at.
//!
//! Whenever it is needed it is looked whether the record is still the same, and only then
//! is what was read of it used again: a rename or an update of the restart policy counts
//! at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::{ContainerDir, Record, record};

/// What was asked for, as far as a shim has to do with it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// The container's name.
    pub name: String,
    /// From Docker's `Config`.
    pub config: AskedConfig,
    /// From Docker's `HostConfig`.
    pub host_config: AskedHost,
    /// What is mounted.
    pub mounts: Vec<AskedMount>,
}

/// From Docker's `Config`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AskedConfig {
    /// The image, as it was written.
    pub image: Option<String>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// What asks it to stop, if that is not SIGTERM.
    pub stop_signal: Option<String>,
    /// Whether and how it is asked for its health.
    pub healthcheck: Option<Healthcheck>,
    /// The folder, for what is asked of its health.
    pub working_dir: Option<String>,
    /// The shell, for the same.
    pub shell: Option<Vec<String>>,
    /// The user, for the same.
    pub user: Option<String>,
}

/// Docker's `Healthcheck`. Times are in nanoseconds; nothing and 0 mean the default.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["CMD", …]` or `["CMD-SHELL", "line"]`.
    pub test: Option<Vec<String>>,
    /// Between two checks.
    pub interval: Option<i64>,
    /// When a check counts as failed.
    pub timeout: Option<i64>,
    /// How many failures in a row make it unhealthy.
    pub retries: Option<i64>,
    /// How long failures do not count.
    pub start_period: Option<i64>,
    /// Between two checks of the start period.
    pub start_interval: Option<i64>,
}

/// From Docker's `HostConfig`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AskedHost {
    /// What to do when it ends.
    pub restart_policy: Option<RestartPolicy>,
}

/// Docker's `RestartPolicy`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RestartPolicy {
    /// `no`, `on-failure`, `always`, `unless-stopped`.
    pub name: Option<String>,
    /// For `on-failure`: how often; 0 is without limit.
    pub maximum_retry_count: Option<i64>,
}

/// One of Docker's `Mounts`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AskedMount {
    /// `bind`, `volume`, `tmpfs`.
    #[serde(rename = "Type")]
    pub kind: Option<String>,
    /// The volume's name.
    pub name: Option<String>,
    /// Where it is mounted.
    pub destination: Option<String>,
    /// Whose volume it is.
    pub driver: Option<String>,
    /// Whether it may be written to.
    #[serde(rename = "RW")]
    pub writable: Option<bool>,
    /// How later mounts travel.
    pub propagation: Option<String>,
}

impl Record for Asked {
    const VERSION: u32 = 1;
}

impl Asked {
    /// What is asked for now; nothing, where the record cannot be read.
    pub fn of(dir: &ContainerDir) -> Rc<Self> {
        let path = dir.record();
        let Some(stamp) = Stamp::of(&path) else { return Rc::default() };
        let last = LAST.with_borrow(|last| {
            let same = last.as_ref().filter(|last| last.stamp == stamp);
            same.map(|last| last.asked.clone())
        });
        if let Some(asked) = last {
            return asked;
        }
        let asked: Rc<Self> = Rc::new(record::read(&path).ok().flatten().unwrap_or_default());
        LAST.set(Some(Last { stamp, asked: asked.clone() }));
        asked
    }
}

thread_local! {
    /// What was read last. A shim has one container only.
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

struct Last {
    stamp: Stamp,
    asked: Rc<Asked>,
}

/// A file that is never written to, but replaced by another: which one it is.
#[derive(PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    /// Device, inode, length, seconds and nanoseconds of the last change.
    numbers: (u64, u64, u64, i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        let when = (found.ctime(), found.ctime_nsec());
        let numbers = (found.dev(), found.ino(), found.size(), when.0, when.1);
        Some(Self { path: path.to_owned(), numbers })
    }
}
