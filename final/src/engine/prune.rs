//! Cleaning up: what nobody needs any more, and how much room everything takes.

use bollard_stubs::models::ImageDeleteResponseItem;
use serde_json::{Value as Json, json};

use super::error::Result;
use super::filters::Filters;
use super::listing::{self, folder_size};
use super::{Engine, image_listing, remove, time};
use crate::store::events::{Actor, Kind};

/// What was removed, and the bytes that became free.
#[derive(Debug, Default)]
pub struct Pruned<T> {
    /// What was removed.
    pub removed: Vec<T>,
    /// The bytes.
    pub reclaimed: u64,
}

/// Removes all containers that do not run.
///
/// # Errors
/// A filter that makes no sense. A container that cannot be removed is left.
pub async fn containers(engine: &Engine, filters: &Filters) -> Result<Pruned<String>> {
    filters.only(&["label", "label!", "until"])?;
    let until = filters.until()?;
    let mut pruned = Pruned::default();
    for container in engine.containers.all()? {
        let record = &container.record;
        let young = until.is_some_and(|until| time::seconds(&record.created) > until.as_second());
        let stays = young
            || !filters.admit_labels(|key| record.label(key))
            || !container.state().is_ok_and(|state| !state.is_alive());
        if stays {
            continue;
        }
        let size = folder_size(&container.dir.upper());
        if remove::remove(engine, &record.id, false, false).await.is_ok() {
            pruned.reclaimed += size;
            pruned.removed.push(record.id.clone());
        }
    }
    tell(engine, Kind::Container, pruned.reclaimed);
    Ok(pruned)
}

/// Removes images without a name; with `dangling=false` all that no container was
/// made from.
///
/// # Errors
/// A filter that makes no sense. An image that is needed is left.
pub fn images(engine: &Engine, filters: &Filters) -> Result<Pruned<ImageDeleteResponseItem>> {
    filters.only(&["dangling", "label", "label!", "until"])?;
    let dangling_only = filters.flag("dangling")?.unwrap_or(true);
    let until = filters.until()?.map(|until| until.as_second());
    let before = image_listing::sizes(&engine.images)?.total;
    let used: Vec<_> =
        engine.containers.all()?.into_iter().map(|container| container.record.image_id).collect();
    let mut removed = Vec::new();
    for image in engine.images.list()? {
        let id = image.id.to_string();
        let stays = dangling_only && image.tags().next().is_some()
            || used.contains(&id)
            || until.is_some_and(|until| image_listing::moment(&image) > until)
            || !filters.admit_labels(|key| image.config.config.labels.get(key).cloned());
        if stays {
            continue;
        }
        let names: Vec<_> = match image.references.is_empty() {
            true => vec![id],
            false => image.references.iter().map(images::Reference::familiar).collect(),
        };
        // A name may have gone with another one; an image may be used by now.
        let gone = names.iter().filter_map(|name| engine.images.remove(name, false).ok());
        removed.extend(gone.flatten());
    }
    let reclaimed = before.saturating_sub(image_listing::sizes(&engine.images)?.total);
    tell(engine, Kind::Image, reclaimed);
    Ok(Pruned { removed, reclaimed })
}

fn tell(engine: &Engine, kind: Kind, reclaimed: u64) {
    engine.events.tell(kind, "prune", Actor::new("").with("reclaimed", reclaimed));
}

/// What `system df` shows. `wanted` says whether a kind of thing is asked for.
///
/// # Errors
/// What cannot be read.
pub fn usage(engine: &Engine, wanted: impl Fn(&str) -> bool) -> Result<Json> {
    let mut usage = json!({});
    let all = || listing::Options { all: true, size: true, ..Default::default() };
    if wanted("container") {
        let found = listing::containers(engine, &all())?;
        usage["Containers"] = json!(found);
    }
    if wanted("image") {
        let sizes = image_listing::sizes(&engine.images)?;
        let used = engine.containers.all()?;
        let mut found = image_listing::images(engine, &Filters::default())?;
        for image in &mut found {
            let id = image["Id"].as_str().unwrap_or_default().to_owned();
            let users = used.iter().filter(|container| container.record.image_id == id).count();
            image["SharedSize"] = json!(sizes.shared.get(&id).copied().unwrap_or(0));
            image["Containers"] = json!(users);
        }
        usage["LayersSize"] = json!(sizes.total);
        usage["Images"] = json!(found);
    }
    if wanted("volume") {
        usage["Volumes"] = json!(engine.volumes.with_usage()?);
    }
    if wanted("build-cache") {
        usage["BuildCache"] = json!([]);
    }
    Ok(usage)
}
