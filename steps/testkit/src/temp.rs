//! Temporary folders: one tree per test process, named after its pid, so that
//! the next run can sweep what a killed one left.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use tempfile::TempDir;

const PREFIX: &str = "coracle-test-";

static TREE: LazyLock<PathBuf> = LazyLock::new(|| {
    let tree = std::env::temp_dir().join(own_name());
    fs::create_dir_all(&tree).expect("create the folder for temporary files");
    fs::set_permissions(&tree, fs::Permissions::from_mode(0o755)).expect("chmod 755");
    tree
});

fn own_name() -> String {
    format!("{PREFIX}{}", std::process::id())
}

/// A new folder that everyone may enter; removed on drop.
pub fn temp_dir() -> TempDir {
    let dir =
        tempfile::Builder::new().prefix("t").tempdir_in(&*TREE).expect("create a temporary folder");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod 755");
    dir
}

/// A folder that stays until this process ends: for what tests share.
pub(crate) fn shared_dir(name: &str) -> PathBuf {
    let dir = TREE.join(name);
    fs::create_dir_all(&dir).expect("create a shared folder");
    dir
}

/// A copy of a built binary at a path that an unprivileged user can reach.
///
/// The build folder may be below a home that only its owner may enter.
pub fn reachable(binary: impl AsRef<Path>) -> PathBuf {
    static COPIES: Mutex<Option<HashMap<PathBuf, PathBuf>>> = Mutex::new(None);
    let binary = binary.as_ref();
    let mut copies = COPIES.lock().unwrap_or_else(|e| e.into_inner());
    let copies = copies.get_or_insert_default();
    if let Some(copy) = copies.get(binary) {
        return copy.clone();
    }
    let name = binary.file_name().expect("a path to a file");
    let copy = shared_dir(&format!("bin{}", copies.len())).join(name);
    fs::copy(binary, &copy).unwrap_or_else(|e| panic!("copy {}: {e}", binary.display()));
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("chmod 755");
    copies.insert(binary.to_owned(), copy.clone());
    copy
}

/// Removes this process's tree.
pub(crate) fn remove() {
    let _ = fs::remove_dir_all(std::env::temp_dir().join(own_name()));
}

/// Removes the trees of test processes that are gone.
pub(crate) fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.strip_prefix(PREFIX)) else {
            continue;
        };
        if pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
