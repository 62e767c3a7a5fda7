//! Names that are made of what they name: `sha256:` and 64 hex digits.
//!
//! Who knows the digest of some bytes can take them from anyone. That is why a
//! registry needs no trust, and why every reader here compares at the end.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use sha2::Sha256;

use crate::error::{Error, Result};

// ANCHOR: digest
/// The SHA-256 of some bytes. See "Digests" in the OCI image specification.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);
// ANCHOR_END: digest

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 64 digits, without the algorithm: a file name.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The first twelve digits: what people read.
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }

    /// Reads the 64 digits.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let lower = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
        if hex.len() != 64 || !hex.as_bytes().iter().all(lower) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::Input(format!("invalid digest {text:?}: {why}"));
        let (algorithm, hex) = text.split_once(':').ok_or_else(|| bad("no algorithm"))?;
        if algorithm != "sha256" {
            return Err(bad("the only algorithm known here is sha256"));
        }
        Self::from_hex(hex).ok_or_else(|| bad("sha256 has 64 lower-case hexadecimal digits"))
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// A digest in the making.
///
/// `sha2` asks the processor at run time and uses its SHA instructions: a layer
/// costs then a seventh of what it costs in plain code.
#[derive(Debug, Clone, Default)]
pub struct Hasher {
    state: Sha256,
    length: u64,
}

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// How many bytes it has seen.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The digest of all bytes seen.
    pub fn finish(self) -> Digest {
        Digest(self.state.finalize().into())
    }
}

/// Passes bytes on, and answers the end of the stream with an error unless they
/// were the bytes of this digest and this size. It stops at the first byte too many.
pub struct VerifyingReader<R> {
    inner: R,
    hasher: Option<Hasher>,
    digest: Digest,
    size: u64,
}

impl<R: Read> VerifyingReader<R> {
    /// Expects `size` bytes with this digest.
    pub fn new(inner: R, digest: Digest, size: u64) -> Self {
        Self { inner, hasher: Some(Hasher::default()), digest, size }
    }
}

// ANCHOR: verifying_reader
impl<R: Read> Read for VerifyingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(hasher) = &mut self.hasher else { return Ok(0) };
        let count = self.inner.read(buffer)?;
        hasher.update(&buffer[..count]);
        if hasher.length() > self.size {
            return Err(mismatch(format!("more than {} bytes for {}", self.size, self.digest)));
        }
        if count == 0 && !buffer.is_empty() {
            let hasher = self.hasher.take().unwrap_or_default();
            verify(hasher, self.digest, self.size).map_err(|e| mismatch(e.to_string()))?;
        }
        Ok(count)
    }
}
// ANCHOR_END: verifying_reader

fn mismatch(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

// ANCHOR: verify
/// Compares what came with what was asked for.
pub(crate) fn verify(hasher: Hasher, digest: Digest, size: u64) -> Result<()> {
    let length = hasher.length();
    if length != size {
        return Err(Error::Corrupt(format!(
            "wrong size: {digest} is {size} bytes, and {length} came"
        )));
    }
    let found = hasher.finish();
    if found != digest {
        return Err(Error::Corrupt(format!(
            "wrong digest: the bytes sent as {digest} are {found}"
        )));
    }
    Ok(())
}
// ANCHOR_END: verify

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_reads_back_as_it_was_written() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::of(b""));
    }

    #[test]
    fn a_bad_digest_says_what_is_wrong_with_it() {
        let error = |text: &str| text.parse::<Digest>().unwrap_err().to_string();
        insta::assert_snapshot!(error("md5:00"), @r#"invalid digest "md5:00": the only algorithm known here is sha256"#);
        insta::assert_snapshot!(error("sha256:00"), @r#"invalid digest "sha256:00": sha256 has 64 lower-case hexadecimal digits"#);
        assert!(EMPTY.to_uppercase().replace("SHA", "sha").parse::<Digest>().is_err());
    }

    #[test]
    fn a_verifying_reader_passes_only_the_right_bytes() {
        let read = |bytes: &[u8], size| {
            let mut out = Vec::new();
            VerifyingReader::new(bytes, Digest::of(b"hello"), size)
                .read_to_end(&mut out)
                .map(|_| out)
        };
        assert_eq!(read(b"hello", 5).unwrap(), b"hello");
        assert!(read(b"hellO", 5).unwrap_err().to_string().starts_with("wrong digest"));
        assert!(read(b"hell", 5).unwrap_err().to_string().starts_with("wrong size"));
        assert!(read(b"hello, world", 5).unwrap_err().to_string().starts_with("more than 5"));
    }
}
