//! A tar archive as a sequence of entries, in any of its dialects.
//!
//! ```text
//! [x: PAX records] [L: long name] [K: long link] header [data, padded to 512]   one entry
//! …
//! 512 zeroes, 512 zeroes                                                        the end
//! ```
//!
//! The `tar` crate knows the layout of the headers. What may follow them is read here,
//! because each has a length that a hostile layer chooses.

use std::io::BufRead;

use namespaces::{Error, Result};
use tar::{EntryType, Header};

use super::pax::Pax;
use super::refuse;
use super::sparse::Sparse;
use super::stream::{BLOCK, Stream, padding};

/// The most that a PAX header, a long name or a sparse map may take.
pub(super) const MAX_EXTENSION: u64 = 1 << 20;

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Symlink,
    /// Another name of a file that the layer already has.
    Hardlink,
    CharDevice,
    BlockDevice,
    Fifo,
}

/// One entry, with everything that its headers say. Nothing is checked against the disk.
pub(super) struct Entry {
    /// As it came: it may be absolute, and it may climb.
    pub(super) name: Vec<u8>,
    /// Where a symbolic or hard link leads, as it came.
    pub(super) link: Vec<u8>,
    pub(super) kind: Kind,
    /// Permissions, setuid, setgid, sticky.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds since the epoch, and nanoseconds after that second.
    pub(super) mtime: (i64, i64),
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Major and minor.
    pub(super) device: (u64, u64),
    /// How many bytes of data the archive stores. 0 for all but files.
    pub(super) stored: u64,
    pub(super) sparse: Sparse,
}

/// Reads entries one after the other.
///
/// After [`Archive::next`] the caller takes the entry's data with [`Archive::data`] or
/// leaves it: the next `next` passes over what is left.
pub(super) struct Archive<R> {
    stream: Stream<R>,
    /// Data and padding of the last entry that are still to be read.
    left: u64,
}

