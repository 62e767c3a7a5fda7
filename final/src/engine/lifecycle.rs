//! From created to ended: start, stop, kill, pause.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::Engine;
use super::attach::Pending;
use super::containers::Container;
use super::error::{Error, Result};
use super::record::Record;
use super::{attach, instructions, network};
use crate::runtime::shim::{self, Shim, Until};
use crate::runtime::signal;
use crate::store::{State, Status};

/// How often a state on disk that nobody announces is looked at.
const POLL: Duration = Duration::from_millis(20);

/// How often one that has ended, or is about to, is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// How long what was killed, dies with its shim, or goes at its end may take to be gone.
pub const LAST_BREATH: Duration = Duration::from_secs(10);

/// How long `stop` waits before it kills, in seconds, where nobody says otherwise.
const STOP_TIMEOUT: i64 = 10;

/// Starts a container, and connects those who wait for it before its program runs.
///
/// How it was made, if `explain` asks for that: read at the brink, for a container
/// that goes when it ends may be gone a moment later.
pub fn start(engine: &Engine, id: &str, explain: bool) -> Result<Option<Vec<u8>>> {
    let container = engine.containers.find(id)?;
    let state = container.state()?;
    match state.status {
        Status::Running | Status::Restarting => return Err(Error::not_modified("it runs")),
        Status::Paused => {
            return Err(Error::conflict("cannot start a paused container, try unpause instead"));
        }
        Status::Created | Status::Exited | Status::Dead => {}
    }
    // A start by hand is the first one, whatever came before.
    if state.restart_count > 0 {
        container.dir.set_state(&State { restart_count: 0, ..state }, false)?;
    }
    launch(engine, &container, explain)
}

/// Starts a container that does not run, for the how-manieth time its record says.
pub fn launch(engine: &Engine, container: &Container, explain: bool) -> Result<Option<Vec<u8>>> {
    let begin = || {
        instructions::find_joined(&engine.containers, container)?;
        network::prepare(engine, container)?;
        let mut clients = attach::take_pending(&engine.containers, &container.record.id);
        let more = clients.split_off(clients.len().min(shim::MOST_REQUESTS));
        let requests: Vec<_> = clients.iter().map(Pending::request).collect();
        let until = if explain || !more.is_empty() { Until::Created } else { Until::Started };
        let shims = shim::launch(&container.dir, until, &requests)?;
        clients.into_iter().zip(shims).try_for_each(|(client, shim)| client.go_on_with(shim))?;
        more.into_iter().try_for_each(|client| client.connect(&container.dir))?;
        let birth = explain.then(|| container.birth()).transpose()?;
        if until == Until::Created {
            Shim::connect(&container.dir)?.start()?;
        }
        // Those who came meanwhile; it may have ended already.
        for client in attach::take_pending(&engine.containers, &container.record.id) {
            let _ = client.connect(&container.dir);
        }
        Ok(birth)
    };
    let started = begin();
    let Err(error) = &started else { return started };
    if container.state().is_ok_and(|state| state.is_alive()) {
        return Err(Error::not_modified("somebody else was quicker"));
    }
    attach::take_pending(&engine.containers, &container.record.id);
    note_failure(engine, container, error);
    started
}

/// What could not be started says so, or goes if it was to go at its end.
fn note_failure(engine: &Engine, container: &Container, error: &Error) {
    if container.record.auto_remove() {
        let _ = super::remove::put_away(engine, container, true);
        return;
    }
    let Ok(state) = container.state() else { return };
    if !state.is_alive() && state.error.is_none() {
        let exit_code = Some(error.exit_code.into());
        let state = State { exit_code, error: Some(error.message.clone()), ..state };
        let _ = container.dir.set_state(&state, false);
    }
}

/// The shim of a container that runs.
fn live_shim(container: &Container, doing: &str) -> Result<Shim> {
    if container.state()?.is_alive() {
        return Ok(Shim::connect(&container.dir)?);
    }
    Err(Error::conflict(format!(
        "cannot {doing} container: {}: container {} is not running",
        container.record.name, container.record.id
    )))
}

/// The signal that asks a program to end, and how long it may take before it is killed;
/// `None` is for ever. What is not asked for is the container's own, or the default.
pub fn how_to_stop(
    container: &Container,
    signal: Option<&str>,
    seconds: Option<i64>,
) -> Result<(i32, Option<Duration>)> {
    let config = &container.record.config;
    let signal = parse_signal(signal.or(config.stop_signal.as_deref()).unwrap_or("SIGTERM"))?;
    let seconds = seconds.or(config.stop_timeout).unwrap_or(STOP_TIMEOUT);
    Ok((signal, (seconds >= 0).then(|| Duration::from_secs(seconds as u64))))
}

