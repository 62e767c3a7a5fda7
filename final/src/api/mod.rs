//! The Docker Engine API: HTTP to engine and back, nothing more.
//!
//! Source: the Docker Engine API reference, versions 1.41 and later.

pub mod archive;
pub mod attach;
pub mod change;
pub mod containers;
pub mod detach;
pub mod error;
pub mod events;
pub mod exec;
mod framing;
pub mod hijack;
pub mod images;
pub mod networks;
pub mod observe;
pub mod params;
pub mod prune;
pub mod registry;
pub mod system;
mod versions;
pub mod volumes;
mod words;

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Request, Response};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tower::ServiceExt;

pub use versions::{API_VERSION, MIN_API_VERSION};

use crate::engine::Engine;
use crate::engine::error::{Error, Result};
use crate::runtime::shim::{self, Ahead};

/// What every handler is given.
pub type App = Arc<Engine>;

/// Every route, on an engine.
///
/// The routes of a group are put together when one of them is asked for: a command
/// line that serves itself needs few of them, and not for long.
#[derive(Clone)]
pub struct Api {
    engine: App,
    routers: Arc<[OnceLock<Router>; GROUPS]>,
}

/// How many groups of routes there are.
const GROUPS: usize = 6;

/// The group that a path belongs to: its place among the others, and its routes.
fn group(path: &str) -> (usize, fn() -> Router<App>) {
    let words: Vec<_> = path.split('/').skip(1).collect();
    match words[..] {
        ["containers", "create"]
        | ["containers", _, "start" | "attach" | "wait" | "exec"]
        | ["exec", ..] => (0, running_routes),
        ["containers", ..] => (1, containers_routes),
        ["images" | "auth" | "distribution", ..] => (2, images_routes),
        ["networks", ..] => (3, networks_routes),
        ["volumes", ..] => (4, volumes_routes),
        _ => (5, system_routes),
    }
}

impl Api {
    /// The API of this engine.
    pub fn new(engine: App) -> Self {
        Self { engine, routers: Arc::default() }
    }

    /// A container will be created and started: what can be done for that now.
    pub fn expect_start(&self) -> Ahead {
        shim::call_ahead(&self.engine.root.containers())
    }

    /// The router that knows this path, if any does.
    fn router(&self, path: &str) -> &Router {
        let (place, routes) = group(path);
        self.routers[place].get_or_init(|| {
            routes()
                .fallback(no_such_page)
                .method_not_allowed_fallback(no_such_page)
                .with_state(self.engine.clone())
        })
    }
}

fn system_routes() -> Router<App> {
    Router::new()
        .route("/_ping", get(system::ping).head(system::ping))
        .route("/version", get(system::version))
        .route("/info", get(system::info))
        .route("/events", get(events::events))
        .route("/build/prune", post(prune::builds))
        .route("/system/df", get(prune::usage))
        .route("/plugins", get(no_plugins))
}

/// What it takes to run a program, in a new container or in one that is there.
fn running_routes() -> Router<App> {
    Router::new()
        .route("/containers/create", post(containers::create))
        .route("/containers/{id}/start", post(containers::start))
        .route("/containers/{id}/attach", post(attach::attach))
        .route("/containers/{id}/wait", post(containers::wait))
        .route("/containers/{id}/exec", post(exec::create))
        .route("/exec/{id}/start", post(exec::start))
        .route("/exec/{id}/resize", post(exec::resize))
        .route("/exec/{id}/json", get(exec::inspect))
}

fn containers_routes() -> Router<App> {
    Router::new()
        .route("/containers/json", get(containers::list))
        .route("/containers/prune", post(prune::containers))
        .route("/containers/{id}/json", get(containers::inspect))
        .route("/containers/{id}/stop", post(containers::stop))
        .route("/containers/{id}/restart", post(containers::restart))
        .route("/containers/{id}/kill", post(containers::kill))
        .route("/containers/{id}/pause", post(containers::pause))
        .route("/containers/{id}/unpause", post(containers::unpause))
        .route("/containers/{id}/resize", post(containers::resize))
        .route("/containers/{id}/logs", get(containers::logs))
        .route("/containers/{id}/explain", get(containers::explain))
        .route("/containers/{id}/rename", post(change::rename))
        .route("/containers/{id}/update", post(change::update))
        .route("/containers/{id}/changes", get(observe::changes))
        .route("/containers/{id}/archive", get(archive::get).head(archive::head).put(archive::put))
        .route("/containers/{id}/stats", get(observe::stats))
        .route("/containers/{id}/top", get(observe::top))
        .route("/containers/{id}", delete(containers::remove))
}

