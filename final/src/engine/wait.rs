//! Waiting for a container's end.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bollard_stubs::models::{ContainerWaitExitError, ContainerWaitResponse};
use cgroups::OutOfMemory;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::Engine;
use super::attach::{self, Wish};
use super::containers::{Container, Containers};
use super::error::{Error, Result};
use super::lifecycle;
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

/// Docker's answer to who waits, and a word of ours that Docker's clients pass over.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ended {
    /// Docker's.
    #[serde(flatten)]
    pub docker: ContainerWaitResponse,
    /// The sentence about memory, if it was short.
    #[serde(rename = "OutOfMemory", default, skip_serializing_if = "Option::is_none")]
    pub out_of_memory: Option<String>,
}

/// Someone who waits.
pub struct Waiter {
    container: Container,
    condition: Condition,
    /// How it was when the waiting began, if that could be read.
    before: Option<State>,
    stream: Option<std::pin::Pin<Box<dyn Future<Output = Option<UnixStream>> + Send>>>,
}

/// How often a folder is looked at that nobody announces the end of.
const LOOK: Duration = Duration::from_millis(20);

/// Begins to wait: what happens from here on is not missed.
pub fn waiter(engine: &Engine, id: &str, condition: Condition) -> Result<Waiter> {
    let container = engine.containers.find(id)?;
    let before = container.state()?;
    let stream: Option<std::pin::Pin<Box<dyn Future<Output = _> + Send>>> = match condition {
        // One that has just ended is not to be started again before it has.
        Condition::NotRunning => match attach::connect_now(&container, Wish::Wait)? {
            Some(stream) => Some(Box::pin(stream)),
            None => None,
        },
        _ => Some(Box::pin(attach::connect(&engine.containers, &container, Wish::Wait)?)),
    };
    Ok(Waiter { container, condition, before: Some(before), stream })
}

impl Waiter {
    /// The exit code, when it is known.
    pub async fn finish(mut self, engine: Arc<Engine>) -> Ended {
        let Some(stream) = self.stream.take() else { return self.container.ended() };
        let heard = match self.condition {
            Condition::Removed => self.until_removed(stream, &engine.containers).await,
            _ => match stream.await {
                Some(stream) => hear(stream, self.condition).await,
                None => None,
            },
        };
        match heard {
            Some(state) => self.container.ended_as(state),
            None => settled(&self.container).await,
        }
    }

    /// Its last state before it was removed: by its shim, or by anybody.
    async fn until_removed(
        &mut self,
        stream: impl Future<Output = Option<UnixStream>>,
        containers: &Containers,
    ) -> Option<State> {
        let path = self.container.dir.path().to_owned();
        // Both may have come before anybody looked: then it is the shim that knows the end.
        let connected = tokio::select! {
            biased;
            stream = stream => stream,
            () = until_gone_unstarted(&self.container, containers) => None,
        };
        let heard = match connected {
            Some(stream) => hear(stream, Condition::Removed)
                .await
                .or_else(|| Some(self.before.take().unwrap_or_default().killed())),
            None => None,
        };
        // A shim that was killed has removed nothing. Whoever looks does it in its place.
        while path.exists() {
            let _ = self.container.state();
            tokio::time::sleep(LOOK).await;
        }
        heard.or_else(|| self.before.take())
    }
}

/// After a shim that went without a word, what the record says: once nothing of it is
/// left, which takes a killed process a moment longer than to close a connection.
async fn settled(container: &Container) -> Ended {
    let _ = lifecycle::ended_within(container, Some(lifecycle::LAST_BREATH)).await;
    container.ended()
}

/// Until somebody has removed it who did not start it. Whoever starts it here takes those
/// who wait before the program runs, and may be slower to bring them the shim's connection
/// than the program is to end, and to be gone.
async fn until_gone_unstarted(container: &Container, containers: &Containers) {
    let is_started = || !attach::is_pending(containers, &container.record.id);
    while container.dir.path().exists() || is_started() {
        tokio::time::sleep(LOOK).await;
    }
}

/// The shim says how it ended in a line, and closes when all is put away. One that
/// starts its program again says a line for every end.
async fn hear(mut stream: UnixStream, condition: Condition) -> Option<State> {
    let mut said = Vec::new();
    while condition == Condition::Removed || !said.ends_with(b"\n") {
        // One that was killed may break off instead of closing.
        match stream.read_buf(&mut said).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    let last = said.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty())?;
    match serde_json::from_slice(last).ok()? {
        Answer::State(state) => Some(state),
        Answer::Done | Answer::Error(_) => None,
    }
}

impl Container {
    /// How it ended, as its record says.
    fn ended(&self) -> Ended {
        self.state().map(|state| self.ended_as(state)).unwrap_or_else(|error| Ended {
            docker: ContainerWaitResponse {
                status_code: 125,
                error: Some(ContainerWaitExitError { message: Some(error.message) }),
            },
            out_of_memory: None,
        })
    }

    fn ended_as(&self, state: State) -> Ended {
        let code = state.exit_code.unwrap_or(0);
        let limit = self.record.host_config.memory.filter(|limit| *limit > 0);
        let short = OutOfMemory { kills: 1, limit: limit.map(|limit| limit as u64) };
        Ended {
            docker: ContainerWaitResponse {
                status_code: code.into(),
                error: state.error.map(|message| ContainerWaitExitError { message: Some(message) }),
            },
            out_of_memory: state.oom_killed.then(|| short.told(code as u8)),
        }
    }
}
