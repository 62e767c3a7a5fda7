//! `/containers/{id}/exec` and `/exec`.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse;
use bollard_stubs::models::{ExecConfig, ExecInspectResponse, ExecStartConfig, IdResponse};
use http_body_util::BodyExt;

use super::containers::{parse, size};
use super::detach::DetachKeys;
use super::hijack::{self, MULTIPLEXED, RAW};
use super::params::Params;
use super::{App, blocking};
use crate::engine::error::{Error, Result};

/// `POST /containers/{id}/exec`
pub async fn create(
    State(app): State<App>,
    Path(id): Path<String>,
    body: axum::body::Bytes,
) -> Result<(StatusCode, Json<IdResponse>)> {
    let config: ExecConfig = parse(&body)?;
    let id = blocking(move || app.execs.create(&app.containers.find(&id)?, config)).await?;
    Ok((StatusCode::CREATED, Json(IdResponse { id })))
}

/// `POST /exec/{id}/start`
pub async fn start(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body =
        body.collect().await.map_err(|_| Error::bad_parameter("the request's body broke off"))?;
    let config: ExecStartConfig = parse(&body.to_bytes())?;
    let detach = config.detach.unwrap_or(false);
    let (tty, stream) = blocking(move || app.execs.start(&id, detach)).await?;
    let Some(stream) = stream else { return Ok(StatusCode::OK.into_response()) };
    let content_type = if tty { RAW } else { MULTIPLEXED };
    let stream = async move { tokio::net::UnixStream::from_std(stream).ok() };
    let detach = tty.then(|| hijack::Detach {
        keys: DetachKeys::parse("").expect("the default"),
        tell: Box::new(|| {}),
    });
    Ok(hijack::hijack(Request::from_parts(head, Body::empty()), content_type, detach, stream))
}

/// `POST /exec/{id}/resize`
pub async fn resize(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<StatusCode> {
    let (height, width) = size(&params)?;
    blocking(move || app.execs.resize(&id, height, width)).await.map(|()| StatusCode::OK)
}

/// `GET /exec/{id}/json`
pub async fn inspect(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<ExecInspectResponse>> {
    blocking(move || app.execs.inspect(&id)).await.map(Json)
}
