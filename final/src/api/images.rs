//! `/images`.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Response, StatusCode};
use bollard_stubs::models::ImageDeleteResponseItem;
use serde_json::{Value, json};

use super::params::Params;
use super::registry::Sender;
use super::{App, blocking};
use crate::engine::error::{Error, Result};
use crate::engine::worker::error_line;
use crate::engine::{image_listing, image_removal};
use crate::shape::{self, Ordered};

/// `POST /images/create`: a pull, told in lines of JSON.
///
/// The status is that of the beginning: an image that is not there is a 404 as long
/// as nothing was said but its name.
pub async fn pull(
    State(app): State<App>,
    params: Params,
    Sender(login): Sender,
) -> Result<Response<Body>> {
    let image = params
        .text("fromImage")
        .ok_or_else(|| Error::bad_parameter("invalid reference format: which image?"))?;
    let reference = match params.text("tag") {
        Some(digest) if digest.contains(':') => format!("{image}@{digest}"),
        Some(tag) => format!("{image}:{tag}"),
        None => image.to_owned(),
    };
    let platform = params.text("platform").map(str::to_owned);
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<Result<Vec<u8>>>(64);
    tokio::task::spawn_blocking(move || {
        let result = app.images.pull(&reference, platform.as_deref(), login, |line| {
            sender.blocking_send(Ok(line.to_vec())).is_ok()
        });
        if let Err(error) = result {
            let _ = sender.blocking_send(Err(error));
        }
    });
    // The name is told before the registry is asked: that alone is no beginning.
    let mut first = Vec::new();
    for _ in 0..2 {
        match receiver.recv().await {
            Some(Err(error)) => return Err(error),
            Some(Ok(line)) => first.extend(line),
            None => break,
        }
    }
    let rest = futures_util::stream::unfold(receiver, |mut receiver| async {
        let line = receiver.recv().await?.unwrap_or_else(|error| error_line(&error));
        Some((line, receiver))
    });
    let lines = futures_util::StreamExt::map(
        futures_util::StreamExt::chain(futures_util::stream::iter([first]), rest),
        Ok::<_, std::convert::Infallible>,
    );
    let response = Response::builder().header("Content-Type", "application/json");
    Ok(response.body(Body::from_stream(lines)).expect("a fixed head"))
}

/// `GET /images/json`
pub async fn list(State(app): State<App>, params: Params) -> Result<Json<Ordered>> {
    let filters = params.filters()?;
    let mut found = blocking(move || image_listing::images(&app, &filters)).await?;
    add_virtual_size(&params, &mut found);
    if params.before("1.43") {
        found.iter_mut().for_each(name_the_nameless);
    }
    Ok(Json(shape::complete_all("ImageSummary", &found)))
}

/// Older clients look for an image's size under another name, too.
pub fn add_virtual_size(params: &Params, images: &mut [Value]) {
    for image in images.iter_mut().filter(|_| params.before("1.44")) {
        image["VirtualSize"] = image["Size"].clone();
    }
}

/// Older clients look at the first name without asking whether there is one.
fn name_the_nameless(image: &mut Value) {
    let is_empty = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    if is_empty(&image["RepoTags"]) && is_empty(&image["RepoDigests"]) {
        image["RepoTags"] = json!(["<none>:<none>"]);
        image["RepoDigests"] = json!(["<none>@<none>"]);
    }
}

/// `GET /images/{name}/json` and `GET /images/{name}/history`; a name may have slashes.
pub async fn show(
    State(app): State<App>,
    Path(path): Path<String>,
    params: Params,
) -> Result<Json<Ordered>> {
    let Some((name, what)) = path.rsplit_once('/') else { return Err(no_page()) };
    let name = name.to_owned();
    match what {
        "json" => {
            let mut found = blocking(move || image_listing::inspect(&app.images, &name)).await?;
            add_virtual_size(&params, std::slice::from_mut(&mut found));
            let mut shown = shape::complete("Image", &found);
            if params.before("1.50") {
                // Older clients expect a container's configuration, whatever is in it.
                shown.set("Config", shape::complete("Config", &found["Config"]));
            }
            // What the last step of a build ran in, which Docker tells up to 1.44. The first
            // Compose looks into it whatever version it has agreed on.
            shown.set("ContainerConfig", shape::complete("Config", &json!({})));
            if params.before("1.45") {
                shown.set("Container", Ordered::Plain("".into()));
            }
            Ok(Json(shown))
        }
        "history" => {
            let found = blocking(move || image_listing::history(&app.images, &name)).await?;
            Ok(Json(shape::complete_all("ImageStep", &found)))
        }
        _ => Err(no_page()),
    }
}

/// `POST /images/{name}/tag`
pub async fn change(
    State(app): State<App>,
    Path(path): Path<String>,
    params: Params,
) -> Result<StatusCode> {
    let Some(name) = path.strip_suffix("/tag").map(str::to_owned) else {
        return Err(no_page());
    };
    let repository = params
        .text("repo")
        .ok_or_else(|| Error::bad_parameter("repo is missing: which name shall it have?"))?;
    let target = match params.text("tag") {
        Some(tag) => format!("{repository}:{tag}"),
        None => repository.to_owned(),
    };
    blocking(move || app.images.tag(&name, &target)).await.map(|()| StatusCode::CREATED)
}

pub(super) fn no_page() -> Error {
    Error::not_found("page not found")
}

/// `DELETE /images/{name}`
pub async fn remove(
    State(app): State<App>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Json<Vec<ImageDeleteResponseItem>>> {
    let force = params.flag("force");
    blocking(move || image_removal::remove(&app, &name, force)).await.map(Json)
}
