//! The headers of a tar archive that we write.
//!
//! ```text
//! [x header, PAX records padded to 512]   for what the header has no room for
//! header                                  ustar: POSIX.1-1988
//! [data, padded to 512]
//! …
//! 1024 zeroes
//! ```

use std::io::{self, Write};

use tar::{EntryType, Header};

/// The unit of tar.
pub const BLOCK: usize = 512;

/// One entry.
#[derive(Debug, Default)]
pub struct Entry<'a> {
    /// Its name; a folder's ends in a slash.
    pub name: &'a [u8],
    /// The target of a link.
    pub link: &'a [u8],
    /// What it is.
    pub kind: Option<EntryType>,
    /// Permissions.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Bytes of data that follow.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Major and minor of a device.
    pub device: Option<(u32, u32)>,
    /// File capabilities.
    pub capability: Option<Vec<u8>>,
}

impl Entry<'_> {
    /// Writes the header, and before it what does not fit.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let records = self.records();
        if !records.is_empty() {
            let mut header = self.header(EntryType::XHeader)?;
            header.set_size(records.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            out.write_all(header.as_bytes())?;
            out.write_all(&records)?;
            pad(out, records.len() as u64)?;
        }
        let mut header = self.header(self.kind.unwrap_or(EntryType::Regular))?;
        header.set_cksum();
        out.write_all(header.as_bytes())
    }

    /// With what fits, and the beginning of what does not.
    fn header(&self, kind: EntryType) -> io::Result<Header> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(self.mode & 0o7777);
        header.set_uid(if fits_octal(self.uid) { self.uid.into() } else { 0 });
        header.set_gid(if fits_octal(self.gid) { self.gid.into() } else { 0 });
        header.set_size(if self.size < 1 << 33 { self.size } else { 0 });
        header
            .set_mtime(u64::try_from(self.mtime).ok().filter(|time| *time < 1 << 33).unwrap_or(0));
        if let Some((major, minor)) = self.device {
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
        }
        let old = header.as_old_mut();
        fill(&mut old.name, self.name);
        fill(&mut old.linkname, self.link);
        Ok(header)
    }

    /// `LENGTH KEY=VALUE\n`, where the length counts itself.
    fn records(&self) -> Vec<u8> {
        let mut records = Vec::new();
        let mut add = |key: &str, value: &[u8]| {
            let rest = key.len() + value.len() + 3;
            let mut length = rest;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            records.extend(format!("{length} {key}=").as_bytes());
            records.extend(value);
            records.push(b'\n');
        };
        if self.name.len() > 100 || !self.name.is_ascii() {
            add("path", self.name);
        }
        if self.link.len() > 100 || !self.link.is_ascii() {
            add("linkpath", self.link);
        }
        if self.size >= 1 << 33 {
            add("size", self.size.to_string().as_bytes());
        }
        for (key, id) in [("uid", self.uid), ("gid", self.gid)] {
            if !fits_octal(id) {
                add(key, id.to_string().as_bytes());
            }
        }
        if !(0..1 << 33).contains(&self.mtime) {
            add("mtime", self.mtime.to_string().as_bytes());
        }
        if let Some(capability) = &self.capability {
            add("SCHILY.xattr.security.capability", capability);
        }
        records
    }
}

/// Seven octal digits.
fn fits_octal(id: u32) -> bool {
    id < 1 << 21
}

fn fill(field: &mut [u8; 100], bytes: &[u8]) {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
}

/// Zeroes up to a whole block.
pub fn pad(out: &mut impl Write, length: u64) -> io::Result<()> {
    let missing = (length.wrapping_neg() % BLOCK as u64) as usize;
    out.write_all(&[0; BLOCK][..missing])
}

/// The end of an archive.
pub fn finish(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}
