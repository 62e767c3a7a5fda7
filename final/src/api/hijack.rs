//! Raw streams: an HTTP connection that stops being one.
//!
//! `attach` and `exec start` answer 101 (or 200, to old clients) and from then on
//! the connection carries the container's input and output: as they are with a
//! terminal, in frames without.

use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use axum::http::{HeaderValue, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::UnixStream;

/// The content type of a stream with a terminal: bytes as they are.
pub const RAW: &str = "application/vnd.docker.raw-stream";
/// The content type of a stream without: frames of an 8-byte header and a payload.
pub const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// Answers with an upgrade, and joins the connection to what `stream` becomes.
///
/// `stream` may take its time: an attach before the start waits for the start.
pub fn hijack(
    request: Request<Body>,
    content_type: &'static str,
    stream: impl Future<Output = Option<UnixStream>> + Send + 'static,
) -> Response<Body> {
    let wants_upgrade = request.headers().contains_key(UPGRADE);
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let (Ok(upgraded), Some(mut stream)) = tokio::join!(upgrade, stream) else { return };
        let mut client = TokioIo::new(upgraded);
        let size = 64 * 1024;
        let _ = copy_bidirectional_with_sizes(&mut client, &mut stream, size, size).await;
        let _ = client.shutdown().await;
    });
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if wants_upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    }
    response
}
