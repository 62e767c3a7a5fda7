//! The Docker API, spoken to whoever serves it.
//!
//! Where a daemon listens on the socket of this root, it is asked. Where none
//! does, the same API is served from inside this process, without a connection: there is
//! one code path, and no daemon is needed. A
//! daemon that goes while it is spoken to is no loss: what it did not get to read is
//! asked for here.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, bail};
use axum::body::Body;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
/// Encodes what goes into a path or a query.
pub use images::percent_encoded as encode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use crate::api::hijack::Here;
use crate::api::{self, Api, error::ErrorBody};
use crate::runtime::shim::Ahead;
use crate::store::socket;

/// A refusal of the engine, with the exit code that it asks for.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// The HTTP status.
    pub status: StatusCode,
    /// The sentence.
    pub message: String,
    /// The exit code of a command that ends with it.
    pub exit_code: u8,
}

/// Whom to ask.
#[derive(Clone)]
pub enum Client {
    /// A daemon, as long as it is there.
    Daemon(Arc<Daemon>),
    /// This very process.
    Here(Api),
}

/// A daemon, and who serves when it is gone.
pub struct Daemon {
    socket: PathBuf,
    here: Box<dyn Fn() -> anyhow::Result<Api> + Send + Sync>,
}

/// What goes along with a request.
#[derive(Clone, Copy)]
enum Along<'a> {
    Nothing,
    /// The wish for a stream in the place of the connection.
    Stream(&'a Here),
    /// Who the user is to a registry.
    Login(&'a str),
}

impl Client {
    /// A daemon if one listens at `socket`, or else `here`.
    pub fn connect(
        socket: &Path,
        here: impl Fn() -> anyhow::Result<Api> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        match connect(socket) {
            Ok(_) => Ok(Self::Daemon(Arc::new(Daemon {
                socket: socket.to_owned(),
                here: Box::new(here),
            }))),
            Err(_) => Ok(Self::Here(here()?)),
        }
    }

    /// Says that a container will be created and started, which is quicker then, as long
    /// as what comes back is kept. A daemon is not asked for that.
    pub fn expect_start(&self) -> Option<Ahead> {
        match self {
            Self::Here(api) => Some(api.expect_start()),
            Self::Daemon(_) => None,
        }
    }

    /// One request; the answer's head, its body still to come.
    ///
    /// # Errors
    /// [`Refused`] for an answer that is not a success.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> anyhow::Result<Response<Body>> {
        self.send_with(method, path, body, Along::Nothing).await
    }

    /// A request without a body, of who is this `login` to a registry: `X-Registry-Auth`.
    ///
    /// # Errors
    /// As for [`Self::send`].
    pub async fn send_as(
        &self,
        login: Option<&str>,
        method: Method,
        path: &str,
    ) -> anyhow::Result<Response<Body>> {
        let along = login.map_or(Along::Nothing, Along::Login);
        self.send_with(method, path, None, along).await
    }

    async fn send_with(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        along: Along<'_>,
    ) -> anyhow::Result<Response<Body>> {
        let body = body.map(Bytes::from);
        let sent = match self.try_to_send(&method, path, body.clone(), along).await {
            // There is another daemon by now, or there is none.
            Err(error) if was_not_heard(&error, &method) => {
                self.try_to_send(&method, path, body, along).await
            }
            sent => sent,
        };
        let response = sent.context("speak to the engine")?;
        match response.status() {
            status if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS => {
                Ok(response)
            }
            StatusCode::NOT_MODIFIED => Ok(response),
            status => Err(refusal(status, response).await.into()),
        }
    }

    // ANCHOR: ask
    async fn try_to_send(
        &self,
        method: &Method,
        path: &str,
        body: Option<Bytes>,
        along: Along<'_>,
    ) -> anyhow::Result<Response<Body>> {
        let request = Request::builder().method(method).uri(path).header(HOST, "coracle");
        let mut request = match along {
            Along::Nothing => request,
            Along::Stream(here) => {
                let request = request.header(CONNECTION, "Upgrade").header(UPGRADE, "tcp");
                request.extension(here.clone())
            }
            Along::Login(login) => request.header("X-Registry-Auth", login),
        };
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Body::from(body.unwrap_or_default()))?;
        match self {
            // Within one process nothing needs a connection.
            Self::Here(api) => Ok(api::answer(api, request).await),
            Self::Daemon(_) => Ok(self.send_over(request).await?.map(Body::new)),
        }
    }
    // ANCHOR_END: ask

    /// One request over a connection of its own, which it may take over.
    async fn send_over(&self, request: Request<Body>) -> anyhow::Result<Response<Incoming>> {
        let stream = self.stream().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender.send_request(request).await?)
    }

    /// `PUT` of what comes through a channel.
    ///
    /// # Errors
    /// [`Refused`], or that what was to be sent could not be read.
    pub async fn upload(
        &self,
        path: &str,
        chunks: tokio::sync::mpsc::Receiver<std::io::Result<Bytes>>,
    ) -> anyhow::Result<()> {
        let chunks = futures_util::stream::unfold(chunks, |mut chunks| async {
            chunks.recv().await.map(|chunk| (chunk.map(Frame::data), chunks))
        });
        let body = StreamBody::new(Box::pin(chunks));
        let (mut sender, connection) = http1::handshake(TokioIo::new(self.stream().await?)).await?;
        tokio::spawn(connection);
        let request = Request::builder().method(Method::PUT).uri(path).header(HOST, "coracle");
        let request = request.header(CONTENT_TYPE, "application/x-tar").body(body)?;
        let response = sender.send_request(request).await.context("speak to the engine")?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(refusal(status, response.map(Body::new)).await.into()),
        }
    }

    /// A connection: to the daemon, or to a server task in this process.
    async fn stream(&self) -> anyhow::Result<UnixStream> {
        let api = match self {
            Self::Daemon(daemon) => match connect(&daemon.socket) {
                Ok(stream) => {
                    let what = || format!("connect to {}", daemon.socket.display());
                    stream.set_nonblocking(true).with_context(what)?;
                    return UnixStream::from_std(stream).with_context(what);
                }
                Err(_) => (daemon.here)()?,
            },
            Self::Here(api) => api.clone(),
        };
        let (ours, theirs) = UnixStream::pair().context("create a socket pair")?;
        tokio::spawn(api::serve_connection(api, theirs, None));
        Ok(ours)
    }

    /// A request with an answer in JSON.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<T> {
        let body = body.map(serde_json::to_vec).transpose()?;
        let response = self.send(method, path, body).await?;
        let bytes =
            response.into_body().collect().await.context("read the engine's answer")?.to_bytes();
        serde_json::from_slice(&bytes).context("understand the engine's answer")
    }

    /// `GET`, with an answer in JSON.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.call(Method::GET, path, None::<&()>).await
    }

    /// `GET`, with the answer as it comes.
    pub async fn text(&self, path: &str) -> anyhow::Result<String> {
        let body = self.send(Method::GET, path, None).await?.into_body();
        let bytes = body.collect().await.context("read the engine's answer")?.to_bytes();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A request without a body whose answer is its status. False if nothing had
    /// to be changed.
    pub async fn post(&self, path: &str) -> anyhow::Result<bool> {
        let response = self.send(Method::POST, path, None).await?;
        Ok(response.status() != StatusCode::NOT_MODIFIED)
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.send(Method::DELETE, path, None).await.map(drop)
    }

    /// A request whose answer is a raw stream: the connection turns into it, or, within
    /// one process, it comes as it is.
    pub async fn upgrade(&self, path: &str, body: Option<Vec<u8>>) -> anyhow::Result<Connection> {
        let here = Here::default();
        let response = self.send_with(Method::POST, path, body, Along::Stream(&here)).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            bail!("the engine did not hand over the connection");
        }
        if let Some(stream) = here.take() {
            return Ok(Box::pin(async { Some(Box::new(stream.await?) as _) }));
        }
        let upgraded = hyper::upgrade::on(response).await.context("take over the connection")?;
        Ok(Box::pin(std::future::ready(Some(Box::new(TokioIo::new(upgraded)) as _))))
    }
}

