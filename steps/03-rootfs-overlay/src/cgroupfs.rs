//! What /sys/fs/cgroup of the container shows: cgroup_namespaces(7).
//!
//! On v2, a container with a cgroup namespace of its own mounts a cgroup filesystem,
//! and its own cgroup is the root of that. Where it shares the host's namespace, a new
//! mount could change the options of the host's, so the host's is bound instead.
//!
//! On v1 the container's own directory of each hierarchy is bound. A new mount would
//! show the root of the namespace, which was made before the container entered its
//! cgroup; and it takes ten times as long.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use crate::mount::{Flags, Mount, Propagation};
use crate::plan::{Bind, Filesystem, Op};

/// Where every machine of today mounts its cgroups.
const MOUNTED: &str = "/sys/fs/cgroup";
/// The inode of the first cgroup namespace, which the kernel fixes (`PROC_CGROUP_INIT_INO`).
const INITIAL_NAMESPACE: u64 = 0xEFFF_FFFB;

/// The cgroups of the process that asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum View {
    /// No cgroups are mounted on this machine.
    #[default]
    None,
    /// One hierarchy, v2.
    Unified {
        /// The process is in a namespace of its own.
        own: bool,
    },
    /// One directory per hierarchy, v1 (and v2 beside it).
    Split(Vec<Hierarchy>),
}

/// One directory in /sys/fs/cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its name there: `memory`, `cpu,cpuacct`, `systemd`, `unified`.
    pub directory: String,
    /// The process's place in it, from the root that its namespace shows.
    pub path: PathBuf,
}

impl View {
    /// Looks at the calling process.
    pub fn detect() -> View {
        match statfs(MOUNTED) {
            Err(_) => View::None,
            Ok(found) if found.filesystem_type() == CGROUP2_SUPER_MAGIC => {
                let namespace = fs::metadata("/proc/self/ns/cgroup");
                View::Unified { own: namespace.is_ok_and(|ns| ns.ino() != INITIAL_NAMESPACE) }
            }
            Ok(_) => {
                let lines = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
                let found = lines.lines().filter_map(hierarchy);
                let found = found.filter(|one| Path::new(MOUNTED).join(&one.directory).exists());
                View::Split(found.collect())
            }
        }
    }

    /// The same with paths as `parent` counts them. A new namespace calls its root `/`,
    /// and that root is where the parent was when it made the namespace.
    pub(crate) fn seen_from(mut self, parent: &View) -> View {
        if let (View::Split(ours), View::Split(parents)) = (&mut self, parent) {
            for one in ours {
                let same = |parent: &&Hierarchy| parent.directory == one.directory;
                let Some(parent) = parents.iter().find(same) else { continue };
                one.path = follow(&parent.path, &one.path);
            }
        }
        self
    }
}

/// One line of /proc/self/cgroup: `4:memory:/path`, `1:name=systemd:/`, `0::/`.
fn hierarchy(line: &str) -> Option<Hierarchy> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let directory = match controllers {
        "" => "unified",
        named => named.strip_prefix("name=").unwrap_or(named),
    };
    Some(Hierarchy { directory: directory.into(), path: path.into() })
}

/// Where `path` leads from `base`. It may begin with `/..`: beside or above the root.
fn follow(base: &Path, path: &Path) -> PathBuf {
    let mut found = base.to_owned();
    for name in path.components() {
        match name {
            Component::ParentDir => drop(found.pop()),
            Component::Normal(name) => found.push(name),
            _ => {}
        }
    }
    found
}

/// The requests that make `mount`.
pub(crate) fn plan(mount: &Mount, view: &View) -> Vec<Op> {
    let Mount { destination, flags, .. } = mount;
    match view {
        View::None => Vec::new(),
        View::Unified { own: true } => vec![new("cgroup2", destination, *flags, &[])],
        View::Unified { own: false } => vec![bind(MOUNTED.into(), destination, *flags)],
        View::Split(hierarchies) => split(destination, *flags, hierarchies),
    }
}

fn split(destination: &Path, flags: Flags, hierarchies: &[Hierarchy]) -> Vec<Op> {
    // The directories and links are still to be made: read-only comes at the end.
    let writable = Flags { read_only: false, ..flags };
    let mut ops = vec![new("tmpfs", destination, writable, &["mode=755"])];
    let mut links = Vec::new();
    for Hierarchy { directory, path } in hierarchies {
        let below = path.strip_prefix("/").unwrap_or(path);
        let source = Path::new(MOUNTED).join(directory).join(below);
        ops.push(bind(source, &destination.join(directory), flags));
        if directory.contains(',') {
            let alias = |name| (destination.join(name), PathBuf::from(directory));
            links.extend(directory.split(',').map(alias));
        }
    }
    if !links.is_empty() {
        ops.push(Op::Symlink(links));
    }
    if flags.read_only {
        ops.push(Op::Seal(destination.to_owned()));
    }
    ops
}

fn new(kind: &'static str, destination: &Path, flags: Flags, options: &[&str]) -> Op {
    Op::Filesystem(Filesystem {
        kind,
        destination: destination.into(),
        flags,
        options: options.iter().map(|option| option.to_string()).collect(),
        exact: true,
        or_bind: None,
    })
}

fn bind(source: PathBuf, destination: &Path, flags: Flags) -> Op {
    Op::Bind(Bind {
        taken: None,
        source,
        subpath: None,
        destination: destination.into(),
        flags,
        recursive: true,
        recursive_flags: true,
        propagation: Propagation::RPrivate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_cgroup_become_directories() {
        let one = |line| hierarchy(line).map(|one| (one.directory, one.path));
        let found = |directory: &str, path: &str| Some((directory.to_owned(), path.into()));
        assert_eq!(one("4:memory:/a/b"), found("memory", "/a/b"));
        assert_eq!(one("3:cpu,cpuacct:/"), found("cpu,cpuacct", "/"));
        assert_eq!(one("1:name=systemd:/x:y"), found("systemd", "/x:y"));
        assert_eq!(one("0::/"), found("unified", "/"));
        assert_eq!(one("nonsense"), None);
    }

    #[test]
    fn a_path_in_a_namespace_is_followed_from_where_that_was_made() {
        let follow = |base: &str, path: &str| follow(base.as_ref(), path.as_ref());
        assert_eq!(follow("/", "/coracle/x"), Path::new("/coracle/x"));
        assert_eq!(follow("/user", "/../coracle/x"), Path::new("/coracle/x"));
        assert_eq!(follow("/user", "/"), Path::new("/user"));
    }
}
