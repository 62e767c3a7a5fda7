//! A container in the foreground: what is typed, resized and signalled out here
//! is meant for the program in there.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd;

use crate::error::{Context, Result};
use crate::mechanism::Mechanism;
use crate::{ConsoleSocket, Container, Running, Size};

/// Runs a container and stays with it to its end; the exit code is the container's.
///
/// Signals are passed on. To pid 1 the kernel delivers only those it handles; so the
/// third request to end, by SIGINT or SIGTERM, is not a request any more. With a
/// `console`, its output is copied to standard output, and with `interactive` the
/// caller's terminal is put in raw mode and what is typed there is copied to it.
///
/// Everything is given back at the end, whichever end that is: the container is
/// [guarded](Container::guarded), and the mode of the caller's terminal is one of
/// the things that are guarded.
pub fn run_to_end(
    container: Container,
    console: Option<ConsoleSocket>,
    interactive: bool,
) -> Result<u8> {
    let keyboard = match interactive && console.is_some() {
        true => Some(Keyboard::remember()?),
        false => None,
    };
    let restore = keyboard.as_ref().map(|keyboard| Restore(keyboard.clone()));
    let created = container.with_some(restore).guarded().create()?;
    // Until now a signal ends us, and the sentinel does the rest. From now on, before the
    // program runs, they are for the program.
    let signals = block_signals(console.is_some())?;
    let mut running = created.start()?;
    let session = console.map(|console| Session::open(console.receive()?, keyboard)).transpose()?;
    Foreground { running: &mut running, signals, session, asked: 0 }.stay()?;
    let exit = running.wait()?;
    running.teardown()?;
    Ok(exit.code())
}

/// The signals that are passed on: all, realtime ones too, but those that are about this
/// process, its children and its faults. Those of job control stay ours, unless there is
/// a terminal to leave and to come back to.
fn block_signals(with_terminal: bool) -> Result<SignalFd> {
    use Signal::*;
    let faults = [SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP];
    let ours = [SIGCHLD, SIGPIPE, SIGTTIN, SIGTTOU].into_iter().chain(faults);
    let job_control = [SIGTSTP, SIGCONT].into_iter().filter(|_| !with_terminal);
    let mut set = SigSet::all();
    ours.chain(job_control).for_each(|signal| set.remove(signal));
    set.thread_block().doing(|| "block the signals to pass on")?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    SignalFd::with_flags(&set, flags).doing(|| "signalfd()")
}

struct Foreground<'a> {
    running: &'a mut Running,
    signals: SignalFd,
    session: Option<Session>,
    /// How often the container was asked to end.
    asked: u32,
}

impl Foreground<'_> {
    /// Passes on signals, and bytes if there is a terminal, until the container ends.
    fn stay(&mut self) -> Result<()> {
        loop {
            let (signalled, ended, moved) = self.poll()?;
            if signalled {
                while let Ok(Some(info)) = self.signals.read_signal() {
                    self.pass_on(info.ssi_signo as i32)?;
                }
            }
            if moved
                && let Some(session) = &mut self.session
                && !session.relay()
            {
                // Nobody reads what the container says: its terminal hangs up.
                self.session = None;
            }
            if ended {
                if let Some(session) = &mut self.session {
                    session.drain();
                }
                return Ok(());
            }
        }
    }

    /// Waits for a signal, for the container's end, and for bytes that can move.
    fn poll(&self) -> Result<(bool, bool, bool)> {
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.running.pidfd(), PollFlags::POLLIN),
        ];
        if let Some(session) = &self.session {
            fds.extend(session.copies().into_iter().filter_map(Copy::awaited));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).doing(|| "poll()"),
        }
        let ready = |fd: &PollFd| fd.any().unwrap_or(false);
        Ok((ready(&fds[0]), ready(&fds[1]), fds[2..].iter().any(ready)))
    }

    fn pass_on(&mut self, signal: i32) -> Result<()> {
        match (signal, &mut self.session) {
            (libc::SIGWINCH, Some(session)) => session.resize(),
            (libc::SIGTSTP, Some(session)) => session.step_aside(),
            (libc::SIGCONT, Some(session)) => session.come_back(),
            // The terminal that they were about is gone.
            (libc::SIGTSTP | libc::SIGCONT, None) => Ok(()),
            // Our terminal is gone, so the container's goes too.
            (libc::SIGHUP, Some(_)) => {
                self.session = None;
                self.running.kill(signal)
            }
            (libc::SIGINT | libc::SIGTERM, _) if self.asked == 2 => {
                self.running.kill(libc::SIGKILL)
            }
            _ => {
                self.asked += u32::from(matches!(signal, libc::SIGINT | libc::SIGTERM));
                self.running.kill(signal)
            }
        }
    }
}

/// The container's terminal and ours, and the bytes on their way.
struct Session {
    keyboard: Option<Keyboard>,
    output: Copy,
    input: Option<Copy>,
}

impl Session {
    fn open(master: OwnedFd, keyboard: Option<Keyboard>) -> Result<Self> {
        // A program that does not read must not stop us from hearing signals.
        let set = fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
        set.doing(|| "make the terminal non-blocking")?;
        let duplicate = |fd: BorrowedFd| fd.try_clone_to_owned().doing(|| "duplicate a descriptor");
        let input = match keyboard {
            Some(_) => Some(Copy::new(duplicate(io::stdin().as_fd())?, duplicate(master.as_fd())?)),
            None => None,
        };
        let output = Copy::new(master, duplicate(io::stdout().as_fd())?);
        let session = Self { keyboard, output, input };
        session.come_back()?;
        Ok(session)
    }