/// What becomes a container's stream, which may wait for its start; or of nothing, if it
/// never gets to run.
pub type Connection = Pin<Box<dyn Future<Output = Option<Box<dyn Duplex>>> + Send>>;

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Connects to a daemon's socket, however long its path is.
fn connect(path: &Path) -> std::io::Result<std::os::unix::net::UnixStream> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    socket::connect(folder, &path.file_name().unwrap_or_default().to_string_lossy())
}

/// Whether a request that failed can be made again: nobody has read it, or it asks for
/// nothing to be done.
///
/// A daemon that ends over what it has not read resets the connection; the end of one
/// whose request was read looks like any other end.
fn was_not_heard(error: &anyhow::Error, method: &Method) -> bool {
    let Some(http) = error.downcast_ref::<hyper::Error>() else { return false };
    let broken = std::error::Error::source(http)
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .is_some_and(|io| matches!(io.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe));
    let changes_nothing = method == Method::GET || method == Method::HEAD;
    broken
        || http.is_canceled()
        || http.is_closed()
        || changes_nothing && http.is_incomplete_message()
}

/// Reads what a refusal says.
async fn refusal(status: StatusCode, response: Response<Body>) -> Refused {
    let bytes =
        response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    match serde_json::from_slice::<ErrorBody>(&bytes) {
        Ok(body) => Refused { status, message: body.message, exit_code: body.exit_code },
        Err(_) => {
            Refused { status, message: format!("the engine answered {status}"), exit_code: 125 }
        }
    }
}
