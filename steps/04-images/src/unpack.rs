//! Unpacks a layer: a tar archive becomes a folder that overlayfs can stack.
//!
//! A layer comes from anywhere, and it is unpacked by root. Three rules keep it inside
//! of its folder, whatever it says:
//!
//! 1. Every walk is the kernel's, and starts at the folder's descriptor (`folder`).
//! 2. Everything is made new, under one plain name, and never opened if it exists:
//!    no file, fifo, device or link that an earlier entry made is written through.
//! 3. Whatever has a length or a count has a limit (`archive`, [`UnpackOptions`]).
//!
//! What a layer removes from the layers below it is written in the archive as files
//! named `.wh.NAME`; overlayfs wants a character device 0:0 named NAME. A folder that
//! hides all that is below it has a file `.wh..wh..opq`, for overlayfs an attribute.
//!
//! <https://github.com/opencontainers/image-spec/blob/main/layer.md>,
//! <https://docs.kernel.org/filesystems/overlayfs.html>

mod archive;
mod attributes;
mod folder;
mod inflate;
mod pax;
mod sparse;
mod stream;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use namespaces::{Context, Error, Result};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, makedev, mkdirat, mknodat};
use nix::unistd::{linkat, symlinkat};

use archive::{Archive, Entry, Kind};
pub use attributes::set_opaque;
use attributes::{Attributes, Owner};
use folder::{Folder, Made, Place, clean, is_whiteout};
pub use inflate::decompress;

/// Long enough that most files take one write, short enough to stay in the
/// processor's cache between two copies: 256 KiB take a third longer.
const BUFFER: usize = 64 * 1024;

/// How many things that were left out are told.
const ENOUGH: usize = 20;

/// What an unpacker accepts.
#[derive(Debug, Clone)]
pub struct UnpackOptions {
    /// Accept that a file stays ours where it cannot be given to its owner. For an
    /// ordinary user with a single id. Such a file loses its setuid and setgid bits.
    pub ignore_owners: bool,
    /// The most bytes of file content that a layer may have.
    pub max_bytes: u64,
    /// The most entries that a layer may have.
    pub max_entries: u64,
}

impl Default for UnpackOptions {
    /// Owners count; a tebibyte in ten million entries.
    fn default() -> Self {
        Self { ignore_owners: false, max_bytes: 1 << 40, max_entries: 10_000_000 }
    }
}

/// What came out of a layer.
#[derive(Debug, Clone, Default)]
pub struct Unpacked {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of file content.
    pub bytes: u64,
    /// The layer hides all layers below it. Overlayfs does not look for this at a
    /// layer's root: who stacks the layers must leave out those below.
    pub opaque: bool,
    /// What could not be kept, one sentence each, the first twenty: devices
    /// and attributes that an ordinary user may not make.
    pub left_out: Vec<String>,
}

/// Unpacks the tar archive that `reader` brings into `dir`, which must be empty.
///
/// The reader is read to its end, so that a digest over it is complete. The caller has
/// [`decompress`]ed it. Runs single-threaded, and in any user namespace.
///
/// # Errors
///
/// `refuse layer: …` says what a hostile or broken layer tried. The folder is then half
/// full, nothing outside of it has been touched, and the caller removes it.
pub fn unpack(reader: impl Read, dir: &Path, options: &UnpackOptions) -> Result<Unpacked> {
    unpack_buffered(BufReader::with_capacity(BUFFER, reader), dir, options)
}

// ANCHOR: entries
/// The same, for a reader that has a buffer already: its bytes are written from there.
///
/// # Errors
///
/// Those of [`unpack`].
pub fn unpack_buffered(
    reader: impl BufRead,
    dir: &Path,
    options: &UnpackOptions,
) -> Result<Unpacked> {
    let mut archive = Archive::new(reader);
    let mut layer = Layer::new(dir, options)?;
    while let Some(entry) = archive.next()? {
        layer.count(&entry)?;
        layer.take(entry, &mut archive)?;
    }
    archive.finish(options.max_bytes)?;
    layer.finish()
}
// ANCHOR_END: entries

/// A layer on its way to the disk.
struct Layer<'a> {
    options: &'a UnpackOptions,
    folder: Folder,
    owner: Owner,
    /// The attributes of folders, set when their contents are complete: a file made in
    /// a folder changes the folder's time, and needs its permission to write.
    folders: BTreeMap<PathBuf, Attributes>,
    done: Unpacked,
}

