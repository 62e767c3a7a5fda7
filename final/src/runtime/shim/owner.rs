//! `coracle shim DIR`, from its first line to its last.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use namespaces::{Context, Error, Result, explain};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd;
use oci_spec::runtime::Spec;

use super::exec::Execs;
use super::life::Life;
use super::log::Log;
use super::network::Network;
use super::peer::Peer;
use super::protocol::Answer;
use super::remove::auto_remove;
use super::restart::Restarts;
use super::serve::Server;
use super::{SOCKET, Streams};
use crate::runtime::container::{self, Inherited, Prepared};
use crate::runtime::{AutoRemove, Instructions, Session};
use crate::store::{self, ContainerDir, Lock, ShimDir, socket};

/// Signals to the shim that are meant for the program.
const FORWARDED: [Signal; 6] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Is the shim of the container in this folder. What went wrong before the container
/// was created is said on standard output, as everything that the engine is told.
pub fn main(words: &[OsString]) -> ExitCode {
    let owned = detach().and_then(|status| match words {
        [dir] => Ok((status, ContainerDir::at(dir))),
        _ => Err(Error::new("a shim takes a container's folder: coracle shim DIR")),
    });
    let Ok((status, dir)) = owned else { return ExitCode::from(125) };
    match create(dir) {
        Err(error) => {
            tell(status, &Answer::Error(error));
            ExitCode::from(125)
        }
        Ok(created) => {
            tell(status, &Answer::Done);
            match created.own() {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::from(125),
            }
        }
    }
}

/// Becomes a process on its own: no terminal, no folder, no stream of the caller's but
/// the one that the caller listens to, which is returned.
fn detach() -> Result<File> {
    let status = unistd::dup(std::io::stdout()).doing(|| "keep the status pipe")?;
    nix::fcntl::fcntl(&status, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))
        .doing(|| "keep the status pipe")?;
    let null = File::options().read(true).write(true).open("/dev/null");
    let null: OwnedFd = null.doing(|| "open /dev/null")?.into();
    unistd::dup2_stdout(&null).doing(|| "let go of standard output")?;
    // It fails for a process that leads a group, which one that was just forked does not.
    let _ = unistd::setsid();
    unistd::chdir("/").doing(|| "change to /")?;
    let _ = nix::sys::prctl::set_name(c"coracle-shim");
    Ok(status.into())
}

fn tell(mut status: File, answer: &Answer) {
    // Who is gone cannot be told.
    let _ = status.write_all(&answer.to_line());
}

/// Everything is made, and waits to be started.
pub(super) struct Ready {
    pub dir: ShimDir,
    pub lock: Lock,
    pub server: Server,
    pub removal: Option<(ContainerDir, AutoRemove)>,
    /// For a container, its folder: it may be made again.
    pub container: Option<ContainerDir>,
}

fn create(dir: ContainerDir) -> Result<Ready> {
    let lock = claim(&dir)?;
    let signals = take_signals()?;

    // The container first: a socket means that there is one behind it.
    let Made { mut life, streams, network, inherited, instructions } = make(&dir)?;
    life.set_restarts(Restarts::new(dir.clone()));
    let before = dir.state()?;
    life.state_mut().finished_at = before.finished_at;
    // What goes on after a sudden end is counted on; a start by hand begins at none.
    life.state_mut().restart_count = before.restart_count;
    let keep = !instructions.no_log;
    let log = keep.then(|| Log::open(&dir.log(), instructions.log)).transpose()?;
    let listener = listen(&dir)?;
    let mut server = server(listener, signals, life, streams, log, &instructions.session);
    server.execs = Some(Execs::new(dir.clone(), inherited));
    server.network = network;
    let removal = instructions.auto_remove.map(|removal| (dir.clone(), removal));
    Ok(Ready { dir: (*dir).clone(), lock, server, removal, container: Some(dir) })
}

