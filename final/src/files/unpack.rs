//! From a tar stream to a tree.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use namespaces::{Context, Error, Result};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstatat, futimens,
    makedev, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat};
use rootfs::Root;
use tar::{Archive, EntryType, Header};

use super::pack::names;
use crate::runtime::sys;

/// How an archive is unpacked.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Refuse to put a file in the place of a folder, or a folder in that of a file.
    pub no_overwrite_dir_non_dir: bool,
    /// Everything belongs to this user and group, whatever the archive says.
    pub owner: Option<(u32, u32)>,
    /// Nothing is given away: all is the caller's.
    pub keep_owner: bool,
    /// The beginning of every name is replaced: old, new.
    pub rebase: Option<(Vec<u8>, Vec<u8>)>,
}

/// Unpacks an archive into the folder `into` of `root`. Links on the way to a parent
/// are followed below the root; what is made is made new, and no link is written through.
///
/// # Errors
/// An archive that is none, or wants to leave the folder; what the kernel refuses.
pub fn unpack(reader: impl Read, root: &Root, into: &Path, options: &Options) -> Result<()> {
    let mut unpacker = Unpacker { root, into, options, times: BTreeMap::new() };
    let mut archive = Archive::new(reader);
    let broken = |error: io::Error| Error::new(format!("read the archive: {error}"));
    for entry in archive.entries().map_err(broken)? {
        unpacker.take(entry.map_err(broken)?)?;
    }
    // Let the sender send all of it: some bytes may follow the archive's end.
    let _ = io::copy(&mut archive.into_inner(), &mut io::sink());
    unpacker.set_times();
    Ok(())
}

struct Unpacker<'a> {
    root: &'a Root,
    into: &'a Path,
    options: &'a Options,
    /// Of folders, set when their contents are complete: what is made in a folder
    /// changes its time.
    times: BTreeMap<PathBuf, i64>,
}

/// Where an entry goes: one plain name in a folder that is open.
struct Place {
    parent: OwnedFd,
    name: OsString,
    /// As people know it.
    path: PathBuf,
}

