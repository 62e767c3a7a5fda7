//! Health checks: a program that is run in the container again and again.
//!
//! Each check is an exec like those of users, with a shim of its own; what that one says
//! comes over a socket that the loop looks after with all the others.
//!
//! ```text
//!   start ── interval ──▶ check ── its end, or the timeout ──▶ result ── interval ──▶ …
//! ```

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use namespaces::{Context, Error, Result};
use nix::unistd::Pid;

use super::client::Shim;
use super::exec::Execs;
use super::protocol::{Answer, Attach, Exec};
use super::told::Teller;
use crate::runtime::{ExecInstructions, Session};
use crate::store::{Asked, Checked, ContainerDir, ExecDir, Health, HealthStatus, Healthcheck, now};

/// Docker's, where the user says nothing.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: i64 = 3;

/// How much of a check's output is kept.
const OUTPUT: usize = 4096;

/// How many checks are kept.
const CHECKS: usize = 5;

/// The checks of one container, during one life of it.
pub struct HealthChecks {
    dir: ContainerDir,
    config: Healthcheck,
    /// What is run.
    args: Vec<String>,
    began: Instant,
    health: Health,
    /// When the next check is due; nothing while one runs, or while it is frozen.
    next: Option<Instant>,
    check: Option<Check>,
    /// The last check's folder: its shim may need it for a moment longer.
    last: Option<ExecDir>,
}

/// A check that runs.
struct Check {
    exec: ExecDir,
    stream: UnixStream,
    start: String,
    deadline: Instant,
    /// The shim's answer, then frames.
    said: Vec<u8>,
}

