//! Sparse files: GNU tar stores their data without the holes, in four formats.
//!
//! | format  | where the map is                                         |
//! |---------|----------------------------------------------------------|
//! | old GNU | in the header (type `S`), continued in blocks after it   |
//! | PAX 0.0 | PAX records `offset` and `numbytes`, repeated            |
//! | PAX 0.1 | one PAX record `map`, numbers between commas             |
//! | PAX 1.0 | before the data, numbers on lines of their own           |
//!
//! <https://www.gnu.org/software/tar/manual/html_node/Sparse-Formats.html>

use std::io::BufRead;

use namespaces::{Error, Result};
use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::archive::{MAX_EXTENSION, number};
use super::pax::decimal;
use super::stream::{BLOCK, Stream};

/// What the archive says of a sparse file, in whichever format.
#[derive(Default)]
pub(super) struct Sparse {
    /// Present if the file is sparse: its size with all holes.
    pub(super) size: Option<u64>,
    /// The file's own name; the entry's is a made-up one in PAX 0.1 and 1.0.
    pub(super) name: Option<Vec<u8>>,
    /// Where data is: offset and length, in the order of the data.
    pub(super) map: Vec<(u64, u64)>,
    /// PAX 1.0: the map is still to come, before the data.
    map_follows: bool,
}

impl Sparse {
    /// Takes the PAX record `GNU.sparse.KEY`.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            b"size" | b"realsize" => self.size = Some(decimal(value)?),
            b"name" => self.name = Some(value.to_vec()),
            b"major" => self.map_follows = value == b"1",
            b"offset" => self.map.push((decimal(value)?, 0)),
            b"numbytes" => match self.map.last_mut() {
                Some(piece) => piece.1 = decimal(value)?,
                None => return Err(broken("a length comes before its offset")),
            },
            b"map" if !value.is_empty() => {
                let numbers: Vec<u64> =
                    value.split(|&b| b == b',').map(decimal).collect::<Result<_>>()?;
                self.map = pairs(&numbers)?;
            }
            _ => {} // numblocks, minor: the map itself says it
        }
        Ok(())
    }

    /// Reads what of the map is outside of the PAX header. Says how many bytes of the
    /// entry's data that took.
    pub(super) fn read_map(
        &mut self,
        header: &Header,
        stream: &mut Stream<impl BufRead>,
        stored: u64,
    ) -> Result<u64> {
        if header.entry_type().is_gnu_sparse() {
            self.read_old(header, stream)?;
            return Ok(0);
        }
        if self.size.is_none() || !self.map_follows {
            return Ok(0);
        }
        self.read_lines(stream, stored)
    }

    /// Old GNU: four pieces in the header, then blocks of 21 each.
    fn read_old(&mut self, header: &Header, stream: &mut Stream<impl BufRead>) -> Result<()> {
        let gnu = header.as_gnu().ok_or_else(|| broken("its header is not GNU's"))?;
        self.size = Some(number(&gnu.realsize, "size")?);
        self.take_pieces(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let block = stream.block()?.ok_or_else(|| broken("its map is cut short"))?;
            let mut extension = GnuExtSparseHeader::new();
            *extension.as_mut_bytes() = block;
            self.take_pieces(&extension.sparse)?;
            more = extension.is_extended();
        }
        Ok(())
    }

    fn take_pieces(&mut self, pieces: &[GnuSparseHeader]) -> Result<()> {
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            self.map.push((number(&piece.offset, "offset")?, number(&piece.numbytes, "length")?));
        }
        limit(self.map.len() as u64)
    }

    /// PAX 1.0: a count, then as many pairs, each number on its line, padded to a block.
    fn read_lines(&mut self, stream: &mut Stream<impl BufRead>, stored: u64) -> Result<u64> {
        let mut text = Vec::new();
        let mut wanted = None;
        let mut lines = 0;
        while wanted.is_none_or(|wanted| lines < wanted) {
            if (text.len() + BLOCK) as u64 > stored {
                return Err(broken("its map is longer than its data"));
            }
            let block = stream.block()?.ok_or_else(|| broken("its map is cut short"))?;
            lines += block.iter().filter(|&&b| b == b'\n').count() as u64;
            text.extend_from_slice(&block);
            if wanted.is_none() && lines > 0 {
                let count = decimal(text.split(|&b| b == b'\n').next().unwrap_or_default())?;
                limit(count)?;
                wanted = Some(1 + 2 * count);
            }
            limit(text.len() as u64 / BLOCK as u64)?;
        }
        let numbers = text.split(|&b| b == b'\n').take(wanted.unwrap_or(0) as usize).skip(1);
        self.map = pairs(&numbers.map(decimal).collect::<Result<Vec<_>>>()?)?;
        Ok(text.len() as u64)
    }

    /// Checks that the pieces are in order, inside of the file, and are all of the data.
    pub(super) fn check(&self, data: u64) -> Result<()> {
        let size = self.size.unwrap_or(0);
        let (mut end, mut sum) = (0u64, 0u64);
        for &(offset, length) in &self.map {
            if offset < end {
                return Err(broken("its pieces overlap"));
            }
            end = offset.checked_add(length).ok_or_else(|| broken("a piece ends beyond 2^64"))?;
            sum += length;
        }
        if end > size {
            return Err(broken("a piece ends beyond the file"));
        }
        if sum != data {
            return Err(broken("its pieces are not as long as its data"));
        }
        Ok(())
    }
}

/// Offset, length, offset, length…
fn pairs(numbers: &[u64]) -> Result<Vec<(u64, u64)>> {
    let (pairs, []) = numbers.as_chunks::<2>() else {
        return Err(broken("an offset has no length"));
    };
    Ok(pairs.iter().map(|&[offset, length]| (offset, length)).collect())
}

/// A map is bounded like every other extension of a header.
fn limit(pieces: u64) -> Result<()> {
    if pieces > MAX_EXTENSION / 8 {
        return Err(broken("its map has too many pieces"));
    }
    Ok(())
}

fn broken(why: &str) -> Error {
    Error::new(format!("refuse layer: a sparse file's map is broken: {why}"))
}
