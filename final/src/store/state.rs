//! What became of a container, as its shim has seen it.

use std::net::Ipv4Addr;

use networking::Published;
use serde::{Deserialize, Serialize};

use super::{Health, Record};

/// Where in its life a container is. Docker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It has never run.
    #[default]
    Created,
    /// Its program runs.
    Running,
    /// Its program is frozen.
    Paused,
    /// Its program has ended, and will be started again after a pause.
    Restarting,
    /// Its program has ended.
    Exited,
    /// Its shim was killed, and it with it.
    Dead,
}

/// The record of a container's or an exec's life: state.json.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// Where it is.
    pub status: Status,
    /// The first process, as the host counts; 0 when there is none.
    pub pid: i32,
    /// When the program was let go: RFC 3339 with nanoseconds, UTC.
    pub started_at: Option<String>,
    /// When its end was seen.
    pub finished_at: Option<String>,
    /// The program's exit code, 128 + n for signal n.
    pub exit_code: Option<i32>,
    /// The kernel killed a process of it because the memory limit was reached.
    pub oom_killed: bool,
    /// Why it never ran, or what its end has to do with us.
    pub error: Option<String>,
    /// How often its shim has started it again since it was started by hand.
    #[serde(default)]
    pub restart_count: u32,
    /// Somebody has stopped it: `unless-stopped` leaves it so.
    #[serde(default)]
    pub stopped_by_hand: bool,
    /// How well it is, if that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Its address, while it runs in a network that gives one.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// Its published ports, as they became.
    #[serde(default)]
    pub ports: Vec<Published>,
}

impl Record for State {
    const VERSION: u32 = 1;
}

impl State {
    /// True while a program runs, frozen or not, or will run again by itself.
    pub fn is_alive(&self) -> bool {
        matches!(self.status, Status::Running | Status::Paused | Status::Restarting)
    }

    /// What it is when its shim was killed, and it with that.
    pub fn killed(self) -> Self {
        Self {
            status: Status::Dead,
            pid: 0,
            finished_at: Some(now()),
            exit_code: Some(128 + libc::SIGKILL),
            error: Some("its shim was killed, and the container with it".into()),
            ..self
        }
    }
}

/// The present, as records have it.
pub fn now() -> String {
    jiff::Timestamp::now().to_string()
}
