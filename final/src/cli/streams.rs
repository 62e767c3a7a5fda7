//! The container's streams and ours, joined.

use std::io::Write;
use std::os::fd::AsFd;

use anyhow::Result;
use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use super::out;
use crate::api::detach::DetachKeys;

/// Takes Docker's frames apart: `[stream, 0, 0, 0, length: u32, big endian] payload`.
/// With a terminal there are none: everything is output.
pub struct Demux {
    tty: bool,
    header: Vec<u8>,
    left: usize,
}

impl Demux {
    /// For a stream from its beginning.
    pub fn new(tty: bool) -> Self {
        Self { tty, header: Vec::new(), left: 0 }
    }

    /// Writes what has come to standard output and standard error.
    pub fn write(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
        if self.tty {
            out.write_all(bytes)?;
            return out.flush();
        }
        while !bytes.is_empty() {
            if self.left == 0 {
                let missing = 8 - self.header.len();
                let (head, rest) = bytes.split_at(missing.min(bytes.len()));
                self.header.extend(head);
                bytes = rest;
                if self.header.len() < 8 {
                    return Ok(());
                }
                let length = self.header[4..8].try_into().expect("four bytes");
                self.left = u32::from_be_bytes(length) as usize;
            }
            let (payload, rest) = bytes.split_at(self.left.min(bytes.len()));
            match self.header[0] {
                2 => err.write_all(payload)?,
                _ => out.write_all(payload)?,
            }
            self.left -= payload.len();
            bytes = rest;
            if self.left == 0 {
                self.header.clear();
            }
        }
        out.flush()
    }
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

/// Why we are not with the container any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Its side of the streams has ended.
    AtItsEnd,
    /// Our user has pressed the keys for that.
    ByKeys,
}

/// Carries bytes both ways until the container's side ends, or our user leaves.
pub async fn join(connection: Upgraded, wiring: Wiring) -> Result<Left> {
    let (reader, writer) = tokio::io::split(TokioIo::new(connection));
    let left = async {
        match wiring.stdin && send_stdin(writer, wiring.keys).await {
            true => Ok(Left::ByKeys),
            false => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        received = receive(reader, wiring.tty) => received.map(|()| Left::AtItsEnd),
        left = left => left,
    }
}

async fn receive(mut reader: ReadHalf<TokioIo<Upgraded>>, tty: bool) -> Result<()> {
    let mut demux = Demux::new(tty);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(read) => out::to_stdout(demux.write(&buffer[..read]))?,
        }
    }
}

/// Standard input is read by a thread of its own: a read from a terminal cannot be
/// called off, and must not hold up the end of this program. True if our user has
/// pressed the keys to leave.
async fn send_stdin(
    mut writer: WriteHalf<TokioIo<Upgraded>>,
    mut keys: Option<DetachKeys>,
) -> bool {
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
        let (bytes, left) = match &mut keys {
            Some(keys) => {
                let (passed, left) = keys.filter(&bytes);
                (Bytes::from(passed), left)
            }
            None => (bytes, false),
        };
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
        // Nothing but the state is looked at: what is written goes to the test's output.
        let mut demux = Demux::new(false);
        for byte in [1, 0, 0, 0, 0, 0, 0, 2, b'h', b'i', 2, 0, 0, 0, 0, 0, 0, 1, b'!'] {
            demux.write(&[byte]).unwrap();
        }
        assert_eq!((demux.left, demux.header.len()), (0, 0));
    }
}
