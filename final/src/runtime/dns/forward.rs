//! A question that somebody else is asked.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket, sockopt,
};

use super::Upstream;
use super::answer::Way;

/// How long one name server may take.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// The port of every name server.
const PORT: u16 = 53;

/// Who is waiting for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Somebody who sent a datagram from here.
    Udp(SocketAddr),
    /// A connection, by its number.
    Tcp(u32),
}

impl Asker {
    /// How it asks, and how we ask in turn: an answer that is too long for a datagram
    /// is for the client to ask for again.
    pub fn way(self) -> Way {
        match self {
            Asker::Udp(_) => Way::Udp,
            Asker::Tcp(_) => Way::Tcp,
        }
    }
}

/// A question that is with a name server.
pub struct Forwarded {
    /// Whom the answer is for.
    pub asker: Asker,
    /// The question as it came.
    pub message: Vec<u8>,
    /// Which name server is asked, by number.
    pub upstream: usize,
    /// When it is given up.
    pub deadline: Instant,
    socket: Socket,
}

/// What came of it so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// It takes longer.
    Waiting,
    /// An answer.
    Answer(Vec<u8>),
    /// This one will not answer.
    Failed,
}

/// One for each question: the kernel chooses a port that nobody can foresee, and lets
/// only the one whom we asked answer to it.
enum Socket {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, unsent: Vec<u8>, received: Vec<u8> },
}

impl Forwarded {
    /// Asks one name server. It must be called on the right side: the socket belongs
    /// to the network namespace that it is made in.
    pub fn ask(
        asker: Asker,
        message: Vec<u8>,
        upstream: usize,
        server: &Upstream,
    ) -> io::Result<Self> {
        let to = SocketAddr::new(server.address, PORT);
        let socket = match asker.way() {
            Way::Udp => {
                let any: IpAddr = match server.address {
                    IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                let socket = UdpSocket::bind((any, 0))?;
                socket.set_nonblocking(true)?;
                socket.connect(to)?;
                socket.send(&message)?;
                Socket::Udp(socket)
            }
            Way::Tcp => {
                let unsent = framed(&message);
                Socket::Tcp { stream: connect_later(to)?, unsent, received: Vec::new() }
            }
        };
        let deadline = Instant::now() + PATIENCE;
        Ok(Self { asker, message, upstream, deadline, socket })
    }

    /// What to wait for.
    pub fn interest(&self) -> EpollFlags {
        match &self.socket {
            Socket::Tcp { unsent, .. } if !unsent.is_empty() => EpollFlags::EPOLLOUT,
            _ => EpollFlags::EPOLLIN,
        }
    }

    /// Goes on as far as it goes.
    pub fn go_on(&mut self, buffer: &mut [u8]) -> Progress {
        let went = match &mut self.socket {
            Socket::Udp(socket) => socket.recv(buffer).map(|length| Some(buffer[..length].into())),
            Socket::Tcp { stream, unsent, received } => exchange(stream, unsent, received, buffer),
        };
        match went {
            Ok(Some(answer)) if self.is_answered_by(&answer) => Progress::Answer(answer),
            // A stray datagram changes nothing.
            Ok(_) => Progress::Waiting,
            Err(error) if is_later(&error) => Progress::Waiting,
            Err(_) => Progress::Failed,
        }
    }

    /// It has our number, and is an answer.
    fn is_answered_by(&self, answer: &[u8]) -> bool {
        answer.len() >= 12 && answer[..2] == self.message[..2] && answer[2] & 0x80 != 0
    }
}

/// Whether a name server that says this may be wrong, and another one right: it has
/// failed, or refuses.
pub fn is_failure(answer: &[u8]) -> bool {
    matches!(answer[3] & 0x0f, 2 | 5)
}

/// A message in a stream has its length before it: RFC 1035, 4.2.2.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = (message.len() as u16).to_be_bytes().to_vec();
    framed.extend(message);
    framed
}

/// Takes the first whole message out of what was received.
pub fn unframe(received: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes(*received.first_chunk()?));
    let message = received.get(2..2 + length)?.to_vec();
    received.drain(..2 + length);
    Some(message)
}

fn exchange(
    stream: &mut TcpStream,
    unsent: &mut Vec<u8>,
    received: &mut Vec<u8>,
    buffer: &mut [u8],
) -> io::Result<Option<Vec<u8>>> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    while !unsent.is_empty() {
        let sent = stream.write(unsent)?;
        unsent.drain(..sent);
    }
    loop {
        match stream.read(buffer)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            length => received.extend_from_slice(&buffer[..length]),
        }
        if let Some(message) = unframe(received) {
            return Ok(Some(message));
        }
    }
}

/// Begins to connect, and does not wait for it.
fn connect_later(to: SocketAddr) -> io::Result<TcpStream> {
    let family = if to.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd: OwnedFd = socket(family, SockType::Stream, flags, None)?;
    nix::sys::socket::setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    use std::os::fd::AsRawFd;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd.into()),
        Err(errno) => Err(errno.into()),
    }
}

/// There is nothing now, but there may be.
pub fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::NotConnected)
}

impl AsFd for Forwarded {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Udp(socket) => socket.as_fd(),
            Socket::Tcp { stream, .. } => stream.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_into_messages() {
        let mut received = framed(b"one");
        received.extend(framed(b"second"));
        received.truncate(9);
        assert_eq!(unframe(&mut received).as_deref(), Some(&b"one"[..]));
        assert_eq!(unframe(&mut received), None);
        received.extend(b"cond");
        assert_eq!(unframe(&mut received).as_deref(), Some(&b"second"[..]));
        assert_eq!(unframe(&mut received), None);
    }
}
