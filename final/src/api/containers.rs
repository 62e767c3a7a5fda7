//! `/containers`.

use std::io;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Response, StatusCode};
use bollard_stubs::models::{ContainerCreateBody, ContainerCreateResponse};
use tokio::task::JoinSet;

use super::hijack;
use super::params::Params;
use super::{App, blocking, words};
use crate::engine::create::create as create_container;
use crate::engine::error::{Error, Result};
use crate::engine::wait::{self, Condition};
use crate::engine::{events, lifecycle, listing, logs, remove, restart, shown};
use crate::shape::{self, Ordered};

/// `POST /containers/create`
pub async fn create(
    State(app): State<App>,
    params: Params,
    body: axum::body::Bytes,
) -> Result<(StatusCode, Json<ContainerCreateResponse>)> {
    let body: ContainerCreateBody = words::parse_creation(&body)?;
    let name = params.text("name").map(str::to_owned);
    let platform = params.text("platform").map(str::to_owned);
    let (id, warnings) =
        blocking(move || create_container(&app, name.as_deref(), platform.as_deref(), body))
            .await?;
    Ok((StatusCode::CREATED, Json(ContainerCreateResponse { id, warnings })))
}

/// `GET /containers/json`
pub async fn list(State(app): State<App>, params: Params) -> Result<Json<Ordered>> {
    let options = listing::Options {
        all: params.flag("all"),
        // Docker's clients say -1 for all.
        limit: params.number::<i64>("limit")?.and_then(|limit| usize::try_from(limit).ok()),
        size: params.flag("size"),
        filters: params.filters()?,
    };
    let found = blocking(move || listing::containers(&app, &options)).await?;
    Ok(Json(shape::complete_all("ContainerSummary", &found)))
}

