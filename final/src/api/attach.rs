//! `POST /containers/{id}/attach`: what a container has said, and what it says now.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, Response};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::App;
use super::detach::DetachKeys;
use super::hijack;
use super::params::Params;
use crate::engine::attach::{self, Streams};
use crate::engine::containers::Container;
use crate::engine::error::Result;
use crate::engine::logs;

/// `POST /containers/{id}/attach`: `logs`, and then the `stream`.
pub async fn attach(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let streams = Streams {
        stdin: params.flag("stdin"),
        stdout: params.flag("stdout"),
        stderr: params.flag("stderr"),
    };
    let container = app.containers.find(&id)?;
    let tty = container.record.tty();
    let content_type = hijack::content_type(tty, &params);
    let keys = DetachKeys::parse(params.text("detachKeys").unwrap_or_default())?;
    let (past, live) = (params.flag("logs"), params.flag("stream"));
    if past {
        container.record.require_log()?;
    }
    let live = match live {
        true => Some(attach::attach(&app, &container, streams)?),
        false => None,
    };
    let dir = container.dir.clone();
    let detach = (tty && live.is_some() && streams.stdin).then(|| hijack::Detach {
        keys,
        tell: Box::new(move || app.events.tell_container(&dir, "detach", &[])),
    });
    let options = logs::Options {
        stdout: streams.stdout,
        stderr: streams.stderr,
        // What comes from now on is the stream's.
        until: live.is_some().then(jiff::Timestamp::now),
        ..Default::default()
    };
    Ok(match live {
        Some(live) if !past => hijack::hijack(request, content_type, detach, live),
        live => {
            let past = past.then_some((container, options));
            hijack::hijack(request, content_type, detach, past_and_present(past, live))
        }
    })
}

/// The log, and after it what `live` becomes, as one stream.
async fn past_and_present(
    past: Option<(Container, logs::Options)>,
    live: Option<impl Future<Output = Option<UnixStream>> + Send + 'static>,
) -> Option<UnixStream> {
    let (ours, theirs) = UnixStream::pair().ok()?;
    tokio::spawn(async move {
        let (input, mut to_client) = ours.into_split();
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<Vec<u8>>(8);
        if let Some((container, options)) = past {
            tokio::task::spawn_blocking(move || {
                logs::send(&container, &options, &|chunk| sender.blocking_send(chunk).is_ok())
            });
        } else {
            drop(sender);
        }
        while let Some(chunk) = receiver.recv().await {
            if to_client.write_all(&chunk).await.is_err() {
                return;
            }
        }
        let Some(live) = live else { return };
        let Some(program) = live.await else { return };
        let (mut output, to_program) = program.into_split();
        let feed = hijack::feed(input, to_program);
        let _ = tokio::io::copy(&mut output, &mut to_client).await;
        feed.abort();
    });
    Some(theirs)
}
