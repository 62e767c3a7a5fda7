//! From a blob to a folder, with every stage at work at once.
//!
//! ```text
//!  thread 1                  thread 2                     this thread
//!  download, hash, write ──▶ inflate, hash ──▶ unpack into layers/<hex>.partial
//!           128 KiB pieces, a few in flight
//! ```
//!
//! One after another, the stages of a layer of 92 MB take twice as long as on two
//! processors side by side. The price: bytes are unpacked before their digest is
//! known. So the unpacker trusts nothing, the folder has no name that anyone uses,
//! and it gets one only when both digests are right.

use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result, way_out};
use crate::unpack::{UnpackOptions, Unpacked, decompress, unpack};

/// Small enough to stay in the processor's cache from one stage to the next.
const PIECE: usize = 128 * 1024;
/// How many pieces may wait between two stages.
const DEPTH: usize = 16;

/// Where the bytes of a blob come from. It must compare them with their digest and
/// answer an error in place of the end if they are others.
pub(crate) trait Source: Send {
    /// Fills the start of the buffer; 0 is the end, verified.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize>;
}

impl<R: Read + Send> Source for R {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.read(buffer).map_err(|error| crate::error::io("read the layer", error))
    }
}

// ANCHOR: unpack_blob
/// Unpacks a blob into an empty folder. The tar inside must have the digest `diff_id`.
pub(crate) fn unpack_blob(
    source: impl Source,
    diff_id: &Digest,
    folder: &Path,
    options: &UnpackOptions,
) -> Result<Unpacked> {
    thread::scope(|scope| {
        let (blob_in, blob_out) = pipe();
        let (tar_in, tar_out) = pipe();
        let first = scope.spawn(move || pump(source, blob_in));
        let second = scope.spawn(move || inflate(blob_out, tar_in));
        let unpacked = unpack(tar_out, folder, options);
        // An error travels down the pipes as "the stage before broke off", and up
        // them as "nobody reads any more". The one that counts is neither.
        let rest = first.join().expect("the first stage does not panic")?;
        let found = second.join().expect("the second stage does not panic");
        let unpacked = unpacked.map_err(|error| Error::System(way_out(error)));
        let done = found.and_then(|found| Ok((found, unpacked?)));
        if let (Err(error), Some(rest)) = (&done, rest)
            && !matches!(error, Error::System(error) if error.errno.is_some())
        {
            // The layer is refused. If its bytes are not even those of its digest, that is why.
            drain(rest)?;
        }
        match done? {
            (Some(found), unpacked) if found == *diff_id => Ok(unpacked),
            (found, _) => Err(Error::Corrupt(format!(
                "wrong diff-id: the image says {diff_id}, and the layer is {}",
                found.map_or("cut short".into(), |digest| digest.to_string())
            ))),
        }
    })
}
// ANCHOR_END: unpack_blob

/// First stage: from the source into the pipe. Gives the source back if nobody reads
/// any more: the stages below have failed, and say why.
fn pump<S: Source>(mut source: S, mut pipe: PipeIn) -> Result<Option<S>> {
    loop {
        let mut piece = pipe.piece();
        let count = source.fill(&mut piece)?;
        if count == 0 {
            pipe.end();
            return Ok(None);
        }
        piece.truncate(count);
        if pipe.send(piece).is_err() {
            return Ok(Some(source));
        }
    }
}

/// Reads a source to its end, for what it says there.
pub(crate) fn drain(mut source: impl Source) -> Result<()> {
    let mut piece = vec![0; PIECE];
    while source.fill(&mut piece)? > 0 {}
    Ok(())
}

/// Second stage: inflates, and answers the digest of the whole tar, or `None` if the
/// stages around it stopped early.
fn inflate(blob: PipeOut, mut pipe: PipeIn) -> Result<Option<Digest>> {
    let unreadable = |error: io::Error| Error::Corrupt(format!("inflate the layer: {error}"));
    let mut hasher = Hasher::default();
    let mut tar = match decompress(blob) {
        Err(error) if is_broken(&error) => return Ok(None),
        tar => tar.map_err(unreadable)?,
    };
    loop {
        let mut piece = pipe.piece();
        let count = match fill(&mut tar, &mut piece) {
            Err(error) if is_broken(&error) => return Ok(None),
            count => count.map_err(unreadable)?,
        };
        if count == 0 {
            pipe.end();
            return Ok(Some(hasher.finish()));
        }
        piece.truncate(count);
        hasher.update(&piece);
        if pipe.send(piece).is_err() {
            return Ok(None);
        }
    }
}

