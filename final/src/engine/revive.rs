//! What a daemon does when it begins: puts in order what was killed, and starts again
//! what is to run.

use super::Engine;
use super::containers::Container;
use super::lifecycle;
use super::sweep;
use crate::store::{Asked, State, Status};

/// What there is when a daemon begins.
#[derive(Debug, Default)]
pub struct Found {
    /// Those that are to run again.
    pub again: Vec<Container>,
    /// Those that run, as far as one can see: a shim may be dying at this moment.
    pub running: Vec<Container>,
}

/// Puts everything in order that an engine, a shim or the machine has left half-way.
/// What cannot be put in order now is no reason not to serve.
pub fn settle(engine: &Engine) -> Found {
    sweep::sweep(engine);
    let _ = engine.volumes.reconcile(&engine.root);
    let _ = engine.images.store().and_then(|store| Ok(store.settle()?));
    // A look at a state is what tidies up behind a dead shim.
    let mut found = Found::default();
    for container in engine.containers.all().unwrap_or_default() {
        match container.state() {
            Ok(state) if state.is_alive() => found.running.push(container),
            Ok(state) if wants_to_run(&Asked::of(&container.dir), &state) => {
                found.again.push(container);
            }
            _ => {}
        }
    }
    found
}

/// Starts a container again that was running when the machine, or its shim, went down.
pub fn start(engine: &Engine, container: &Container) {
    // Why it does not start is in its state, as for any other start.
    let _ = lifecycle::start(engine, &container.record.id, false);
}

/// Docker's rules for a daemon that begins. Stopping a container by hand is a reason
/// only with `unless-stopped`.
pub(super) fn wants_to_run(asked: &Asked, state: &State) -> bool {
    let policy = asked.host_config.restart_policy.clone().unwrap_or_default();
    let failed = state.exit_code != Some(0);
    let limit = policy.maximum_retry_count.unwrap_or(0);
    matches!(state.status, Status::Exited | Status::Dead)
        && match policy.name.as_deref() {
            Some("always") => true,
            Some("unless-stopped") => !state.stopped_by_hand,
            Some("on-failure") => failed && (limit <= 0 || i64::from(state.restart_count) < limit),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(policy: &str, state: State) -> bool {
        let record = serde_json::json!({ "host_config": { "RestartPolicy": { "Name": policy } } });
        let asked = serde_json::from_value(record).unwrap();
        wants_to_run(&asked, &state)
    }

    #[test]
    fn what_was_stopped_by_hand_stays_so_unless_it_is_always_to_run() {
        let ended = |stopped_by_hand| State {
            status: Status::Exited,
            exit_code: Some(0),
            stopped_by_hand,
            ..State::default()
        };
        assert!(wants("always", ended(true)) && wants("unless-stopped", ended(false)));
        assert!(!wants("unless-stopped", ended(true)) && !wants("no", ended(false)));
        assert!(!wants("on-failure", ended(false)) && !wants("always", State::default()));
        let dead = State { status: Status::Dead, exit_code: Some(137), ..State::default() };
        assert!(wants("on-failure", dead));
    }
}