impl HealthChecks {
    /// Those that the container's record asks for, if it does. They begin now.
    pub fn of(dir: &ContainerDir) -> Option<Self> {
        let asked = Asked::of(dir).config.clone();
        let config = asked.healthcheck?;
        let test = config.test.as_deref().unwrap_or_default();
        let args = match test.split_first().map(|(kind, rest)| (kind.as_str(), rest)) {
            Some(("CMD", args)) if !args.is_empty() => args.to_vec(),
            Some(("CMD-SHELL", [line, ..])) => {
                let shell = asked.shell.filter(|shell| !shell.is_empty());
                let mut args = shell.unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()]);
                args.push(line.clone());
                args
            }
            _ => return None,
        };
        let mut checks = Self {
            dir: dir.clone(),
            config,
            args,
            began: Instant::now(),
            health: Health::default(),
            next: None,
            check: None,
            last: None,
        };
        checks.plan_next();
        Some(checks)
    }

    /// How well the container is.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// What to poll, while a check runs.
    pub fn stream(&self) -> Option<BorrowedFd<'_>> {
        self.check.as_ref().map(|check| check.stream.as_fd())
    }

    /// When something is to be done even if nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        self.check.as_ref().map(|check| check.deadline).or(self.next)
    }

    /// Does what is due. True if the container's health is another now.
    pub fn tick(&mut self, execs: &mut Execs, pid: Pid) -> bool {
        if self.deadline().is_none_or(|deadline| Instant::now() < deadline) {
            return false;
        }
        match self.check.take() {
            Some(check) => self.end_late(check),
            None => self.begin(execs, pid),
        }
    }

    /// Reads what the check says. True if that was its end.
    pub fn read(&mut self) -> bool {
        let Some(check) = &mut self.check else { return false };
        let mut buffer = [0; 4096];
        loop {
            match check.stream.read(&mut buffer) {
                Ok(0) => break,
                // What nobody will see must be read all the same, or it would wait.
                Ok(_) if check.said.len() > 4 * OUTPUT => {}
                Ok(length) => check.said.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                Err(_) => break,
            }
        }
        let Some(check) = self.check.take() else { return false };
        let (exit_code, output) = check.result();
        self.note(check, exit_code, output);
        true
    }

    /// The container is frozen, or has ended: nobody knows how it is any more, and
    /// Docker's word for that is the same.
    pub fn suspend(&mut self) {
        self.next = None;
        if let Some(check) = self.check.take() {
            check.kill();
            self.last = Some(check.exec);
        }
        self.health.status = HealthStatus::Unhealthy;
    }

    /// It goes on.
    pub fn resume(&mut self) {
        self.plan_next();
    }

    fn plan_next(&mut self) {
        let early = self.health.status == HealthStatus::Starting && self.is_starting();
        let pause = match early {
            true => time(self.config.start_interval, START_INTERVAL),
            false => time(self.config.interval, INTERVAL),
        };
        self.next = Some(Instant::now() + pause);
    }

    fn is_starting(&self) -> bool {
        self.began.elapsed() < time(self.config.start_period, Duration::ZERO)
    }

    fn begin(&mut self, execs: &mut Execs, pid: Pid) -> bool {
        self.next = None;
        if let Some(last) = self.last.take() {
            let _ = std::fs::remove_dir_all(last.path());
        }
        let start = now();
        match self.start(execs, pid) {
            Ok((exec, stream)) => {
                let deadline = Instant::now() + time(self.config.timeout, TIMEOUT);
                self.check = Some(Check { exec, stream, start, deadline, said: Vec::new() });
                false
            }
            Err(error) => {
                self.keep(Checked { start, end: now(), exit_code: -1, output: error.to_string() });
                true
            }
        }
    }

    fn start(&self, execs: &mut Execs, pid: Pid) -> Result<(ExecDir, UnixStream)> {
        let id = random_id()?;
        let exec = self.dir.exec(&id);
        let attach = Attach { stdin: false, stdout: true, stderr: true };
        let asked = Asked::of(&self.dir).config.clone();
        let cwd = asked.working_dir.filter(|dir| !dir.is_empty());
        let instructions = ExecInstructions {
            args: self.args.clone(),
            cwd: cwd.unwrap_or_else(|| "/".into()).into(),
            attach,
            session: Session { user: asked.user.unwrap_or_default(), ..Session::default() },
            ..ExecInstructions::default()
        };
        let (ours, theirs) = UnixStream::pair().doing(|| "create a socket pair")?;
        ours.set_nonblocking(true).doing(|| "create a socket pair")?;
        Teller::new(&exec).exec_begins(&self.args);
        execs.start(&Exec { id, attach: Some(attach), instructions }, theirs, pid)?;
        Ok((exec, ours))
    }

    fn end_late(&mut self, check: Check) -> bool {
        check.kill();
        let timeout = go_duration(time(self.config.timeout, TIMEOUT));
        let mut output = format!("Health check exceeded timeout ({timeout})");
        let said = check.output();
        if !said.is_empty() {
            output = format!("{output}: {said}");
        }
        self.note(check, -1, output);
        true
    }

    fn note(&mut self, check: Check, exit_code: i32, output: String) {
        self.keep(Checked { start: check.start, end: now(), exit_code, output });
        self.last = Some(check.exec);
    }

    fn keep(&mut self, checked: Checked) {
        let retries = self.config.retries.filter(|retries| *retries > 0).unwrap_or(RETRIES);
        let health = &mut self.health;
        if checked.exit_code == 0 {
            health.failing_streak = 0;
            health.status = HealthStatus::Healthy;
        } else if health.status != HealthStatus::Starting
            || self.began.elapsed() >= time(self.config.start_period, Duration::ZERO)
        {
            health.failing_streak += 1;
            if i64::from(health.failing_streak) >= retries {
                health.status = HealthStatus::Unhealthy;
            }
        }
        health.log.push(checked);
        if health.log.len() > CHECKS {
            health.log.remove(0);
        }
        self.plan_next();
    }
}

impl Drop for HealthChecks {
    fn drop(&mut self) {
        if let Some(last) = &self.last {
            let _ = std::fs::remove_dir_all(last.path());
        }
    }
}

