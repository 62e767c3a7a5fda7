//! `/containers/{id}/archive`: files in and out, as tar streams.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, Response, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;

use super::params::Params;
use super::{App, blocking};
use crate::engine::archive::{self, Act};
use crate::engine::error::{Error, Result};
use crate::files::PathStat;

/// Where a client finds what is at the path.
pub const STAT: &str = "X-Docker-Container-Path-Stat";

/// As Go's clients read a body that is too long for them, after a refusal.
const DRAINED: usize = 256 * 1024;

fn path(params: &Params) -> Result<String> {
    let path = params.text("path").map(str::to_owned);
    path.ok_or_else(|| Error::bad_parameter("bad parameter: path cannot be empty"))
}

fn header(stat: &PathStat) -> String {
    STANDARD.encode(serde_json::to_vec(stat).expect("plain data"))
}

/// `HEAD /containers/{id}/archive`
pub async fn head(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response<Body>> {
    let path = path(&params)?;
    let stat = blocking(move || archive::stat(&app, &id, &path)).await?;
    Ok(Response::builder().header(STAT, header(&stat)).body(Body::empty()).expect("a fixed head"))
}

/// `GET /containers/{id}/archive`
pub async fn get(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response<Body>> {
    let path = path(&params)?;
    let (stat, mut download) = blocking(move || archive::get(&app, &id, &path)).await?;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Vec<u8>>>(4);
    tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let chunk = match download.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => Ok(buffer[..read].to_vec()),
                Err(error) => Err(error),
            };
            let broken = chunk.is_err();
            if sender.blocking_send(chunk).is_err() || broken {
                return;
            }
        }
    });
    let chunks = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    });
    let response = Response::builder().header(STAT, header(&stat));
    let response = response.header("Content-Type", "application/x-tar");
    Ok(response.body(Body::from_stream(chunks)).expect("a fixed head"))
}

/// `PUT /containers/{id}/archive`
pub async fn put(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
    request: Request<Body>,
) -> Result<StatusCode> {
    let path = path(&params)?;
    let act = Act::Put {
        no_overwrite_dir_non_dir: params.flag("noOverwriteDirNonDir"),
        copy_uid_gid: params.flag("copyUIDGID"),
    };
    let mut body = request.into_body();
    let upload = blocking(move || archive::put(&app, &id, &path, act)).await;
    let mut upload = match upload {
        Ok(upload) => upload,
        Err(error) => {
            drain(&mut body).await;
            return Err(error);
        }
    };
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<bytes::Bytes>(4);
    let unpacked = tokio::task::spawn_blocking(move || {
        while let Some(bytes) = receiver.blocking_recv() {
            if !upload.write(&bytes) {
                break;
            }
        }
        drop(receiver);
        upload.finish()
    });
    let mut whole = true;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            whole = false;
            break;
        };
        if let Ok(bytes) = frame.into_data()
            && sender.send(bytes).await.is_err()
        {
            drain(&mut body).await;
            break;
        }
    }
    drop(sender);
    let done = unpacked.await.unwrap_or_else(|_| Err(Error::system("the copy broke off")));
    match whole {
        true => done.map(|()| StatusCode::OK),
        false => Err(Error::bad_parameter("the request's body broke off")),
    }
}

/// A client that is still sending would not see the answer.
pub async fn drain(body: &mut Body) {
    let mut drained = 0;
    while drained < DRAINED {
        match body.frame().await {
            Some(Ok(frame)) => drained += frame.data_ref().map_or(0, bytes::Bytes::len),
            _ => return,
        }
    }
}
