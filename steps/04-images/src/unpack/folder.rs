//! The layer's folder, and the only door to it.
//!
//! A name in an archive is walked by the kernel, from the folder's descriptor, and
//! never leaves it: `openat2(2)` takes the walk to the parent, and what is made is made
//! by one call with one plain name in that parent. No string is ever compared to say
//! whether a path is inside.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use namespaces::{Context, Error, Result};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, readlink};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::refuse;

/// Folders may nest this deep. It bounds the stack and the descriptors that making and
/// removing a tree take.
const MAX_DEPTH: usize = 200;

/// The kernel's limits of a path and of one part of it (limits.h).
const PATH_MAX: usize = 4096;
const NAME_MAX: usize = 255;

/// The folder that a layer is unpacked into.
pub(super) struct Folder {
    root: Rc<Parent>,
    /// Archives list a folder's files one after the other: the last walk is often the
    /// next one's too.
    last: Option<(PathBuf, Rc<Parent>)>,
}

/// A folder inside of the layer, held by its descriptor.
pub(super) struct Parent {
    fd: OwnedFd,
    /// Its path from the layer's root, with no symbolic link in it.
    pub(super) path: PathBuf,
}

impl AsFd for Parent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Where an entry goes: one plain name in a folder that is open.
pub(super) struct Place {
    pub(super) parent: Rc<Parent>,
    pub(super) name: OsString,
}

impl Place {
    /// The path from the layer's root, with no symbolic link before its last part.
    pub(super) fn path(&self) -> PathBuf {
        self.parent.path.join(&self.name)
    }

    /// What stands there. A symbolic link is not followed.
    pub(super) fn stat(&self) -> nix::Result<FileStat> {
        fstatat(&self.parent, self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
    }
}

/// What had to be made on the way to a place.
pub(super) struct Made {
    pub(super) path: PathBuf,
    /// It took the place of a whiteout, and so hides what is below it.
    pub(super) opaque: bool,
}

impl Folder {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let fd = nix::fcntl::open(dir, folder_flags(), Mode::empty())
            .doing(|| format!("open {}", dir.display()))?;
        let root = Rc::new(Parent { fd, path: PathBuf::new() });
        Ok(Self { root, last: None })
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    // ANCHOR: place
    /// The place of `path`. Folders on the way that are missing are made, and told.
    pub(super) fn place(&mut self, path: &Path, made: &mut Vec<Made>) -> Result<Place> {
        let name = path.file_name().expect("clean() leaves a name").to_owned();
        let above = path.parent().unwrap_or(Path::new(""));
        Ok(Place { parent: self.enter(above, made)?, name })
    }
    // ANCHOR_END: place

    /// The place of `path`, if all folders on the way are there.
    pub(super) fn find(&mut self, path: &Path) -> Result<Option<Place>> {
        let Some(name) = path.file_name() else { return Ok(None) };
        let above = path.parent().unwrap_or(Path::new(""));
        Ok(self.walk(above)?.map(|parent| Place { parent, name: name.to_owned() }))
    }

    /// The folder at `path`. It and those on the way are made if missing, and told.
    pub(super) fn enter(&mut self, path: &Path, made: &mut Vec<Made>) -> Result<Rc<Parent>> {
        if let Some(parent) = self.walk(path)? {
            return Ok(parent);
        }
        // Something on the way is missing, or is no folder: make it, from the top.
        let place = self.place(path, made)?;
        match mkdirat(&place.parent, place.name.as_os_str(), Mode::S_IRWXU) {
            Ok(()) => made.push(Made { path: place.path(), opaque: false }),
            Err(Errno::EEXIST) if place.stat().is_ok_and(|stat| is_whiteout(&stat)) => {
                unlinkat(&place.parent, place.name.as_os_str(), UnlinkatFlags::NoRemoveDir)
                    .and_then(|()| mkdirat(&place.parent, place.name.as_os_str(), Mode::S_IRWXU))
                    .doing(|| format!("make folder {:?}", place.path()))?;
                made.push(Made { path: place.path(), opaque: true });
            }
            Err(Errno::EEXIST) => return Err(no_folder(path, &place)),
            Err(errno) => {
                return Err(Error::os(format!("make folder {:?}", path), errno));
            }
        }
        self.walk(path)?.ok_or_else(|| no_folder(path, &place))
    }

