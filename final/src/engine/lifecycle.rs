//! From created to ended: start, stop, kill, pause.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::Engine;
use super::containers::Container;
use super::error::{Error, Result};
use super::{attach, instructions};
use crate::runtime::shim::{self, Shim};
use crate::store::Status;

/// How often a state on disk that nobody announces is looked at.
const POLL: Duration = Duration::from_millis(20);

/// How long `stop` waits before it kills, in seconds, where nobody says otherwise.
const STOP_TIMEOUT: i64 = 10;

/// Starts a container, and connects those who wait for it before its program runs.
///
/// How it was made, if `explain` asks for that: read at the brink, for a container
/// that goes when it ends may be gone a moment later.
pub fn start(engine: &Engine, id: &str, explain: bool) -> Result<Option<Vec<u8>>> {
    let container = engine.containers.find(id)?;
    match container.state()?.status {
        Status::Running => return Err(Error::not_modified("it runs")),
        Status::Paused => {
            return Err(Error::conflict("cannot start a paused container, try unpause instead"));
        }
        Status::Created | Status::Exited | Status::Dead => {}
    }
    let id = &container.record.id;
    instructions::find_joined(&engine.containers, &container)?;
    let started = shim::launch(&container.dir).map_err(Error::from).and_then(|mut shim| {
        attach::connect_pending(&engine.containers, &container)?;
        let birth = explain.then(|| container.birth()).transpose()?;
        shim.start()?;
        Ok(birth)
    });
    if started.is_err() {
        attach::forget_pending(&engine.containers, id);
    }
    started
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

/// Asks the program to end, and ends it when it does not.
///
/// `signal` is the container's own, or SIGTERM; `seconds` below 0 means: for ever.
pub async fn stop(
    engine: &Engine,
    id: &str,
    signal: Option<&str>,
    seconds: Option<i64>,
) -> Result<()> {
    let container = engine.containers.find(id)?;
    if !container.state()?.is_alive() {
        return Err(Error::not_modified("it does not run"));
    }
    let config = &container.record.config;
    let signal = parse_signal(signal.or(config.stop_signal.as_deref()).unwrap_or("SIGTERM"))?;
    let seconds = seconds.or(config.stop_timeout).unwrap_or(STOP_TIMEOUT);
    live_shim(&container, "stop")?.kill(signal)?;
    let patience = (seconds >= 0).then(|| Duration::from_secs(seconds as u64));
    if !ended_within(&container, patience).await? {
        live_shim(&container, "stop")?.kill(Signal::SIGKILL as i32)?;
        ended_within(&container, None).await?;
    }
    Ok(())
}

/// Waits until a container has ended and everything of it is put away.
pub async fn ended_within(container: &Container, patience: Option<Duration>) -> Result<bool> {
    let begin = Instant::now();
    // Most programs end at once: look often at first.
    let mut pause = Duration::from_millis(1);
    while container.dir.path().exists() && container.state()?.is_alive() {
        if patience.is_some_and(|patience| begin.elapsed() >= patience) {
            return Ok(false);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(POLL);
    }
    Ok(true)
}

/// Sends a signal to the container's first process.
pub fn kill(engine: &Engine, id: &str, signal: &str) -> Result<()> {
    let container = engine.containers.find(id)?;
    let signal = parse_signal(signal)?;
    live_shim(&container, "kill")?.kill(signal)?;
    // SIGKILL cannot be declined: whoever asked for it may count on the end.
    let patience = Instant::now() + Duration::from_secs(10);
    while signal == Signal::SIGKILL as i32
        && Instant::now() < patience
        && container.dir.path().exists()
        && container.state()?.is_alive()
    {
        std::thread::sleep(Duration::from_millis(1));
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
    Ok(live_shim(&container, "pause")?.pause()?)
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
    Ok(live_shim(&container, "resize")?.resize(height, width)?)
}

/// `9`, `KILL`, `SIGKILL`, `kill`; also the real-time ones as `RTMIN+3`.
pub fn parse_signal(text: &str) -> Result<i32> {
    let invalid = || Error::bad_parameter(format!("Invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(invalid()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        let offset: i32 =
            if offset.is_empty() { 0 } else { offset.parse().map_err(|_| invalid())? };
        return Ok(libc::SIGRTMIN() + offset);
    }
    let signal: Signal = format!("SIG{name}").parse().map_err(|_| invalid())?;
    Ok(signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_a_number_or_a_name() {
        for text in ["15", "TERM", "SIGTERM", "term", "sigterm"] {
            assert_eq!(parse_signal(text), Ok(15), "{text}");
        }
        assert_eq!(parse_signal("RTMIN+3"), Ok(libc::SIGRTMIN() + 3));
        for bad in ["0", "65", "-1", "SIGFOO", ""] {
            assert!(parse_signal(bad).is_err(), "{bad}");
        }
    }
}
