//! The container, or the exec, that a shim owns: from the brink of exec to the end.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use cgroups::Group;
use namespaces::{Created, Error, Exit, Result, Running};
use nix::sys::signal::Signal;

use super::exec::Execs;
use super::health::HealthChecks;
use super::restart::Restarts;
use super::told::Teller;
use crate::store::{ContainerDir, ShimDir, State, Status, now};

/// What a shim owns.
pub struct Life {
    dir: ShimDir,
    stage: Stage,
    state: State,
    /// The record of the end must outlive the machine's.
    durable: bool,
    /// The container's cgroup; an exec has none of its own.
    cgroup: Option<String>,
    /// The container's mount namespace. Its last user unmounts the overlay, which
    /// waits for the disk: that shall be us, after everyone was told of the end, and
    /// not the container's first process, before.
    mounts: Option<File>,
    teller: Teller,
    /// When the program was let go, until its end is written down.
    began: Option<Instant>,
    /// The start is to be told yet: whoever asked for it comes first.
    start_untold: bool,
    /// Nobody waits for the answer to a start: it follows another life.
    follows: bool,
    /// Who decides over restarts; an exec has none.
    restarts: Option<Restarts>,
    /// Until the next start.
    pause: Option<Duration>,
    /// Who asks for its health, if anybody does.
    health: Option<HealthChecks>,
}

enum Stage {
    Created(Box<Created>),
    Running(Box<Running>),
    /// It has ended, and what it had is still to be given back.
    Ended(Box<Running>),
    Over,
}

impl Life {
    /// Where it is kept.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Takes over a container at the brink of exec.
    pub fn new(dir: ShimDir, created: Created, cgroup: Option<String>, durable: bool) -> Self {
        let mounts = File::open(format!("/proc/{}/ns/mnt", created.pid())).ok();
        let stage = Stage::Created(Box::new(created));
        let teller = Teller::new(&dir);
        Self {
            dir,
            stage,
            state: State::default(),
            durable,
            cgroup,
            mounts,
            teller,
            began: None,
            start_untold: false,
            follows: false,
            restarts: None,
            pause: None,
            health: None,
        }
    }

    /// Lets these decide what comes after the end.
    pub fn set_restarts(&mut self, restarts: Restarts) {
        self.restarts = Some(restarts);
    }

    /// Health checks, if there are any: they have a descriptor and a deadline.
    pub fn health(&self) -> Option<&HealthChecks> {
        self.health.as_ref()
    }

    /// Does for its health what is due.
    pub fn tick(&mut self, execs: &mut Execs) {
        let Stage::Running(running) = &self.stage else { return };
        let pid = running.pid();
        if self.health.as_mut().is_some_and(|health| health.tick(execs, pid)) {
            self.note_health();
        }
    }

    /// Reads what a health check says.
    pub fn read_check(&mut self) {
        if self.health.as_mut().is_some_and(HealthChecks::read) {
            self.note_health();
        }
    }

    fn note_health(&mut self) {
        let before = self.state.health.as_ref().map(|health| health.status);
        self.state.health = self.health.as_ref().map(|checks| checks.health().clone());
        self.record();
        if let Some(health) = &self.state.health
            && Some(health.status) != before
        {
            let status = serde_json::to_value(health.status).unwrap_or_default();
            let status = status.as_str().unwrap_or_default();
            self.teller.happened(format_args!("health_status: {status}"));
        }
    }

    /// Is what comes after `before`.
    pub fn follow(&mut self, before: &mut Life) {
        self.follows = true;
        let by_hand = before.is_hurried();
        self.state.restart_count = if by_hand { 0 } else { before.state.restart_count + 1 };
        self.restarts = before.restarts.take();
        if let Some(restarts) = &mut self.restarts {
            restarts.hurried = false;
        }
        self.state.finished_at = before.state.finished_at.take();
    }

    /// After the end: how long until the next start, if there is to be one.
    pub fn next_start(&mut self) -> Option<Duration> {
        self.pause.take()
    }

