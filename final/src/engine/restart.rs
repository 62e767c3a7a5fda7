//! Restarting: by hand, and the policies that the shims keep to.

use std::time::{Duration, Instant};

use bollard_stubs::models::{HostConfig, RestartPolicyNameEnum};
use nix::sys::signal::Signal;

use super::containers::Container;
use super::error::{Error, Result};
use super::{Engine, instructions, lifecycle};
use crate::runtime::shim::Shim;
use crate::store::events::{Actor, Kind};
use crate::store::{State, Status};

/// How often the state is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Stops a container and starts it again; starts one that does not run.
///
/// Its shim does both, so that what goes when it ends does not go now.
pub async fn restart(
    engine: &Engine,
    id: &str,
    signal: Option<&str>,
    seconds: Option<i64>,
) -> Result<()> {
    let container = engine.containers.find(id)?;
    let before = container.state()?;
    if before.is_alive() {
        instructions::find_joined(&engine.containers, &container)?;
        let (signal, patience) = lifecycle::how_to_stop(&container, signal, seconds)?;
        let mut shim = Shim::connect(&container.dir)?;
        shim.restart()?;
        if before.status == Status::Paused {
            shim.unpause()?;
        }
        shim.kill(signal)?;
        if !began_within(&container, &before, patience).await? {
            Shim::connect(&container.dir)?.kill(Signal::SIGKILL as i32)?;
            began_within(&container, &before, None).await?;
        }
    } else {
        lifecycle::start(engine, id, false)?;
    }
    engine.events.tell(Kind::Container, "restart", Actor::container(&container.dir));
    Ok(())
}

/// Waits until a container runs that did not, or ran since another time.
async fn began_within(
    container: &Container,
    before: &State,
    patience: Option<Duration>,
) -> Result<bool> {
    let begin = Instant::now();
    loop {
        let state = container.state()?;
        match state.status {
            Status::Running if state.started_at != before.started_at => return Ok(true),
            Status::Running | Status::Paused | Status::Restarting => {}
            _ => {
                let why = state.error.unwrap_or_else(|| "it has ended at once".into());
                return Err(Error::system(format!(
                    "Cannot restart container {}: {why}",
                    container.record.name
                )));
            }
        }
        // Once it has ended, it is not to be killed.
        let waits = state.status == before.status;
        if waits && patience.is_some_and(|patience| begin.elapsed() >= patience) {
            return Ok(false);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Refuses a policy that makes no sense, in Docker's words.
pub fn check_policy(host: &HostConfig) -> Result<()> {
    let Some(policy) = &host.restart_policy else { return Ok(()) };
    let count = policy.maximum_retry_count.unwrap_or(0);
    let name = policy.name.unwrap_or(RestartPolicyNameEnum::EMPTY);
    let restarts = !matches!(name, RestartPolicyNameEnum::EMPTY | RestartPolicyNameEnum::NO);
    if name == RestartPolicyNameEnum::ON_FAILURE {
        if count < 0 {
            return Err(Error::bad_parameter(
                "invalid restart policy: maximum retry count cannot be negative",
            ));
        }
    } else if count != 0 {
        return Err(Error::bad_parameter(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ));
    }
    if restarts && host.auto_remove == Some(true) {
        return Err(Error::bad_parameter(
            "can't create 'AutoRemove' container with restart policy",
        ));
    }
    Ok(())
}
