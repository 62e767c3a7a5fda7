//! The container's streams and ours, joined.

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use nix::errno::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use super::out;
use crate::api::detach::DetachKeys;
use crate::client::{Connection, Duplex};

/// Takes Docker's frames apart: `[stream, 0, 0, 0, length: u32, big endian] payload`.
/// With a terminal there are none: everything is output.
pub struct Demux {
    tty: bool,
    header: Vec<u8>,
    stream: u8,
    left: usize,
}

impl Demux {
    /// For a stream from its beginning.
    pub fn new(tty: bool) -> Self {
        Self { tty, header: Vec::new(), stream: STDOUT, left: 0 }
    }

    /// Writes what has come to standard output and standard error, at once: a write(2)
    /// for each line would cost more than all the rest.
    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let mut parts = self.parts(bytes).peekable();
        let mut gathered = Vec::with_capacity(bytes.len());
        while let Some((stream, payload)) = parts.next() {
            gathered.extend_from_slice(payload);
            // What belongs to one stream goes together, up to what belongs to the other.
            if parts.peek().is_none_or(|(next, _)| *next != stream) {
                write_all(stream, &gathered)?;
                gathered.clear();
            }
        }
        Ok(())
    }

    /// The payloads in these bytes, each with its stream.
    fn parts<'a>(&'a mut self, mut bytes: &'a [u8]) -> impl Iterator<Item = (u8, &'a [u8])> {
        std::iter::from_fn(move || {
            if self.tty {
                let all = std::mem::take(&mut bytes);
                return (!all.is_empty()).then_some((STDOUT, all));
            }
            while self.left == 0 {
                let missing = 8 - self.header.len();
                let (head, rest) = bytes.split_at(missing.min(bytes.len()));
                self.header.extend_from_slice(head);
                bytes = rest;
                let header: [u8; 8] = self.header.as_slice().try_into().ok()?;
                self.left =
                    u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
                self.stream = header[0];
                self.header.clear();
            }
            if bytes.is_empty() {
                return None;
            }
            let (payload, rest) = bytes.split_at(self.left.min(bytes.len()));
            bytes = rest;
            self.left -= payload.len();
            Some((self.stream, payload))
        })
    }
}

/// Docker's numbers of the streams in a frame.
const STDOUT: u8 = 1;
const STDERR: u8 = 2;

fn write_all(stream: u8, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let written = match stream {
            STDERR => nix::unistd::write(std::io::stderr(), bytes),
            _ => nix::unistd::write(std::io::stdout(), bytes),
        };
        match written {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Which of our streams are joined, and how.
pub struct Wiring {
    /// Send our standard input.
    pub stdin: bool,
    /// The container has a terminal.
    pub tty: bool,
    /// The keys that leave it, if our input is a terminal, too.
    pub keys: Option<DetachKeys>,
}

/// How long an engine may take to let go of a user who leaves.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Why we are not with the container any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Its side of the streams has ended.
    AtItsEnd,
    /// Our user has pressed the keys for that.
    ByKeys,
}

/// Carries bytes both ways until the container's side ends, or our user leaves.
pub async fn join(connection: Connection, wiring: Wiring) -> Result<Left> {
    let Some(connection) = connection.await else { return Ok(Left::AtItsEnd) };
    let (reader, writer) = tokio::io::split(connection);
    let send = async {
        if !wiring.stdin || !send_stdin(writer, wiring.keys).await {
            std::future::pending().await
        }
    };
    let mut receive = std::pin::pin!(receive(reader, wiring.tty));
    tokio::select! {
        biased;
        received = &mut receive => return received.map(|()| Left::AtItsEnd),
        () = send => {}
    }
    // The engine has got the keys, too. It tells everyone, and lets go.
    let _ = tokio::time::timeout(LAST_WORD, receive).await;
    Ok(Left::ByKeys)
}

async fn receive(mut reader: ReadHalf<Box<dyn Duplex>>, tty: bool) -> Result<()> {
    let mut demux = Demux::new(tty);
    let mut buffer = Vec::with_capacity(64 * 1024);
    loop {
        match reader.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(_) => out::to_stdout(demux.write(&buffer))?,
        }
        buffer.clear();
    }
}

/// Standard input is read by a thread of its own: a read from a terminal cannot be
/// called off, and must not hold up the end of this program. True if our user has
/// pressed the keys to leave.
async fn send_stdin(mut writer: WriteHalf<Box<dyn Duplex>>, mut keys: Option<DetachKeys>) -> bool {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(4);
    std::thread::spawn(move || {
        let stdin = std::io::stdin();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read) = nix::unistd::read(stdin.as_fd(), &mut buffer) {
            if read == 0 || sender.blocking_send(Bytes::copy_from_slice(&buffer[..read])).is_err() {
                break;
            }
        }
    });
    while let Some(bytes) = receiver.recv().await {
        // The engine takes them out.
        let left = keys.as_mut().is_some_and(|keys| keys.filter(&bytes).1);
        if writer.write_all(&bytes).await.is_err() || left {
            return left;
        }
    }
    let _ = writer.shutdown().await;
    // The connection stays whole: the other half of it is still being read.
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_may_arrive_in_any_pieces() {
        let bytes =
            [&[1, 0, 0, 0, 0, 0, 0, 2][..], b"hi", &[2, 0, 0, 0, 0, 0, 0, 1], b"!"].concat();
        for size in 1..=bytes.len() {
            let mut demux = Demux::new(false);
            let mut streams = [Vec::new(), Vec::new()];
            for piece in bytes.chunks(size) {
                for (stream, payload) in demux.parts(piece) {
                    streams[usize::from(stream) - 1].extend_from_slice(payload);
                }
            }
            assert_eq!(streams, [b"hi".to_vec(), b"!".to_vec()]);
        }
    }
}