    /// Whether somebody wants it to stay ended.
    pub fn is_stopped(&self) -> bool {
        self.restarts.as_ref().is_some_and(|restarts| restarts.stopped)
    }

    /// Whether somebody wants the next start to be at once.
    pub fn is_hurried(&self) -> bool {
        self.restarts.as_ref().is_some_and(|restarts| restarts.hurried)
    }

    /// The next end is followed by a start, whatever the policy is.
    pub fn restart_by_hand(&mut self) -> Result<()> {
        let none = || Error::new("restart: only a container is started again");
        let restarts = self.restarts.as_mut().ok_or_else(none)?;
        (restarts.hurried, restarts.stopped) = (true, false);
        Ok(())
    }

    /// There will be no next start after all, for this reason if there is one.
    pub fn give_up(&mut self, why: Option<&Error>) {
        self.state.status = Status::Exited;
        self.state.stopped_by_hand = self.is_stopped();
        if let Some(error) = why {
            self.state.error = Some(error.to_string());
            self.state.exit_code = Some(error.exit_code.into());
        }
    }

    /// What is known.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What its network gave it, for the record.
    pub fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    /// Writes down what has changed.
    pub fn record(&self) {
        self.write_down(false);
    }

    /// A full disk must not end the container: what cannot be written is lost, and the
    /// next record has it too. Who asks us, or waits for the end, is told from memory.
    fn write_down(&self, durable: bool) {
        if self.dir.set_state(&self.state, durable).is_err() {
            let _ = self.dir.write_over_state(&self.state);
        }
    }

    /// The running program, to be polled: readable when it has ended.
    pub fn running(&self) -> Option<&Running> {
        match &self.stage {
            Stage::Running(running) => Some(running),
            _ => None,
        }
    }

    /// Whether everything is made and the program was not let go yet.
    pub fn is_at_the_brink(&self) -> bool {
        matches!(self.stage, Stage::Created(_))
    }

