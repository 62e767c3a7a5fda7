//! Paths inside a root that is not trusted.
//!
//! A symbolic link in an image may point anywhere. Checking a path as text loses: the
//! link can change between the check and the use. So the kernel resolves it, with
//! openat2(2) and `RESOLVE_IN_ROOT`: links, absolute ones and `..` too, stay below the
//! directory, as if the process had called chroot(2). What comes back is a descriptor,
//! and all further work is on that.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{self, AtFlags, OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, mkdirat};

/// As many links as the kernel follows in one path.
const MAX_LINKS: usize = 40;

/// A directory, below which every path stays.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let dir = tempfile::tempdir()?;
/// std::os::unix::fs::symlink("/etc", dir.path().join("link"))?;
/// let root = rootfs::Root::open(dir.path())?;
/// assert!(root.read("link/passwd").is_err(), "/etc is sought inside, where it is not");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

impl Root {
    /// Opens the directory `dir` of the host.
    pub fn open(dir: impl AsRef<Path>) -> nix::Result<Root> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Root { fd: fcntl::open(dir.as_ref(), flags, Mode::empty())? })
    }

    /// A root from an open directory: a detached mount, for example.
    pub fn from_fd(fd: OwnedFd) -> Root {
        Root { fd }
    }

    /// openat2(2) inside this root. Links are followed, unless `O_NOFOLLOW` is in
    /// `flags` and it is the last one; the links of /proc/PID/fd never.
    pub fn open_with(
        &self,
        path: impl AsRef<Path>,
        flags: OFlag,
        mode: u32,
    ) -> nix::Result<OwnedFd> {
        self.openat2(path.as_ref(), flags, mode, ResolveFlag::empty())
    }

    // ANCHOR: openat2
    fn openat2(
        &self,
        path: &Path,
        flags: OFlag,
        mode: u32,
        more: ResolveFlag,
    ) -> nix::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .mode(Mode::from_bits_truncate(mode))
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS | more);
        // EAGAIN: something was renamed while `..` was resolved. The kernel asks to repeat.
        let mut tries = 0;
        loop {
            match fcntl::openat2(&self.fd, path, how) {
                Err(Errno::EAGAIN) if tries < 128 => tries += 1,
                done => return done,
            }
        }
    }
    // ANCHOR_END: openat2

    /// The file at `path` as an `O_PATH` descriptor: a name that cannot be redirected.
    pub fn resolve(&self, path: impl AsRef<Path>) -> nix::Result<OwnedFd> {
        self.open_with(path, OFlag::O_PATH, 0)
    }

    /// As [`resolve`](Root::resolve), but a symbolic link anywhere in `path` is an
    /// error (`ELOOP`).
    pub fn resolve_plain(&self, path: impl AsRef<Path>) -> nix::Result<OwnedFd> {
        self.openat2(path.as_ref(), OFlag::O_PATH, 0, ResolveFlag::RESOLVE_NO_SYMLINKS)
    }

    /// The directory that holds the last name of `path`, and that name: for calls as
    /// mkdirat(2), symlinkat(2) or unlinkat(2), which do not follow a last link.
    /// `EINVAL` if `path` has no last name, as `/` and `a/..`.
    pub fn parent<'p>(&self, path: &'p Path) -> nix::Result<(OwnedFd, &'p OsStr)> {
        let name = path.file_name().ok_or(Errno::EINVAL)?;
        let parent = path.parent().unwrap_or(Path::new("."));
        Ok((self.open_with(parent, OFlag::O_PATH | OFlag::O_DIRECTORY, 0)?, name))
    }

    /// Makes `path` and the directories above it, where missing, and opens it. A link
    /// that points to nothing is followed too: its target is made, inside this root.
    pub fn mkdir_all(&self, path: impl AsRef<Path>, mode: u32) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        match self.open_with(path.as_ref(), flags, 0) {
            Err(Errno::ENOENT) => {}
            done => return done,
        }
        // Mostly only the last one is missing.
        if let Ok((parent, name)) = self.parent(path.as_ref()) {
            let made = mkdirat(&parent, name, Mode::from_bits_truncate(mode));
            if made.is_ok() {
                return self.open_with(path, flags, 0);
            }
        }
        let mut done = PathBuf::from("/");
        let mut todo: Vec<OsString> = names(path.as_ref()).rev().collect();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            let next = done.join(&name);
            match self.open_with(&next, flags, 0) {
                Ok(_) => done = next,
                Err(Errno::ENOENT) => {
                    let parent = self.open_with(&done, flags, 0)?;
                    match mkdirat(&parent, name.as_os_str(), Mode::from_bits_truncate(mode)) {
                        Ok(()) => done = next,
                        Err(Errno::EEXIST) => {
                            // Made by another meanwhile, or a link to nothing.
                            links += 1;
                            if links > MAX_LINKS {
                                return Err(Errno::ELOOP);
                            }
                            match fcntl::readlinkat(&parent, name.as_os_str()) {
                                Ok(target) => {
                                    let target = PathBuf::from(target);
                                    if target.is_absolute() {
                                        done = PathBuf::from("/");
                                    }
                                    todo.extend(names(&target).rev());
                                }
                                Err(Errno::EINVAL) => todo.push(name),
                                Err(error) => return Err(error),
                            }
                        }
                        Err(error) => return Err(error),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.open_with(&done, flags, 0)
    }

    /// Makes the directory `path` and those above it, where missing, and opens it. As with
    /// [`resolve_plain`](Root::resolve_plain), a link on the way is an error.
    pub fn mkdir_plain(&self, path: impl AsRef<Path>, mode: u32) -> nix::Result<OwnedFd> {
        let path = path.as_ref();
        let name = path.file_name().ok_or(Errno::EINVAL)?;
        let above = path.parent().unwrap_or(Path::new("."));
        let parent = match self.resolve_plain(above) {
            Err(Errno::ENOENT) => self.mkdir_plain(above, mode)?,
            found => found?,
        };
        match mkdirat(&parent, name, Mode::from_bits_truncate(mode)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        fcntl::openat(&parent, name, flags, Mode::empty())
    }

    /// Opens the file `path` for reading.
    pub fn open_file(&self, path: impl AsRef<Path>) -> nix::Result<File> {
        Ok(self.open_with(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0)?.into())
    }

    /// Creates the file `path`, or empties it, for writing. Its directory must exist.
    pub fn create(&self, path: impl AsRef<Path>, mode: u32) -> nix::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
        Ok(self.open_with(path, flags, mode)?.into())
    }

    /// The contents of the file `path`.
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.open_file(path)?.read_to_end(&mut content)?;
        Ok(content)
    }

    /// Writes `content` to the file `path`, which is created with mode 0644.
    pub fn write(&self, path: impl AsRef<Path>, content: &[u8]) -> io::Result<()> {
        self.create(path, 0o644)?.write_all(content)
    }

    /// stat(2) of `path`; the last link is not followed.
    pub fn stat(&self, path: impl AsRef<Path>) -> nix::Result<FileStat> {
        fstat(&self.open_with(path, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0)?)
    }

    /// The target of the symbolic link `path`, as it is written.
    pub fn read_link(&self, path: impl AsRef<Path>) -> nix::Result<PathBuf> {
        let link = self.open_with(path, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0)?;
        match fcntl::readlinkat(&link, "") {
            Ok(target) => Ok(target.into()),
            // On an open file that is no link, the kernel says that it has no name.
            Err(Errno::ENOENT) => Err(Errno::EINVAL),
            Err(error) => Err(error),
        }
    }

    /// The names in the directory `path`, sorted, without `.` and `..`.
    pub fn list(&self, path: impl AsRef<Path>) -> nix::Result<Vec<OsString>> {
        list(self.open_with(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0)?)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The names in an open, readable directory, sorted.
pub(crate) fn list(dir: OwnedFd) -> nix::Result<Vec<OsString>> {
    let mut found = Vec::new();
    for entry in Dir::from_fd(dir)?.iter() {
        let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

/// stat(2) of `name` in `dir`; a link is not followed.
pub(crate) fn lstat(dir: impl AsFd, name: &OsStr) -> nix::Result<FileStat> {
    fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// The components of `path` that are names, or `..`, which the kernel resolves.
fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        fs::write(dir.path().join("outside"), "host").unwrap();
        let root = Root::open(dir.path().join("in")).unwrap();
        (dir, root)
    }

    #[test]
    fn a_plain_directory_is_made_where_no_link_leads() {
        let (dir, root) = root();
        root.mkdir_plain("/a/b/c", 0o755).unwrap();
        root.mkdir_plain("a/b/c", 0o755).unwrap();
        assert!(dir.path().join("in/a/b/c").is_dir());
        symlink("a", dir.path().join("in/link")).unwrap();
        symlink("../outside", dir.path().join("in/a/last")).unwrap();
        for path in ["link/new", "link", "a/last", "a/last/new"] {
            assert!(root.mkdir_plain(path, 0o755).is_err(), "{path}");
        }
        assert!(!dir.path().join("in/a/new").exists());
    }

    #[test]
    fn links_and_dots_stay_inside() {
        let (dir, root) = root();
        root.write("inside", b"image").unwrap();
        let target = dir.path().join("outside");
        for (link, target) in [("up", "../outside"), ("far", "../../../../etc/passwd")] {
            symlink(target, dir.path().join("in").join(link)).unwrap();
            assert!(root.read(link).is_err(), "{link}");
        }
        symlink(&target, dir.path().join("in/absolute")).unwrap();
        assert!(root.read("absolute").is_err());
        assert!(root.read("../outside").is_err());
        assert_eq!(root.read("../../inside").unwrap(), b"image");
    }

    #[test]
    fn writing_through_a_link_creates_inside() {
        let (dir, root) = root();
        symlink("/etc/new", dir.path().join("in/link")).unwrap();
        root.mkdir_all("etc", 0o755).unwrap();
        root.write("link", b"x").unwrap();
        assert_eq!(fs::read(dir.path().join("in/etc/new")).unwrap(), b"x");
    }

    #[test]
    fn mkdir_all_follows_links_to_nothing_but_stays_inside() {
        let (dir, root) = root();
        let inside = dir.path().join("in");
        symlink("/a/b", inside.join("absolute")).unwrap();
        symlink("../../c", inside.join("relative")).unwrap();
        root.mkdir_all("absolute/x/y", 0o755).unwrap();
        root.mkdir_all("/relative/z", 0o755).unwrap();
        assert!(inside.join("a/b/x/y").is_dir());
        assert!(inside.join("c/z").is_dir());
        assert!(!dir.path().join("c").exists());
    }

    #[test]
    fn mkdir_all_gives_up_on_a_loop() {
        let (dir, root) = root();
        symlink("b", dir.path().join("in/a")).unwrap();
        symlink("a", dir.path().join("in/b")).unwrap();
        assert_eq!(root.mkdir_all("a/x", 0o755).unwrap_err(), Errno::ELOOP);
    }

    #[test]
    fn a_plain_path_has_no_link() {
        let (dir, root) = root();
        root.mkdir_all("real", 0o755).unwrap();
        symlink("real", dir.path().join("in/link")).unwrap();
        assert!(root.resolve("link").is_ok());
        assert_eq!(root.resolve_plain("link").unwrap_err(), Errno::ELOOP);
        assert_eq!(root.read_link("link").unwrap(), Path::new("real"));
        assert_eq!(root.read_link("real").unwrap_err(), Errno::EINVAL);
    }

    #[test]
    fn a_list_is_sorted_and_without_dots() {
        let (_dir, root) = root();
        root.write("b", b"").unwrap();
        root.write("a", b"").unwrap();
        assert_eq!(root.list("/").unwrap(), ["a", "b"]);
    }
}
