//! `/volumes`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use bollard_stubs::models::{Volume, VolumeCreateRequest, VolumePruneResponse};
use serde_json::{Value, json};

use super::params::Params;
use super::{App, blocking, words};
use crate::engine::error::Result;
use crate::shape::{self, Ordered};

/// A volume; labels and options that there are none of are null, as Docker has it.
fn shown(volume: &Volume) -> Value {
    let mut volume = json!(volume);
    for key in ["Labels", "Options"] {
        if volume[key] == json!({}) {
            volume[key] = Value::Null;
        }
    }
    volume
}

/// `GET /volumes`
pub async fn list(State(app): State<App>, params: Params) -> Result<Json<Ordered>> {
    let filters = params.filters()?;
    let volumes = blocking(move || app.volumes.list(&filters)).await?;
    Ok(Json(shape::complete(
        "Volumes",
        &json!({ "Volumes": volumes.iter().map(shown).collect::<Vec<_>>() }),
    )))
}

/// `POST /volumes/create`
pub async fn create(
    State(app): State<App>,
    body: axum::body::Bytes,
) -> Result<(StatusCode, Json<Ordered>)> {
    let request: VolumeCreateRequest = words::parse(&["VolumeCreate"], &body)?;
    let volume = blocking(move || app.volumes.create(request)).await?;
    Ok((StatusCode::CREATED, Json(shape::complete("Volume", &shown(&volume)))))
}

/// `GET /volumes/{name}`
pub async fn inspect(State(app): State<App>, Path(name): Path<String>) -> Result<Json<Ordered>> {
    let volume = blocking(move || app.volumes.inspect(&name)).await?;
    Ok(Json(shape::complete("Volume", &shown(&volume))))
}

/// `DELETE /volumes/{name}`
pub async fn remove(
    State(app): State<App>,
    Path(name): Path<String>,
    params: Params,
) -> Result<StatusCode> {
    let force = params.flag("force");
    blocking(move || app.volumes.remove(&name, force)).await.map(|()| StatusCode::NO_CONTENT)
}

/// `POST /volumes/prune`
pub async fn prune(State(app): State<App>, params: Params) -> Result<Json<VolumePruneResponse>> {
    let mut filters = params.filters()?;
    if params.before("1.42") && !filters.has("all") {
        // Before there was a choice, names protected nothing.
        filters.add("all", "true");
    }
    let (names, bytes) = blocking(move || app.volumes.prune(&filters)).await?;
    Ok(Json(VolumePruneResponse {
        volumes_deleted: Some(names),
        space_reclaimed: Some(bytes as i64),
    }))
}