    /// Whether it has ended, or never got to run.
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Ended(_) | Stage::Over)
    }

    /// Lets the program go.
    ///
    /// # Errors
    /// What execve(2) answers; then it is over.
    pub fn start(&mut self) -> Result<()> {
        let Stage::Created(created) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return Err(Error::new("start the container: it was started before"));
        };
        let started = created.start();
        namespaces::explain::stop_listening();
        match started {
            Ok(running) => {
                self.state.pid = running.pid().as_raw();
                self.state.status = Status::Running;
                self.state.started_at = Some(now());
                self.stage = Stage::Running(Box::new(running));
                self.began = Some(Instant::now());
                self.start_untold = true;
                if self.restarts.is_some() {
                    self.health = HealthChecks::of(&ContainerDir::at(self.dir.path()));
                    self.state.health = self.health.as_ref().map(|checks| checks.health().clone());
                }
                if self.follows {
                    self.tell_start();
                }
                self.record();
                Ok(())
            }
            Err(error) => {
                self.state.exit_code = Some(error.exit_code.into());
                self.state.error = Some(error.to_string());
                Err(error)
            }
        }
    }

    /// Tells everyone of the start, if that is still to be done.
    pub fn tell_start(&mut self) {
        if std::mem::take(&mut self.start_untold) {
            self.teller.started();
        }
    }

    /// Sends a signal that somebody wants to be sent. It may be the end for good.
    pub fn kill_by_hand(&mut self, signal: i32) -> Result<()> {
        if let Some(restarts) = &mut self.restarts
            && restarts.signalled(signal) != self.state.stopped_by_hand
        {
            self.state.stopped_by_hand = restarts.stopped;
            // Whoever finds it dead must know it even if we do not get to tell.
            self.record();
        }
        self.kill(signal)?;
        if matches!(self.stage, Stage::Running(_)) {
            self.tell_start();
            self.teller.signalled(signal);
        }
        Ok(())
    }

    /// Sends a signal. Before the start any deadly one is the end.
    pub fn kill(&mut self, signal: i32) -> Result<()> {
        match &self.stage {
            Stage::Running(running) => {
                running.kill(signal)?;
                // What is frozen does not even die.
                match self.state.status == Status::Paused && signal == Signal::SIGKILL as i32 {
                    true => self.unpause(),
                    false => Ok(()),
                }
            }
            Stage::Created(_) => {
                self.stage = Stage::Over;
                self.state.exit_code = Some(128 + signal);
                self.state.error = Some("killed before it was started".into());
                Ok(())
            }
            Stage::Ended(_) | Stage::Over => Ok(()),
        }
    }

    /// Freezes all processes.
    pub fn pause(&mut self) -> Result<()> {
        match self.state.status {
            Status::Running => self.group()?.freeze()?,
            Status::Paused => return Err(Error::new("pause the container: it is paused already")),
            _ => return Err(Error::new("pause the container: it is not running")),
        }
        self.state.status = Status::Paused;
        self.suspend_checks();
        self.teller.happened("pause");
        self.record();
        Ok(())
    }

    /// Lets them go on.
    pub fn unpause(&mut self) -> Result<()> {
        if self.state.status != Status::Paused {
            return Err(Error::new("unpause the container: it is not paused"));
        }
        self.group()?.thaw()?;
        self.state.status = Status::Running;
        self.health.iter_mut().for_each(HealthChecks::resume);
        self.teller.happened("unpause");
        self.record();
        Ok(())
    }

    fn suspend_checks(&mut self) {
        if let Some(checks) = &mut self.health {
            checks.suspend();
            self.state.health = Some(checks.health().clone());
        }
    }

    fn group(&self) -> Result<Group> {
        let none = || Error::new("freeze the container: it has no cgroup");
        Group::open(self.cgroup.as_deref().ok_or_else(none)?)
    }

    /// Looks whether the program has ended; from then on [`Life::is_over`].
    pub fn reap(&mut self) -> Result<()> {
        let Stage::Running(running) = &mut self.stage else { return Ok(()) };
        let Some(exit) = running.try_wait()? else { return Ok(()) };
        self.note_end(exit);
        if let Stage::Running(running) = std::mem::replace(&mut self.stage, Stage::Over) {
            self.stage = Stage::Ended(running);
        }
        Ok(())
    }

    fn note_end(&mut self, exit: Exit) {
        self.suspend_checks();
        self.health = None;
        self.state.status = Status::Exited;
        self.state.pid = 0;
        self.state.finished_at = Some(now());
        self.state.exit_code = Some(exit.code().into());
        self.state.address = None;
        self.state.ports = Vec::new();
        // Of success nobody asks whether memory was short.
        if exit != Exit::Code(0) {
            self.state.oom_killed = self.group().is_ok_and(|group| group.oom_kills() > 0);
        }
    }

    /// Writes down the end, and what comes after it. From here on it may be told.
    pub fn record_end(&mut self) {
        self.tell_start();
        let Some(ran) = self.began.take().map(|began| began.elapsed()) else {
            return self.write_down(self.durable);
        };
        if let Some(restarts) = &mut self.restarts {
            self.pause = restarts.after(&self.state, ran);
            self.state.stopped_by_hand = restarts.stopped;
        }
        if self.pause.is_some() {
            self.state.status = Status::Restarting;
        }
        self.write_down(self.durable);
        self.teller.ended(&self.state, ran);
        if self.is_hurried() {
            self.teller.happened("stop");
        }
    }

    /// Gives back what the kernel does not take back by itself.
    ///
    /// # Errors
    /// The first error; everything had its turn.
    pub fn tidy_up(&mut self) -> Result<()> {
        let mounts = self.mounts.take();
        let result = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Ended(mut running) | Stage::Running(mut running) => running.teardown(),
            Stage::Created(_) | Stage::Over => Ok(()),
        };
        drop(mounts);
        result
    }
}
