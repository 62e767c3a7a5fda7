//! Raw streams: an HTTP connection that stops being one.
//!
//! `attach` and `exec start` answer 101 and from then on the connection carries the
//! container's input and output: as they are with a terminal, in frames without. A
//! client that asks for no upgrade gets the output as the body of a 200, and its own
//! body is the input.

use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use axum::http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::upgrade::Parts;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinHandle;

use super::detach::DetachKeys;
use super::params::Params;
use crate::runtime::unread_by_peer;

/// How long a client may take to read the head of an answer.
const PATIENCE: Duration = Duration::from_millis(100);

/// The content type of a stream with a terminal: bytes as they are.
pub const RAW: &str = "application/vnd.docker.raw-stream";
/// The content type of a stream without: frames of an 8-byte header and a payload.
pub const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// What a stream is called: before 1.42 there was one name for both.
pub fn content_type(tty: bool, params: &Params) -> &'static str {
    if tty || params.before("1.42") { RAW } else { MULTIPLEXED }
}

/// What is read at once.
const CHUNK: usize = 64 * 1024;

/// Leaving a container by keys.
pub struct Detach {
    /// Which keys.
    pub keys: DetachKeys,
    /// Whom to tell of it.
    pub tell: Box<dyn FnOnce() + Send>,
}

/// What becomes a container's stream, or of nothing if it never gets to run.
pub type Stream = Pin<Box<dyn Future<Output = Option<UnixStream>> + Send>>;

/// Comes with the request of a client in this very process: it gets the stream itself,
/// and there is no connection that would have to carry it.
#[derive(Clone, Default)]
pub struct Here(Arc<Mutex<Option<Stream>>>);

impl Here {
    fn put(&self, stream: impl Future<Output = Option<UnixStream>> + Send + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::pin(stream));
    }

    /// The stream, if the request was answered by one.
    pub fn take(&self) -> Option<Stream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Joins the client to what `stream` becomes. A terminal's client may `detach`.
///
/// `stream` may take its time: an attach before the start waits for the start.
pub fn hijack(
    request: Request<Body>,
    content_type: &'static str,
    detach: Option<Detach>,
    stream: impl Future<Output = Option<UnixStream>> + Send + 'static,
) -> Response<Body> {
    let head = Response::builder().header(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(here) = request.extensions().get::<Here>() {
        match detach {
            None => here.put(stream),
            Some(detach) => here.put(detachable(stream, detach)),
        }
        let head = head.status(StatusCode::SWITCHING_PROTOCOLS);
        return head.body(Body::empty()).expect("a fixed head");
    }
    if !request.headers().contains_key(UPGRADE) {
        let body = Body::from_stream(output(request.into_body(), stream));
        return head.body(body).expect("a fixed head");
    }
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let (Ok(upgraded), Some(stream)) = tokio::join!(upgrade, stream) else { return };
        match upgraded.downcast::<TokioIo<UnixStream>>() {
            Ok(Parts { io, read_buf, .. }) => {
                let client = io.into_inner();
                head_is_taken(&client).await;
                let (input, output) = client.into_split();
                join(read_buf.chain(input), output, stream, detach).await;
            }
            Err(upgraded) => {
                let (input, output) = tokio::io::split(TokioIo::new(upgraded));
                join(input, output, stream, detach).await;
            }
        }
    });
    let head = head.status(StatusCode::SWITCHING_PROTOCOLS);
    let head = head.header(CONNECTION, "Upgrade").header(UPGRADE, "tcp");
    head.body(Body::empty()).expect("a fixed head")
}

/// A stream that whoever has it may leave by keys.
async fn detachable(
    stream: impl Future<Output = Option<UnixStream>>,
    detach: Detach,
) -> Option<UnixStream> {
    let stream = stream.await?;
    let (ours, theirs) = UnixStream::pair().ok()?;
    let (input, output) = ours.into_split();
    tokio::spawn(join(input, output, stream, Some(detach)));
    Some(theirs)
}

/// Waits until the client has read the head of the answer. Some read that through a
/// buffer, and what follows past it: output that is already there would be in the
/// buffer, and be lost.
async fn head_is_taken(client: &UnixStream) {
    let begin = Instant::now();
    let waits = || unread_by_peer(client.as_fd()).is_ok_and(|bytes| bytes > 0);
    while begin.elapsed() < PATIENCE && waits() {
        // Mostly it is a matter of microseconds.
        match begin.elapsed() < Duration::from_micros(300) {
            true => tokio::task::yield_now().await,
            false => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

/// Carries bytes both ways until the program's output ends, or the client detaches.
/// The end of the client's input is passed on, and is no reason to stop.
async fn join(
    input: impl AsyncRead + Unpin,
    mut to_client: impl AsyncWrite + Unpin,
    stream: UnixStream,
    detach: Option<Detach>,
) {
    let (output, mut to_program) = stream.into_split();
    let mut output = BufReader::with_capacity(CHUNK, output);
    let feed = async {
        match detach {
            None => {
                let mut input = BufReader::with_capacity(CHUNK, input);
                let _ = tokio::io::copy_buf(&mut input, &mut to_program).await;
            }
            Some(detach) => {
                if let Ok(true) = feed_until_detached(input, &mut to_program, detach).await {
                    return;
                }
            }
        }
        let _ = to_program.shutdown().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = tokio::io::copy_buf(&mut output, &mut to_client) => {}
        () = feed => {}
    }
    let _ = to_client.shutdown().await;
}

/// True if the client has typed the keys.
async fn feed_until_detached(
    mut input: impl AsyncRead + Unpin,
    to_program: &mut OwnedWriteHalf,
    Detach { mut keys, tell }: Detach,
) -> io::Result<bool> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = input.read(&mut buffer).await?;
        if length == 0 {
            return Ok(false);
        }
        let (bytes, detached) = keys.filter(&buffer[..length]);
        to_program.write_all(&bytes).await?;
        if detached {
            tell();
            return Ok(true);
        }
    }
}

/// The output as a body, while `input` is passed on.
fn output(
    input: Body,
    stream: impl Future<Output = Option<UnixStream>> + Send + 'static,
) -> impl futures_util::Stream<Item = io::Result<Vec<u8>>> + Send + 'static {
    let open = async move {
        let (output, to_program) = stream.await?.into_split();
        tokio::spawn(feed_body(input, to_program));
        Some(output)
    };
    let chunks = async |output: Option<OwnedReadHalf>| {
        let mut output = output?;
        let mut chunk = vec![0; CHUNK];
        match output.read(&mut chunk).await {
            Ok(0) => None,
            Ok(length) => {
                chunk.truncate(length);
                Some((Ok(chunk), Some(output)))
            }
            Err(error) => Some((Err(error), None)),
        }
    };
    futures_util::StreamExt::flatten(futures_util::stream::once(async move {
        futures_util::stream::unfold(open.await, chunks)
    }))
}

/// Passes a client's input on to a program, and then its end.
pub fn feed(mut input: OwnedReadHalf, mut to_program: OwnedWriteHalf) -> JoinHandle<()> {
    tokio::spawn(async move {
        let _ = tokio::io::copy(&mut input, &mut to_program).await;
        let _ = to_program.shutdown().await;
    })
}

async fn feed_body(mut input: Body, mut to_program: OwnedWriteHalf) -> Result<(), Infallible> {
    while let Some(Ok(frame)) = input.frame().await {
        if let Ok(data) = frame.into_data()
            && to_program.write_all(&data).await.is_err()
        {
            break;
        }
    }
    let _ = to_program.shutdown().await;
    Ok(())
}
