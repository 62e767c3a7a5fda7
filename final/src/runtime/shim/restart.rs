//! Restart policies: whether a container that has ended is started again, and when.
//!
//! Source: Docker's documentation of `--restart`. The pause begins at 100 ms, doubles up
//! to a minute, and is forgotten once a run has lasted for 10 seconds.

use std::time::Duration;

use crate::runtime::signal;
use crate::store::{Asked, ContainerDir, State};

/// The pause before the first restart.
const FIRST: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// A run of this length was no failure to start.
const WENT_WELL: Duration = Duration::from_secs(10);

/// What the user wants when a container ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    No,
    /// Up to so often; 0 is without limit.
    OnFailure(i64),
    Always,
    UnlessStopped,
}

/// Decides over restarts of one container, from its start by hand on.
pub struct Restarts {
    dir: ContainerDir,
    /// How many runs have ended too soon, one after the other.
    failures: u32,
    /// Somebody has stopped it: then it stays so.
    pub stopped: bool,
    /// Somebody wants it to be started again at once when it has ended.
    pub hurried: bool,
}

impl Restarts {
    /// For a container that is started by hand now.
    pub fn new(dir: ContainerDir) -> Self {
        Self { dir, failures: 0, stopped: false, hurried: false }
    }

    /// Takes note of a signal that somebody has sent. True if no restart will follow.
    ///
    /// A signal that the container does not take for its end, where it has one of its
    /// own for that, is no reason to leave it stopped.
    pub fn signalled(&mut self, signal: i32) -> bool {
        if self.hurried {
            return false;
        }
        let asked = Asked::of(&self.dir);
        let own = asked.config.stop_signal.as_deref().filter(|name| !name.is_empty());
        let own = own.and_then(signal::parse);
        if signal == libc::SIGKILL || own.is_none_or(|own| own == signal) {
            self.stopped = true;
        }
        self.stopped
    }

    /// How long to wait before the next start; `None`: there will be none.
    pub fn after(&mut self, state: &State, ran: Duration) -> Option<Duration> {
        if self.hurried {
            self.failures = 0;
            return Some(Duration::ZERO);
        }
        if self.stopped {
            return None;
        }
        let again = match policy(&self.dir) {
            Policy::No => false,
            Policy::OnFailure(limit) => {
                state.exit_code != Some(0) && (limit <= 0 || i64::from(state.restart_count) < limit)
            }
            Policy::Always | Policy::UnlessStopped => true,
        };
        let failures = if ran < WENT_WELL { self.failures } else { 0 };
        self.failures = if again { failures.saturating_add(1) } else { 0 };
        again.then(|| pause_before(failures, ran))
    }
}

/// How long to wait before a start, after so many restarts and a run that lasted so long.
pub fn pause_before(restarts: u32, ran: Duration) -> Duration {
    let doubled = FIRST * 2u32.pow(restarts.min(10));
    if ran < WENT_WELL { doubled.min(LONGEST) } else { FIRST }
}

/// The policy as the engine's record has it now: an update counts at once.
fn policy(dir: &ContainerDir) -> Policy {
    let policy = Asked::of(dir).host_config.restart_policy.clone().unwrap_or_default();
    match policy.name.as_deref() {
        Some("on-failure") => Policy::OnFailure(policy.maximum_retry_count.unwrap_or(0)),
        Some("always") => Policy::Always,
        Some("unless-stopped") => Policy::UnlessStopped,
        _ => Policy::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restarts(policy: &str) -> (tempfile::TempDir, Restarts) {
        let folder = tempfile::tempdir().unwrap();
        let dir = ContainerDir::at(folder.path());
        let record = format!(r#"{{"version":1,"host_config":{{"RestartPolicy":{policy}}}}}"#);
        std::fs::write(dir.record(), record).unwrap();
        (folder, Restarts::new(dir))
    }

    fn ended(code: i32, restarts: u32) -> State {
        State { exit_code: Some(code), restart_count: restarts, ..State::default() }
    }

    #[test]
    fn the_pause_doubles_up_to_a_minute_and_is_forgotten_after_a_good_run() {
        let (_folder, mut restarts) = restarts(r#"{"Name":"always"}"#);
        let mut pause = || restarts.after(&ended(0, 0), Duration::ZERO).unwrap().as_millis();
        assert_eq!([pause(), pause(), pause()], [100, 200, 400]);
        for _ in 0..10 {
            pause();
        }
        assert_eq!(pause(), 60_000);
        assert_eq!(restarts.after(&ended(1, 0), WENT_WELL), Some(FIRST));
        let after = |restarts| pause_before(restarts, Duration::ZERO).as_millis();
        assert_eq!([after(0), after(2), after(99)], [100, 400, 60_000]);
        assert_eq!(pause_before(99, WENT_WELL), FIRST);
    }

    #[test]
    fn a_policy_is_kept_to() {
        let (_folder, mut limited) = restarts(r#"{"Name":"on-failure","MaximumRetryCount":2}"#);
        assert!(limited.after(&ended(1, 1), Duration::ZERO).is_some());
        assert!(limited.after(&ended(1, 2), Duration::ZERO).is_none());
        assert!(limited.after(&ended(0, 0), Duration::ZERO).is_none());
        let (_folder, mut none) = restarts(r#"{"Name":"no"}"#);
        assert!(none.after(&ended(1, 0), Duration::ZERO).is_none());
        let (_folder, mut always) = restarts(r#"{"Name":"always"}"#);
        assert!(always.signalled(libc::SIGTERM));
        assert!(always.after(&ended(1, 0), Duration::ZERO).is_none());
    }
}
