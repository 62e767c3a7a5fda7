//! What a file is, in the words of Docker's API.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag};
use rootfs::Root;
use serde::{Deserialize, Serialize};

/// As many links as are followed in one path.
const MAX_LINKS: usize = 255;

/// The header `X-Docker-Container-Path-Stat`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathStat {
    /// The last name of the path.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Permissions and kind in Go's bits, `os.FileMode`.
    pub mode: u32,
    /// The time of the last change, RFC 3339.
    pub mtime: String,
    /// Where a symbolic link leads in the end, from the container's root.
    pub link_target: String,
}

/// Go's `os.FileMode`: the kinds that we tell apart.
const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const CHARACTER: u32 = 1 << 21;

impl PathStat {
    /// Of a file, and the link's target if it is one.
    pub fn new(name: &str, stat: &FileStat, link_target: Option<PathBuf>) -> Self {
        let time = jiff::Timestamp::new(stat.st_mtime, stat.st_mtime_nsec as i32);
        Self {
            name: name.to_owned(),
            size: stat.st_size,
            mode: go_mode(stat.st_mode),
            mtime: time.unwrap_or_default().to_string(),
            link_target: link_target.map(|path| path.display().to_string()).unwrap_or_default(),
        }
    }

    /// True for a directory.
    pub fn is_dir(&self) -> bool {
        self.mode & DIRECTORY != 0
    }

    /// True for a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.mode & SYMLINK != 0
    }

    /// True for a device, of blocks or of characters.
    pub fn is_device(&self) -> bool {
        self.mode & DEVICE != 0
    }
}

/// stat(2)'s mode in Go's bits.
fn go_mode(mode: u32) -> u32 {
    let kind = match SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => DIRECTORY,
        SFlag::S_IFLNK => SYMLINK,
        SFlag::S_IFBLK => DEVICE,
        SFlag::S_IFCHR => DEVICE | CHARACTER,
        SFlag::S_IFIFO => 1 << 25,
        SFlag::S_IFSOCK => 1 << 24,
        _ => 0,
    };
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special = special.iter().filter(|(bit, _)| mode & bit != 0).map(|(_, bit)| bit);
    special.fold(kind | mode & 0o777, |all, bit| all | bit)
}

/// The path that `path` leads to when all links are followed, as far as there are
/// files. For telling only: nothing may be opened by it.
pub fn follow(root: &Root, path: &Path) -> nix::Result<PathBuf> {
    let mut done = PathBuf::from("/");
    let mut todo: Vec<OsString> = names(path).collect();
    todo.reverse();
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if name == ".." {
            done.pop();
            continue;
        }
        let next = done.join(&name);
        match root.read_link(&next) {
            Ok(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::ELOOP);
                }
                if target.is_absolute() {
                    done = PathBuf::from("/");
                }
                let at = todo.len();
                todo.extend(names(&target));
                todo[at..].reverse();
            }
            Err(_) => done = next,
        }
    }
    Ok(done)
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_mode_is_told_in_gos_bits() {
        assert_eq!(go_mode(0o100644), 0o644);
        assert_eq!(go_mode(0o041777), 1 << 31 | 1 << 20 | 0o777);
        assert_eq!(go_mode(0o020666), 1 << 26 | 1 << 21 | 0o666);
        assert_eq!(go_mode(0o104755), 1 << 23 | 0o755);
        assert_eq!(go_mode(0o120777), 1 << 27 | 0o777);
    }

    #[test]
    fn links_are_followed_below_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let inside = |name: &str| dir.path().join(name);
        std::fs::create_dir(inside("a")).unwrap();
        symlink("/a", inside("b")).unwrap();
        symlink("../../b/x", inside("a/c")).unwrap();
        symlink("loop", inside("loop")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let told =
            |path: &str| follow(&root, Path::new(path)).map(|path| path.display().to_string());
        assert_eq!(told("/b/c"), Ok("/a/x".into()));
        assert_eq!(told("../../b"), Ok("/a".into()));
        assert_eq!(told("/none/./x"), Ok("/none/x".into()));
        assert_eq!(told("/loop"), Err(Errno::ELOOP));
    }
}