/// Asks the program to end, and ends it when it does not: see [`how_to_stop`].
pub async fn stop(
    engine: &Engine,
    id: &str,
    signal: Option<&str>,
    seconds: Option<i64>,
) -> Result<()> {
    let container = engine.containers.find(id)?;
    let state = container.state()?;
    if !state.is_alive() {
        // A daemon may be about to start it again.
        if state.status == Status::Dead && !state.stopped_by_hand {
            container.dir.set_state(&State { stopped_by_hand: true, ..state }, false)?;
        }
        return Err(Error::not_modified("it does not run"));
    }
    let (signal, patience) = how_to_stop(&container, signal, seconds)?;
    let told = live_shim(&container, "stop").and_then(|mut shim| Ok(shim.kill(signal)?));
    if let Err(error) = told
        && container.state()?.is_alive()
    {
        return Err(error);
    }
    if !ended_within(&container, patience).await? {
        // It may have ended just now, after all.
        if let Ok(mut shim) = live_shim(&container, "stop") {
            let _ = shim.kill(Signal::SIGKILL as i32);
        }
        ended_within(&container, None).await?;
    }
    engine.events.tell_container(&container.dir, "stop", &[]);
    let patience = Instant::now() + LAST_BREATH;
    while is_going(engine, &container)? && Instant::now() < patience {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Whether it goes at its end, and has not gone yet, or its name has not: whoever has
/// stopped it may make another one of that name next.
fn is_going(engine: &Engine, container: &Container) -> Result<bool> {
    let Record { id, name, .. } = &container.record;
    if !container.record.auto_remove() {
        return Ok(false);
    }
    // A shim that was killed has removed nothing. Whoever looks does it in its place.
    let _ = container.state();
    Ok(container.dir.path().exists() || engine.root.names().get(name)?.as_ref() == Some(id))
}

/// Waits until a container has ended, and everyone was told so.
pub async fn ended_within(container: &Container, patience: Option<Duration>) -> Result<bool> {
    match patience {
        None => ended(container).await.map(|()| true),
        Some(patience) => match tokio::time::timeout(patience, ended(container)).await {
            Ok(ended) => ended.map(|()| true),
            Err(_) => Ok(false),
        },
    }
}

/// The shim says it best, after it has told of the end; the record says it too.
async fn ended(container: &Container) -> Result<()> {
    let is_alive =
        || Ok::<_, Error>(container.dir.path().exists() && container.state()?.is_alive());
    // Most programs end at once: look often at first.
    let mut pause = Duration::from_millis(1);
    while is_alive()? {
        match Shim::connect(&container.dir).and_then(Shim::watch) {
            Ok(stream) => hear(stream).await?,
            Err(_) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(POLL);
            }
        }
    }
    Ok(())
}

/// Waits until the shim says something, or is gone.
async fn hear(stream: std::os::unix::net::UnixStream) -> Result<()> {
    stream.set_nonblocking(true)?;
    let mut stream = tokio::net::UnixStream::from_std(stream)?;
    let mut said = [0; 64];
    // Gone without a word: then the record has the last one.
    let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut said).await;
    Ok(())
}

/// Sends a signal to the container's first process.
pub fn kill(engine: &Engine, id: &str, signal: &str) -> Result<()> {
    let container = engine.containers.find(id)?;
    let signal = parse_signal(signal)?;
    live_shim(&container, "kill")?.kill(signal)?;
    // SIGKILL cannot be declined: whoever asked for it may count on the end.
    let patience = Instant::now() + LAST_BREATH;
    let is_there = || {
        let is_alive = container.dir.path().exists() && container.state()?.is_alive();
        Ok::<_, Error>(is_alive || is_going(engine, &container)?)
    };
    while signal == Signal::SIGKILL as i32 && Instant::now() < patience && is_there()? {
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Freezes all processes of a container.
pub fn pause(engine: &Engine, id: &str) -> Result<()> {
    let container = engine.containers.find(id)?;
    if container.state()?.status == Status::Paused {
        return Err(Error::conflict(format!(
            "container {} is already paused",
            container.record.id
        )));
    }
    let mut shim = live_shim(&container, "pause")?;
    if container.group()?.is_none() {
        return Err(Error::conflict(format!(
            "cannot pause container {}: it has no cgroup of its own, which takes cgroup v2 or root",
            container.record.name
        )));
    }
    Ok(shim.pause()?)
}

/// Lets a frozen container go on.
pub fn unpause(engine: &Engine, id: &str) -> Result<()> {
    let container = engine.containers.find(id)?;
    if container.state()?.status != Status::Paused {
        return Err(Error::conflict(format!("container {} is not paused", container.record.id)));
    }
    Ok(live_shim(&container, "unpause")?.unpause()?)
}

/// Tells the container's terminal its size, in characters.
pub fn resize(engine: &Engine, id: &str, height: u16, width: u16) -> Result<()> {
    let container = engine.containers.find(id)?;
    live_shim(&container, "resize")?.resize(height, width)?;
    let (height, width) = (height.to_string(), width.to_string());
    let size = [("height", height.as_str()), ("width", &width)];
    engine.events.tell_container(&container.dir, "resize", &size);
    Ok(())
}

/// A signal by its number or its name.
pub fn parse_signal(text: &str) -> Result<i32> {
    signal::parse(text).ok_or_else(|| Error::bad_parameter(format!("Invalid signal: {text}")))
}