fn images_routes() -> Router<App> {
    Router::new()
        .route("/images/create", post(images::pull))
        .route("/images/json", get(images::list))
        .route("/images/prune", post(prune::images))
        .route("/images/{*path}", get(images::show).post(images::change).delete(images::remove))
        .route("/auth", post(registry::log_in))
        .route("/distribution/{*path}", get(registry::distribution))
}

fn networks_routes() -> Router<App> {
    Router::new()
        .route("/networks", get(networks::list))
        .route("/networks/create", post(networks::create))
        .route("/networks/prune", post(networks::prune))
        .route("/networks/{id}", get(networks::inspect).delete(networks::remove))
        .route("/networks/{id}/connect", post(networks::connect))
        .route("/networks/{id}/disconnect", post(networks::disconnect))
        .route("/networks/{id}/down", post(networks::down))
}

fn volumes_routes() -> Router<App> {
    Router::new()
        .route("/volumes", get(volumes::list))
        .route("/volumes/create", post(volumes::create))
        .route("/volumes/prune", post(volumes::prune))
        .route("/volumes/{name}", get(volumes::inspect).delete(volumes::remove))
}

/// What only a swarm has.
const SWARM: [&str; 6] = ["swarm", "nodes", "services", "tasks", "secrets", "configs"];

/// Docker's words, for a method too that a page does not know.
async fn no_such_page(request: Request<Body>) -> Error {
    let (Parts { uri, .. }, mut body) = request.into_parts();
    archive::drain(&mut body).await;
    let first = uri.path().split('/').nth(1).unwrap_or_default();
    match uri.path() {
        "/swarm/leave" => Error::unavailable("This node is not part of a swarm"),
        _ if SWARM.contains(&first) => {
            Error::unavailable("This node is not a swarm manager. This engine knows no swarms.")
        }
        _ => Error::not_found("page not found"),
    }
}

/// `GET /plugins`: there are none.
async fn no_plugins() -> axum::Json<[(); 0]> {
    axum::Json([])
}

/// The answer to one request.
pub async fn answer(api: &Api, request: Request<Body>) -> Response<Body> {
    let mut response = match versions::without_version(request) {
        Ok(request) => match api.router(request.uri().path()).clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        Err(refused) => refused.into_response(),
    };
    versions::sign(&mut response);
    response
}

/// Serves one connection until it ends, or becomes a raw stream.
///
/// `busy` counts requests that wait for their answer.
pub async fn serve_connection<S>(api: Api, stream: S, busy: Option<Busy>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let (api, busy) = (api.clone(), busy.clone());
        async move {
            let _busy = busy.map(Busy::one_more);
            Ok::<_, Infallible>(answer(&api, request.map(Body::new)).await)
        }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

/// Requests that wait for their answer.
#[derive(Clone)]
pub struct Busy(pub Arc<watch::Sender<usize>>);

/// One of them.
struct Waiting(Arc<watch::Sender<usize>>);

impl Busy {
    fn one_more(self) -> Waiting {
        self.0.send_modify(|count| *count += 1);
        Waiting(self.0)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// True in a process that serves nobody but its own command line.
static ALONE: AtomicBool = AtomicBool::new(false);

/// This process serves its own command line only: there are no other requests that
/// could be held up, and a thread for each would cost more than it brings.
pub fn serve_alone() {
    ALONE.store(true, Ordering::Relaxed);
}

/// Whether it does.
pub fn is_alone() -> bool {
    ALONE.load(Ordering::Relaxed)
}

/// Runs what blocks (the disk, the kernel) where it does not hold up other requests.
pub async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if is_alone() {
        return act();
    }
    match tokio::task::spawn_blocking(act).await {
        Ok(result) => result,
        Err(_) => Err(Error::system(
            "the engine stumbled over a defect of its own; this is worth a report",
        )),
    }
}
