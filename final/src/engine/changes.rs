//! `diff`: what a container has changed in its image.

use bollard_stubs::models::{ChangeType, FilesystemChange};
use namespaces::userns;
use rootfs::{Change, ChangeKind};

use super::Engine;
use super::containers::Container;
use super::error::{Error, Result};
use super::worker::{self, Job};
use crate::runtime::Instructions;
use crate::store::{self, ContainerDir};

/// The changes, in the order of their paths.
pub fn changes(engine: &Engine, id: &str) -> Result<Vec<FilesystemChange>> {
    let container = engine.containers.find(id)?;
    let found = match userns::needed() {
        true => in_worker(engine, &container)?,
        false => compare(&container.dir)?,
    };
    let change = |change: Change| FilesystemChange {
        path: change.path.display().to_string(),
        kind: match change.kind {
            ChangeKind::Changed => ChangeType::_0,
            ChangeKind::Added => ChangeType::_1,
            ChangeKind::Deleted => ChangeType::_2,
        },
    };
    Ok(found.into_iter().map(change).collect())
}

/// Compares the layer that takes the changes with those below it.
pub fn compare(dir: &ContainerDir) -> namespaces::Result<Vec<Change>> {
    let instructions: Instructions = store::read(&dir.instructions())?.unwrap_or_default();
    rootfs::changes(&instructions.layers, &dir.upper())
}

/// An ordinary user's containers have folders that only their own root may enter.
fn in_worker(engine: &Engine, container: &Container) -> Result<Vec<Change>> {
    let mut found = Vec::new();
    let job = Job::Changes(container.record.id.clone());
    worker::run(engine.root.data(), &job, |line| {
        found.extend(serde_json::from_slice::<Change>(line));
        true
    })?;
    if found.is_empty() && !container.dir.path().exists() {
        return Err(Error::not_found(format!("No such container: {}", container.record.id)));
    }
    Ok(found)
}
