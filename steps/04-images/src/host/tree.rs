//! The files of an image that is being put together, and the tar archive of them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use tar::{Builder, EntryType, Header};

use crate::sys;

/// As many symbolic links as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The attribute by which a program may more than its user, as ping may.
const CAPABILITY: &str = "security.capability";

/// What stands at a path of the image.
enum Node {
    Folder {
        mode: u32,
    },
    Symlink(PathBuf),
    /// A file of the host.
    Copy(Metadata),
    /// A file that is made here.
    Text(String),
}

/// Paths of the image, and what stands there. In order, so that a folder comes before
/// what is in it, and the same host makes the same image.
#[derive(Default)]
pub(super) struct Tree {
    /// Absolute paths.
    nodes: BTreeMap<PathBuf, Node>,
}

impl Tree {
    /// Takes a file or folder of the host, at the path that it has there, and with every
    /// symbolic link that leads to it. Answers where it really is.
    ///
    /// Of a folder, what is in it does not come along.
    pub(super) fn copy(&mut self, path: &Path) -> io::Result<PathBuf> {
        let mut rest: VecDeque<OsString> = parts(path).collect();
        let mut at = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                at.pop();
                continue;
            }
            let here = at.join(&part);
            let meta = fs::symlink_metadata(&here)?;
            if meta.is_symlink() {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::ELOOP.into());
                }
                let target = fs::read_link(&here)?;
                if target.is_absolute() {
                    at = "/".into();
                }
                for part in parts(&target).rev() {
                    rest.push_front(part);
                }
                self.nodes.insert(here, Node::Symlink(target));
                continue;
            }
            if meta.is_dir() {
                self.nodes.entry(here.clone()).or_insert(Node::Folder { mode: 0o755 });
            } else if meta.is_file() && rest.is_empty() {
                self.nodes.insert(here.clone(), Node::Copy(meta));
            } else {
                return Err(ErrorKind::NotADirectory.into());
            }
            at = here;
        }
        Ok(at)
    }

    /// Adds a folder, unless something is there.
    pub(super) fn folder(&mut self, path: &str, mode: u32) {
        self.nodes.entry(path.into()).or_insert(Node::Folder { mode });
    }

    /// Adds a file with this text, whatever was there.
    pub(super) fn text(&mut self, path: &str, text: impl Into<String>) {
        self.nodes.insert(path.into(), Node::Text(text.into()));
    }

    /// Adds a symbolic link, whatever was there.
    pub(super) fn symlink(&mut self, path: &str, target: &str) {
        self.nodes.insert(path.into(), Node::Symlink(target.into()));
    }

    /// When the newest of the host's files was written, in seconds since the epoch.
    pub(super) fn newest(&self) -> i64 {
        let copies = self.nodes.values().filter_map(|node| match node {
            Node::Copy(meta) => Some(meta.mtime()),
            _ => None,
        });
        copies.max().unwrap_or(0)
    }

    /// Writes the archive. What has no time of its own has `time`. All is root's.
    pub(super) fn write<W: Write>(&self, out: W, time: i64) -> io::Result<W> {
        let mut archive = Builder::new(out);
        let mut names = HashMap::new();
        for (path, node) in &self.nodes {
            let name = path.strip_prefix("/").expect("paths here are absolute");
            let mut header = Header::new_ustar();
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(time as u64);
            header.set_size(0);
            match node {
                Node::Folder { mode } => {
                    header.set_entry_type(EntryType::Directory);
                    header.set_mode(*mode);
                    archive.append_data(&mut header, name.join(""), io::empty())?;
                }
                Node::Symlink(target) => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_mode(0o777);
                    archive.append_link(&mut header, name, target)?;
                }
                Node::Text(text) => {
                    header.set_mode(0o644);
                    header.set_size(text.len() as u64);
                    archive.append_data(&mut header, name, text.as_bytes())?;
                }
                Node::Copy(meta) => {
                    // A program of many names is often one file.
                    let identity = (meta.dev(), meta.ino());
                    if let Some(first) = names.get(&identity) {
                        header.set_entry_type(EntryType::Link);
                        archive.append_link(&mut header, name, first)?;
                        continue;
                    }
                    names.insert(identity, name);
                    copy_file(&mut archive, header, path, name, meta)?;
                }
            }
        }
        archive.into_inner()
    }
}

fn copy_file<W: Write>(
    archive: &mut Builder<W>,
    mut header: Header,
    path: &Path,
    name: &Path,
    meta: &Metadata,
) -> io::Result<()> {
    let file = File::open(path)?;
    let is_roots = (meta.uid(), meta.gid()) == (0, 0);
    // setuid gives away its owner's rights, and the owner changes here.
    let mode = meta.mode() & if is_roots { 0o7777 } else { 0o1777 };
    header.set_mode(mode);
    header.set_mtime(meta.mtime().max(0) as u64);
    header.set_size(meta.len());
    if let Some(value) = sys::getxattr(&file, c"security.capability")? {
        let key = format!("SCHILY.xattr.{CAPABILITY}");
        archive.append_pax_extensions([(key.as_str(), &value[..])])?;
    }
    archive.append_data(&mut header, name, file)
}

/// The parts of a path, without a slash in front and without `.`.
fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}
