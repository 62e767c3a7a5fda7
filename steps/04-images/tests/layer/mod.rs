//! What the tests of layers share: archives of any shape, and trees as text.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// A tar archive, block by block. It holds whatever it is told to: no name is too bad.
#[derive(Default, Clone)]
pub struct Tar(pub Vec<u8>);

impl Tar {
    /// An entry of type `kind` (tar's letter), with mode 0755 and 1 as its time.
    pub fn entry(self, kind: u8, name: &str, link: &str, data: &[u8]) -> Self {
        self.sized(kind, name, link, data.len() as u64, data)
    }

    /// An entry that claims to be `size` bytes long.
    pub fn sized(self, kind: u8, name: &str, link: &str, size: u64, data: &[u8]) -> Self {
        self.raw(data, |header| {
            header.set_entry_type(tar::EntryType::new(kind));
            header.set_size(size);
            put(&mut header.as_old_mut().name, name);
            put(&mut header.as_old_mut().linkname, link);
        })
    }

    /// An entry whose header `change` has the last word on, but for the checksum.
    pub fn raw(mut self, data: &[u8], change: impl FnOnce(&mut tar::Header)) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_uid(nix::unistd::geteuid().as_raw().into());
        header.set_gid(nix::unistd::getegid().as_raw().into());
        header.set_mtime(1);
        header.set_size(data.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, data: &str) -> Self {
        self.entry(b'0', name, "", data.as_bytes())
    }

    pub fn folder(self, name: &str) -> Self {
        self.entry(b'5', name, "", b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(b'2', name, target, b"")
    }

    pub fn hardlink(self, name: &str, target: &str) -> Self {
        self.entry(b'1', name, target, b"")
    }

    /// A character device.
    pub fn device(self, name: &str, major: u32, minor: u32) -> Self {
        self.raw(b"", |header| {
            header.set_entry_type(tar::EntryType::Char);
            put(&mut header.as_old_mut().name, name);
            header.set_device_major(major).unwrap();
            header.set_device_minor(minor).unwrap();
        })
    }

    /// A PAX header for the entry that follows.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            // The length counts its own digits.
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length += 1;
            }
            data.extend_from_slice(format!("{length} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.entry(b'x', "pax", "", &data)
    }

    /// The two blocks of zeroes that end an archive.
    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn put(field: &mut [u8], text: &str) {
    field.fill(0);
    field[..text.len()].copy_from_slice(text.as_bytes());
}

/// Everything in a folder, one line each: what it is, whose, when, and its bytes.
pub fn tree(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    walk(folder, folder, &mut all);
    all
}

fn walk(root: &Path, path: &Path, all: &mut BTreeMap<PathBuf, String>) {
    let meta = fs::symlink_metadata(path).unwrap();
    let kind = meta.file_type();
    let (size, bytes) = if kind.is_file() {
        (meta.len(), hex(&Sha256::digest(fs::read(path).unwrap())))
    } else if kind.is_symlink() {
        (0, fs::read_link(path).unwrap().display().to_string())
    } else if kind.is_char_device() || kind.is_block_device() {
        (0, format!("device {:x}", meta.rdev()))
    } else {
        (0, String::new())
    };
    let links = if kind.is_dir() { 1 } else { meta.nlink() };
    let line = format!(
        "{:o} {}:{} x{links} {size} @{}.{:09} {bytes}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    all.insert(path.strip_prefix(root).unwrap().to_owned(), line);
    if kind.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            walk(root, &entry.unwrap().path(), all);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where two trees differ, for a failing assertion to print.
pub fn difference(ours: &BTreeMap<PathBuf, String>, theirs: &BTreeMap<PathBuf, String>) -> String {
    let mut lines = String::new();
    let names: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    for name in names {
        let (our, their) = (ours.get(name), theirs.get(name));
        if our != their {
            lines += &format!("{}\n  ours   {our:?}\n  theirs {their:?}\n", name.display());
        }
    }
    lines
}
