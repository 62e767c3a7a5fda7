//! `rename`: another name, at once and for everyone.

use super::Engine;
use super::containers::Container;
use super::create::take_name;
use super::error::{Error, Result};
use super::{names, network};
use crate::runtime::Instructions;
use crate::store::{self, Lock};

/// Gives a container another name. The old one is free when the new one is written down.
pub fn rename(engine: &Engine, id: &str, name: &str) -> Result<()> {
    let name = name.strip_prefix('/').unwrap_or(name);
    if id.is_empty() || name.is_empty() {
        return Err(Error::bad_parameter("Neither old nor new names may be empty"));
    }
    let (mut container, _lock) = lock(engine, id)?;
    let record = &mut container.record;
    if record.name == name {
        return Err(Error::bad_parameter(
            "Renaming a container with the same name as its current name",
        ));
    }
    let refused = |error: Error| Error {
        message: format!("Error when allocating new name: {}", error.message),
        ..error
    };
    names::check(name).map_err(refused)?;
    let all = engine.root.names();
    let held = take_name(engine, name, &record.id).map_err(refused)?;
    let old = std::mem::replace(&mut record.name, name.to_owned());
    if let Err(error) = note(&container) {
        let _ = all.release(name, &container.record.id);
        return Err(error);
    }
    drop(held);
    network::renamed(engine, &container)?;
    all.release(&old, &container.record.id)?;
    let old = format!("/{old}");
    engine.events.tell_container(&container.dir, "rename", &[("oldName", &old)]);
    Ok(())
}

/// The record, and the name that a container takes along when it goes at its end.
fn note(container: &Container) -> Result<()> {
    let (dir, record) = (&container.dir, &container.record);
    let path = dir.instructions();
    if let Some(mut instructions) = store::read::<Instructions>(&path)?
        && let Some(removal) = &mut instructions.auto_remove
    {
        removal.name = record.name.clone();
        store::write(&path, &instructions, false)?;
    }
    Ok(store::write(&dir.record(), record, !record.auto_remove())?)
}

/// A container whose record nobody else changes meanwhile.
pub fn lock(engine: &Engine, id: &str) -> Result<(Container, Lock)> {
    let container = engine.containers.find(id)?;
    let lock = Lock::exclusive(&container.dir.path().join("record.lock"))?;
    // It may have been changed, or removed, while we waited.
    Ok((engine.containers.find(&container.record.id)?, lock))
}