/// `GET /containers/{id}/json`
pub async fn inspect(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Ordered>> {
    let size = params.flag("size");
    let found = blocking(move || shown::inspect(&app, &id, size)).await?;
    Ok(Json(shape::complete("Container", &found)))
}

/// `POST /containers/{id}/start`
///
/// `explain=1`, which is ours, answers with how the container was made.
pub async fn start(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response<Body>> {
    let explain = params.flag("explain");
    let birth = blocking(move || lifecycle::start(&app, &id, explain)).await?;
    let status = if birth.is_some() { StatusCode::OK } else { StatusCode::NO_CONTENT };
    let response = Response::builder().status(status);
    Ok(response.body(birth.map(Body::from).unwrap_or_default()).expect("a fixed head"))
}

/// `POST /containers/{id}/stop`
pub async fn stop(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<StatusCode> {
    let (signal, seconds) = end(&params)?;
    lifecycle::stop(&app, &id, signal, seconds).await.map(|()| StatusCode::NO_CONTENT)
}

/// `POST /containers/{id}/restart`
pub async fn restart(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<StatusCode> {
    let (signal, seconds) = end(&params)?;
    restart::restart(&app, &id, signal, seconds).await.map(|()| StatusCode::NO_CONTENT)
}

/// `signal` and `t`, in seconds: how a program is to be ended.
fn end(params: &Params) -> Result<(Option<&str>, Option<i64>)> {
    Ok((params.text("signal"), params.number("t")?))
}

/// `POST /containers/{id}/kill`
pub async fn kill(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<StatusCode> {
    let signal = params.text("signal").unwrap_or("SIGKILL").to_owned();
    blocking(move || lifecycle::kill(&app, &id, &signal)).await.map(|()| StatusCode::NO_CONTENT)
}

/// `POST /containers/{id}/pause`
pub async fn pause(State(app): State<App>, Path(id): Path<String>) -> Result<StatusCode> {
    blocking(move || lifecycle::pause(&app, &id)).await.map(|()| StatusCode::NO_CONTENT)
}

/// `POST /containers/{id}/unpause`
pub async fn unpause(State(app): State<App>, Path(id): Path<String>) -> Result<StatusCode> {
    blocking(move || lifecycle::unpause(&app, &id)).await.map(|()| StatusCode::NO_CONTENT)
}

/// `POST /containers/{id}/resize`
pub async fn resize(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<StatusCode> {
    let (height, width) = size(&params)?;
    blocking(move || lifecycle::resize(&app, &id, height, width)).await.map(|()| StatusCode::OK)
}

/// `h` and `w`, in characters.
pub fn size(params: &Params) -> Result<(u16, u16)> {
    let given = |name| {
        let missing = || Error::bad_parameter(format!("{name} is missing: how large is it?"));
        params.number(name)?.ok_or_else(missing)
    };
    Ok((given("h")?, given("w")?))
}

/// `DELETE /containers/{id}`
pub async fn remove(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<StatusCode> {
    let (force, volumes) = (params.flag("force"), params.flag("v"));
    remove::remove(&app, &id, force, volumes).await.map(|()| StatusCode::NO_CONTENT)
}

/// `POST /containers/{id}/wait`: the head comes at once, the body when it ends,
/// so that a client knows that it waits before it starts the container.
pub async fn wait(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response<Body>> {
    let condition: Condition = params.text("condition").unwrap_or("not-running").parse()?;
    let waiter = wait::waiter(&app, &id, condition)?;
    // It waits from now on, whenever the answer is read, and only as long as somebody
    // may read it: what is left in the set is ended with it.
    let mut waiting = JoinSet::new();
    waiting.spawn(waiter.finish(app));
    let body = Body::from_stream(futures_once(async move {
        let ended = waiting.join_next().await.and_then(std::result::Result::ok);
        let answer = ended.map(|ended| serde_json::to_vec(&ended).expect("plain data"));
        answer.ok_or_else(|| io::Error::other("the waiting broke off"))
    }));
    Ok(Response::builder()
        .header("Content-Type", "application/json")
        .body(body)
        .expect("a fixed head"))
}

/// A stream of one item.
fn futures_once<T>(item: impl Future<Output = T>) -> impl futures_util::Stream<Item = T> {
    futures_util::stream::once(item)
}

/// `GET /containers/{id}/logs`
pub async fn logs(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response<Body>> {
    let options = logs::Options {
        follow: params.flag("follow"),
        stdout: params.flag("stdout"),
        stderr: params.flag("stderr"),
        timestamps: params.flag("timestamps"),
        details: params.flag("details"),
        since: params.text("since").map(events::parse_time).transpose()?,
        // Libraries that leave out nothing write 0 for none.
        until: params
            .text("until")
            .filter(|until| *until != "0")
            .map(events::parse_time)
            .transpose()?,
        tail: params.text("tail").filter(|tail| *tail != "all").and_then(|tail| tail.parse().ok()),
    };
    if !options.stdout && !options.stderr {
        return Err(Error::bad_parameter("Bad parameters: you must choose at least one stream"));
    }
    let container = app.containers.find(&id)?;
    container.record.require_log()?;
    let content_type = hijack::content_type(container.record.tty(), &params);
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    tokio::task::spawn_blocking(move || {
        logs::send(&container, &options, &|chunk| sender.blocking_send(chunk).is_ok())
    });
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver
            .recv()
            .await
            .map(|chunk: Vec<u8>| (Ok::<_, std::convert::Infallible>(chunk), receiver))
    });
    let response = Response::builder().header("Content-Type", content_type);
    Ok(response.body(Body::from_stream(stream)).expect("a fixed head"))
}

/// `GET /containers/{id}/explain`: how the container was made, a step a line. Ours.
pub async fn explain(State(app): State<App>, Path(id): Path<String>) -> Result<Response<Body>> {
    let birth = blocking(move || app.containers.find(&id)?.birth()).await?;
    let response = Response::builder().header("Content-Type", "application/x-ndjson");
    Ok(response.body(Body::from(birth)).expect("a fixed head"))
}
