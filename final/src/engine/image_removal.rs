//! Removing an image, and why not, in Docker's words.

use bollard_stubs::models::ImageDeleteResponseItem;
use images::Image;

use super::containers::Container;
use super::error::{Error, Kind, Result};
use super::{Engine, images as engine_images};

/// Removes an image, or one of its names: what was untagged, and what deleted.
///
/// # Errors
/// There is no such image, or something needs it.
pub fn remove(engine: &Engine, name: &str, force: bool) -> Result<Vec<ImageDeleteResponseItem>> {
    let image = engine.images.find(name)?;
    let id = image.id.to_string();
    let users: Vec<_> = engine.containers.all()?;
    let users: Vec<_> = users.into_iter().filter(|user| user.record.image_id == id).collect();
    let removed = match force && !users.is_empty() && !users.iter().any(runs) {
        true => remove_below(engine, &image, name),
        false => engine.images.remove(name, force),
    };
    removed.map_err(|error| match error.kind {
        Kind::Conflict => conflict(&image, name, &users),
        _ => error,
    })
}

/// Removes an image by force that stopped containers stand on. They keep its layers.
fn remove_below(
    engine: &Engine,
    image: &Image,
    name: &str,
) -> Result<Vec<ImageDeleteResponseItem>> {
    let names = match is_id(image, name) {
        true => image.references.iter().map(|reference| reference.familiar()).collect(),
        false => vec![name.to_owned()],
    };
    // A name may have gone with another one.
    let gone = names.iter().filter_map(|name| engine.images.remove(name, true).ok());
    let mut removed: Vec<_> = gone.flatten().collect();
    let id = image.id.to_string();
    if engine.images.below(&id)?.references.is_empty() {
        engine.images.hidden().hide(image)?;
        engine_images::tell_deleted(&engine.events, &id);
        removed.push(ImageDeleteResponseItem { untagged: None, deleted: Some(id) });
    }
    Ok(removed)
}

fn runs(user: &Container) -> bool {
    user.state().is_ok_and(|state| state.is_alive())
}

/// Whether the image was called by its id.
fn is_id(image: &Image, name: &str) -> bool {
    image.id.hex().starts_with(name.strip_prefix("sha256:").unwrap_or(name))
}

/// What stands in the way.
fn conflict(image: &Image, name: &str, users: &[Container]) -> Error {
    let short = image.id.short();
    let running = users.iter().find(|user| runs(user));
    let why = match running.or(users.first()) {
        Some(user) if is_id(image, name) => {
            let (force, how) = match running {
                Some(_) => ("cannot be forced", "running"),
                None => ("must be forced", "stopped"),
            };
            let user = user.short_id();
            format!(
                "unable to delete {short} ({force}) - image is being used by {how} container {user}"
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
    Error::conflict(format!("conflict: {why}"))
}
