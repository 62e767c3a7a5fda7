//! What a container does: its processes, what it uses, and what it has changed.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Response;
use bollard_stubs::models::{ContainerTopResponse, FilesystemChange};

use super::params::Params;
use super::{App, blocking};
use crate::engine::error::Result;
use crate::engine::{changes as diff, stats as usage, top as processes};

/// `GET /containers/{id}/top`
pub async fn top(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<ContainerTopResponse>> {
    let options = params.text("ps_args").unwrap_or_default().to_owned();
    blocking(move || processes::top(&app, &id, &options)).await.map(Json)
}

/// `GET /containers/{id}/stats`: a line of JSON, or one each second.
pub async fn stats(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response<Body>> {
    // Docker's clients are told again and again unless they say otherwise.
    let stream = params.text("stream").is_none() || params.flag("stream");
    let one_shot = params.flag("one-shot");
    app.containers.find(&id)?;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Vec<u8>>(4);
    tokio::task::spawn_blocking(move || {
        let tell = |stats: serde_json::Value| {
            let line = format!("{stats}\n").into_bytes();
            sender.blocking_send(line).is_ok()
        };
        usage::watch(&app, &id, stream, one_shot, &tell)
    });
    let lines = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|line| (Ok::<_, std::convert::Infallible>(line), receiver))
    });
    let response = Response::builder().header("Content-Type", "application/json");
    Ok(response.body(Body::from_stream(lines)).expect("a fixed head"))
}

/// `GET /containers/{id}/changes`; where there are none, Docker says `null`.
pub async fn changes(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Option<Vec<FilesystemChange>>>> {
    let changes = blocking(move || diff::changes(&app, &id)).await?;
    Ok(Json((!changes.is_empty()).then_some(changes)))
}
