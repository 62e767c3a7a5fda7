//! Waiting for a container's end.

use std::str::FromStr;

use bollard_stubs::models::{ContainerWaitExitError, ContainerWaitResponse};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::Engine;
use super::attach::{self, Wish};
use super::containers::Container;
use super::error::{Error, Result};
use crate::runtime::shim::Answer;
use crate::store::State;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Until it does not run; at once if it does not.
    NotRunning,
    /// Until it ends the next time.
    NextExit,
    /// Until it is removed.
    Removed,
}

impl FromStr for Condition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "not-running" => Ok(Self::NotRunning),
            "next-exit" => Ok(Self::NextExit),
            "removed" => Ok(Self::Removed),
            _ => Err(Error::bad_parameter(format!(
                "invalid condition: \"{text}\": there are not-running, next-exit and removed"
            ))),
        }
    }
}

/// Someone who waits.
pub struct Waiter {
    container: Container,
    condition: Condition,
    stream: Option<std::pin::Pin<Box<dyn Future<Output = Option<UnixStream>> + Send>>>,
}

/// Begins to wait: what happens from here on is not missed.
pub fn waiter(engine: &Engine, id: &str, condition: Condition) -> Result<Waiter> {
    let container = engine.containers.find(id)?;
    let stream: Option<std::pin::Pin<Box<dyn Future<Output = _> + Send>>> =
        if condition == Condition::NotRunning && !container.state()?.is_alive() {
            None
        } else {
            Some(Box::pin(attach::connect(&engine.containers, &container, Wish::Wait)?))
        };
    Ok(Waiter { container, condition, stream })
}

impl Waiter {
    /// The exit code, when it is known.
    pub async fn finish(self) -> ContainerWaitResponse {
        let Some(stream) = self.stream else { return self.container.ended() };
        match stream.await {
            Some(stream) => {
                hear(stream, self.condition).await.unwrap_or_else(|| self.container.ended())
            }
            None => self.container.ended(),
        }
    }
}

/// The shim says how it ended in a line, and closes when all is put away.
async fn hear(mut stream: UnixStream, condition: Condition) -> Option<ContainerWaitResponse> {
    let mut said = Vec::new();
    while condition == Condition::Removed || !said.ends_with(b"\n") {
        if stream.read_buf(&mut said).await.ok()? == 0 {
            break;
        }
    }
    match serde_json::from_slice(&said).ok()? {
        Answer::State(state) => Some(ended(state)),
        Answer::Done | Answer::Error(_) => None,
    }
}

fn ended(state: State) -> ContainerWaitResponse {
    ContainerWaitResponse {
        status_code: state.exit_code.unwrap_or(0).into(),
        error: state.error.map(|message| ContainerWaitExitError { message: Some(message) }),
    }
}

impl Container {
    /// How it ended, as its record says.
    fn ended(&self) -> ContainerWaitResponse {
        match self.state() {
            Ok(state) => ended(state),
            Err(error) => ContainerWaitResponse {
                status_code: 125,
                error: Some(ContainerWaitExitError { message: Some(error.message) }),
            },
        }
    }
}
