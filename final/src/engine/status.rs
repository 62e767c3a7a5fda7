//! Where in its life a container is, in Docker's words.

use serde_json::{Value as Json, json};

use super::health;
use super::time::{self, NEVER};
use crate::store::{State, Status};

/// Docker's words for the states that a container can be asked for by.
pub const NAMES: [&str; 7] =
    ["created", "running", "paused", "restarting", "removing", "exited", "dead"];

/// `Up 3 minutes`, `Exited (0) 2 hours ago`.
pub fn line(state: &State) -> String {
    let ago =
        |time: &Option<String>| time::human_duration(time::age(time.as_deref().unwrap_or(NEVER)));
    match state.status {
        Status::Created => "Created".into(),
        Status::Running => {
            format!("Up {}{}", ago(&state.started_at), health::suffix(state.health.as_ref()))
        }
        Status::Paused => format!("Up {} (Paused)", ago(&state.started_at)),
        Status::Restarting => {
            format!("Restarting ({}) {} ago", state.exit_code.unwrap_or(0), ago(&state.finished_at))
        }
        Status::Exited => {
            format!("Exited ({}) {} ago", state.exit_code.unwrap_or(0), ago(&state.finished_at))
        }
        Status::Dead => "Dead".into(),
    }
}

/// Docker's word for it.
pub fn name(status: Status) -> &'static str {
    match status {
        Status::Created => "created",
        Status::Running => "running",
        Status::Paused => "paused",
        Status::Restarting => "restarting",
        Status::Exited => "exited",
        Status::Dead => "dead",
    }
}

/// The `State` of `inspect`.
pub fn inspected(state: &State) -> Json {
    let or_never = |time: &Option<String>| time.clone().unwrap_or_else(|| NEVER.into());
    let mut shown = json!({
        "Status": name(state.status),
        "Running": state.is_alive(),
        "Paused": state.status == Status::Paused,
        "Restarting": state.status == Status::Restarting,
        "OOMKilled": state.oom_killed,
        "Dead": state.status == Status::Dead,
        "Pid": if state.is_alive() { state.pid } else { 0 },
        "ExitCode": state.exit_code.unwrap_or(0),
        "Error": state.error.clone().unwrap_or_default(),
        "StartedAt": or_never(&state.started_at),
        "FinishedAt": or_never(&state.finished_at),
    });
    if let Some(health) = &state.health {
        shown["Health"] = health::shown(health);
    }
    shown
}

/// What the health check says; `none` without one.
pub fn health(state: &State) -> &'static str {
    health::word(state.health.as_ref())
}

/// How often its restart policy has started it again.
pub fn restart_count(state: &State) -> u32 {
    state.restart_count
}
