//! What this lesson asks of a machine, on top of the earlier ones.

use std::path::Path;

use namespaces::doctor::Check;
use nix::sys::statvfs::statvfs;

use crate::auth::DockerConfig;
use crate::store::Store;

/// Below this, few images fit.
const ROOM: u64 = 1 << 30;

/// The earlier lessons' checks, and this one's, for a store below `root`.
pub fn checks(root: &Path) -> Vec<Check> {
    let mut checks = rootfs::doctor::checks();
    checks.extend([store(root), room(root), credentials()]);
    checks
}

fn store(root: &Path) -> Check {
    match Store::open(root) {
        Ok(_) => Check::ok("image store", root.display().to_string()),
        Err(error) => {
            Check::fail("image store", error.to_string(), "pass --root with another folder")
        }
    }
}

fn room(root: &Path) -> Check {
    let Ok(disk) = statvfs(root) else {
        return Check::warn("disk space", "unknown", "see the check above");
    };
    let free = disk.blocks_available() * disk.fragment_size();
    let found = format!("{:.1} GB free below {}", free as f64 / 1e9, root.display());
    match free >= ROOM {
        true => Check::ok("disk space", found),
        false => Check::warn("disk space", found, "free some, or pass --root on another disk"),
    }
}

fn credentials() -> Check {
    match DockerConfig::load() {
        Ok(_) => Check::ok("registry logins", "Docker's config.json is readable, or not there"),
        Err(error) => {
            Check::warn("registry logins", error.to_string(), "log in again: docker login")
        }
    }
}
