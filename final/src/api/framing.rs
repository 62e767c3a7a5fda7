//! Frames put around output that has none, and taken off where nobody wants them.
//!
//! Whether an exec has a terminal is said when it is created, and how its output is to
//! come when it is started: clients may say the one without the other.
//!
//! ```text
//! frame   1 or 2, for which output · 3 zeroes · length, 4 bytes, big-endian · bytes
//! ```

use std::io;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;

use super::hijack;
use crate::runtime::shim::Stream;

/// What is read at once.
const CHUNK: usize = 64 * 1024;

/// A stream whose output is framed or not, as it is `wanted`. Input passes as it is.
pub fn reframe(program: UnixStream, framed: bool, wanted: bool) -> io::Result<UnixStream> {
    if framed == wanted {
        return Ok(program);
    }
    let (ours, theirs) = UnixStream::pair()?;
    let (output, to_program) = program.into_split();
    let (input, to_client) = ours.into_split();
    let feed = hijack::feed(input, to_program);
    tokio::spawn(async move {
        // Whichever side breaks off, the other hears the end.
        let _ = match wanted {
            true => add_frames(output, to_client).await,
            false => take_frames_off(output, to_client).await,
        };
        feed.abort();
    });
    Ok(theirs)
}

async fn add_frames(mut from: OwnedReadHalf, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = from.read(&mut chunk).await?;
        if length == 0 {
            return Ok(());
        }
        // All that a terminal has is standard output.
        to.write_all(&Stream::Stdout.frame_header(length)).await?;
        to.write_all(&chunk[..length]).await?;
    }
}

async fn take_frames_off(
    mut from: OwnedReadHalf,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut head = [0; 8];
    loop {
        from.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        tokio::io::copy(&mut (&mut from).take(length.into()), &mut to).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_are_put_on_and_taken_off() {
        let (mut program, end) = UnixStream::pair().unwrap();
        let framed = reframe(end, false, true).unwrap();
        let mut plain = reframe(framed, true, false).unwrap();
        program.write_all(b"out").await.unwrap();
        plain.write_all(b"in").await.unwrap();
        let mut input = [0; 2];
        program.read_exact(&mut input).await.unwrap();
        drop(program);
        let mut output = Vec::new();
        plain.read_to_end(&mut output).await.unwrap();
        assert_eq!((&input, &output[..]), (b"in", &b"out"[..]));
    }
}
