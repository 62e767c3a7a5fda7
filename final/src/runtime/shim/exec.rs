//! The shims of execs: forks of their container's shim.
//!
//! A shim that is started as a program reads the container's configuration, compiles
//! its seccomp list, and is a new program to the kernel: that is most of what an exec
//! would cost. A fork has all of it in memory already.
//!
//! ```text
//!   engine              container's shim        its fork               container
//!     ├─ {"do":"exec"} ─▶ fork ───────────────▶ lets go of everything
//!     │                                         but the connection
//!     │                                         setns, clone3 ───────▶ waits
//!     ◀─ "done" ────────────────────────────────┤ start ─────────────▶ execve
//!     ◀─ output ────────────────────────────────┤ ◀───────────────────  writes
//! ```

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

use namespaces::{Context, Error, Result};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{self, Pid};

use super::Until;
use super::owner::{self, Ready};
use super::peer::{Peer, Role};
use super::protocol::{Answer, Exec};
use crate::runtime::container::{self, Inherited, Prepared};
use crate::runtime::{ExecInstructions, sys};
use crate::store::{self, ContainerDir, Lock, State, Status, now};

/// The execs of one container.
pub struct Execs {
    container: ContainerDir,
    inherited: Inherited,
    /// Their shims, to be reaped: each readable when it has ended.
    shims: Vec<(Pid, OwnedFd)>,
}

impl Execs {
    /// None yet.
    pub fn new(container: ContainerDir, inherited: Inherited) -> Self {
        Self { container, inherited, shims: Vec::new() }
    }

    /// For the container's next life.
    pub fn inherit(&mut self, inherited: Inherited) {
        self.inherited = inherited;
    }

    /// Hands `connection` to a new shim, which runs `exec` beside process `pid`, and
    /// answers.
    ///
    /// # Errors
    /// There is no more process to be had. All else the new shim says itself.
    pub fn start(&mut self, exec: &Exec, connection: UnixStream, pid: Pid) -> Result<()> {
        self.inherited.look_around();
        match sys::fork().doing(|| "fork the shim of the exec")? {
            Some(shim) => {
                let fd = sys::pidfd_open(shim).doing(|| "watch the shim of the exec")?;
                self.shims.push((shim, fd));
                Ok(())
            }
            None => {
                // Everything else is the container's shim's: not even its destructors
                // may run here, for they would end the container.
                let act = AssertUnwindSafe(|| self.be_shim(exec, connection, pid));
                sys::exit_now(catch_unwind(act).unwrap_or(125))
            }
        }
    }

    /// Those that live.
    pub fn shims(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        self.shims.iter().map(|(_, fd)| fd.as_fd())
    }

    /// Takes note of those that have ended.
    pub fn reap(&mut self) {
        self.shims.retain(|(pid, _)| {
            let status = waitpid(*pid, Some(WaitPidFlag::WNOHANG));
            matches!(status, Ok(nix::sys::wait::WaitStatus::StillAlive))
        });
    }

    /// In the fork: is the exec's shim, up to its end.
    fn be_shim(&self, exec: &Exec, connection: UnixStream, pid: Pid) -> i32 {
        sys::close_all_but(connection.as_raw_fd());
        let _ = unistd::setsid();
        let Ok(mut peer) = Peer::new(connection) else { return 125 };
        let mut ready = match self.create(&exec.id, pid) {
            Ok(ready) => ready,
            Err(error) => {
                self.note_failure(&exec.id, &error);
                peer.answer(&Answer::Error(error));
                return 125;
            }
        };
        peer.answer(&ready.start().map_or_else(Answer::Error, |()| Answer::Done));
        if let Some(attach) = exec.attach {
            peer.role = Role::Attached(attach);
            ready.adopt(peer);
        }
        ready.own().map_or(125, |()| 0)
    }

    /// Whoever asks for the exit code later hears that of the failure.
    fn note_failure(&self, id: &str, error: &Error) {
        let state = State {
            status: Status::Exited,
            exit_code: Some(error.exit_code.into()),
            error: Some(error.to_string()),
            finished_at: Some(now()),
            ..State::default()
        };
        // Who cannot be told here is told over the connection.
        let _ = self.container.exec(id).set_state(&state, false);
    }

    /// Brings the exec to the brink.
    fn create(&self, id: &str, pid: Pid) -> Result<Ready> {
        let dir = self.container.exec(id);
        let lock = Lock::exclusive(&dir.lock_path())?;
        let missing =
            || Error::new(format!("read {}: it is not there", dir.instructions().display()));
        let exec: ExecInstructions = store::read(&dir.instructions())?.ok_or_else(missing)?;
        let signals = owner::take_signals()?;
        // Before the process is there, which is not to wait for it; who comes early waits.
        let listener = owner::listen(&dir)?;
        let made = container::exec(&exec, &self.inherited, pid).and_then(|prepared| {
            let Prepared { container, rest } = prepared;
            owner::bring_up(&dir, container.begin()?, rest, Until::Started, false)
        });
        let (life, streams) = made.inspect_err(|_| owner::stop_listening(&dir))?;
        let server = owner::server(listener, signals, life, streams, None, &exec.session);
        Ok(Ready { dir: (*dir).clone(), lock, server, removal: None, container: None })
    }
}
