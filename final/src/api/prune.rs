//! `/containers/prune`, `/images/prune`, `/system/df`.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::images::add_virtual_size;
use super::params::Params;
use super::{App, blocking};
use crate::engine::error::Result;
use crate::engine::prune;
use crate::shape::{self, Ordered};

/// `POST /containers/prune`
pub async fn containers(State(app): State<App>, params: Params) -> Result<Json<Value>> {
    let pruned = prune::containers(&app, &params.filters()?).await?;
    let removed = some(pruned.removed);
    Ok(Json(json!({ "ContainersDeleted": removed, "SpaceReclaimed": pruned.reclaimed })))
}

/// `POST /images/prune`
pub async fn images(State(app): State<App>, params: Params) -> Result<Json<Value>> {
    let filters = params.filters()?;
    let pruned = blocking(move || prune::images(&app, &filters)).await?;
    let removed = some(pruned.removed);
    Ok(Json(json!({ "ImagesDeleted": removed, "SpaceReclaimed": pruned.reclaimed })))
}

/// `POST /build/prune`, which `docker system prune` asks for, too: nothing is kept of
/// builds.
pub async fn builds() -> Json<Value> {
    Json(json!({ "CachesDeleted": Value::Null, "SpaceReclaimed": 0 }))
}

/// Docker's list of nothing is null here.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// `GET /system/df`
pub async fn usage(State(app): State<App>, params: Params) -> Result<Json<Ordered>> {
    let wanted: Vec<_> = params.all("type").map(str::to_owned).collect();
    let wants = move |kind: &str| wanted.is_empty() || wanted.iter().any(|one| one == kind);
    let mut usage = blocking(move || prune::usage(&app, wants)).await?;
    if let Some(images) = usage["Images"].as_array_mut() {
        add_virtual_size(&params, images);
    }
    Ok(Json(shape::complete("DiskUsage", &usage)))
}