impl<'a> Layer<'a> {
    fn new(dir: &Path, options: &'a UnpackOptions) -> Result<Self> {
        let folder = Folder::open(dir)?;
        let owner = Owner::of_new_files(folder.root(), options.ignore_owners)
            .doing(|| format!("prepare {}", dir.display()))?;
        let folders = BTreeMap::from([(PathBuf::new(), Attributes::default())]);
        Ok(Self { options, folder, owner, folders, done: Unpacked::default() })
    }

    /// Stops a bomb before any of its bytes are written.
    fn count(&mut self, entry: &Entry) -> Result<()> {
        self.done.entries += 1;
        self.done.bytes += entry.stored;
        let UnpackOptions { max_bytes, max_entries, .. } = *self.options;
        if self.done.entries > max_entries {
            let tried = format_args!("is one more than the {max_entries} entries it may have");
            return Err(refuse(&entry.name, tried));
        }
        if self.done.bytes > max_bytes {
            let stored = entry.stored;
            let tried =
                format_args!("({stored} bytes) takes it beyond the {max_bytes} bytes it may have");
            return Err(refuse(&entry.name, tried));
        }
        Ok(())
    }

    // ANCHOR: take
    /// Makes what one entry describes.
    fn take(&mut self, entry: Entry, archive: &mut Archive<impl BufRead>) -> Result<()> {
        let path = clean(&entry.name)?;
        let Some(name) = path.file_name() else { return self.take_root(entry) };
        if let Some(hidden) = name.as_bytes().strip_prefix(b".wh.") {
            return self.take_whiteout(&entry, &path, hidden);
        }
        if has_whiteout_folder(&path) {
            return Err(refuse(&entry.name, "lies in a folder with a whiteout's name"));
        }
        let place = self.place(&path)?;
        match entry.kind {
            Kind::File => self.take_file(entry, &place, archive),
            Kind::Folder => self.take_folder(entry, &place),
            Kind::Symlink => self.take_symlink(entry, &place),
            Kind::Hardlink => self.take_hardlink(&entry, &place),
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => self.take_node(entry, &place),
        }
    }
    // ANCHOR_END: take

    /// The root of the layer is there already, and stays a folder.
    fn take_root(&mut self, entry: Entry) -> Result<()> {
        if entry.kind != Kind::Folder {
            return Err(refuse(&entry.name, "would replace the root of the layer"));
        }
        let root = self.folders.entry(PathBuf::new()).or_default();
        *root = Attributes::of(entry).hiding(root.opaque);
        Ok(())
    }