    /// Opens the folder at `path`; nothing if it is not there, or is no folder.
    fn walk(&mut self, path: &Path) -> Result<Option<Rc<Parent>>> {
        if path.as_os_str().is_empty() {
            return Ok(Some(self.root.clone()));
        }
        if let Some((last, parent)) = &self.last
            && last == path
        {
            return Ok(Some(parent.clone()));
        }
        let straight = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
        let (fd, path_of_it) = match self.resolve(path, straight) {
            Ok(fd) => (fd, path.to_owned()),
            // A symbolic link of this layer is followed as the container would: its
            // root is the layer's.
            Err(Errno::ELOOP) => match self.resolve(path, ResolveFlag::RESOLVE_IN_ROOT) {
                Ok(fd) => {
                    let real = self.path_of(&fd, path)?;
                    (fd, real)
                }
                Err(Errno::ELOOP) => {
                    return Err(refuse_path(path, "goes through a loop of symbolic links"));
                }
                Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
                Err(errno) => return Err(walk_error(path, errno)),
            },
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            Err(errno) => return Err(walk_error(path, errno)),
        };
        if path_of_it.components().count() > MAX_DEPTH {
            return Err(refuse_path(path, "nests folders too deep"));
        }
        let parent = Rc::new(Parent { fd, path: path_of_it });
        self.last = Some((path.to_owned(), parent.clone()));
        Ok(Some(parent))
    }

    // ANCHOR: resolve
    /// openat2(2). Another process' rename can make it ask for another try.
    fn resolve(&self, path: &Path, how: ResolveFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(folder_flags() | OFlag::O_PATH)
            .resolve(how | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_XDEV);
        loop {
            match openat2(&self.root, path, how) {
                Err(Errno::EAGAIN) => {}
                other => return other,
            }
        }
    }
    // ANCHOR_END: resolve

    /// Where in the layer an open folder is. Asked only where a symbolic link was followed.
    fn path_of(&self, fd: &OwnedFd, through: &Path) -> Result<PathBuf> {
        let name = |fd: RawFd| readlink(&*proc_path(fd)).map(PathBuf::from);
        let doing = || "read /proc/self/fd".to_owned();
        let root = name(self.root.fd.as_raw_fd()).doing(doing)?;
        let path = match name(fd.as_raw_fd()) {
            // Each link was short enough. The folder that they lead to has no path any more.
            Err(Errno::ENAMETOOLONG) => {
                return Err(refuse_path(through, "nests folders too deep"));
            }
            path => path.doing(doing)?,
        };
        path.strip_prefix(&root)
            .map(Path::to_owned)
            .map_err(|_| refuse_path(&path, "lies outside of the layer"))
    }

    /// Opens a folder of the layer for its attributes. It must still be a folder.
    pub(super) fn reopen(&self, path: &Path) -> nix::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let how = OpenHow::new().flags(folder_flags()).resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_XDEV,
        );
        openat2(&self.root, path, how)
    }

    /// Removes what stands at `place`, a folder with all that is in it. True if it was one.
    pub(super) fn remove(&mut self, place: &Place) -> Result<bool> {
        let doing = || format!("remove {:?}", place.path());
        match unlinkat(&place.parent, place.name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) => {
                // It may have been a symbolic link that the last walk followed.
                self.last = None;
                Ok(false)
            }
            // Linux says EISDIR, POSIX EPERM.
            Err(Errno::EISDIR | Errno::EPERM) => {
                self.last = None;
                remove_tree(place.parent.as_fd(), &place.name).doing(doing)?;
                Ok(true)
            }
            Err(errno) => Err(Error::os(doing(), errno)),
        }
    }
}