impl Place {
    fn stat(&self) -> nix::Result<FileStat> {
        fstatat(&self.parent, self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
    }
}

/// What an entry's header says.
struct Attributes {
    mode: Mode,
    owner: Option<(u32, u32)>,
    mtime: i64,
    xattrs: Vec<(CString, Vec<u8>)>,
}

impl Unpacker<'_> {
    fn take(&mut self, mut entry: tar::Entry<impl Read>) -> Result<()> {
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            return Ok(());
        }
        let full = self.rebased(&entry.path_bytes());
        let Some(inside) = clean(&full) else { return Err(self.leaves(&full)) };
        // Before POSIX a folder was a file whose name ends in a slash.
        let is_dir = kind.is_dir() || kind.is_file() && full.ends_with(b"/");
        let attributes = self.attributes(&mut entry)?;
        if inside.as_os_str().is_empty() {
            // The folder itself is there.
            return Ok(());
        }
        let place = self.place(&inside)?;
        let doing = || format!("write {}", place.path.display());
        if is_dir {
            self.folder(&place, &attributes)?;
            self.times.insert(self.into.join(&inside), attributes.mtime);
            return Ok(());
        }
        self.make_room(&place, false)?;
        let (parent, name) = (&place.parent, place.name.as_os_str());
        match kind {
            EntryType::Link => self.hard_link(&entry, &place),
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                symlinkat(OsStr::from_bytes(&target), parent, name).doing(doing)?;
                set_by_name(&place, &attributes, false).doing(doing)
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                match node(entry.header(), kind, &place, attributes.mode) {
                    // In a user namespace nobody makes devices.
                    Err(Errno::EPERM) if rootless() => Ok(()),
                    Err(errno) => Err(Error::os(doing(), errno)),
                    Ok(()) => set_by_name(&place, &attributes, true).doing(doing),
                }
            }
            _ if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() => {
                file(&mut entry, &place, &attributes).doing(doing)
            }
            _ => {
                let letter = char::from(kind.as_byte());
                let path = place.path.display();
                Err(Error::new(format!("unpack {path}: it is of an unknown kind, {letter:?}")))
            }
        }
    }

    /// The name, or what it is to be called instead.
    fn rebased(&self, name: &[u8]) -> Vec<u8> {
        match &self.options.rebase {
            Some((old, new)) => match name.windows(old.len().max(1)).position(|part| part == old) {
                Some(at) => [&name[..at], new, &name[at + old.len()..]].concat(),
                None if old.is_empty() => [new, name].concat(),
                None => name.to_vec(),
            },
            None => name.to_vec(),
        }
    }

    fn leaves(&self, name: &[u8]) -> Error {
        let name = String::from_utf8_lossy(name);
        Error::new(format!("{name:?} is outside of {:?}", self.into.display().to_string()))
    }

    fn attributes(&self, entry: &mut tar::Entry<impl Read>) -> Result<Attributes> {
        let wrong = |error: io::Error| Error::new(format!("read the archive: {error}"));
        let header = entry.header();
        let fields = header.as_old();
        let number = |field: &[u8], number: io::Result<u64>| match is_blank(field) {
            true => Ok(0),
            false => number.map_err(wrong),
        };
        let owner = match (self.options.keep_owner, self.options.owner) {
            (true, _) => None,
            (false, Some(owner)) => Some(owner),
            (false, None) => Some((
                number(&fields.uid, header.uid())? as u32,
                number(&fields.gid, header.gid())? as u32,
            )),
        };
        let mode = number(&fields.mode, header.mode().map(u64::from))? as u32 & 0o7777;
        let mode = Mode::from_bits_truncate(mode);
        let mut attributes = Attributes {
            mode,
            owner,
            mtime: number(&fields.mtime, header.mtime())? as i64,
            xattrs: vec![],
        };
        for record in entry.pax_extensions().map_err(wrong)?.into_iter().flatten() {
            let record = record.map_err(wrong)?;
            let (key, value) = (record.key_bytes(), record.value_bytes());
            if key == b"mtime" {
                let text = String::from_utf8_lossy(value);
                let seconds = text.split('.').next().and_then(|seconds| seconds.parse().ok());
                attributes.mtime = seconds.unwrap_or(attributes.mtime);
            }
            let name = key.strip_prefix(b"SCHILY.xattr.").map(CString::new);
            // Only who makes an overlay may mark its files.
            let of_overlay = key.windows(9).any(|part| part == b".overlay.");
            if let (Some(Ok(name)), false) = (name, of_overlay) {
                attributes.xattrs.push((name, value.to_vec()));
            }
        }
        Ok(attributes)
    }

    /// The folder that an entry lies in is resolved by the kernel, below the root, and
    /// made if the archive does not mention it.
    fn place(&self, inside: &Path) -> Result<Place> {
        let path = self.into.join(inside);
        let name = inside.file_name().expect("clean() leaves a name").to_owned();
        let above = path.parent().unwrap_or(Path::new("/"));
        let parent = self.root.mkdir_all(above, 0o755);
        let parent = parent.doing(|| format!("open the folder {}", above.display()))?;
        Ok(Place { parent, name, path })
    }

    /// Takes away what stands where an entry goes.
    fn make_room(&self, place: &Place, for_dir: bool) -> Result<()> {
        let Ok(stat) = place.stat() else { return Ok(()) };
        let is_dir = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
        let (path, into) = (place.path.display().to_string(), self.into.display().to_string());
        if self.options.no_overwrite_dir_non_dir && is_dir != for_dir {
            return Err(Error::new(match is_dir {
                true => format!("cannot overwrite directory {path:?} with non-directory {into:?}"),
                false => format!("cannot overwrite non-directory {path:?} with directory {into:?}"),
            }));
        }
        if is_dir && for_dir {
            return Ok(());
        }
        remove(place.parent.as_fd(), &place.name).doing(|| format!("replace {path}"))
    }

    fn folder(&self, place: &Place, attributes: &Attributes) -> Result<()> {
        self.make_room(place, true)?;
        let doing = || format!("make the folder {}", place.path.display());
        let name = place.name.as_os_str();
        match mkdirat(&place.parent, name, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(Error::os(doing(), errno)),
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let folder = openat(&place.parent, name, flags, Mode::empty()).doing(doing)?;
        set(folder.as_fd(), attributes).doing(doing)
    }

    /// A second name of what the archive has brought.
    fn hard_link(&self, entry: &tar::Entry<impl Read>, place: &Place) -> Result<()> {
        let target = self.rebased(&entry.link_name_bytes().unwrap_or_default());
        let inside = clean(&target).filter(|path| path.file_name().is_some());
        let inside = inside.ok_or_else(|| self.leaves(&target))?;
        let doing = || format!("link {} to {}", place.path.display(), inside.display());
        let path = self.into.join(&inside);
        let (parent, name) = self.root.parent(&path).doing(doing)?;
        let flags = AtFlags::empty(); // not AT_SYMLINK_FOLLOW
        linkat(&parent, name, &place.parent, place.name.as_os_str(), flags).doing(doing)
    }

    fn set_times(&self) {
        for (path, mtime) in self.times.iter().rev() {
            let Ok((parent, name)) = self.root.parent(path) else { continue };
            let time = TimeSpec::new(*mtime, 0);
            let _ = utimensat(&parent, name, &time, &time, UtimensatFlags::NoFollowSymlink);
        }
    }
}

