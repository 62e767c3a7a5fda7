//! A terminal for the container: one end inside, the other in the caller's hand.
//!
//! A pty(7) is a pipe with manners: what is typed at the master's end reaches the
//! slave's end as if from a keyboard, Ctrl-C as a signal. It must be made *inside*,
//! from the container's own devpts, or its name would mean nothing there. So the
//! child makes it and sends the master's end back over a socket: SCM_RIGHTS of
//! unix(7), the idea of the OCI runtimes' console socket.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;

use nix::unistd;

use crate::error::{Context, Error, Result};
use crate::explain::step;
use crate::mechanism::{Child, Mechanism};
use crate::sys;

const CHAPTER: u8 = 1;

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

impl Size {
    /// The size of the terminal behind `fd`, if there is one.
    pub fn of(fd: impl AsFd) -> Option<Self> {
        sys::window_size(fd.as_fd()).ok()
    }

    /// Makes the terminal behind `fd` as large. Whoever is in its foreground gets SIGWINCH.
    pub fn set(self, fd: impl AsFd) -> Result<()> {
        sys::set_window_size(fd.as_fd(), self).doing(|| "set the size of the terminal")
    }
}

/// Gives the container a terminal: standard input, output and error, and the
/// controlling terminal of its session. After the root is in place, so that the
/// terminal is one of the container's own, where it has a `/dev/pts`.
#[derive(Debug)]
pub struct Terminal {
    socket: Option<UnixStream>,
    size: Option<Size>,
}

/// Where the master's end of a container's terminal arrives.
#[derive(Debug)]
pub struct ConsoleSocket(UnixStream);

impl Terminal {
    /// A terminal, and the socket that its master's end comes from.
    pub fn new(size: Option<Size>) -> Result<(Self, ConsoleSocket)> {
        let (ours, theirs) = UnixStream::pair().doing(|| "create the console socket")?;
        Ok((Self::to(theirs, size), ConsoleSocket(ours)))
    }

    /// A terminal whose master's end goes to whoever listens at `socket`.
    pub fn to(socket: UnixStream, size: Option<Size>) -> Self {
        Self { socket: Some(socket), size }
    }
}

impl Mechanism for Terminal {
    fn in_parent(&mut self, _: &Child) -> Result<()> {
        // From here on only the child holds it: should it die, the socket ends.
        self.socket = None;
        Ok(())
    }

    fn in_child(&self) -> Result<()> {
        let (master, slave) = open_pty()?;
        if let Some(size) = self.size {
            size.set(&master)?;
        }
        unistd::dup2_stdin(&slave).doing(|| "put the terminal on standard input")?;
        unistd::dup2_stdout(&slave).doing(|| "put the terminal on standard output")?;
        unistd::dup2_stderr(&slave).doing(|| "put the terminal on standard error")?;
        step(
            CHAPTER,
            || "ioctl(0, TIOCSCTTY)".into(),
            || sys::take_controlling_terminal().doing(|| "make the terminal the session's own"),
        )?;
        match &self.socket {
            // The OCI asks that the message be the name of what is sent.
            Some(socket) => sys::send_fd(socket.as_fd(), master.as_fd(), b"/dev/ptmx")
                .doing(|| "send the terminal to the console socket"),
            None => Ok(()),
        }
    }
}

/// openpty(3) without the detour over the slave's name, which another mount
/// could hide: ioctl_tty(2), TIOCGPTPEER.
fn open_pty() -> Result<(OwnedFd, OwnedFd)> {
    step(
        CHAPTER,
        || "open(\"/dev/ptmx\"), TIOCGPTPEER".into(),
        || {
            let mut options = File::options();
            // A container that runs may have put there what would let us wait for ever.
            options.read(true).write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK);
            let master = options.open("/dev/ptmx").doing(|| "open /dev/ptmx")?;
            let slave =
                sys::open_pty_peer(master.as_fd()).doing(|| "open the terminal's other end")?;
            let blocking = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_RDWR);
            nix::fcntl::fcntl(&master, blocking).doing(|| "open /dev/ptmx")?;
            Ok((master.into(), slave))
        },
    )
}

impl ConsoleSocket {
    /// The master's end. It is there when the container has been created.
    ///
    /// # Errors
    /// If the container's first process died before it made a terminal.
    pub fn receive(self) -> Result<OwnedFd> {
        let received = sys::receive_fd(self.0.as_fd(), &mut [0; 64]);
        let (_, fd) = received.doing(|| "receive the terminal from the console socket")?;
        fd.ok_or_else(|| {
            Error::new(
                "receive the terminal: the container's first process ended before it made one",
            )
        })
    }
}
