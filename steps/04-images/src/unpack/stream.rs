//! The bytes of a tar archive: blocks of 512, and runs of data padded to whole blocks.

use std::io::{BufRead, ErrorKind};

use namespaces::{Error, Result};

/// The unit of tar: every header is one block, all data is padded to whole ones.
pub(super) const BLOCK: usize = 512;

/// A reader that lends the bytes of its buffer: between the inflater and the kernel
/// they are not copied.
pub(super) struct Stream<R> {
    reader: R,
}

impl<R: BufRead> Stream<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader }
    }

    /// What is at hand, read anew if nothing is. Empty only at the end.
    fn fill(&mut self) -> Result<&[u8]> {
        let told = |error| Error::os("read the layer", error);
        loop {
            match self.reader.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(told(error)),
                Ok(_) => break,
            }
        }
        self.reader.fill_buf().map_err(told)
    }

    /// The next block; nothing at the end of the stream.
    pub(super) fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            let bytes = self.fill()?;
            if bytes.is_empty() {
                return if have == 0 { Ok(None) } else { Err(cut_short()) };
            }
            let n = bytes.len().min(BLOCK - have);
            block[have..have + n].copy_from_slice(&bytes[..n]);
            self.reader.consume(n);
            have += n;
        }
        Ok(Some(block))
    }

    /// Hands the next `length` bytes to `sink`, in pieces as they come.
    pub(super) fn copy(
        &mut self,
        mut length: u64,
        mut sink: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        while length > 0 {
            let bytes = self.fill()?;
            if bytes.is_empty() {
                return Err(cut_short());
            }
            let n = bytes.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            sink(&bytes[..n])?;
            self.reader.consume(n);
            length -= n as u64;
        }
        Ok(())
    }

    /// The next `length` bytes and their padding. The caller has checked the length.
    pub(super) fn bytes(&mut self, length: u64) -> Result<Vec<u8>> {
        let mut all = Vec::with_capacity(length as usize);
        self.copy(length, |bytes| {
            all.extend_from_slice(bytes);
            Ok(())
        })?;
        self.skip(padding(length))?;
        Ok(all)
    }

    /// Passes over `length` bytes.
    pub(super) fn skip(&mut self, length: u64) -> Result<()> {
        self.copy(length, |_| Ok(()))
    }

    /// Passes over `length` bytes, or as many as there are before the end.
    pub(super) fn skip_if_there(&mut self, mut length: u64) -> Result<()> {
        while length > 0 {
            let n = (self.fill()?.len() as u64).min(length);
            if n == 0 {
                return Ok(());
            }
            self.reader.consume(n as usize);
            length -= n;
        }
        Ok(())
    }

    /// Reads to the end of the stream.
    ///
    /// An archive ends before its stream does, but the layer's digest is over all of it.
    pub(super) fn drain(&mut self, at_most: u64) -> Result<()> {
        let mut rest = 0;
        loop {
            let n = self.fill()?.len();
            if n == 0 {
                return Ok(());
            }
            self.reader.consume(n);
            rest += n as u64;
            if rest > at_most {
                return Err(Error::new(format!(
                    "refuse layer: more than {at_most} bytes follow the end of its archive"
                )));
            }
        }
    }
}

/// How many bytes fill `length` up to whole blocks.
pub(super) fn padding(length: u64) -> u64 {
    length.wrapping_neg() % BLOCK as u64
}

fn cut_short() -> Error {
    Error::new("refuse layer: its archive ends in the middle of an entry")
}
