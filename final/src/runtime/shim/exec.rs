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

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use namespaces::{Context, Error, Result};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{self, Pid};

use super::Until;
use super::owner::{self, Ready};
use super::peer::{Peer, Role};
use super::protocol::{Answer, Exec};
use crate::runtime::container::{self, Inherited, Prepared};
use crate::runtime::sys;
use crate::store::{self, ContainerDir, ExecDir, Lock, State, Status, now};

/// How long after its end an exec can still be asked for its exit code, at least.
const REMEMBERED: Duration = Duration::from_secs(300);

/// How often the records of old execs are looked for, at most.
const TIDY: Duration = Duration::from_secs(60);

/// The execs of one container.
pub struct Execs {
    container: ContainerDir,
    inherited: Inherited,
    /// Their shims, to be reaped: each readable when it has ended.
    shims: Vec<(Pid, OwnedFd)>,
    /// When the records of old ones were looked for.
    tidied: Instant,
}

impl Execs {
    /// None yet.
    pub fn new(container: ContainerDir, inherited: Inherited) -> Self {
        Self { container, inherited, shims: Vec::new(), tidied: Instant::now() }
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
        let tidies = self.tidied.elapsed() > TIDY;
        if tidies {
            self.tidied = Instant::now();
        }
        match sys::fork().doing(|| "fork the shim of the exec")? {
            Some(shim) => {
                let fd = sys::pidfd_open(shim).doing(|| "watch the shim of the exec")?;
                self.shims.push((shim, fd));
                Ok(())
            }
            None => {
                // Everything else is the container's shim's: not even its destructors
                // may run here, for they would end the container.
                let act = AssertUnwindSafe(|| self.be_shim(exec, connection, pid, tidies));
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

    /// In the fork: is the exec's shim, up to its end; `tidies` up behind others after it.
    fn be_shim(&self, exec: &Exec, connection: UnixStream, pid: Pid, tidies: bool) -> i32 {
        sys::close_all_but(connection.as_raw_fd());
        let _ = unistd::setsid();
        let Ok(mut peer) = Peer::new(connection) else { return 125 };
        let mut ready = match self.create(exec, pid) {
            Ok(ready) => ready,
            Err(error) => {
                self.note_failure(exec, &error);
                peer.answer(&Answer::Error(error));
                return 125;
            }
        };
        peer.answer(&ready.start().map_or_else(Answer::Error, |()| Answer::Done));
        if let Some(attach) = exec.attach {
            peer.role = Role::Attached(attach);
            ready.adopt(peer);
        }
        let owned = ready.own();
        // Nobody waits for this one any more.
        if tidies {
            self.forget_old();
        }
        owned.map_or(125, |()| 0)
    }

    /// Removes the records of execs that ended long ago: a container that lives for months
    /// may have had many. Their shims change the folder for the last time when they end.
    fn forget_old(&self) {
        let Ok(entries) = fs::read_dir(self.container.execs()) else { return };
        let is_old = |entry: &fs::DirEntry| {
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age > REMEMBERED))
        };
        for entry in entries.flatten().filter(is_old) {
            let exec = self.container.exec(&entry.file_name().to_string_lossy());
            let owned = || matches!(Lock::try_exclusive(&exec.lock_path()), Ok(None));
            if exec.lock_path().exists() && owned() {
                continue;
            }
            // It is only memory: what cannot be removed now is removed with the container.
            let _ = fs::remove_dir_all(exec.path());
        }
    }

    /// Whoever asks for the exit code later hears that of the failure.
    fn note_failure(&self, exec: &Exec, error: &Error) {
        let state = State {
            status: Status::Exited,
            exit_code: Some(error.exit_code.into()),
            error: Some(error.to_string()),
            finished_at: Some(now()),
            ..State::default()
        };
        // Who cannot be told here is told over the connection.
        let _ = self.write_down(exec).and_then(|dir| dir.set_state(&state, false));
    }

    /// Makes its folder, with what is to be run.
    fn write_down(&self, exec: &Exec) -> Result<ExecDir> {
        let dir = self.container.exec(&exec.id);
        dir.create()?;
        store::write(&dir.instructions(), &exec.instructions, false)?;
        Ok(dir)
    }

    /// Brings the exec to the brink.
    fn create(&self, exec: &Exec, pid: Pid) -> Result<Ready> {
        let instructions = &exec.instructions;
        let signals = owner::take_signals()?;
        let Prepared { container, rest } = container::exec(instructions, &self.inherited, pid)?;
        let begun = container.begin()?;
        // While the process sets itself up. It does not run before this is done.
        let dir = self.write_down(exec)?;
        let lock = Lock::exclusive(&dir.lock_path())?;
        let listener = owner::listen(&dir)?;
        let made = owner::bring_up(&dir, begun, rest, Until::Started, false);
        let (life, streams) = made.inspect_err(|_| owner::stop_listening(&dir))?;
        let server = owner::server(listener, signals, life, streams, None, &instructions.session);
        Ok(Ready { dir: (*dir).clone(), lock, server, removal: None, container: None })
    }
}
