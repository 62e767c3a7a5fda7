//! What a container does: its processes, and what it has changed.

use axum::Json;
use axum::extract::{Path, State};
use bollard_stubs::models::{ContainerTopResponse, FilesystemChange};

use super::params::Params;
use super::{App, blocking};
use crate::engine::error::Result;
use crate::engine::{changes as diff, top as processes};

/// `GET /containers/{id}/top`
pub async fn top(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<ContainerTopResponse>> {
    let options = params.text("ps_args").unwrap_or_default().to_owned();
    blocking(move || processes::top(&app, &id, &options)).await.map(Json)
}

/// `GET /containers/{id}/changes`; where there are none, Docker says `null`.
pub async fn changes(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Option<Vec<FilesystemChange>>>> {
    let changes = blocking(move || diff::changes(&app, &id)).await?;
    Ok(Json((!changes.is_empty()).then_some(changes)))
}
