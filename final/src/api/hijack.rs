//! Raw streams: an HTTP connection that stops being one.
//!
//! `attach` and `exec start` answer 101 (or 200, to old clients) and from then on
//! the connection carries the container's input and output: as they are with a
//! terminal, in frames without.

use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use axum::http::{HeaderValue, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
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
        let (Ok(upgraded), Some(stream)) = tokio::join!(upgrade, stream) else { return };
        join(TokioIo::new(upgraded), stream).await;
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

/// Carries bytes both ways until the program's output ends. The end of the client's
/// input is passed on, and is no reason to stop.
async fn join(client: impl AsyncRead + AsyncWrite, stream: UnixStream) {
    let (input, mut to_client) = tokio::io::split(client);
    let (output, mut to_program) = stream.into_split();
    let (mut input, mut output) = (buffered(input), buffered(output));
    let feed = async {
        let _ = copy(&mut input, &mut to_program).await;
        let _ = to_program.shutdown().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = copy(&mut output, &mut to_client) => {}
        () = feed => {}
    }
    let _ = to_client.shutdown().await;
}

fn buffered<R: AsyncRead>(from: R) -> BufReader<R> {
    BufReader::with_capacity(64 * 1024, from)
}

async fn copy(
    from: &mut (impl AsyncBufRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    tokio::io::copy_buf(from, to).await.map(drop)
}
