//! Verify a stream before its end counts.
//!
//! Write the `read` of a reader that passes bytes on and answers the end of the stream with
//! an error, unless they were the bytes of this digest and this size. It must stop soon after
//! the first byte too many: the other side may send for ever. The page "Names and digests" has
//! the one of this lesson; `Hasher` is its hash in the making (`update`, `length`, and `finish`,
//! which consumes it).
//!
//! Minutes: 20

use std::io::{self, Read};

use images::{Digest, Hasher};

struct VerifyingReader<R> {
    inner: R,
    hasher: Hasher,
    digest: Digest,
    size: u64,
}

impl<R: Read> Read for VerifyingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // YOURS: pass the bytes on, hash them, and judge them in time
        // SAYS: the first byte too many is a lie
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        if count == 0 && self.hasher.clone().finish() != self.digest {
            return Err(io::Error::other("other bytes than were promised"));
        }
        Ok(count)
        // END
    }
}

/// Counts what was taken from it.
struct Counted<R>(R, u64);

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1 += count as u64;
        Ok(count)
    }
}

fn main() {
    show("the right bytes", &b"hello"[..]);
    show("one byte changed", &b"hellO"[..]);
    show("cut short", &b"hell"[..]);
    show("nothing", &b""[..]);
    show("a byte too many", &b"hello!"[..]);
    show("a megabyte too many", b"hello".chain(io::repeat(b'!').take(1 << 20)));
}

/// Reads what is promised to be "hello", in pieces of at most 100 bytes.
fn show(what: &str, source: impl Read) {
    let mut source = Counted(source, 0);
    let digest = Digest::of(b"hello");
    let hasher = Hasher::default();
    let mut reader = VerifyingReader { inner: &mut source, hasher, digest, size: 5 };
    let mut buffer = [0; 100];
    let passed = loop {
        match reader.read(&mut buffer) {
            Ok(0) => break true,
            Ok(_) => {}
            Err(_) => break false,
        }
    };
    let told = if passed { "passed" } else { "refused" };
    let late = if source.1 > 1000 { ", after all of it was taken" } else { "" };
    println!("{what}: {told}{late}");
}