    fn master(&self) -> BorrowedFd<'_> {
        self.output.from.as_fd()
    }

    fn copies(&self) -> impl IntoIterator<Item = &Copy> {
        [Some(&self.output), self.input.as_ref()].into_iter().flatten()
    }

    /// Moves what can be moved; false if our own output is gone.
    fn relay(&mut self) -> bool {
        if let Some(input) = &mut self.input {
            input.advance();
        }
        self.output.advance();
        !self.output.refused
    }

    /// After the container's end: what it has said before it.
    fn drain(&mut self) {
        // More than a pty holds, and an end, should somebody else still write to it.
        for _ in 0..1024 {
            self.output.flush();
            if !self.output.advance() {
                return;
            }
        }
    }

    fn resize(&self) -> Result<()> {
        let size = Size::of(io::stdout()).or_else(|| Size::of(io::stdin()));
        size.map_or(Ok(()), |size| size.set(self.master()))
    }

    /// Raw mode, and the size, which may have changed while we were away.
    fn come_back(&self) -> Result<()> {
        if let Some(keyboard) = &self.keyboard {
            keyboard.make_raw()?;
        }
        self.resize()
    }

    /// Stops, as SIGTSTP asks, but leaves the terminal as it was found.
    fn step_aside(&self) -> Result<()> {
        if let Some(keyboard) = &self.keyboard {
            keyboard.restore();
        }
        raise(Signal::SIGSTOP).doing(|| "stop")
    }
}

/// Bytes on their way from one descriptor to another. It waits for one thing at a
/// time: for something to read, or for room to write it.
struct Copy {
    from: OwnedFd,
    to: OwnedFd,
    waiting: Vec<u8>,
    /// No more will come.
    ended: bool,
    /// No more is taken.
    refused: bool,
}

impl Copy {
    fn new(from: OwnedFd, to: OwnedFd) -> Self {
        Self { from, to, waiting: Vec::new(), ended: false, refused: false }
    }

    fn awaited(&self) -> Option<PollFd<'_>> {
        match (self.ended || self.refused, self.waiting.is_empty()) {
            (true, _) => None,
            (false, true) => Some(PollFd::new(self.from.as_fd(), PollFlags::POLLIN)),
            (false, false) => Some(PollFd::new(self.to.as_fd(), PollFlags::POLLOUT)),
        }
    }

    fn is_ready(&self) -> bool {
        self.awaited().is_some_and(|fd| poll(&mut [fd], PollTimeout::ZERO) == Ok(1))
    }

    /// Waits until all that is waiting is written.
    fn flush(&mut self) {
        while let (false, Some(fd)) = (self.waiting.is_empty(), self.awaited()) {
            let _ = poll(&mut [fd], PollTimeout::NONE);
            self.advance();
        }
    }

    /// One read or one write, if it would not block; false if there was none.
    fn advance(&mut self) -> bool {
        if !self.is_ready() {
            return false;
        }
        if self.waiting.is_empty() {
            let mut buffer = [0; 4096];
            match unistd::read(&self.from, &mut buffer) {
                // The other side of a pty is gone: EIO. That of a file: nothing to read.
                Ok(0) | Err(Errno::EIO) => self.ended = true,
                Ok(n) => self.waiting.extend(&buffer[..n]),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(_) => self.ended = true,
            }
        } else {
            match unistd::write(&self.to, &self.waiting) {
                Ok(n) => drop(self.waiting.drain(..n)),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(_) => self.refused = true,
            }
        }
        true
    }
}

/// The caller's terminal, and how it was found.
#[derive(Debug, Clone)]
struct Keyboard {
    found: Termios,
    path: Option<PathBuf>,
}

impl Keyboard {
    fn remember() -> Result<Self> {
        let found = tcgetattr(io::stdin()).doing(|| "read the mode of the terminal")?;
        Ok(Self { found, path: unistd::ttyname(io::stdin()).ok() })
    }

    /// Every key is a byte for the container, Ctrl-C too.
    fn make_raw(&self) -> Result<()> {
        let mut raw = self.found.clone();
        cfmakeraw(&mut raw);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &raw).doing(|| "put the terminal in raw mode")
    }

    fn restore(&self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.found);
    }
}

/// The mode of the caller's terminal, as something to be given back: also after a
/// failed start, a panic, or a SIGKILL, when the sentinel does it, which has no
/// descriptor of the terminal but can open it by name.
struct Restore(Keyboard);

impl Mechanism for Restore {
    fn teardown(&mut self) -> Result<()> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let mode = nix::sys::stat::Mode::empty();
        let by_name =
            self.0.path.as_ref().and_then(|path| nix::fcntl::open(path, flags, mode).ok());
        match by_name {
            Some(terminal) => {
                // It may be gone by now.
                let _ = tcsetattr(terminal, SetArg::TCSANOW, &self.0.found);
            }
            None => self.0.restore(),
        }
        Ok(())
    }
}
