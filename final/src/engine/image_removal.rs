//! Removing an image, and why not, in Docker's words.

use bollard_stubs::models::ImageDeleteResponseItem;

use super::Engine;
use super::error::{Error, Kind, Result};

/// Removes an image, or one of its names: what was untagged, and what deleted.
///
/// # Errors
/// There is no such image, or something needs it.
pub fn remove(engine: &Engine, name: &str, force: bool) -> Result<Vec<ImageDeleteResponseItem>> {
    engine.images.remove(name, force).map_err(|error| match error.kind {
        Kind::Conflict => conflict(engine, name).unwrap_or(error),
        _ => error,
    })
}

/// What stands in the way; `None` if it has just gone.
fn conflict(engine: &Engine, name: &str) -> Option<Error> {
    let image = engine.images.find(name).ok()?;
    let (id, short) = (image.id.to_string(), image.id.short());
    let containers = engine.containers.all().ok()?;
    let user = containers.iter().find(|container| container.record.image_id == id);
    let by_id = image.id.hex().starts_with(name.strip_prefix("sha256:").unwrap_or(name));
    let why = match user {
        Some(user) if by_id => {
            let runs = user.state().is_ok_and(|state| state.is_alive());
            let how = if runs { "running" } else { "stopped" };
            let user = user.short_id();
            format!(
                "unable to delete {short} (cannot be forced) - image is being used by {how} \
                 container {user}"
            )
        }
        Some(user) => format!(
            "unable to remove repository reference \"{name}\" (must force) - container {} is \
             using its referenced image {short}",
            user.short_id()
        ),
        None => format!(
            "unable to delete {short} (must be forced) - image is referenced in multiple \
             repositories"
        ),
    };
    Some(Error::conflict(format!("conflict: {why}")))
}
