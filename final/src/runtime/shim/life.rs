//! The container, or the exec, that a shim owns: from the brink of exec to the end.

use std::fs::File;

use cgroups::Group;
use namespaces::{Created, Error, Exit, Result, Running};
use nix::sys::signal::Signal;

use crate::store::{ShimDir, State, Status, now};

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
}

enum Stage {
    Created(Box<Created>),
    Running(Box<Running>),
    /// It has ended, and what it had is still to be given back.
    Ended(Box<Running>),
    Over,
}

impl Life {
    /// Takes over a container at the brink of exec.
    pub fn new(dir: ShimDir, created: Created, cgroup: Option<String>, durable: bool) -> Self {
        let mounts = File::open(format!("/proc/{}/ns/mnt", created.pid())).ok();
        let stage = Stage::Created(Box::new(created));
        Self { dir, stage, state: State::default(), durable, cgroup, mounts }
    }

    /// What is known.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What its network gave it, for the record.
    pub fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    /// The running program, to be polled: readable when it has ended.
    pub fn running(&self) -> Option<&Running> {
        match &self.stage {
            Stage::Running(running) => Some(running),
            _ => None,
        }
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
                self.dir.set_state(&self.state, false)
            }
            Err(error) => {
                self.state.exit_code = Some(error.exit_code.into());
                self.state.error = Some(error.to_string());
                Err(error)
            }
        }
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
        self.dir.set_state(&self.state, false)
    }

    /// Lets them go on.
    pub fn unpause(&mut self) -> Result<()> {
        if self.state.status != Status::Paused {
            return Err(Error::new("unpause the container: it is not paused"));
        }
        self.group()?.thaw()?;
        self.state.status = Status::Running;
        self.dir.set_state(&self.state, false)
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

    /// Writes down the end. From here on it may be told.
    pub fn record_end(&mut self) -> Result<()> {
        self.dir.set_state(&self.state, self.durable)
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
