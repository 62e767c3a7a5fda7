//! The folders of a container and of its execs.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use namespaces::{Context, Result};

use super::{Names, State, record};

/// What a container's folder and an exec's have in common: a shim lives there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShimDir(PathBuf);

impl ShimDir {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The id: the folder's name.
    pub fn id(&self) -> String {
        self.0.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The record that the shim writes; the state of something new if it has not.
    pub fn state(&self) -> Result<State> {
        Ok(record::read(&self.state_path())?.unwrap_or_default())
    }

    /// Replaces the shim's record.
    pub fn set_state(&self, state: &State, durable: bool) -> Result<()> {
        record::write(&self.state_path(), state, durable)
    }

    /// Writes the shim's record over the old one, without a byte more than that has room for.
    pub fn write_over_state(&self, state: &State) -> Result<()> {
        record::write_over(&self.state_path(), state)
    }

    fn state_path(&self) -> PathBuf {
        self.0.join("state.json")
    }

    /// Held by the shim while it lives.
    pub fn lock_path(&self) -> PathBuf {
        self.0.join("shim.lock")
    }

    /// How it was made: a step on each line.
    pub fn birth(&self) -> PathBuf {
        self.0.join("birth.jsonl")
    }
}

/// `containers/<id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerDir(ShimDir);

impl Deref for ContainerDir {
    type Target = ShimDir;

    fn deref(&self) -> &ShimDir {
        &self.0
    }
}

impl ContainerDir {
    /// The container in this folder.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(ShimDir(path.into()))
    }

    /// Makes the folder and those of the overlay.
    pub fn create(&self) -> Result<()> {
        let what = || format!("create {}", self.path().display());
        fs::create_dir(self.path()).doing(what)?;
        for folder in [self.upper(), self.work(), self.rootfs()] {
            fs::create_dir(folder).doing(what)?;
        }
        Ok(())
    }

    /// The OCI runtime configuration.
    pub fn config(&self) -> PathBuf {
        self.path().join("config.json")
    }

    /// The engine's record.
    pub fn record(&self) -> PathBuf {
        self.path().join("container.json")
    }

    /// What the shim needs beside the configuration.
    pub fn instructions(&self) -> PathBuf {
        self.path().join("shim.json")
    }

    /// The log's newest file; older ones have `.1`, `.2` and so on appended.
    pub fn log(&self) -> PathBuf {
        self.path().join("log")
    }

    /// The overlay's upper layer: what the container has changed.
    pub fn upper(&self) -> PathBuf {
        self.path().join("upper")
    }

    /// The overlay's own scratch space, on the same file system as the upper layer.
    pub fn work(&self) -> PathBuf {
        self.path().join("work")
    }

    /// Where the root is mounted, in the container's mount namespace alone.
    pub fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// The store's root: the folder that holds `containers`.
    pub fn root(&self) -> &Path {
        self.path().ancestors().nth(2).unwrap_or(Path::new("/"))
    }

    /// The names of the containers in the same store.
    pub fn names(&self) -> Names {
        Names::at(self.root().join("names"))
    }

    /// Where execs have their folders, as soon as there is one.
    pub fn execs(&self) -> PathBuf {
        self.path().join("execs")
    }

    /// The folder of one exec, whether it exists or not.
    pub fn exec(&self, id: &str) -> ExecDir {
        ExecDir(ShimDir(self.execs().join(id)))
    }
}

/// `containers/<id>/execs/<id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecDir(ShimDir);

impl Deref for ExecDir {
    type Target = ShimDir;

    fn deref(&self) -> &ShimDir {
        &self.0
    }
}

impl ExecDir {
    /// Makes the folder.
    pub fn create(&self) -> Result<()> {
        fs::create_dir_all(self.path()).doing(|| format!("create {}", self.path().display()))
    }

    /// What to run.
    pub fn instructions(&self) -> PathBuf {
        self.path().join("exec.json")
    }
}