/// Only one shim owns a container. One that tidies up is waited for; one whose program
/// runs is not.
fn claim(dir: &ContainerDir) -> Result<Lock> {
    loop {
        if let Some(lock) = Lock::try_exclusive(&dir.lock_path())? {
            return Ok(lock);
        }
        if dir.state()?.is_alive() {
            return Err(Error::new("start the container: somebody has just started it"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A container at the brink of exec, and what it was made from.
struct Made {
    life: Life,
    streams: Streams,
    network: Option<Network>,
    inherited: Inherited,
    instructions: Instructions,
}

/// Makes the container in this folder, up to the brink of exec.
fn make(dir: &ContainerDir) -> Result<Made> {
    let spec = read_spec(dir)?;
    let instructions: Instructions = store::read(&dir.instructions())?.unwrap_or_default();
    let birth = Birth::record();
    let (prepared, inherited) = container::container(&spec, &instructions, dir)?;
    let attachment = prepared.attachment.clone();
    let (life, streams) = bring_up(dir, prepared, instructions.auto_remove.is_none())?;
    let network = attachment.map(Network::take).transpose()?;
    birth.write(dir)?;
    Ok(Made { life, streams, network, inherited, instructions })
}

fn read_spec(dir: &ContainerDir) -> Result<Spec> {
    let what = || format!("read {}", dir.config().display());
    let bytes = fs::read(dir.config()).doing(what)?;
    serde_json::from_slice(&bytes).map_err(|error| Error::new(format!("{}: {error}", what())))
}

/// Goes to the brink of exec.
pub(super) fn bring_up(
    dir: &ShimDir,
    prepared: Prepared,
    durable: bool,
) -> Result<(Life, Streams)> {
    let Prepared { container, streams, cgroup, address, ports, .. } = prepared;
    let created = container.create()?;
    let streams = streams.open()?;
    let mut life = Life::new(dir.clone(), created, cgroup, durable);
    life.state_mut().address = address;
    life.state_mut().ports = ports;
    Ok((life, streams))
}

pub(super) fn listen(dir: &ShimDir) -> Result<UnixListener> {
    let what = || format!("listen on {}", dir.path().join(SOCKET).display());
    let listener = socket::bind(dir.path(), SOCKET).doing(what)?;
    listener.set_nonblocking(true).doing(what)?;
    Ok(listener)
}

/// There is nobody behind the socket any more.
pub(super) fn stop_listening(dir: &ShimDir) {
    let _ = fs::remove_file(dir.path().join(SOCKET));
}

pub(super) fn server(
    listener: UnixListener,
    signals: SignalFd,
    life: Life,
    streams: Streams,
    log: Option<Log>,
    session: &Session,
) -> Server {
    let mut server = Server::new(listener, signals, life, streams, log);
    server.stdin_once = session.stdin_once;
    server
}

/// From here on these signals arrive in the loop.
pub(super) fn take_signals() -> Result<SignalFd> {
    let signals: SigSet = FORWARDED.into_iter().collect();
    signals.thread_block().doing(|| "block the signals")?;
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    SignalFd::with_flags(&signals, flags).doing(|| "create the signal descriptor")
}

/// How the container was made, as it is told.
struct Birth(Rc<RefCell<Vec<u8>>>);

impl Birth {
    fn record() -> Self {
        let lines = Rc::new(RefCell::new(Vec::new()));
        let sink = lines.clone();
        explain::listen(move |step| {
            let mut lines = sink.borrow_mut();
            if serde_json::to_writer(&mut *lines, step).is_ok() {
                lines.push(b'\n');
            }
        });
        Self(lines)
    }

    fn write(&self, dir: &ShimDir) -> Result<()> {
        let lines = std::mem::take(&mut *self.0.borrow_mut());
        fs::write(dir.birth(), lines).doing(|| format!("write {}", dir.birth().display()))
    }
}

impl Ready {
    /// Lets the program go before anyone has asked for it by the socket.
    pub(super) fn start(&mut self) -> Result<()> {
        self.server.life.start()
    }

    /// Serves this connection too, with what has been agreed on it already.
    pub(super) fn adopt(&mut self, peer: Peer) {
        self.server.adopt(peer);
    }

    // ANCHOR: own
    /// Serves to the end, and behind it.
    pub(super) fn own(mut self) -> Result<()> {
        let mut served = self.server.run();
        while let Some(pause) = self.server.life.next_start() {
            served = served.and(self.live_again(pause));
        }

        // Everyone knows the end by now: what follows is off everyone's way.
        let tidied = self.server.life.tidy_up();
        if tidied.is_ok() {
            stop_listening(&self.dir);
        }
        let removed = match &self.removal {
            Some((dir, removal)) => auto_remove(dir, removal),
            None => Ok(()),
        };

        // The lock goes before those who wait are let go: they may start it again.
        drop(self.lock);
        self.server.part();
        served.and(tidied).and(removed)
    }
    // ANCHOR_END: own

    /// The policy wants another life: tidies up behind this one, waits, and serves the
    /// next, unless somebody has stopped it meanwhile or it cannot be made.
    fn live_again(&mut self, pause: Duration) -> Result<()> {
        let tidied = self.server.life.tidy_up();
        if !self.server.pause(pause)? {
            return self.server.give_up(None);
        }
        let Some(dir) = &self.container else { return Ok(()) };
        // The kernel's mark of a volatile mount, lest its content be trusted after the
        // machine's sudden end. There was none: we have unmounted it ourselves.
        let _ = fs::remove_dir_all(dir.work().join("work/incompat"));
        let started = make(dir).and_then(|made| {
            self.server.go_on_with(made.life, made.streams, made.inherited);
            self.server.network = made.network;
            self.server.life.start()
        });
        match started {
            Ok(()) => tidied.and(self.server.run()),
            Err(error) => self.server.give_up(Some(&error)),
        }
    }
}