/// Removes a folder and all that is in it, following nothing.
fn remove_tree(parent: BorrowedFd, name: &OsStr) -> nix::Result<()> {
    let flags = folder_flags() | OFlag::O_NOFOLLOW;
    let mut dir = Dir::openat(parent, name, flags, Mode::empty())?;
    let names: Vec<OsString> = dir
        .iter()
        .map(|entry| Ok(OsString::from_vec(entry?.file_name().to_bytes().to_vec())))
        .collect::<nix::Result<_>>()?;
    for name in names.iter().filter(|name| *name != "." && *name != "..") {
        match unlinkat(&dir, name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR | Errno::EPERM) => remove_tree(dir.as_fd(), name)?,
            other => other?,
        }
    }
    unlinkat(parent, name, UnlinkatFlags::RemoveDir)
}

/// A whiteout is a character device 0:0. Anyone may make one (Linux 5.8 and later).
pub(super) fn is_whiteout(stat: &FileStat) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits() && stat.st_rdev == 0
}

// ANCHOR: clean
/// Turns an entry's name into a path from the layer's root: no `.`, no `..`, no slash
/// in front. Empty for the root itself.
pub(super) fn clean(name: &[u8]) -> Result<PathBuf> {
    if name.contains(&0) {
        return Err(refuse(name, "has a NUL in its name"));
    }
    let parts = name.split(|&byte| byte == b'/');
    if name.len() > PATH_MAX || parts.map(<[u8]>::len).max() > Some(NAME_MAX) {
        return Err(refuse(name, "has a name that is too long for Linux"));
    }
    let mut path = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(name)).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::ParentDir => return Err(refuse(name, "climbs with \"..\"")),
            // Docker, too, takes an absolute name as one from the layer's root.
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    if path.components().count() > MAX_DEPTH {
        return Err(refuse(name, "nests folders too deep"));
    }
    Ok(path)
}
// ANCHOR_END: clean

/// The path by which calls that know no descriptors find what is open as `fd`.
pub(super) fn proc_path(fd: RawFd) -> PathBuf {
    format!("/proc/self/fd/{fd}").into()
}

fn folder_flags() -> OFlag {
    OFlag::O_DIRECTORY | OFlag::O_CLOEXEC
}

fn no_folder(path: &Path, place: &Place) -> Error {
    let kind = place.stat().map_or(SFlag::empty(), |stat| SFlag::from_bits_truncate(stat.st_mode));
    match kind & SFlag::S_IFMT {
        SFlag::S_IFLNK => refuse_path(
            path,
            "is a symbolic link to no folder of this layer, and an entry goes through it",
        ),
        _ => refuse_path(path, "is no folder, and an entry lies in it"),
    }
}

fn refuse_path(path: &Path, tried: &str) -> Error {
    refuse(path.as_os_str().as_bytes(), tried)
}

fn walk_error(path: &Path, errno: Errno) -> Error {
    let error = Error::os(format!("walk to {:?}", path), errno);
    match errno {
        Errno::ENOSYS => error.hint("openat2(2) is missing: Linux 5.6 or later is needed"),
        Errno::EXDEV => error.hint("the layer's folder has another filesystem mounted in it"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_from_the_root_of_the_layer() {
        for name in ["a/b", "/a/b", "./a/b", "//a/./b/", "a//b"] {
            assert_eq!(clean(name.as_bytes()).unwrap(), Path::new("a/b"), "{name}");
        }
        for name in ["", ".", "/", "./"] {
            assert_eq!(clean(name.as_bytes()).unwrap(), Path::new(""), "{name}");
        }
        for name in ["..", "../a", "a/../../b", "/..", "a\0b"] {
            assert!(clean(name.as_bytes()).is_err(), "{name}");
        }
    }
}
