//! The shims of execs: forks of their container's shim.
//!
//! A shim that is started as a program reads the container's configuration, compiles
//! its seccomp list, and is a new program to the kernel: that is most of what an exec
//! would cost. A fork has all of it in memory already. At the end of an exec, the shim of
//! the next is forked, and waits for it for a moment: scripts run one after the other.
//!
//! ```text
//!   engine              container's shim        its fork               container
//!     │                   fork ───────────────▶ lets go of everything,
//!     │                                         finds the way in
//!     ├─ {"do":"exec"} ─▶ hands it over ──────▶ setns, clone3 ───────▶ waits
//!     ◀─ "done" ────────────────────────────────┤ start ─────────────▶ execve
//!     ◀─ output ────────────────────────────────┤ ◀───────────────────  writes
//! ```

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use namespaces::{Context, Error, Result};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{self, Pid};
use serde::{Deserialize, Serialize};

use super::Until;
use super::owner::{self, Ready};
use super::peer::{Peer, Role};
use super::protocol::{Answer, Exec};
use crate::runtime::container::{self, Door, Inherited, Prepared};
use crate::runtime::sys;
use crate::store::{self, ContainerDir, ExecDir, Lock, State, Status, now};

/// How long after its end an exec can still be asked for its exit code, at least.
const REMEMBERED: Duration = Duration::from_secs(300);

/// How often the records of old execs are looked for, at most.
const TIDY: Duration = Duration::from_secs(60);

/// How long a shim that was just forked may take to hear what for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The execs of one container.
pub struct Execs {
    container: ContainerDir,
    inherited: Inherited,
    /// Their shims.
    shims: Vec<Forked>,
    /// The end of a shim that waits for the next exec, if there is one. It goes when this
    /// is closed.
    waiting: Option<UnixStream>,
    /// When the records of old ones were looked for.
    tidied: Instant,
}

/// A fork of the container's shim, to be reaped.
struct Forked {
    pid: Pid,
    /// Readable when it has ended.
    fd: OwnedFd,
    /// It has heard what it is for.
    told: bool,
}

/// What a fork is told it is for.
#[derive(Serialize, Deserialize)]
struct Told<E> {
    exec: E,
    /// It is to look for records of old execs when it has done that.
    tidies: bool,
}

impl Execs {
    /// None yet.
    pub fn new(container: ContainerDir, inherited: Inherited) -> Self {
        let (shims, waiting, tidied) = (Vec::new(), None, Instant::now());
        Self { container, inherited, shims, waiting, tidied }
    }

    /// For the container's next life.
    pub fn inherit(&mut self, inherited: Inherited) {
        self.waiting = None;
        self.inherited = inherited;
    }

    /// Hands `connection` to a shim, which runs `exec` beside process `pid`, and answers.
    ///
    /// # Errors
    /// There is no more process to be had. All else the shim says itself.
    pub fn start(&mut self, exec: &Exec, connection: UnixStream, pid: Pid) -> Result<()> {
        let tidies = self.tidied.elapsed() > TIDY;
        if tidies {
            self.tidied = Instant::now();
        }
        let told = Told { exec, tidies };
        let waiting = self.waiting.take();
        // One that has waited may have been killed.
        let heard = waiting.is_some_and(|shim| tell(&shim, &told, &connection).is_ok());
        if !heard {
            tell(&self.fork(pid)?, &told, &connection)?;
        }
        self.shims.iter_mut().for_each(|shim| shim.told = true);
        Ok(())
    }

    /// A new shim, which waits at the other end of this to be told what for.
    fn fork(&mut self, pid: Pid) -> Result<UnixStream> {
        self.inherited.look_around();
        let (ours, theirs) = UnixStream::pair().doing(|| "create a socket pair")?;
        match sys::fork().doing(|| "fork the shim of the exec")? {
            Some(pid) => {
                let fd = sys::pidfd_open(pid).doing(|| "watch the shim of the exec")?;
                self.shims.push(Forked { pid, fd, told: false });
                Ok(ours)
            }
            None => {
                // Everything else is the container's shim's: not even its destructors
                // may run here, for they would end the container.
                let act = AssertUnwindSafe(|| self.be_shim(theirs, pid));
                sys::exit_now(catch_unwind(act).unwrap_or(125))
            }
        }
    }

    /// Those that live.
    pub fn shims(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.shims.iter().map(|shim| shim.fd.as_fd())
    }

    /// Takes note of those that have ended. Where there was an exec, the next may come at
    /// once, and finds a shim that waits for it, as long as process `pid` runs.
    pub fn reap(&mut self, pid: Option<Pid>) {
        let has_ended = |shim: &mut Forked| {
            let status = waitpid(shim.pid, Some(WaitPidFlag::WNOHANG));
            !matches!(status, Ok(WaitStatus::StillAlive))
        };
        let was_exec = self.shims.extract_if(.., has_ended).filter(|shim| shim.told).count() > 0;
        if was_exec && self.waiting.is_none() {
            self.waiting = pid.and_then(|pid| self.fork(pid).ok());
        }
    }

    /// Nobody is expected soon.
    pub fn rest(&mut self) {
        self.waiting = None;
    }

    /// In the fork: is an exec's shim, up to its end.
    fn be_shim(&self, control: UnixStream, pid: Pid) -> i32 {
        sys::close_all_but(control.as_raw_fd());
        let _ = unistd::setsid();
        let door = Door::find(&self.inherited, pid);
        // It may have waited for nothing.
        let Some((Told { exec, tidies }, connection)) = hear(control) else { return 0 };
        let Ok(mut peer) = Peer::new(connection) else { return 125 };
        let exec = &exec;
        let mut ready = match door.and_then(|door| self.create(exec, door)) {
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
    fn create(&self, exec: &Exec, door: Door) -> Result<Ready> {
        let instructions = &exec.instructions;
        let signals = owner::take_signals()?;
        let Prepared { container, rest } = container::exec(instructions, &self.inherited, door)?;
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

/// Tells a shim at the other end of `control` what it is for, and gives it the client.
fn tell(control: &UnixStream, told: &Told<&Exec>, connection: &UnixStream) -> Result<()> {
    let what = || "hand the exec over to its shim";
    let mut line = serde_json::to_vec(told).expect("an exec is plain data");
    line.push(b'\n');
    control.set_write_timeout(Some(PATIENCE)).doing(what)?;
    sys::send_fds(control.as_fd(), b"e", &[connection.as_fd()]).doing(what)?;
    (&mut &*control).write_all(&line).doing(what)
}

/// What this shim is for, and its client; nothing, if it is not needed.
fn hear(control: UnixStream) -> Option<(Told<Exec>, UnixStream)> {
    let (_, fds) = sys::receive_fds::<1>(control.as_fd(), &mut [0]).ok()?;
    let connection = fds.into_iter().next()?.into();
    let mut line = Vec::new();
    BufReader::new(control).read_until(b'\n', &mut line).ok()?;
    Some((serde_json::from_slice(&line).ok()?, connection))
}
