//! The program's standard streams, from the side that keeps them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use namespaces::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

use super::protocol::Stream;
use crate::runtime::sys;

/// What a pipe holds at most, if the kernel lets us: fewer wake-ups for the same bytes.
const PIPE_SIZE: i32 = 1 << 20;

/// Input that the program has not read yet, beyond what its pipe holds.
const INPUT_LIMIT: usize = 64 * 1024;

/// Our ends of the program's streams. All are non-blocking.
#[derive(Default)]
pub struct Streams {
    stdin: Option<File>,
    /// Bytes that `stdin` had no room for.
    pending: Vec<u8>,
    /// Close `stdin` when `pending` is written.
    closing: bool,
    outputs: Vec<(Stream, File)>,
    terminal: Option<File>,
}

/// What reading an output came to.
pub enum Output {
    /// That many bytes.
    Bytes(usize),
    /// Nothing, for now.
    Nothing,
    /// It is closed at the other end.
    End,
}

impl Streams {
    /// Pipes, and their other ends, for the program. Without `stdin` its input is empty.
    pub fn pipes(stdin: bool) -> Result<(Self, [OwnedFd; 3])> {
        let (their_in, our_in) = match stdin {
            true => pipe().map(|(read, write)| (read, Some(write))),
            false => File::open("/dev/null").map(|null| (null.into(), None)),
        }
        .doing(|| "create the pipe to standard input")?;
        let what = || "create the pipes for the program's output";
        let (our_out, their_out) = pipe().doing(what)?;
        let (our_err, their_err) = pipe().doing(what)?;
        let stdin = our_in.map(ours).transpose().doing(what)?;
        let outputs = vec![
            (Stream::Stdout, ours(our_out).doing(what)?),
            (Stream::Stderr, ours(our_err).doing(what)?),
        ];
        let streams = Self { stdin, outputs, ..Self::default() };
        Ok((streams, [their_in, their_out, their_err]))
    }

    /// A terminal: input, output and size are of one descriptor, the pty's master.
    pub fn terminal(master: OwnedFd) -> Result<Self> {
        let what = || "keep the terminal";
        let master = ours(master).doing(what)?;
        let again = || master.try_clone().doing(what);
        let (stdin, outputs) = (Some(again()?), vec![(Stream::Stdout, again()?)]);
        Ok(Self { stdin, outputs, terminal: Some(master), ..Self::default() })
    }

    /// Whether there is a terminal, whose output goes out without frames.
    pub fn has_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// Tells the terminal its size, if there is one: Docker's clients do not ask first.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        match &self.terminal {
            Some(terminal) => sys::set_window_size(terminal.as_fd(), rows, columns)
                .doing(|| format!("set the terminal's size to {columns}x{rows}")),
            None => Ok(()),
        }
    }

    /// The outputs that are still open, each with its place.
    pub fn outputs(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        self.outputs.iter().enumerate().map(|(place, (_, file))| (place, file.as_fd()))
    }

    /// Reads from the output at that place.
    pub fn read(&mut self, place: usize, buffer: &mut [u8]) -> (Stream, Output) {
        let (stream, file) = &mut self.outputs[place];
        let output = match file.read(buffer) {
            Ok(0) => Output::End,
            Ok(length) => Output::Bytes(length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Output::Nothing,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Output::Nothing,
            // A pty whose other side nobody has open says EIO.
            Err(_) => Output::End,
        };
        (*stream, output)
    }

    /// Lets go of the output at that place; the ones behind it move up.
    pub fn close_output(&mut self, place: usize) {
        self.outputs.remove(place);
    }

    /// Standard input, if it wants to be told when it has room.
    pub fn hungry_stdin(&self) -> Option<BorrowedFd<'_>> {
        self.stdin.as_ref().filter(|_| !self.pending.is_empty()).map(AsFd::as_fd)
    }

    /// Whether more input would be welcome. What nobody will read always is.
    pub fn takes_input(&self) -> bool {
        self.stdin.is_none() || self.pending.len() < INPUT_LIMIT
    }

    /// Hands bytes to the program, now or when it has room.
    pub fn input(&mut self, bytes: &[u8]) {
        if self.stdin.is_some() {
            self.pending.extend_from_slice(bytes);
            self.flush_input();
        }
    }

    /// There will be no more input. A terminal cannot be told: its user types ^D.
    pub fn end_input(&mut self) {
        if !self.has_terminal() {
            self.closing = true;
            self.flush_input();
        }
    }

    /// Writes what is pending, as far as there is room.
    pub fn flush_input(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        while !self.pending.is_empty() {
            match stdin.write(&self.pending) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The program has closed its input.
                Err(_) => {
                    self.pending.clear();
                    self.closing = true;
                }
            }
        }
        self.pending = Vec::new();
        if self.closing {
            self.stdin = None;
        }
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    // An ordinary user has a limit for all pipes together; a small one works too.
    let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE));
    Ok((read, write))
}

/// Non-blocking at our end only: the two ends of a pipe are separate descriptions,
/// and the program's must block.
fn ours(end: OwnedFd) -> io::Result<File> {
    let result: Result<_, Errno> = fcntl(&end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
    result?;
    Ok(File::from(end))
}
