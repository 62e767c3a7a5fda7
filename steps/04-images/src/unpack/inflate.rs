//! From the bytes of a blob to the bytes of a tar archive.

use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Input is read in pieces of this many bytes.
const INPUT: usize = 128 * 1024;

/// No output is too large for its input before it has come to this many bytes.
const FREE: u64 = 256 << 20;

/// How many times its input an output may be.
///
/// Deflate cannot do more than 1032. Zstandard can do 30,000, and only a bomb does.
const RATIO: u64 = 1100;

// ANCHOR: decompress
/// The tar archive inside a blob: gzip (of one member or of many) and zstd are told
/// by their first bytes, and anything else is taken as it comes.
///
/// A media type is what a manifest claims; the magic number is what there is.
pub fn decompress<'a>(reader: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let taken = Arc::new(AtomicU64::new(0));
    let mut input = BufReader::with_capacity(INPUT, Counted { reader, taken: taken.clone() });
    let magic = first_four(&mut input)?;
    let input = io::Cursor::new(magic.clone()).chain(input);
    Ok(match magic[..] {
        [0x1f, 0x8b, ..] => {
            Box::new(Measured::new(flate2::bufread::MultiGzDecoder::new(input), taken))
        }
        // A frame, or one to be skipped, which may come first (RFC 8878, section 3.1.2).
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
            Box::new(Measured::new(zstd::Decoder::with_buffer(input)?, taken))
        }
        _ => Box::new(input),
    })
}
// ANCHOR_END: decompress

/// The first four bytes, or as many as there are; a pipe may bring them one by one.
fn first_four(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut magic = Vec::with_capacity(4);
    input.by_ref().take(4).read_to_end(&mut magic)?;
    Ok(magic)
}

/// A reader that tells how much was taken from it.
struct Counted<R> {
    reader: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.taken.fetch_add(n as u64, Relaxed);
        Ok(n)
    }
}

/// An inflater that compares what it gives with what it took.
struct Measured<R> {
    reader: R,
    taken: Arc<AtomicU64>,
    given: u64,
}

impl<R> Measured<R> {
    fn new(reader: R, taken: Arc<AtomicU64>) -> Self {
        Self { reader, taken, given: 0 }
    }
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.given += n as u64;
        let taken = self.taken.load(Relaxed);
        if self.given > FREE && self.given / RATIO > taken {
            let told = format!(
                "refuse layer: {taken} bytes inflate to more than {} bytes, as only a bomb does",
                self.given
            );
            return Err(Error::new(ErrorKind::InvalidData, told));
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn inflated(blob: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        decompress(blob).unwrap().read_to_end(&mut all).unwrap();
        all
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn gzip_zstd_and_plain_are_told_by_their_first_bytes() {
        assert_eq!(inflated(&gzip(b"hello")), b"hello");
        assert_eq!(inflated(&zstd::encode_all(&b"hello"[..], 1).unwrap()), b"hello");
        assert_eq!(inflated(b"hello"), b"hello");
        assert_eq!(inflated(b"h"), b"h");
        assert_eq!(inflated(b""), b"");
    }

    #[test]
    fn members_of_a_gzip_follow_one_another() {
        assert_eq!(inflated(&[gzip(b"hello "), gzip(b"world")].concat()), b"hello world");
    }

    #[test]
    fn frames_of_a_zstd_follow_one_another_and_some_are_skipped() {
        let frame = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        let skipped = b"\x5f\x2a\x4d\x18\x03\0\0\0abc".to_vec();
        let blob = [&skipped, &frame(b"hello "), &skipped, &frame(b"world"), &skipped];
        assert_eq!(inflated(&blob.map(Vec::as_slice).concat()), b"hello world");
    }

    #[test]
    fn a_bomb_is_refused_before_it_has_gone_off() {
        let mut bomb = Measured::new(io::repeat(0), Arc::new(AtomicU64::new(10_000)));
        let error = io::copy(&mut bomb, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("as only a bomb does"), "{error}");
    }
}