impl<R: BufRead> Archive<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { stream: Stream::new(reader), left: 0 }
    }

    /// The next entry; nothing at the end of the archive.
    pub(super) fn next(&mut self) -> Result<Option<Entry>> {
        match std::mem::take(&mut self.left) {
            // Some builders leave out the padding after the last entry, and the end.
            padding if padding < BLOCK as u64 => self.stream.skip_if_there(padding)?,
            left => self.stream.skip(left)?,
        }
        let (mut pax, mut name, mut link) = (Pax::default(), None, None);
        while let Some(header) = self.header()? {
            match header.entry_type() {
                EntryType::XHeader => pax = Pax::parse(&self.extension(&header)?)?,
                EntryType::GNULongName => name = Some(until_nul(self.extension(&header)?)),
                EntryType::GNULongLink => link = Some(until_nul(self.extension(&header)?)),
                // A comment of `git archive`, the label of a tape: about no entry.
                kind if kind.is_pax_global_extensions() || kind.as_byte() == b'V' => {
                    self.extension(&header)?;
                }
                _ => {
                    pax.path = pax.path.or(name);
                    pax.link = pax.link.or(link);
                    return self.entry(header, pax).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// Hands the data of the last entry to `sink`, in pieces as they come.
    pub(super) fn data(
        &mut self,
        length: u64,
        sink: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.left -= length;
        self.stream.copy(length, sink)
    }

    /// Reads what follows the end of the archive, so that a digest sees all of it.
    pub(super) fn finish(mut self, at_most: u64) -> Result<()> {
        self.stream.drain(at_most)
    }

    /// The next header block; nothing at the block of zeroes that ends an archive.
    fn header(&mut self) -> Result<Option<Header>> {
        let Some(block) = self.stream.block()? else { return Ok(None) };
        if block.iter().all(|&b| b == 0) {
            return Ok(None);
        }
        let mut header = Header::new_old();
        *header.as_mut_bytes() = block;
        // The sum is over the whole header, its own field taken as spaces.
        let field = &header.as_old().cksum;
        let sum: i64 = block.iter().map(|&b| i64::from(b)).sum();
        let own: i64 = field.iter().map(|&b| i64::from(b) - i64::from(b' ')).sum();
        if number(field, "checksum").ok() != Some((sum - own) as u64) {
            return Err(Error::new(
                "refuse layer: it is not a tar archive: a header's sum is wrong",
            ));
        }
        Ok(Some(header))
    }

    /// The data of an entry that only extends the next one.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>> {
        let length = number(&header.as_old().size, "size")?;
        if length > MAX_EXTENSION {
            return Err(Error::new(format!(
                "refuse layer: a header of {length} bytes, where {MAX_EXTENSION} are plenty"
            )));
        }
        self.stream.bytes(length)
    }

    /// An entry, from its own header and what came before it.
    fn entry(&mut self, header: Header, pax: Pax) -> Result<Entry> {
        let old = header.as_old();
        let mut sparse = pax.sparse;
        let name = pax.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let name = sparse.name.take().unwrap_or(name);
        let kind = kind(&header, &name)?;
        let mut stored = match pax.size {
            Some(size) => size,
            None => number(&old.size, "size")?,
        };
        // Only files have data. Some archivers write a link's size, but never its bytes.
        if kind != Kind::File {
            stored = 0;
        }
        if stored > i64::MAX as u64 - BLOCK as u64 {
            return Err(refuse(&name, format_args!("claims to be {stored} bytes long")));
        }
        self.left = stored + padding(stored);
        if kind == Kind::File {
            let map = sparse.read_map(&header, &mut self.stream, stored)?;
            self.left -= map;
            stored -= map;
            if sparse.size.is_some() {
                sparse.check(stored)?;
            }
        }
        Ok(Entry {
            kind,
            mode: number(&old.mode, "mode")? as u32 & 0o7777,
            uid: id(&name, pax.uid.map_or_else(|| number(&old.uid, "owner"), Ok)?)?,
            gid: id(&name, pax.gid.map_or_else(|| number(&old.gid, "group"), Ok)?)?,
            mtime: match pax.mtime {
                Some(mtime) => mtime,
                // The tar of a time before 1970 has a negative number in base 256.
                None => (number(&old.mtime, "time")? as i64, 0),
            },
            link: pax.link.unwrap_or_else(|| {
                header.link_name_bytes().map_or_else(Vec::new, |link| link.into_owned())
            }),
            xattrs: pax.xattrs,
            device: device(&header, kind)?,
            name,
            stored,
            sparse,
        })
    }
}

fn kind(header: &Header, name: &[u8]) -> Result<Kind> {
    Ok(match header.entry_type() {
        // Before POSIX a folder was a file whose name ends in a slash.
        EntryType::Regular if name.ends_with(b"/") => Kind::Folder,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Directory => Kind::Folder,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Link => Kind::Hardlink,
        EntryType::Char => Kind::CharDevice,
        EntryType::Block => Kind::BlockDevice,
        EntryType::Fifo => Kind::Fifo,
        other => {
            let letter = char::from(other.as_byte());
            return Err(refuse(name, format_args!("is of an unknown type, {letter:?}")));
        }
    })
}

fn device(header: &Header, kind: Kind) -> Result<(u64, u64)> {
    if kind != Kind::CharDevice && kind != Kind::BlockDevice {
        return Ok((0, 0));
    }
    // ustar and GNU have the two numbers in the same place.
    let (major, minor) = match (header.as_ustar(), header.as_gnu()) {
        (Some(ustar), _) => (&ustar.dev_major, &ustar.dev_minor),
        (None, Some(gnu)) => (&gnu.dev_major, &gnu.dev_minor),
        (None, None) => return Ok((0, 0)),
    };
    Ok((number(major, "device")?, number(minor, "device")?))
}

/// -1 means "leave it" to chown(2), so no file can belong to it.
fn id(name: &[u8], id: u64) -> Result<u32> {
    let told = || refuse(name, format_args!("belongs to {id}, which is no user or group"));
    u32::try_from(id).ok().filter(|&id| id != u32::MAX).ok_or_else(told)
}

/// A number in a header: octal digits between spaces and NULs, or, with the first bit
/// set, in base 256. An empty field is 0.
pub(super) fn number(field: &[u8], what: &str) -> Result<u64> {
    let wrong = || Error::new(format!("refuse layer: a header's {what} is not a number"));
    if let Some((&first, rest)) = field.split_first().filter(|(first, _)| **first & 0x80 != 0) {
        // The second bit is the sign; a negative number is a complement of any width.
        let start = if first & 0x40 != 0 { -1 } else { i128::from(first & 0x3f) };
        let number = rest.iter().fold(start, |n, &byte| n << 8 | i128::from(byte));
        let negative = || i64::try_from(number).map(|n| n as u64);
        return u64::try_from(number).or_else(|_| negative()).map_err(|_| wrong());
    }
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    let text = str::from_utf8(&field[..end]).map_err(|_| wrong())?.trim_matches(' ');
    match text {
        "" => Ok(0),
        _ if text.starts_with('+') => Err(wrong()),
        _ => u64::from_str_radix(text, 8).map_err(|_| wrong()),
    }
}

fn until_nul(mut name: Vec<u8>) -> Vec<u8> {
    name.truncate(name.iter().position(|&b| b == 0).unwrap_or(name.len()));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000644\0", "").unwrap(), 0o644);
        assert_eq!(number(b"    644 ", "").unwrap(), 0o644);
        assert_eq!(number(b"\0\0\0\0\0\0\0\0", "").unwrap(), 0);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0x0f, 0x42, 0x40], "").unwrap(), 1_000_000);
        assert_eq!(number(&[0xff; 12], "").unwrap() as i64, -1);
        assert!(number(&[0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "").is_err());
        assert!(number(b"+644", "").is_err());
        assert!(number(b"-644", "").is_err());
        assert!(number(b"9", "").is_err());
    }
}
