//! `coracle shim DIR`, from its first line to its last.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use namespaces::{Context, Created, Error, Result, explain};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd;
use oci_spec::runtime::Spec;

use super::exec::Execs;
use super::launch::is_unknown;
use super::life::Life;
use super::log::Log;
use super::network::Network;
use super::peer::Peer;
use super::protocol::Answer;
use super::remove::auto_remove;
use super::restart::Restarts;
use super::serve::Server;
use super::{MOST_REQUESTS, SOCKET, Streams, Until};
use crate::runtime::container::{self, Inherited, Prepared, Rest};
use crate::runtime::{AutoRemove, Instructions, Session, seccomp, sys};
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

/// Is the shim of the container in this folder. Standard input is a socket, on which the
/// engine says how far to go, and passes the first connections; and is told there what
/// came of it: see [`super::launch()`].
pub fn main(words: &[OsString]) -> ExitCode {
    let called = match words {
        [dir] => detach().and_then(|control| Call::hear(Path::new(dir), control)),
        _ => Err(Error::new("a shim takes a container's folder: coracle shim DIR")),
    };
    let owned = match called {
        Ok(call) => call.answer(),
        // Only who calls it by hand is there to read this.
        Err(error) => {
            eprintln!("coracle: {error}");
            None
        }
    };
    match owned.map(Ready::own) {
        Some(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::from(125),
    }
}

/// What a shim is called for.
struct Call {
    dir: ContainerDir,
    until: Until,
    connections: Vec<UnixStream>,
    control: UnixStream,
}

impl Call {
    fn hear(expected: &Path, control: UnixStream) -> Result<Self> {
        let ahead = is_unknown(expected);
        if ahead {
            // There is nothing to do yet: so it does what it will have to do most likely.
            seccomp::compile_ahead();
        }
        let mut message = [0; libc::PATH_MAX as usize + 1];
        let received = sys::receive_fds::<MOST_REQUESTS>(control.as_fd(), &mut message);
        let (length, fds) = received.doing(|| "hear what the engine wants")?;
        let nobody = || Error::new("a shim is started by the engine, and has nothing to do now");
        let (until, dir) = Until::understand(&message[..length]).ok_or_else(nobody)?;
        if ahead {
            sys::replace_argument(expected.as_os_str().as_bytes(), dir.as_os_str().as_bytes());
        }
        let connections = fds.into_iter().map(UnixStream::from).collect();
        Ok(Self { dir: ContainerDir::at(dir), until, connections, control })
    }

    /// Makes the container, and says so. It may be over already.
    fn answer(self) -> Option<Ready> {
        let Self { dir, until, connections, mut control } = self;
        let made = create(dir, until).map(|mut ready| {
            ready.server.answer_first(connections);
            let started = match until {
                Until::Created => Ok(()),
                Until::Started => ready.start(),
            };
            (ready, started)
        });
        let (ready, answer) = match made {
            Ok((ready, started)) => {
                (Some(ready), started.map_or_else(Answer::Error, |()| Answer::Done))
            }
            Err(error) => (None, Answer::Error(error)),
        };
        // Who is gone cannot be told.
        let _ = control.write_all(&answer.to_line());
        ready
    }
}

/// Becomes a process on its own: no terminal, no folder, no stream of the caller's but
/// the socket that the caller speaks and listens to, which is returned.
fn detach() -> Result<UnixStream> {
    let control = unistd::dup(std::io::stdin()).doing(|| "keep the control socket")?;
    nix::fcntl::fcntl(&control, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))
        .doing(|| "keep the control socket")?;
    let null = File::options().read(true).write(true).open("/dev/null");
    let null: OwnedFd = null.doing(|| "open /dev/null")?.into();
    unistd::dup2_stdin(&null).doing(|| "let go of standard input")?;
    // It fails for a process that leads a group, which one that was just forked does not.
    let _ = unistd::setsid();
    unistd::chdir("/").doing(|| "change to /")?;
    let _ = nix::sys::prctl::set_name(c"coracle-shim");
    Ok(control.into())
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

fn create(dir: ContainerDir, until: Until) -> Result<Ready> {
    let lock = claim(&dir)?;
    let signals = take_signals()?;
    let (spec, instructions) = read_config(&dir)?;

    let before = dir.state()?;
    // Before there is anything to give back: as long as there is a socket, and nobody who
    // holds the lock, whoever looks at the container gives back what a killed shim had.
    let listener = listen(&dir)?;
    let made = begin(&dir, &spec, &instructions).and_then(|begun| {
        // While the child sets itself up: it does not run yet, if this fails.
        let log = || Log::open(&dir.log(), instructions.log.clone());
        let log = (!instructions.no_log).then(log).transpose()?;
        Ok((begun.finish(&dir, until)?, log))
    });
    let (made, log) = made.inspect_err(|_| stop_listening(&dir))?;
    let Made { mut life, streams, network, inherited } = made;
    life.set_restarts(Restarts::new(dir.clone()));
    life.state_mut().finished_at = before.finished_at;
    // What goes on after a sudden end is counted on; a start by hand begins at none.
    life.state_mut().restart_count = before.restart_count;
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

/// A container on its way to the brink of exec.
struct Begun {
    created: Created,
    rest: Rest,
    inherited: Inherited,
    birth: Birth,
    durable: bool,
}

/// Begins to make the container in this folder.
fn begin(dir: &ContainerDir, spec: &Spec, instructions: &Instructions) -> Result<Begun> {
    let birth = Birth::record();
    let (prepared, inherited) = container::container(spec, instructions, dir)?;
    let Prepared { container, rest } = prepared;
    let durable = instructions.auto_remove.is_none();
    Ok(Begun { created: container.begin()?, rest, inherited, birth, durable })
}

/// A container at the brink of exec, or let go there, and what it was made from.
struct Made {
    life: Life,
    streams: Streams,
    network: Option<Network>,
    inherited: Inherited,
}

impl Begun {
    fn finish(self, dir: &ContainerDir, until: Until) -> Result<Made> {
        let Self { created, rest, inherited, birth, durable } = self;
        let attachment = rest.attachment.clone();
        // Its name server has to be there before the program asks.
        let until = if attachment.is_some() { Until::Created } else { until };
        let (life, streams) = bring_up(dir, created, rest, until, durable)?;
        let network = attachment.map(Network::take).transpose()?;
        birth.write(dir);
        Ok(Made { life, streams, network, inherited })
    }
}

/// What the engine has written for us.
fn read_config(dir: &ContainerDir) -> Result<(Spec, Instructions)> {
    let what = || format!("read {}", dir.config().display());
    let bytes = fs::read(dir.config()).doing(what)?;
    let spec = serde_json::from_slice(&bytes);
    let spec = spec.map_err(|error| Error::new(format!("{}: {error}", what())))?;
    Ok((spec, store::read(&dir.instructions())?.unwrap_or_default()))
}

/// Goes to the brink of exec, where it need not stop if the program is to be started.
pub(super) fn bring_up(
    dir: &ShimDir,
    mut created: Created,
    rest: Rest,
    until: Until,
    durable: bool,
) -> Result<(Life, Streams)> {
    if until == Until::Started {
        created.let_go()?;
    }
    let streams = rest.streams.open();
    // Why there is no terminal, the child says best.
    created.reach_the_brink()?;
    let mut life = Life::new(dir.clone(), created, rest.cgroup, durable);
    life.state_mut().address = rest.address;
    life.state_mut().ports = rest.ports;
    Ok((life, streams?))
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

    /// The program may run already, and fill the disk: then nobody can ask later how
    /// it was made, and nothing else is wrong.
    fn write(&self, dir: &ShimDir) {
        let lines = std::mem::take(&mut *self.0.borrow_mut());
        if fs::write(dir.birth(), lines).is_err() {
            let _ = fs::remove_file(dir.birth());
        }
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
            self.server.give_up(None);
            return tidied;
        }
        let Some(dir) = &self.container else { return Ok(()) };
        // The kernel's mark of a volatile mount, lest its content be trusted after the
        // machine's sudden end. There was none: we have unmounted it ourselves.
        let _ = fs::remove_dir_all(dir.work().join("work/incompat"));
        let started = read_config(dir).and_then(|(spec, instructions)| {
            let made = begin(dir, &spec, &instructions)?.finish(dir, Until::Started)?;
            self.server.go_on_with(made.life, made.streams, made.inherited);
            self.server.network = made.network;
            self.server.life.start()
        });
        match started {
            Ok(()) => tidied.and(self.server.run()),
            Err(error) => {
                self.server.give_up(Some(&error));
                tidied
            }
        }
    }
}
