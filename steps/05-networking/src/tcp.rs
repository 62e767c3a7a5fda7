//! TCP connections that the proxy carries: two sockets, a buffer each way.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, connect, setsockopt, socket,
    sockopt,
};

/// Bytes on their way in one direction, at most.
const BUFFER: usize = 16 * 1024;

/// The connections of a proxy.
pub(crate) struct Streams {
    all: Vec<Stream>,
    most: usize,
}

/// One connection, carried.
struct Stream {
    client: TcpStream,
    inside: TcpStream,
    /// Until the container has accepted.
    connecting: bool,
    inward: Pipe,
    outward: Pipe,
}

impl Streams {
    /// None yet, and never more than so many descriptors allow for: two each.
    pub fn within(descriptors: usize) -> Self {
        Self { all: Vec::new(), most: descriptors / 2 }
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// True if no further connection should be accepted now: they wait in the
    /// kernel's queue.
    pub fn is_full(&self) -> bool {
        self.all.len() >= self.most
    }

    /// Takes the connections that wait, and begins to connect to the container.
    pub fn accept(&mut self, listener: &TcpListener, inside: SocketAddr) {
        while !self.is_full() {
            let Ok((client, _)) = listener.accept() else { return };
            match begin(client, inside) {
                Ok(stream) => self.all.push(stream),
                Err(_) => continue,
            }
        }
    }

    /// Two questions for each stream: the client's side, the container's side.
    pub fn wants(&self, waiting: &mut Vec<(RawFd, PollFlags)>) {
        for stream in &self.all {
            let [client, inside] = stream.wants();
            waiting.push((stream.client.as_raw_fd(), client));
            waiting.push((stream.inside.as_raw_fd(), inside));
        }
    }

    /// Moves what can be moved, and lets go of what is over.
    pub fn carry(&mut self, ready: &[PollFlags]) {
        let mut ready = ready.chunks(2);
        self.all.retain_mut(|stream| match ready.next() {
            Some(sides) if sides.iter().any(|side| !side.is_empty()) => stream.carry(),
            _ => true,
        });
    }
}

/// Begins a connection to the container; it is there when the socket is writable.
fn begin(client: TcpStream, inside: SocketAddr) -> std::io::Result<Stream> {
    client.set_nonblocking(true)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd: OwnedFd = socket(AddressFamily::Inet, SockType::Stream, flags, None::<SockProtocol>)?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(inside)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(errno) => {
            reset(&client);
            return Err(errno.into());
        }
    }
    let (inward, outward) = (Pipe::default(), Pipe::default());
    Ok(Stream { client, inside: fd.into(), connecting: true, inward, outward })
}

impl Stream {
    fn wants(&self) -> [PollFlags; 2] {
        if self.connecting {
            return [PollFlags::empty(), PollFlags::POLLOUT];
        }
        let side = |from: &Pipe, to: &Pipe| {
            let mut wanted = PollFlags::empty();
            wanted.set(PollFlags::POLLIN, from.has_room());
            wanted.set(PollFlags::POLLOUT, to.has_bytes());
            wanted
        };
        [side(&self.inward, &self.outward), side(&self.outward, &self.inward)]
    }

    // ANCHOR: carry
    /// False when there is nothing left to carry.
    fn carry(&mut self) -> bool {
        if self.connecting {
            if !matches!(self.inside.take_error(), Ok(None)) {
                // Nobody listens inside: the client sees a reset, not an empty answer.
                reset(&self.client);
                return false;
            }
            self.connecting = false;
        }
        match self.carry_both() {
            Ok(()) => !(self.inward.is_over() && self.outward.is_over()),
            Err(_) => {
                reset(&self.client);
                reset(&self.inside);
                false
            }
        }
    }
    // ANCHOR_END: carry

    fn carry_both(&mut self) -> std::io::Result<()> {
        let Self { client, inside, inward, outward, .. } = self;
        inward.take(client)?;
        if inward.give(inside).is_err() {
            // The container hears nothing more. What it has said before is still carried:
            // a server may answer and close before it was told everything.
            inward.give_up();
        }
        outward.take(inside)?;
        outward.give(client)
    }
}

/// Makes the close that follows a reset.
fn reset(stream: &TcpStream) {
    let now = libc::linger { l_onoff: 1, l_linger: 0 };
    let _ = setsockopt(stream, sockopt::Linger, &now);
}

/// One direction of a stream.
#[derive(Default)]
struct Pipe {
    bytes: Vec<u8>,
    /// How many of them are written already.
    written: usize,
    /// The reading side has said that nothing more will come.
    ended: bool,
    /// The writing side has been told.
    told: bool,
}

impl Pipe {
    fn has_room(&self) -> bool {
        !self.ended && self.bytes.is_empty()
    }

    fn has_bytes(&self) -> bool {
        !self.bytes.is_empty()
    }

    fn is_over(&self) -> bool {
        self.told
    }

    /// Reads once.
    fn take(&mut self, from: &mut TcpStream) -> std::io::Result<()> {
        if self.has_room() {
            self.bytes.resize(BUFFER, 0);
            let read = ready(from.read(&mut self.bytes));
            self.bytes.truncate(*read.as_ref().unwrap_or(&None).as_ref().unwrap_or(&0));
            self.ended = read? == Some(0);
        }
        Ok(())
    }

    /// Writes as much as goes, and passes the end on.
    fn give(&mut self, to: &mut TcpStream) -> std::io::Result<()> {
        while self.has_bytes() {
            match ready(to.write(&self.bytes[self.written..]))? {
                Some(count) => self.written += count,
                None => break,
            }
            if self.written == self.bytes.len() {
                // An idle connection holds no buffer.
                self.bytes = Vec::new();
                self.written = 0;
            }
        }
        if self.ended && !self.has_bytes() && !self.told {
            self.told = true;
            // The other side may be gone altogether: then there is nobody to tell.
            let _ = to.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    /// There is nobody left to give to.
    fn give_up(&mut self) {
        *self = Self { ended: true, told: true, ..Self::default() };
    }
}

/// `None` is "not now".
fn ready(result: std::io::Result<usize>) -> std::io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
