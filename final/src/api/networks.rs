//! `/networks`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use bollard_stubs::models::{
    NetworkConnectRequest, NetworkCreateRequest, NetworkCreateResponse, NetworkDisconnectRequest,
};
use serde_json::{Value, json};

use super::params::Params;
use super::{App, blocking, words};
use crate::engine::error::Result;
use crate::engine::network;
use crate::shape::{self, Ordered};

/// `GET /networks`
pub async fn list(State(app): State<App>, params: Params) -> Result<Json<Ordered>> {
    let filters = params.filters()?;
    let networks = blocking(move || app.networks.list(&filters)).await?;
    Ok(Json(shape::complete_all("Network", &networks)))
}

/// `GET /networks/{id}`
pub async fn inspect(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Ordered>> {
    let network = blocking(move || app.networks.inspect(&app.containers, &id)).await?;
    Ok(Json(shape::complete("Network", &network)))
}

/// `POST /networks/create`
pub async fn create(
    State(app): State<App>,
    body: axum::body::Bytes,
) -> Result<(StatusCode, Json<NetworkCreateResponse>)> {
    let request: NetworkCreateRequest = words::parse(&["NetworkCreate"], &body)?;
    let id = blocking(move || app.networks.create(request)).await?;
    Ok((StatusCode::CREATED, Json(NetworkCreateResponse { id, warning: String::new() })))
}

/// `DELETE /networks/{id}`
pub async fn remove(State(app): State<App>, Path(id): Path<String>) -> Result<StatusCode> {
    blocking(move || app.networks.remove(&id)).await.map(|()| StatusCode::NO_CONTENT)
}

/// `POST /networks/{id}/connect`
pub async fn connect(
    State(app): State<App>,
    Path(id): Path<String>,
    body: axum::body::Bytes,
) -> Result<StatusCode> {
    let NetworkConnectRequest { container, endpoint_config } =
        words::parse(&["NetworkConnect"], &body)?;
    blocking(move || network::connect(&app, &id, &container, endpoint_config)).await?;
    Ok(StatusCode::OK)
}

/// `POST /networks/{id}/disconnect`
pub async fn disconnect(
    State(app): State<App>,
    Path(id): Path<String>,
    body: axum::body::Bytes,
) -> Result<StatusCode> {
    let NetworkDisconnectRequest { container, force } =
        words::parse(&["NetworkDisconnect"], &body)?;
    let force = force.unwrap_or(false);
    blocking(move || network::disconnect(&app, &id, &container, force)).await?;
    Ok(StatusCode::OK)
}

/// `POST /networks/prune`
pub async fn prune(State(app): State<App>, params: Params) -> Result<Json<Value>> {
    let filters = params.filters()?;
    let removed = blocking(move || app.networks.prune(&filters)).await?;
    // Docker says null where there was nothing to do.
    let removed = Some(removed).filter(|removed| !removed.is_empty());
    Ok(Json(json!({ "NetworksDeleted": removed })))
}

/// `POST /networks/{id}/down`: takes a bridge and its rules off this host. Ours.
pub async fn down(State(app): State<App>, Path(id): Path<String>) -> Result<StatusCode> {
    blocking(move || app.networks.down(&id)).await.map(|()| StatusCode::NO_CONTENT)
}