    fn take_file(
        &mut self,
        entry: Entry,
        place: &Place,
        archive: &mut Archive<impl BufRead>,
    ) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        // The file is not setuid before it has its owner and its bytes.
        let mode = Mode::from_bits_truncate(entry.mode & 0o777);
        let fd = self.put(place, || {
            openat(&place.parent, place.name.as_os_str(), flags | OFlag::O_NOFOLLOW, mode)
        })?;
        let mut file = File::from(fd);
        let doing = || format!("write {:?}", place.path());
        match entry.sparse.size {
            None => {
                archive.data(entry.stored, |bytes| file.write_all(bytes).doing(doing))?;
            }
            Some(size) => {
                for &(offset, length) in &entry.sparse.map {
                    let mut at = offset;
                    archive.data(length, |bytes| {
                        file.write_all_at(bytes, at).doing(doing)?;
                        at += bytes.len() as u64;
                        Ok(())
                    })?;
                }
                file.set_len(size).doing(doing)?;
            }
        }
        let attributes = Attributes::of(entry);
        let left_out = attributes
            .set_on_file(&file, &self.owner)
            .map_err(|errno| attributes.refused(&place.path(), errno))?;
        self.leave_out(left_out, &place.path());
        Ok(())
    }

    fn take_folder(&mut self, entry: Entry, place: &Place) -> Result<()> {
        let name = place.name.as_os_str();
        let mut opaque = false;
        // A folder that is there stays, with its contents, and gets new attributes.
        match mkdirat(&place.parent, name, Mode::S_IRWXU) {
            Err(Errno::EEXIST) => {
                let stat = place.stat().doing(|| format!("look at {:?}", place.path()))?;
                if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFDIR.bits() {
                    opaque = is_whiteout(&stat);
                    self.put(place, || mkdirat(&place.parent, name, Mode::S_IRWXU))?;
                }
            }
            other => other.doing(|| format!("make folder {:?}", place.path()))?,
        }
        let slot = self.folders.entry(place.path()).or_default();
        opaque |= slot.opaque;
        *slot = Attributes::of(entry).hiding(opaque);
        Ok(())
    }

    fn take_symlink(&mut self, entry: Entry, place: &Place) -> Result<()> {
        if entry.link.is_empty() || entry.link.contains(&0) {
            return Err(refuse(&entry.name, "is a symbolic link without a valid target"));
        }
        // A link may lead anywhere. Nobody here follows it; see `Folder`.
        self.put(place, || symlinkat(&*entry.link, &place.parent, place.name.as_os_str()))?;
        self.set_on_node(entry, place)
    }

    fn take_hardlink(&mut self, entry: &Entry, place: &Place) -> Result<()> {
        let wanted = clean(&entry.link)
            .map_err(|_| refuse(&entry.name, link_to(entry, "which leads out of the layer")))?;
        let missing = || refuse(&entry.name, link_to(entry, "which the layer does not have"));
        let target = self.folder.find(&wanted)?.ok_or_else(missing)?;
        let stat = target.stat().map_err(|_| missing())?;
        if stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() {
            return Err(refuse(&entry.name, link_to(entry, "which is a folder")));
        }
        // A second name for itself is no news; making room for it would remove the file.
        if place.stat().is_ok_and(|here| (here.st_dev, here.st_ino) == (stat.st_dev, stat.st_ino)) {
            return Ok(());
        }
        let flags = AtFlags::empty(); // not AT_SYMLINK_FOLLOW
        let (from, to) = (target.name.as_os_str(), place.name.as_os_str());
        self.put(place, || linkat(&target.parent, from, &place.parent, to, flags))
    }

    /// Devices and fifos.
    fn take_node(&mut self, entry: Entry, place: &Place) -> Result<()> {
        let (kind, (major, minor)) = match entry.kind {
            Kind::CharDevice => (SFlag::S_IFCHR, entry.device),
            Kind::BlockDevice => (SFlag::S_IFBLK, entry.device),
            _ => (SFlag::S_IFIFO, (0, 0)),
        };
        // The kernel's numbers have 12 and 20 bits.
        if major >= 1 << 12 || minor >= 1 << 20 {
            let tried = format_args!("is device {major}:{minor}, which no kernel knows");
            return Err(refuse(&entry.name, tried));
        }
        let mode = Mode::from_bits_truncate(entry.mode & 0o777);
        let number = makedev(major, minor);
        let made = self.try_put(place, || {
            mknodat(&place.parent, place.name.as_os_str(), kind, mode, number)
        })?;
        match made {
            Ok(()) => self.set_on_node(entry, place),
            // In a user namespace nobody makes devices; a container gets its own /dev.
            Err(Errno::EPERM) => {
                self.leave_out(
                    vec![format!("device {major}:{minor}: it needs root")],
                    &place.path(),
                );
                Ok(())
            }
            Err(errno) => Err(Error::os(format!("make {:?}", place.path()), errno)),
        }
    }

    // ANCHOR: whiteout
    /// `.wh.NAME` hides NAME of the layers below; `.wh..wh..opq` all of its folder.
    fn take_whiteout(&mut self, entry: &Entry, path: &Path, hidden: &[u8]) -> Result<()> {
        let folder = path.parent().unwrap_or(Path::new(""));
        match hidden {
            b".wh..opq" => return self.make_opaque(folder),
            // aufs' own housekeeping.
            _ if hidden.starts_with(b".wh.") => return Ok(()),
            b"" | b"." | b".." => {
                return Err(refuse(&entry.name, "is a whiteout of its own folder or of one above"));
            }
            _ => {}
        }
        let place = self.place(&folder.join(std::ffi::OsStr::from_bytes(hidden)))?;
        let made = mknodat(
            &place.parent,
            place.name.as_os_str(),
            SFlag::S_IFCHR,
            Mode::empty(),
            makedev(0, 0),
        );
        match made {
            // What this layer brings itself is not hidden, only what is below it.
            Err(Errno::EEXIST) => {
                if let Some(attributes) = self.folders.get_mut(&place.path()) {
                    attributes.opaque = true;
                }
                Ok(())
            }
            other => other.doing(|| format!("make the whiteout {:?}", place.path())),
        }
    }
    // ANCHOR_END: whiteout

    fn make_opaque(&mut self, folder: &Path) -> Result<()> {
        let mut made = Vec::new();
        let folder = self.folder.enter(folder, &mut made)?;
        self.note(made);
        self.folders.entry(folder.path.clone()).or_default().opaque = true;
        Ok(())
    }

    /// Where an entry goes. Folders that the archive does not mention are made.
    fn place(&mut self, path: &Path) -> Result<Place> {
        let mut made = Vec::new();
        let place = self.folder.place(path, &mut made)?;
        self.note(made);
        Ok(place)
    }

    fn note(&mut self, made: Vec<Made>) {
        for Made { path, opaque } in made {
            self.folders.insert(path, Attributes::default().hiding(opaque));
        }
    }

    /// Makes something at `place`. What an earlier entry put there goes first.
    fn put<T>(&mut self, place: &Place, make: impl Fn() -> nix::Result<T>) -> Result<T> {
        self.try_put(place, make)?.doing(|| format!("make {:?}", place.path()))
    }

    /// The same, for callers that know what to do when the kernel refuses.
    fn try_put<T>(
        &mut self,
        place: &Place,
        make: impl Fn() -> nix::Result<T>,
    ) -> Result<nix::Result<T>> {
        match make() {
            Err(Errno::EEXIST) => {
                if self.folder.remove(place)? {
                    self.forget(&place.path());
                }
                Ok(make())
            }
            other => Ok(other),
        }
    }

    /// A folder is gone, and all that was in it.
    fn forget(&mut self, gone: &Path) {
        let inside = self.folders.range(gone.to_owned()..).map(|(path, _)| path);
        let inside: Vec<_> = inside.take_while(|path| path.starts_with(gone)).cloned().collect();
        for path in inside {
            self.folders.remove(&path);
        }
    }

    fn set_on_node(&mut self, entry: Entry, place: &Place) -> Result<()> {
        let attributes = Attributes::of(entry);
        let left_out = attributes
            .set_on_node(place, &self.owner)
            .map_err(|errno| attributes.refused(&place.path(), errno))?;
        self.leave_out(left_out, &place.path());
        Ok(())
    }

    /// Sets the attributes of the folders, those inside before those around them.
    fn finish(mut self) -> Result<Unpacked> {
        for (path, attributes) in std::mem::take(&mut self.folders).into_iter().rev() {
            let fd = self.folder.reopen(&path).map_err(|errno| attributes.refused(&path, errno))?;
            self.done.opaque |= attributes.opaque && path.as_os_str().is_empty();
            let left_out = attributes
                .set_on_folder(fd, &self.owner)
                .map_err(|errno| attributes.refused(&path, errno))?;
            self.leave_out(left_out, &path);
        }
        Ok(self.done)
    }

    /// Notes what could not be kept, and stops when it is enough to see.
    fn leave_out(&mut self, what: Vec<String>, path: &Path) {
        for what in what {
            if self.done.left_out.len() < ENOUGH {
                self.done.left_out.push(format!("{}: {what}", path.display()));
            }
        }
    }
}

/// True if a part of the path before its last is named like a whiteout.
fn has_whiteout_folder(path: &Path) -> bool {
    let mut parts = path.iter();
    parts.next_back();
    parts.any(|part| part.as_bytes().starts_with(b".wh."))
}

fn link_to(entry: &Entry, what: &str) -> String {
    format!("is a hard link to {:?}, {what}", String::from_utf8_lossy(&entry.link))
}

/// One sentence about what a layer tried. It is not going to be unpacked.
fn refuse(name: &[u8], tried: impl Display) -> Error {
    // A name can be long, and can hold what a terminal would obey.
    let shown = String::from_utf8_lossy(&name[..name.len().min(120)]);
    Error::new(format!("refuse layer: {shown:?} {tried}"))
}
