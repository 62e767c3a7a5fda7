//! What a creation or a removal has left that was killed half-way.
//!
//! A container's record is written last and its folder is hidden first, so such
//! remains are never taken for a container. They are only in the way: a folder, and
//! a name that nobody else can have.

use std::fs::Metadata;
use std::path::Path;
use std::time::Duration;

use super::Engine;
use super::hidden;
use super::worker::{self, Job};
use crate::store::Root;

/// What is younger may still be in the making.
const GRACE: Duration = Duration::from_secs(60);

/// Removes what was left half-way, as far as that is possible: the next creation
/// will try again.
pub fn sweep(engine: &Engine) {
    hidden::clean_up(engine);
    let root = &engine.root;
    let mut containers = 0;
    for entry in std::fs::read_dir(root.containers()).into_iter().flatten().flatten() {
        containers += 1;
        let id = entry.file_name().to_string_lossy().into_owned();
        let remains = id.starts_with('.') || !root.container(&id).record().exists();
        if remains && entry.metadata().is_ok_and(|metadata| is_old(&metadata)) {
            let _ = engine.volumes.release(&id, true);
            let _ = worker::run(root.data(), &Job::RemoveRemains(id), |_| true);
        }
    }
    // Every container has a name: where there are more, some are nobody's.
    let names = root.names().entries();
    if names.len() > containers {
        names.iter().filter(|path| is_left(root, path)).for_each(|path| {
            let _ = std::fs::remove_file(path);
        });
    }
}

/// Whether a file among the names is a name without a container, or not even a name.
fn is_left(root: &Root, path: &Path) -> bool {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let nobodys = || match root.names().get(&file) {
        Ok(Some(owner)) => !root.container(&owner).path().exists(),
        _ => file.starts_with('.'),
    };
    path.metadata().is_ok_and(|metadata| is_old(&metadata)) && nobodys()
}

/// Gives a name back whose container is not there, nor in the making.
pub fn free_name(engine: &Engine, name: &str, owner: &str) -> bool {
    let names = engine.root.names();
    let old = |path: &Path| path.metadata().is_ok_and(|metadata| is_old(&metadata));
    let stale = !engine.root.container(owner).path().exists()
        && names.file(name).is_ok_and(|path| old(&path));
    stale && names.release(name, owner).is_ok()
}

fn is_old(metadata: &Metadata) -> bool {
    metadata.modified().is_ok_and(|time| time.elapsed().is_ok_and(|age| age > GRACE))
}
