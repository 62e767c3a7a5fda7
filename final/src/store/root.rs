//! Where an engine keeps everything.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use namespaces::{Context, Error, Result};
use serde::{Deserialize, Serialize};

use super::{ContainerDir, Names, Record, record};

/// An engine's folders. Two engines with different roots share nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    data: PathBuf,
    run: PathBuf,
}

/// `ROOT/version`.
#[derive(Serialize, Deserialize)]
struct Store {}

impl Record for Store {
    const VERSION: u32 = 1;
}

impl Root {
    /// Opens the store at `root`, or at the usual place, and makes it if it is not there.
    ///
    /// # Errors
    /// No place to put it, no right to write there, or a store from a newer version.
    pub fn open(root: Option<&Path>) -> Result<Self> {
        let root = Self::find(root)?;
        let known = record::read::<Store>(&root.data.join("version"))?.is_some();
        // The socket may be below, and others than its owner be admitted to it.
        let open = if root.run.starts_with(&root.data) { 0o711 } else { 0o700 };
        let folders = [(&root.data, open), (&root.run, 0o711)];
        for (folder, mode) in folders {
            make_folder(folder, mode)?;
        }
        for folder in [root.names_folder(), root.containers(), root.data.join("layers")] {
            make_folder(&folder, 0o700)?;
        }
        if !known {
            record::write(&root.data.join("version"), &Store {}, true)?;
        }
        Ok(root)
    }

    /// Where the store at `root` is, or the usual one, whether there is one or not.
    ///
    /// # Errors
    /// No place to put it.
    pub fn find(root: Option<&Path>) -> Result<Self> {
        match root {
            Some(path) => Ok(Self::at(&std::path::absolute(path).doing(|| "find --root")?)),
            None if nix::unistd::geteuid().is_root() => {
                Ok(Self { data: "/var/lib/coracle".into(), run: "/run/coracle".into() })
            }
            None => Self::of_user(),
        }
    }

    /// Everything below one folder.
    fn at(root: &Path) -> Self {
        Self { data: root.to_path_buf(), run: root.join("run") }
    }

    /// An ordinary user's: the places of the XDG base directory specification.
    fn of_user() -> Result<Self> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let data = variable("XDG_DATA_HOME").map(PathBuf::from);
        let home = || variable("HOME").map(|home| PathBuf::from(home).join(".local/share"));
        let data = data.or_else(home).ok_or_else(|| {
            Error::new("find a place for images and containers: HOME is not set")
                .hint("set it, or pass --root")
        })?;
        let data = data.join("coracle");
        let run = variable("XDG_RUNTIME_DIR").map(|run| PathBuf::from(run).join("coracle"));
        let run = run.unwrap_or_else(|| data.join("run"));
        Ok(Self { data, run })
    }

    /// What must survive a restart of the machine.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Where a daemon listens, if one does.
    pub fn socket(&self) -> PathBuf {
        self.run.join("coracle.sock")
    }

    /// Locked by the daemon that serves this root, with its process id in it.
    pub fn pid_file(&self) -> PathBuf {
        self.run.join("coracle.pid")
    }

    /// The folder of all containers.
    pub fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    /// The folder of one container, whether it exists or not.
    pub fn container(&self, id: &str) -> ContainerDir {
        ContainerDir::at(self.containers().join(id))
    }

    /// The containers' names.
    pub fn names(&self) -> Names {
        Names::at(self.names_folder())
    }

    fn names_folder(&self) -> PathBuf {
        self.data.join("names")
    }
}

/// Nobody but the owner may come to what containers and images hold: a program in
/// there may be root's and set-user-ID, for anyone on the host who can reach it.
fn make_folder(path: &Path, mode: u32) -> Result<()> {
    let mode = if nix::unistd::geteuid().is_root() { mode } else { 0o700 };
    let what = || format!("create {}", path.display());
    if path.is_dir() {
        return close(path, mode);
    }
    if let Some(above) = path.parent() {
        fs::create_dir_all(above).doing(what)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => close(path, mode),
        result => result.doing(what),
    }
}

/// What an older version, or another hand, has made wider than that.
fn close(path: &Path, mode: u32) -> Result<()> {
    let what = || format!("protect {}", path.display());
    let found = fs::metadata(path).doing(what)?;
    let ours = found.uid() == nix::unistd::geteuid().as_raw();
    match found.mode() & 0o777 & !mode {
        0 => Ok(()),
        _ if !ours => Ok(()),
        _ => fs::set_permissions(path, Permissions::from_mode(mode)).doing(what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_from_a_newer_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Root::open(Some(folder.path())).unwrap();
        Root::open(Some(folder.path())).unwrap();
        fs::write(folder.path().join("version"), r#"{"version":2}"#).unwrap();
        let error = Root::open(Some(folder.path())).unwrap_err().to_string();
        assert!(error.contains("it is of version 2, and this program knows up to 1"), "{error}");
    }
}
