//! `/containers/{id}/exec` and `/exec`.

use std::io::Write;
use std::os::unix::net::UnixStream;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse;
use bollard_stubs::models::{ExecConfig, ExecStartConfig};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::containers::size;
use super::detach::DetachKeys;
use super::hijack;
use super::params::Params;
use super::{App, blocking, framing, words};
use crate::engine::error::{Error, Result};
use crate::runtime::shim::Stream;

/// The query by which our own client asks to be refused by a status.
pub const REFUSE: &str = "errors=status";

/// `POST /containers/{id}/exec`
pub async fn create(
    State(app): State<App>,
    Path(id): Path<String>,
    body: axum::body::Bytes,
) -> Result<(StatusCode, Json<Value>)> {
    let config: ExecConfig = words::parse(&["ExecOptions"], &body)?;
    let id = blocking(move || app.execs.create(&app.containers.find(&id)?, config)).await?;
    Ok((StatusCode::CREATED, Json(json!({ "Id": id }))))
}

/// `POST /exec/{id}/start`
pub async fn start(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body =
        body.collect().await.map_err(|_| Error::bad_parameter("the request's body broke off"))?;
    let config: ExecStartConfig = words::parse(&["ExecStart"], &body.to_bytes())?;
    let detach = config.detach.unwrap_or(false);
    let plain = head.uri.query().is_some_and(|query| query.split('&').any(|one| one == REFUSE));
    let keys = DetachKeys::parse(&app.execs.detach_keys(&id)?)?;
    let tell = {
        let (app, id) = (app.clone(), id.clone());
        Box::new(move || app.execs.tell_detached(&id))
    };
    let started = blocking(move || match app.execs.start(&id, detach) {
        Err(error) if !detach && !plain && cannot_run(&error) => {
            let tty = app.execs.has_terminal(&id)?;
            Ok((tty, Some(last_words(&error, tty)?)))
        }
        started => started,
    });
    let (tty, stream) = started.await?;
    let Some(stream) = stream else { return Ok(StatusCode::OK.into_response()) };
    let as_terminal = config.tty.unwrap_or(false);
    let content_type = hijack::content_type(as_terminal, &params);
    let stream = async move {
        let stream = tokio::net::UnixStream::from_std(stream).ok()?;
        framing::reframe(stream, !tty, !as_terminal).ok()
    };
    let detach = tty.then_some(hijack::Detach { keys, tell });
    Ok(hijack::hijack(Request::from_parts(head, Body::empty()), content_type, detach, stream))
}

/// Not the engine failed, but what was to be run.
fn cannot_run(error: &Error) -> bool {
    matches!(error.exit_code, 126 | 127)
}

/// Docker has taken over the connection by then: the error is all that the program says,
/// and its exit code is found by asking for it.
fn last_words(error: &Error, tty: bool) -> std::io::Result<UnixStream> {
    let text = format!("{error}\r\n");
    let head: &[u8] = if tty { &[] } else { &Stream::Stdout.frame_header(text.len()) };
    let (mut ours, theirs) = UnixStream::pair()?;
    ours.write_all(&[head, text.as_bytes()].concat())?;
    theirs.set_nonblocking(true)?;
    Ok(theirs)
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
pub async fn inspect(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Value>> {
    let exec = blocking(move || app.execs.inspect(&id)).await?;
    let mut exec = json!(exec);
    // Docker has it from the beginning, as nothing.
    let code = exec["ExitCode"].take();
    exec["ExitCode"] = code;
    Ok(Json(exec))
}
