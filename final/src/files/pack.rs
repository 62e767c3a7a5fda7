//! From a tree to a tar stream.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use namespaces::{Context, Error, Result};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, major, minor};
use tar::EntryType;

use super::header::{self, Entry};
use crate::runtime::sys;

/// Says which folders are entered: a container has some that are the kernel's.
pub trait Guard {
    /// Whether the open folder, which is called so in the archive, is walked through.
    fn enters(&self, folder: BorrowedFd, name: &[u8]) -> bool;
}

/// Every folder.
pub struct Everything;

impl Guard for Everything {
    fn enters(&self, _: BorrowedFd, _: &[u8]) -> bool {
        true
    }
}

/// Writes what `item` is (an `O_PATH` descriptor), and all that is below it, as an
/// archive in which it is called `name`. Links are not followed.
///
/// # Errors
/// What cannot be read. What goes while we look is left out.
pub fn pack(item: OwnedFd, name: &[u8], guard: &dyn Guard, out: impl Write) -> Result<()> {
    let mut packer = Packer { guard, out, links: HashMap::new(), buffer: vec![0; 64 * 1024] };
    packer.item(&item, name)?;
    header::finish(&mut packer.out).and_then(|()| packer.out.flush()).doing(|| "write the archive")
}

struct Packer<'a, W> {
    guard: &'a dyn Guard,
    out: W,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

impl<W: Write> Packer<'_, W> {
    fn item(&mut self, item: &OwnedFd, name: &[u8]) -> Result<()> {
        let shown = || String::from_utf8_lossy(name).into_owned();
        let stat = fstat(item).doing(|| format!("look at {}", shown()))?;
        let mut entry = Entry {
            name,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: stat.st_mtime,
            ..Entry::default()
        };
        let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
        if kind == SFlag::S_IFDIR {
            return self.folder(item, entry).doing_io(|| format!("copy {}", shown()));
        }
        // A second name of the same file.
        let first = self.links.get(&(stat.st_dev, stat.st_ino)).cloned();
        if let Some(first) = first.filter(|_| stat.st_nlink > 1) {
            entry.kind = Some(EntryType::Link);
            entry.link = &first;
            return entry.write(&mut self.out).doing(|| format!("copy {}", shown()));
        }
        if stat.st_nlink > 1 {
            self.links.insert((stat.st_dev, stat.st_ino), name.to_vec());
        }
        let target;
        match kind {
            SFlag::S_IFREG => {
                return self.file(item, &stat, entry).doing(|| format!("copy {}", shown()));
            }
            SFlag::S_IFLNK => {
                target = readlinkat(item, "").doing(|| format!("read the link {}", shown()))?;
                entry.kind = Some(EntryType::Symlink);
                entry.link = target.as_bytes();
            }
            SFlag::S_IFCHR | SFlag::S_IFBLK => {
                let character = kind == SFlag::S_IFCHR;
                entry.kind = Some(if character { EntryType::Char } else { EntryType::Block });
                entry.device = Some((major(stat.st_rdev) as u32, minor(stat.st_rdev) as u32));
            }
            SFlag::S_IFIFO => entry.kind = Some(EntryType::Fifo),
            // A socket is nothing without who listens at it.
            _ => return Ok(()),
        }
        entry.write(&mut self.out).doing(|| format!("copy {}", shown()))
    }

    fn folder(&mut self, item: &OwnedFd, mut entry: Entry) -> Result<()> {
        let mut name = entry.name.to_vec();
        if !name.ends_with(b"/") {
            name.push(b'/');
        }
        entry.kind = Some(EntryType::Directory);
        let own = Entry { name: &name, ..entry };
        own.write(&mut self.out).doing(|| "write the archive")?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = openat(item, ".", flags, Mode::empty()).doing(|| "open the folder")?;
        if !self.guard.enters(folder.as_fd(), &name) {
            return Ok(());
        }
        let path = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        for child in names(&folder).doing(|| "list the folder")? {
            let below = [&name[..], child.as_bytes()].concat();
            match openat(&folder, child.as_os_str(), path, Mode::empty()) {
                Ok(item) => self.item(&item, &below)?,
                Err(Errno::ENOENT) => {}
                Err(errno) => {
                    let shown = String::from_utf8_lossy(&below).into_owned();
                    return Err(Error::os(format!("open {shown}"), errno));
                }
            }
        }
        Ok(())
    }

    /// Exactly as many bytes as the header says, however the file changes meanwhile.
    fn file(&mut self, item: &OwnedFd, stat: &FileStat, mut entry: Entry) -> io::Result<()> {
        // What is open as a name only is opened for reading, and is still the same file.
        let mut file = File::open(format!("/proc/self/fd/{}", item.as_raw_fd()))?;
        entry.size = stat.st_size as u64;
        entry.capability = sys::get_xattr(file.as_fd(), c"security.capability").unwrap_or_default();
        entry.write(&mut self.out)?;
        let mut left = entry.size;
        while left > 0 {
            let most = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = match file.read(&mut self.buffer[..most]) {
                Ok(0) => {
                    self.buffer[..most].fill(0);
                    most
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.out.write_all(&self.buffer[..read])?;
            left -= read as u64;
        }
        header::pad(&mut self.out, entry.size)
    }
}

/// Tells an error below with the path that is at fault, and not with all those above.
trait DoingIo {
    fn doing_io(self, what: impl FnOnce() -> String) -> Result<()>;
}

impl DoingIo for Result<()> {
    fn doing_io(self, what: impl FnOnce() -> String) -> Result<()> {
        self.map_err(|error| match error.doing.contains('/') || error.doing.starts_with("copy") {
            true => error,
            false => Error { doing: format!("{}: {}", what(), error.doing), ..error },
        })
    }
}

/// The names in an open folder, sorted, without `.` and `..`.
pub(super) fn names(folder: &OwnedFd) -> nix::Result<Vec<OsString>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut dir = Dir::from_fd(openat(folder, ".", flags, Mode::empty())?)?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
        if name != OsStr::new(".") && name != OsStr::new("..") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
