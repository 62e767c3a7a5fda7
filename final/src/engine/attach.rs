//! Being connected to a container: to its streams, or to its end.
//!
//! Clients attach and wait *before* they start a container, so that they miss
//! nothing. Then there is no shim yet that could be asked. Such a request is
//! [`Pending`]: the start connects it, between the shim's birth and the exec.

use std::os::unix::net::UnixStream;

use tokio::sync::oneshot;

use super::Engine;
use super::containers::{Container, Containers};
use super::error::{Error, Result};
use crate::runtime::shim::{Attach, Request, Shim};
use crate::store::{ShimDir, Status};

/// Which streams a client wants.
#[derive(Debug, Clone, Copy, Default)]
pub struct Streams {
    /// What the client sends is the container's input.
    pub stdin: bool,
    /// Send the container's output.
    pub stdout: bool,
    /// Send its error output.
    pub stderr: bool,
}

/// What a pending client waits for.
#[derive(Debug, Clone, Copy)]
pub enum Wish {
    /// The streams.
    Attach(Streams),
    /// One line, when the container ends.
    Wait,
}

/// A client of a container that does not run yet.
#[derive(Debug)]
pub struct Pending {
    wish: Wish,
    sender: oneshot::Sender<UnixStream>,
}

/// Connects to the container's shim, now or as soon as there is one.
pub fn connect(
    containers: &Containers,
    container: &Container,
    wish: Wish,
) -> Result<impl Future<Output = Option<tokio::net::UnixStream>> + Send + 'static> {
    let (sender, receiver) = oneshot::channel();
    let pending = Pending { wish, sender };
    if container.state()?.is_alive() {
        pending.connect(&container.dir)?;
    } else {
        let mut all = containers.pending.lock().expect("no holder of this lock panics");
        all.entry(container.record.id.clone()).or_default().push(pending);
    }
    Ok(arrival(receiver))
}

/// Connects to the shim of a container that runs; `None` if it does not.
pub fn connect_now(
    container: &Container,
    wish: Wish,
) -> Result<Option<impl Future<Output = Option<tokio::net::UnixStream>> + Send + 'static>> {
    let (sender, receiver) = oneshot::channel();
    if !container.state()?.is_alive() {
        return Ok(None);
    }
    match (Pending { wish, sender }).connect(&container.dir) {
        // It has ended in between.
        Err(_) if !container.state()?.is_alive() => Ok(None),
        connected => connected.map(|()| Some(arrival(receiver))),
    }
}

async fn arrival(receiver: oneshot::Receiver<UnixStream>) -> Option<tokio::net::UnixStream> {
    let stream = receiver.await.ok()?;
    stream.set_nonblocking(true).ok()?;
    tokio::net::UnixStream::from_std(stream).ok()
}

/// `attach`: the streams of a container that runs, or will.
pub fn attach(
    engine: &Engine,
    container: &Container,
    streams: Streams,
) -> Result<impl Future<Output = Option<tokio::net::UnixStream>> + Send + 'static> {
    let refuse =
        |what| Err(Error::conflict(format!("Container {} is {what}", container.record.id)));
    match container.state()?.status {
        Status::Paused => return refuse("paused, unpause the container before attach"),
        Status::Restarting => return refuse("restarting, wait until the container is running"),
        _ => {}
    }
    let stream = connect(&engine.containers, container, Wish::Attach(streams))?;
    engine.events.tell_container(&container.dir, "attach", &[]);
    Ok(stream)
}

/// Whether clients wait for somebody to start this container.
pub fn is_pending(containers: &Containers, id: &str) -> bool {
    containers.pending.lock().expect("no holder of this lock panics").contains_key(id)
}

/// Takes the clients that wait for this container. Dropping them tells them that
/// there is nothing to wait for.
pub fn take_pending(containers: &Containers, id: &str) -> Vec<Pending> {
    let mut all = containers.pending.lock().expect("no holder of this lock panics");
    all.remove(id).unwrap_or_default()
}

impl Pending {
    /// Connects it to a shim that is there.
    pub fn connect(self, dir: &ShimDir) -> Result<()> {
        let mut shim = Shim::connect(dir)?;
        shim.ask(&self.request())?;
        self.go_on_with(shim)
    }

    /// What it is for its shim.
    pub fn request(&self) -> Request {
        match self.wish {
            Wish::Attach(Streams { stdin, stdout, stderr }) => {
                Request::Attach(Attach { stdin, stdout, stderr })
            }
            Wish::Wait => Request::Wait,
        }
    }

    /// Gives the client this connection, on which its request was made.
    pub fn go_on_with(self, mut shim: Shim) -> Result<()> {
        // Who waits is answered at the end.
        if let Wish::Attach(_) = self.wish {
            shim.until_done()?;
        }
        // A client that has gone meanwhile needs nothing.
        let _ = self.sender.send(shim.into_stream());
        Ok(())
    }
}