impl Check {
    /// The exit code and the output.
    fn result(&self) -> (i32, String) {
        let line = self.said.split(|byte| *byte == b'\n').next().unwrap_or_default();
        match serde_json::from_slice(line) {
            Ok(Answer::Error(error)) => return (-1, error.to_string()),
            Ok(_) => {}
            Err(_) => return (-1, "the check's shim was killed".into()),
        }
        match self.exec.state().map(|state| state.exit_code) {
            Ok(Some(code)) => (code, self.output()),
            Ok(None) => (-1, "the check's shim was killed".into()),
            Err(error) => (-1, error.to_string()),
        }
    }

    /// What the program has said so far, without the frames around it.
    fn output(&self) -> String {
        let begin = self.said.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let (mut frames, mut output) = (&self.said[begin..], Vec::new());
        while let Some((header, rest)) = frames.split_at_checked(8) {
            let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            let (payload, rest) = rest.split_at((length as usize).min(rest.len()));
            output.extend_from_slice(payload);
            frames = rest;
        }
        output.truncate(OUTPUT);
        String::from_utf8_lossy(&output).into_owned()
    }

    /// Whoever is asked for its health and does not answer is not asked politely.
    fn kill(&self) {
        if let Ok(mut shim) = Shim::connect(&self.exec) {
            let _ = shim.kill(libc::SIGKILL);
        }
    }
}

/// Nanoseconds, or the default.
fn time(nanos: Option<i64>, default: Duration) -> Duration {
    match nanos.and_then(|nanos| u64::try_from(nanos).ok()) {
        None | Some(0) => default,
        Some(nanos) => Duration::from_nanos(nanos),
    }
}

/// `1m30s`, as Go writes it.
fn go_duration(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    let rest = match time - Duration::from_secs(minutes * 60) {
        Duration::ZERO => "0s".into(),
        rest => format!("{rest:?}"),
    };
    match (minutes / 60, minutes % 60) {
        (0, 0) => rest,
        (0, minutes) => format!("{minutes}m{rest}"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}"),
    }
}

/// 64 hexadecimal digits.
fn random_id() -> Result<String> {
    let mut bytes = [0; 32];
    let random =
        std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    random.map_err(|error| Error::os("read /dev/urandom", error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(config: &str) -> (tempfile::TempDir, HealthChecks) {
        let folder = tempfile::tempdir().unwrap();
        let dir = ContainerDir::at(folder.path());
        let record = format!(r#"{{"version":1,"config":{{"Healthcheck":{config}}}}}"#);
        std::fs::write(dir.record(), record).unwrap();
        (folder, HealthChecks::of(&dir).unwrap())
    }

    fn ended(exit_code: i32) -> Checked {
        Checked { exit_code, ..Checked::default() }
    }

    #[test]
    fn failures_count_in_a_row_and_success_at_once() {
        let (_folder, mut checks) = checks(r#"{"Test":["CMD","true"],"Retries":2}"#);
        let mut after = |code| {
            checks.keep(ended(code));
            checks.health().status
        };
        assert_eq!(after(1), HealthStatus::Starting);
        assert_eq!(after(1), HealthStatus::Unhealthy);
        assert_eq!(after(0), HealthStatus::Healthy);
        assert_eq!(after(1), HealthStatus::Healthy);
        for _ in 0..9 {
            after(0);
        }
        assert_eq!(checks.health().log.len(), CHECKS);
    }

    #[test]
    fn failures_do_not_count_while_it_starts() {
        let config = r#"{"Test":["CMD-SHELL","false"],"Retries":1,"StartPeriod":60000000000}"#;
        let (_folder, mut checks) = checks(config);
        assert_eq!(checks.args, ["/bin/sh", "-c", "false"]);
        checks.keep(ended(1));
        assert_eq!(
            (checks.health().status, checks.health().failing_streak),
            (HealthStatus::Starting, 0)
        );
        checks.keep(ended(0));
        checks.keep(ended(1));
        assert_eq!(checks.health().status, HealthStatus::Unhealthy);
    }

    #[test]
    fn a_time_is_written_as_go_does() {
        let said = [1_000, 90_000, 500, 3_600_000].map(|ms| go_duration(Duration::from_millis(ms)));
        assert_eq!(said, ["1s", "1m30s", "500ms", "1h0m0s"]);
    }
}