/// Reads until the buffer is full or the input ends: inflaters answer in small pieces.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match reader.read(&mut buffer[count..])? {
            0 => break,
            more => count += more,
        }
    }
    Ok(count)
}

/// A pipe between two threads. Pieces go down and, empty, come back up.
fn pipe() -> (PipeIn, PipeOut) {
    let (full, pieces) = sync_channel(DEPTH);
    let (back, empty) = channel();
    (PipeIn { full, empty }, PipeOut { pieces, back, piece: Vec::new(), read: 0, ended: false })
}

struct PipeIn {
    full: SyncSender<Option<Vec<u8>>>,
    empty: Receiver<Vec<u8>>,
}

impl PipeIn {
    /// A buffer to fill.
    fn piece(&mut self) -> Vec<u8> {
        let mut piece = self.empty.try_recv().unwrap_or_default();
        piece.resize(PIECE, 0);
        piece
    }

    /// Fails when nobody reads any more.
    fn send(&mut self, piece: Vec<u8>) -> Result<(), ()> {
        self.full.send(Some(piece)).map_err(drop)
    }

    /// Says that all was sent. Without it, the reader gets an error in place of an end.
    fn end(self) {
        let _ = self.full.send(None);
    }
}

struct PipeOut {
    pieces: Receiver<Option<Vec<u8>>>,
    back: Sender<Vec<u8>>,
    piece: Vec<u8>,
    read: usize,
    ended: bool,
}

impl Read for PipeOut {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.piece.len() && !self.ended {
            let _ = self.back.send(std::mem::take(&mut self.piece));
            self.read = 0;
            match self.pieces.recv() {
                Ok(Some(piece)) => self.piece = piece,
                Ok(None) => self.ended = true,
                Err(_) => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
        let count = buffer.len().min(self.piece.len() - self.read);
        buffer[..count].copy_from_slice(&self.piece[self.read..self.read + count]);
        self.read += count;
        Ok(count)
    }
}

fn is_broken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::VerifyingReader;

    /// A tar of one file, 1 MiB of zeros.
    fn tar() -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.set_size(1 << 20);
        header.set_mode(0o644);
        header.set_uid(nix::unistd::getuid().as_raw().into());
        header.set_gid(nix::unistd::getgid().as_raw().into());
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_data(&mut header, "zeros", &vec![0; 1 << 20][..]).unwrap();
        tar.into_inner().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gzip, bytes).unwrap();
        gzip.finish().unwrap()
    }

    fn run(blob: &[u8], digest: Digest, size: usize, diff_id: Digest) -> Result<Unpacked, String> {
        let folder = tempfile::tempdir().unwrap();
        let source = VerifyingReader::new(blob, digest, size as u64);
        unpack_blob(source, &diff_id, folder.path(), &UnpackOptions::default())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_layer_is_unpacked_when_both_digests_are_right() {
        let tar = tar();
        let blob = gzip(&tar);
        let (digest, diff_id) = (Digest::of(&blob), Digest::of(&tar));
        assert_eq!(run(&blob, digest, blob.len(), diff_id).unwrap().bytes, 1 << 20);
        assert_eq!(run(&tar, diff_id, tar.len(), diff_id).unwrap().bytes, 1 << 20);

        let wrong = run(&blob, diff_id, blob.len(), diff_id).unwrap_err();
        assert!(wrong.contains("wrong digest"), "{wrong}");
        let wrong = run(&blob, digest, blob.len(), digest).unwrap_err();
        assert!(wrong.starts_with("wrong diff-id"), "{wrong}");
    }

    #[test]
    fn the_first_cause_is_told() {
        let tar = tar();
        let mut blob = gzip(&tar);
        let (whole, diff_id) = (blob.len(), Digest::of(&tar));
        blob.truncate(whole / 2);
        let short = run(&blob, Digest::of(&blob), whole, diff_id).unwrap_err();
        assert!(short.contains("wrong size"), "{short}");
        let cut = run(&blob, Digest::of(&blob), blob.len(), diff_id).unwrap_err();
        assert!(cut.starts_with("inflate the layer"), "{cut}");
        let broken = run(&tar[..700], Digest::of(&tar[..700]), 700, diff_id).unwrap_err();
        assert!(!broken.contains("pipe"), "{broken}");
    }
}
