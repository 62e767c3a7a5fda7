//! What /sys/fs/cgroup of the container shows: cgroup_namespaces(7).
//!
//! In a cgroup namespace of its own, a container that mounts a cgroup filesystem sees
//! its own cgroup as the root of that. Where it shares the host's namespace, a new
//! mount would show everything (and on v2 could change the options of the host's), so
//! what the host has mounted is bound: on v1 the container's own part of it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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
    /// What a new mount must be told to show it; `None` for v2.
    pub option: Option<String>,
    /// The process's place in it, or `None` if that is the root of a namespace of its own.
    pub path: Option<PathBuf>,
}

impl View {
    /// Looks at the calling process.
    pub fn detect() -> View {
        let own = namespace_is_own();
        match statfs(MOUNTED) {
            Err(_) => View::None,
            Ok(found) if found.filesystem_type() == CGROUP2_SUPER_MAGIC => View::Unified { own },
            Ok(_) => {
                let lines = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
                let found = lines.lines().filter_map(|line| hierarchy(line, own));
                let found = found.filter(|one| Path::new(MOUNTED).join(&one.directory).exists());
                View::Split(found.collect())
            }
        }
    }
}

fn namespace_is_own() -> bool {
    let namespace = fs::metadata("/proc/self/ns/cgroup");
    namespace.is_ok_and(|namespace| namespace.ino() != INITIAL_NAMESPACE)
}

/// One line of /proc/self/cgroup: `4:memory:/path`, `1:name=systemd:/`, `0::/`.
fn hierarchy(line: &str, own: bool) -> Option<Hierarchy> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let (directory, option) = match controllers {
        "" => ("unified", None),
        named => (named.strip_prefix("name=").unwrap_or(named), Some(named.to_owned())),
    };
    let path = (!own || path != "/").then(|| path.into());
    Some(Hierarchy { directory: directory.into(), option, path })
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
    for Hierarchy { directory, option, path } in hierarchies {
        let place = destination.join(directory);
        ops.push(match (path, option) {
            (Some(path), _) => {
                let below = path.strip_prefix("/").unwrap_or(path);
                bind(Path::new(MOUNTED).join(directory).join(below), &place, flags)
            }
            (None, Some(option)) => new("cgroup", &place, flags, &[option]),
            (None, None) => new("cgroup2", &place, flags, &[]),
        });
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
        let one = |line| hierarchy(line, false).map(|one| (one.directory, one.path));
        let found = |directory: &str, path: &str| Some((directory.to_owned(), Some(path.into())));
        assert_eq!(one("4:memory:/a/b"), found("memory", "/a/b"));
        assert_eq!(one("3:cpu,cpuacct:/"), found("cpu,cpuacct", "/"));
        assert_eq!(one("1:name=systemd:/x:y"), found("systemd", "/x:y"));
        assert_eq!(one("0::/"), found("unified", "/"));
        assert_eq!(one("nonsense"), None);
        assert_eq!(hierarchy("4:memory:/", true).unwrap().path, None);
    }
}
