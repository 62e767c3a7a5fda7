//! What a creation or a removal has left that was killed half-way.
//!
//! A container's record is written last and its folder is hidden first, so such
//! remains are never taken for a container. A name among them is taken back by whoever
//! wants it (see [`crate::store::Names`]); a folder is only in the way, and has time.

use std::fs::Metadata;
use std::time::Duration;

use super::Engine;
use super::hidden;
use super::record::Record;
use super::worker::{self, Job};
use crate::store;

/// A folder that is younger may still be in the making.
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
        for path in names {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !name.starts_with('.') {
                free_name(engine, &name);
            }
        }
    }
}

/// Takes a name back whose container is not there, nor in the making, nor called so.
pub fn free_name(engine: &Engine, name: &str) -> bool {
    let is_there = |owner: &str| match store::read::<Record>(&engine.root.container(owner).record())
    {
        Ok(record) => record.is_some_and(|record| record.name == name),
        // It is there, whatever it is.
        Err(_) => true,
    };
    engine.root.names().free(name, is_there).unwrap_or(false)
}

fn is_old(metadata: &Metadata) -> bool {
    metadata.modified().is_ok_and(|time| time.elapsed().is_ok_and(|age| age > GRACE))
}
