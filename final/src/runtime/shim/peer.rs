//! One connection of the engine to the shim.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::poll::PollFlags;

use super::backlog::Backlog;
use super::protocol::{Answer, Attach, Stream};

/// A request is a line, of an exec with all that execve(2) takes; who sends more is not
/// the engine.
const LINE_LIMIT: usize = 32 * 1024 * 1024;

/// What the connection is used for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Requests and answers.
    Talking,
    /// It has asked to be told the end.
    Waiting,
    /// It is a stream.
    Attached(Attach),
    /// It was one, of a program that has ended, and has not taken all of it yet.
    Leaving,
}

/// One connection. Everything is non-blocking.
pub struct Peer {
    stream: UnixStream,
    /// What it is used for.
    pub role: Role,
    /// Bytes of a line that has not ended yet.
    input: Vec<u8>,
    /// The other side sends nothing more.
    input_ended: bool,
    /// Bytes that the other side has not taken yet.
    output: Backlog,
    gone: bool,
}

impl Peer {
    /// A connection that has just been accepted.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            role: Role::Talking,
            input: Vec::new(),
            input_ended: false,
            output: Backlog::default(),
            gone: false,
        })
    }

    /// Whether it is to be forgotten.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether everything that was sent has been taken.
    pub fn is_flushed(&self) -> bool {
        self.output.is_empty()
    }

    /// Whether the program waits for it, for a moment.
    pub fn is_full(&self) -> bool {
        self.output.is_full()
    }

    /// Lets the program wait no longer, when the moment is over: what the other side
    /// does not take is kept in `folder` meanwhile.
    pub fn lose_patience(&mut self, folder: &Path) {
        if !self.output.lose_patience(folder) {
            self.vanished();
        }
    }

    /// What it takes part in, if it is a stream.
    pub fn attached(&self) -> Option<Attach> {
        match self.role {
            Role::Attached(attach) => Some(attach),
            _ => None,
        }
    }

    /// Whether its bytes are the program's input.
    pub fn feeds_stdin(&self) -> bool {
        self.attached().is_some_and(|attach| attach.stdin)
    }

    /// What to poll it for. `takes_input`: the program has room for input.
    pub fn interest(&self, takes_input: bool) -> PollFlags {
        let mut interest = PollFlags::empty();
        interest.set(PollFlags::POLLIN, !self.input_ended && (!self.feeds_stdin() || takes_input));
        interest.set(PollFlags::POLLOUT, !self.output.is_empty());
        interest
    }

    /// The next line, if one has arrived.
    pub fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.input.iter().position(|byte| *byte == b'\n')?;
        let rest = self.input.split_off(end + 1);
        Some(std::mem::replace(&mut self.input, rest))
    }

    /// What has arrived behind the line that made this a stream.
    pub fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.input)
    }

    /// Reads more of a line.
    pub fn read_line_part(&mut self, buffer: &mut [u8]) {
        if let Some(length) = self.read(buffer) {
            self.input.extend_from_slice(&buffer[..length]);
        }
        // Without a further request there is nothing to stay for, unless it waits.
        if self.input_ended || self.input.len() > LINE_LIMIT {
            self.gone = true;
        }
    }

    /// Reads bytes of a stream; `None` if there are none now.
    pub fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match self.stream.read(buffer) {
            Ok(0) => self.input_ended = true,
            Ok(length) => return Some(length),
            Err(error) if is_later(&error) => {}
            Err(_) => self.vanished(),
        }
        None
    }

    /// Whether the other side has said its last.
    pub fn has_input_ended(&self) -> bool {
        self.input_ended
    }

    /// The connection itself, for somebody else to go on with.
    pub fn connection(&self) -> io::Result<UnixStream> {
        self.stream.try_clone()
    }

    /// The other side is not there any more.
    pub fn vanished(&mut self) {
        self.gone = true;
        self.input_ended = true;
    }

    /// Answers a request.
    pub fn answer(&mut self, answer: &Answer) {
        self.send(&[&answer.to_line()]);
    }

    /// Passes output on, in a frame where there is no terminal to keep it clean for.
    pub fn pass_on(&mut self, stream: Stream, bytes: &[u8], framed: bool) {
        match framed {
            true => self.send(&[&stream.frame_header(bytes.len()), bytes]),
            false => self.send(&[bytes]),
        }
    }

    /// Sends what the other side takes at once, and keeps the rest.
    fn send(&mut self, parts: &[&[u8]]) {
        let mut sent = 0;
        if self.output.is_empty() && !self.gone {
            let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
            match self.stream.write_vectored(&slices) {
                Ok(length) => sent = length,
                Err(error) if is_later(&error) => {}
                Err(_) => return self.vanished(),
            }
        }
        for part in parts {
            let skip = sent.min(part.len());
            if skip < part.len() && !self.output.push(&part[skip..]) {
                return self.vanished();
            }
            sent -= skip;
        }
    }

    /// Sends what was kept.
    pub fn flush(&mut self) {
        let mut stream = &self.stream;
        match self.output.flush(|bytes| stream.write(bytes)) {
            Err(error) if !is_later(&error) => self.vanished(),
            _ => {}
        }
    }

    /// Ends the connection so that the other side sees an end and no error: a socket
    /// closed over bytes that were not read looks to it like a crash.
    pub fn close(mut self, buffer: &mut [u8]) {
        let _ = self.stream.shutdown(Shutdown::Write);
        while self.read(buffer).is_some() {}
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
