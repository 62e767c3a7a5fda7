//! What of a container can be changed: its name, its limits, its restart policy.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use bollard_stubs::models::ContainerUpdateBody;
use serde_json::{Value, json};

use super::params::Params;
use super::{App, blocking, words};
use crate::engine::error::{Error, Result};
use crate::engine::{rename as names, update as limits};

/// `POST /containers/{id}/rename`
pub async fn rename(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<StatusCode> {
    let name = params.text("name").unwrap_or_default().to_owned();
    blocking(move || names::rename(&app, &id, &name)).await.map(|()| StatusCode::NO_CONTENT)
}

/// `POST /containers/{id}/update`
pub async fn update(
    State(app): State<App>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>> {
    let value: Value = words::parse(&["HostConfig"], &body)?;
    if let Some(policy) = value["RestartPolicy"]["Name"].as_str()
        && !["", "no", "always", "unless-stopped", "on-failure"].contains(&policy)
    {
        return Err(Error::bad_parameter(format!("invalid restart policy '{policy}'")));
    }
    let body: ContainerUpdateBody = words::understand(value)?;
    let warnings = blocking(move || limits::update(&app, &id, body)).await?;
    // Docker's empty list is none.
    let warnings = (!warnings.is_empty()).then_some(warnings);
    Ok(Json(json!({ "Warnings": warnings })))
}