/// Some libraries leave a number out that they were not given: it is 0.
fn is_blank(field: &[u8]) -> bool {
    field.iter().all(|byte| matches!(byte, 0 | b' '))
}

/// A new file, whose attributes are set when its bytes are there. All of that is done
/// to the open file: whoever puts another in its place meanwhile gains nothing.
fn file(
    entry: &mut tar::Entry<impl Read>,
    place: &Place,
    attributes: &Attributes,
) -> io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
    let private = Mode::S_IRUSR | Mode::S_IWUSR;
    let name = place.name.as_os_str();
    let mut file = File::from(openat(&place.parent, name, flags | OFlag::O_CLOEXEC, private)?);
    io::copy(entry, &mut file)?;
    Ok(set(file.as_fd(), attributes)?)
}

fn node(header: &Header, kind: EntryType, place: &Place, mode: Mode) -> nix::Result<()> {
    let number = |number: io::Result<Option<u32>>| number.ok().flatten().map_or(0, u64::from);
    let device = makedev(number(header.device_major()), number(header.device_minor()));
    let node = match kind {
        EntryType::Char => SFlag::S_IFCHR,
        EntryType::Block => SFlag::S_IFBLK,
        _ => SFlag::S_IFIFO,
    };
    mknodat(&place.parent, place.name.as_os_str(), node, mode, device)
}

/// Owner, mode, attributes, time: a new owner takes setuid and capabilities away, and
/// all but the time itself change a time.
fn set(file: BorrowedFd, attributes: &Attributes) -> nix::Result<()> {
    if let Some((uid, gid)) = ids(attributes.owner) {
        or_nobody(fchown(file, Some(uid), Some(gid)))?;
    }
    fchmod(file, attributes.mode)?;
    for (name, value) in &attributes.xattrs {
        // What this filesystem, or this user, may not keep is left out.
        let _ = sys::set_xattr(file, name, value);
    }
    let time = TimeSpec::new(attributes.mtime, 0);
    futimens(file, &time, &time)
}

/// The same for what may not be opened.
fn set_by_name(place: &Place, attributes: &Attributes, has_mode: bool) -> nix::Result<()> {
    let (parent, name) = (&place.parent, place.name.as_os_str());
    if let Some((uid, gid)) = ids(attributes.owner) {
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        or_nobody(fchownat(parent, name, Some(uid), Some(gid), flags))?;
    }
    if has_mode {
        let mode = attributes.mode & Mode::from_bits_truncate(0o777);
        fchmodat(parent, name, mode, FchmodatFlags::NoFollowSymlink)?;
    }
    let time = TimeSpec::new(attributes.mtime, 0);
    utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)
}

/// A user whom this user namespace does not know cannot be given anything.
fn or_nobody(given: nix::Result<()>) -> nix::Result<()> {
    match given {
        Err(Errno::EINVAL | Errno::EPERM) if rootless() => Ok(()),
        given => given,
    }
}

fn ids(owner: Option<(u32, u32)>) -> Option<(Uid, Gid)> {
    owner.map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid)))
}

/// True where root is root of a user namespace only.
fn rootless() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Removes a file, or a folder and all that is in it, following nothing.
fn remove(parent: BorrowedFd, name: &OsStr) -> nix::Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        // Linux says EISDIR, POSIX EPERM.
        Err(Errno::EISDIR | Errno::EPERM) => {}
        done => return done,
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let folder = openat(parent, name, flags, Mode::empty())?;
    for child in names(&folder)? {
        remove(folder.as_fd(), &child)?;
    }
    unlinkat(parent, name, UnlinkatFlags::RemoveDir)
}

/// A path without `.` and `..`, from the root of the archive; `None` if it climbs out.
fn clean(name: &[u8]) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(name)).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::ParentDir if !path.pop() => return None,
            _ => {}
        }
    }
    Some(path)
}
