//! What a creation or a removal has left that was killed half-way.
//!
//! A container's record is written last and its folder is hidden first, so such
//! remains are never taken for a container. They are only in the way: a folder, and
//! a name that nobody else can have.

use std::fs::Metadata;
use std::path::Path;
use std::time::Duration;

use super::Engine;
use super::worker::{self, Job};

/// What is younger may still be in the making.
const GRACE: Duration = Duration::from_secs(60);

/// Removes what was left half-way, as far as that is possible: the next creation
/// will try again.
pub fn sweep(engine: &Engine) {
    let root = &engine.root;
    for entry in std::fs::read_dir(root.containers()).into_iter().flatten().flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        let remains = id.starts_with('.') || !root.container(&id).record().exists();
        if remains && entry.metadata().is_ok_and(|metadata| is_old(&metadata)) {
            let _ = engine.volumes.release(&id, true);
            let _ = worker::run(root.data(), &Job::RemoveRemains(id), |_| true);
        }
    }
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
