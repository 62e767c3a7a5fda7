//! The ordinary user that rootless tests run as.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use nix::unistd::{Uid, geteuid};
use tempfile::TempDir;

use crate::{sys, temp_dir};

/// An unprivileged account, with a fresh home and runtime folder of its own.
///
/// The folders are removed with the last clone.
#[derive(Debug, Clone)]
pub struct User {
    /// The name in /etc/passwd.
    pub name: String,
    /// The user id; never 0.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    place: Arc<TempDir>,
}

/// An account to run as: ourselves where we are not root, otherwise the first
/// ordinary account, one with ranges in /etc/subuid before one without.
/// `CORACLE_TEST_USER` names another.
pub fn user() -> Option<User> {
    let (name, uid, gid) = account()?;
    let place = temp_dir();
    for folder in ["home", "run"] {
        let folder = place.path().join(folder);
        fs::create_dir(&folder).ok()?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).ok()?;
        chown(&folder, Some(uid), Some(gid)).ok()?;
    }
    Some(User { name, uid, gid, place: Arc::new(place) })
}

/// The account alone, without folders.
pub(crate) fn account() -> Option<(String, u32, u32)> {
    let mut accounts = accounts();
    if !geteuid().is_root() {
        return accounts.into_iter().find(|a| Uid::from_raw(a.1) == geteuid());
    }
    if let Ok(name) = std::env::var("CORACLE_TEST_USER") {
        return accounts.into_iter().find(|a| a.0 == name && a.1 != 0);
    }
    accounts.retain(|a| (1000..60000).contains(&a.1));
    let with_ranges = accounts.iter().position(|a| has_subids(&a.0, a.1));
    (!accounts.is_empty()).then(|| accounts.swap_remove(with_ranges.unwrap_or(0)))
}

/// The lines of /etc/passwd: name, uid, gid. Read here because a static binary
/// cannot load the C library's name services.
fn accounts() -> Vec<(String, u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    passwd
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            Some((name, uid, gid))
        })
        .collect()
}

/// Whether both files grant the account a range, by name or by number.
pub(crate) fn has_subids(name: &str, uid: u32) -> bool {
    ["/etc/subuid", "/etc/subgid"].iter().all(|file| {
        let ranges = fs::read_to_string(file).unwrap_or_default();
        let owners = ranges.lines().filter_map(|line| line.split(':').next());
        owners.into_iter().any(|o| o == name || o == uid.to_string())
    })
}

impl User {
    /// The user's home, empty at first.
    pub fn home(&self) -> PathBuf {
        self.place.path().join("home")
    }

    /// The user's `XDG_RUNTIME_DIR`.
    pub fn runtime_dir(&self) -> PathBuf {
        self.place.path().join("run")
    }

    /// A command that runs as this user, in its home, and dies with the test.
    ///
    /// The program must be where the user can reach it: see
    /// [`reachable`](crate::reachable).
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        // Root's std also drops the supplementary groups when it sets the uid.
        if geteuid().is_root() {
            command.uid(self.uid).gid(self.gid);
        }
        sys::die_with_parent(&mut command);
        for name in ["CORACLE_ROOT", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "MAIL"] {
            command.env_remove(name);
        }
        command
            .env("HOME", self.home())
            .env("XDG_RUNTIME_DIR", self.runtime_dir())
            .env("USER", &self.name)
            .env("LOGNAME", &self.name)
            .current_dir(self.home());
        command
    }
}
