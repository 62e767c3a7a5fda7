//! From a [`Rootfs`] to the list of what will be done, without doing any of it.

use std::fmt;
use std::path::{Path, PathBuf};

use namespaces::{Error, Result};

use crate::cgroupfs;
use crate::mount::{Device, Flags, Kind, Mount, Propagation};
use crate::{Facts, Rootfs, Upper};

/// The kernel's own limit, `OVL_MAX_STACK`.
const MAX_LAYERS: usize = 500;

/// One request, or a few of the same sort. Paths in the container are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Mount the layers as one tree, and attach it to `target`.
    Overlay {
        /// At least one.
        layers_top_first: Vec<PathBuf>,
        /// What takes the changes.
        upper: Option<Upper>,
        /// Flags of overlayfs.
        options: Vec<&'static str>,
        /// A directory of the host.
        target: PathBuf,
    },
    /// A single directory is the root, as it is.
    BindRoot {
        /// The directory.
        source: PathBuf,
        /// A directory of the host, another one.
        target: PathBuf,
    },
    /// Mount a new filesystem.
    Filesystem(Filesystem),
    /// Copy what the image has at `destination` to `source`, if that is empty.
    CopyUp {
        /// A directory of the host.
        source: PathBuf,
        /// Below `source`.
        subpath: Option<PathBuf>,
        /// Where, in the container.
        destination: PathBuf,
    },
    /// Show a part of the host.
    Bind(Bind),
    /// Make device nodes.
    Mknod(Vec<Device>),
    /// Bind the host's device nodes.
    BindNodes(Vec<Device>),
    /// Make symbolic links: path, target.
    Symlink(Vec<(PathBuf, PathBuf)>),
    /// Hide files behind /dev/null and directories behind an empty one.
    Mask(Vec<PathBuf>),
    /// Forbid writing in a part of what is mounted.
    ReadOnly(Vec<PathBuf>),
    /// Forbid writing in one mount; what is mounted below it keeps its own rule.
    Seal(PathBuf),
    /// Swap the roots, and let the old one go.
    PivotRoot,
}

/// A filesystem that is to be made and mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filesystem {
    /// The kernel's name for it: `proc`.
    pub kind: &'static str,
    /// Where, in the container.
    pub destination: PathBuf,
    /// What is forbidden in it.
    pub flags: Flags,
    /// Its own options.
    pub options: Vec<String>,
    /// What the container must find exactly there: no link on the way is followed.
    pub exact: bool,
    /// What of the host is shown instead, if the kernel forbids a new one: the
    /// namespace that it belongs to is the host's.
    pub or_bind: Option<&'static str>,
}

/// A part of the host that is to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// The place in [`Rootfs::mounts`] of a mount that was taken in the parent,
    /// where it still had its ties to the host, or from another container.
    pub taken: Option<usize>,
    /// On the host.
    pub source: PathBuf,
    /// Below `source`.
    pub subpath: Option<PathBuf>,
    /// Where, in the container.
    pub destination: PathBuf,
    /// What is forbidden in it.
    pub flags: Flags,
    /// With the mounts below it.
    pub recursive: bool,
    /// The flags count for the mounts below it too.
    pub recursive_flags: bool,
    /// Its ties.
    pub propagation: Propagation,
}

// ANCHOR: plan
/// The whole way from a directory of layers to a root with everything in its place.
pub fn plan(rootfs: &Rootfs, facts: &Facts) -> Result<Vec<Op>> {
    let mut ops = vec![root(rootfs, facts)?];
    // While the root is the image and nothing else: a bind above a volume would be copied.
    ops.extend(rootfs.mounts.iter().filter_map(copy_up));
    for (index, mount) in rootfs.mounts.iter().enumerate() {
        let taken = rootfs.taken.iter().any(|(place, _)| *place == index);
        let tied = mount.propagation.is_tied() && !facts.user_namespace;
        ops.extend(mount_ops((taken || tied).then_some(index), mount, facts));
    }
    if owns_dev(rootfs) {
        ops.extend(devices(&rootfs.devices, facts));
    }
    if !rootfs.masked.is_empty() {
        ops.push(Op::Mask(rootfs.masked.clone()));
    }
    if !rootfs.readonly_paths.is_empty() {
        ops.push(Op::ReadOnly(rootfs.readonly_paths.clone()));
    }
    // Last, because places to mount on were still being made.
    if rootfs.read_only {
        ops.push(Op::Seal("/".into()));
    }
    ops.push(Op::PivotRoot);
    Ok(ops)
}
// ANCHOR_END: plan

// ANCHOR: root
fn root(rootfs: &Rootfs, facts: &Facts) -> Result<Op> {
    let target = rootfs.target.clone();
    let layers = top_first(&rootfs.layers);
    match (layers.as_slice(), &rootfs.upper) {
        ([], _) => Err(Error::new("a root needs at least one layer")),
        ([source], None) => Ok(Op::BindRoot { source: source.clone(), target }),
        (layers, _) if layers.len() > MAX_LAYERS => Err(Error::new(format!(
            "the image has {} layers, and overlayfs takes {MAX_LAYERS} at most",
            layers.len()
        ))),
        (_, upper) => {
            let mut options = Vec::new();
            // Marks go to user.overlay.* where trusted.* takes real root.
            if facts.user_namespace {
                options.push("userxattr");
            }
            if rootfs.volatile && upper.is_some() {
                options.push("volatile");
            }
            Ok(Op::Overlay { layers_top_first: layers, upper: upper.clone(), options, target })
        }
    }
}
// ANCHOR_END: root

// ANCHOR: top_first
/// overlayfs wants the top first, and refuses a directory that it already has: only
/// the topmost of equal layers counts anyway.
fn top_first(layers: &[PathBuf]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::with_capacity(layers.len());
    for layer in layers.iter().rev() {
        if !found.contains(layer) {
            found.push(layer.clone());
        }
    }
    found
}
// ANCHOR_END: top_first

fn copy_up(mount: &Mount) -> Option<Op> {
    match &mount.kind {
        Kind::Bind { source, subpath, .. } if mount.copy_up => Some(Op::CopyUp {
            source: source.clone(),
            subpath: subpath.clone(),
            destination: mount.destination.clone(),
        }),
        _ => None,
    }
}

fn mount_ops(taken: Option<usize>, mount: &Mount, facts: &Facts) -> Vec<Op> {
    let (kind, exact, or_bind) = match &mount.kind {
        Kind::Bind { .. } => return vec![bind(taken, mount)],
        Kind::Cgroup => return cgroupfs::plan(mount, &facts.cgroups),
        Kind::Tmpfs => ("tmpfs", mount.destination == Path::new("/dev"), None),
        Kind::Proc => ("proc", true, facts.shares_pids.then_some("/proc")),
        Kind::Sysfs => ("sysfs", true, Some("/sys")),
        Kind::Mqueue => ("mqueue", true, Some("/dev/mqueue")),
        Kind::Devpts => ("devpts", true, None),
    };
    let options = mount.data.split(',').filter(|option| !option.is_empty());
    // An id without a meaning in the namespace is refused.
    let options = options.filter(|option| facts.tty_group || *option != "gid=5");
    vec![Op::Filesystem(Filesystem {
        kind,
        destination: mount.destination.clone(),
        flags: mount.flags,
        options: options.map(str::to_owned).collect(),
        exact,
        or_bind,
    })]
}

fn bind(taken: Option<usize>, mount: &Mount) -> Op {
    let Kind::Bind { source, subpath, recursive, recursive_read_only } = &mount.kind else {
        unreachable!("only called for binds")
    };
    Op::Bind(Bind {
        taken,
        source: source.clone(),
        subpath: subpath.clone(),
        destination: mount.destination.clone(),
        flags: mount.flags,
        recursive: *recursive,
        recursive_flags: *recursive && *recursive_read_only,
        propagation: mount.propagation,
    })
}

/// Nodes are made on the container's own /dev, never on the host's or the image's.
fn owns_dev(rootfs: &Rootfs) -> bool {
    let dev = rootfs.mounts.iter().rfind(|mount| mount.destination == Path::new("/dev"));
    dev.is_some_and(|mount| mount.kind == Kind::Tmpfs)
}

fn devices(devices: &[Device], facts: &Facts) -> Vec<Op> {
    let links = [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
        ("/dev/core", "/proc/kcore"),
    ];
    let links = links.iter().map(|(path, target)| (path.into(), target.into())).collect();
    // mknod(2) of a device takes CAP_MKNOD outside of any user namespace.
    let nodes = if facts.user_namespace { Op::BindNodes } else { Op::Mknod };
    vec![nodes(devices.to_vec()), Op::Symlink(links)]
}

/// The timeline's line: what the man page calls it.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Overlay { layers_top_first, upper, options, .. } => {
                write!(f, "mount overlay on /  lower={}", layers_top_first.len())?;
                if upper.is_some() {
                    f.write_str(" upper")?;
                }
                options.iter().try_for_each(|option| write!(f, " {option}"))
            }
            Op::BindRoot { source, .. } => write!(f, "bind {} on /", source.display()),
            Op::Filesystem(Filesystem { kind, destination, flags, options, .. }) => {
                write!(f, "mount {kind} on {} ({flags}", destination.display())?;
                options.iter().try_for_each(|option| write!(f, ",{option}"))?;
                f.write_str(")")
            }
            Op::CopyUp { source, destination, .. } => {
                write!(f, "copy {} to {} if empty", destination.display(), source.display())
            }
            Op::Bind(bind) => {
                let source = match &bind.subpath {
                    Some(below) => bind.source.join(below),
                    None => bind.source.clone(),
                };
                let recursive = if bind.recursive { "rbind" } else { "bind" };
                let (source, destination) = (source.display(), bind.destination.display());
                write!(
                    f,
                    "{recursive} {source} on {destination} ({},{})",
                    bind.flags, bind.propagation
                )
            }
            Op::Mknod(devices) => {
                write!(f, "mknod {}", several(devices.iter().map(|device| &device.path)))
            }
            Op::BindNodes(devices) => {
                write!(f, "bind the host's {}", several(devices.iter().map(|device| &device.path)))
            }
            Op::Symlink(links) => {
                write!(f, "symlink {}", several(links.iter().map(|(path, _)| path)))
            }
            Op::Mask(paths) => write!(f, "mask {}", several(paths.iter())),
            Op::ReadOnly(paths) => write!(f, "make read-only {}", several(paths.iter())),
            Op::Seal(path) => write!(f, "mount_setattr({path:?}, MOUNT_ATTR_RDONLY)"),
            Op::PivotRoot => f.write_str("pivot_root(\".\", \".\")"),
        }
    }
}

/// The first of several paths, and how many there are beside it.
fn several<'a>(mut paths: impl ExactSizeIterator<Item = &'a PathBuf>) -> String {
    let more = paths.len().saturating_sub(1);
    match (paths.next(), more) {
        (None, _) => "nothing".into(),
        (Some(first), 0) => first.display().to_string(),
        (Some(first), more) => format!("{} and {more} more", first.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroupfs::{Hierarchy, View};
    use crate::mount::{DEFAULT_MASKED, default_mounts};

    fn show(rootfs: &Rootfs, facts: &Facts) -> String {
        let ops = plan(rootfs, facts).expect("a plan");
        ops.iter().map(|op| format!("{op}\n")).collect()
    }

    fn two_layers() -> Rootfs {
        let upper = Upper { upper: "/c/upper".into(), work: "/c/work".into() };
        let layers = vec!["/layers/bottom".into(), "/layers/top".into()];
        let mut rootfs = Rootfs::new(layers, Some(upper), "/c/rootfs");
        rootfs.masked = DEFAULT_MASKED.iter().map(PathBuf::from).collect();
        rootfs
    }

    fn root_on_v2() -> Facts {
        Facts { tty_group: true, cgroups: View::Unified { own: true }, ..Facts::default() }
    }

    #[test]
    fn root_makes_nodes_and_sees_its_own_cgroup() {
        insta::assert_snapshot!(show(&two_layers(), &root_on_v2()), @r#"
        mount overlay on /  lower=2 upper
        mount proc on /proc (rw,nosuid,nodev,noexec)
        mount tmpfs on /dev (rw,nosuid,strictatime,mode=755,size=65536k)
        mount devpts on /dev/pts (rw,nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5)
        mount sysfs on /sys (ro,nosuid,nodev,noexec)
        mount cgroup2 on /sys/fs/cgroup (ro,nosuid,nodev,noexec)
        mount mqueue on /dev/mqueue (rw,nosuid,nodev,noexec)
        mount tmpfs on /dev/shm (rw,nosuid,nodev,noexec,mode=1777,size=64m)
        mknod /dev/null and 5 more
        symlink /dev/fd and 5 more
        mask /proc/acpi and 11 more
        make read-only /proc/bus and 4 more
        pivot_root(".", ".")
        "#);
    }

    #[test]
    fn an_ordinary_user_binds_what_only_root_can_make() {
        let facts = Facts { user_namespace: true, tty_group: false, ..root_on_v2() };
        insta::assert_snapshot!(show(&two_layers(), &facts), @r#"
        mount overlay on /  lower=2 upper userxattr
        mount proc on /proc (rw,nosuid,nodev,noexec)
        mount tmpfs on /dev (rw,nosuid,strictatime,mode=755,size=65536k)
        mount devpts on /dev/pts (rw,nosuid,noexec,newinstance,ptmxmode=0666,mode=0620)
        mount sysfs on /sys (ro,nosuid,nodev,noexec)
        mount cgroup2 on /sys/fs/cgroup (ro,nosuid,nodev,noexec)
        mount mqueue on /dev/mqueue (rw,nosuid,nodev,noexec)
        mount tmpfs on /dev/shm (rw,nosuid,nodev,noexec,mode=1777,size=64m)
        bind the host's /dev/null and 5 more
        symlink /dev/fd and 5 more
        mask /proc/acpi and 11 more
        make read-only /proc/bus and 4 more
        pivot_root(".", ".")
        "#);
    }

    #[test]
    fn on_v1_each_hierarchy_shows_the_containers_own_part() {
        let one = |directory: &str, path: Option<&str>| Hierarchy {
            directory: directory.into(),
            option: Some(directory.into()),
            path: path.map(Into::into),
        };
        let cgroups =
            View::Split(vec![one("memory", None), one("cpu,cpuacct", Some("/coracle/x"))]);
        let rootfs = Rootfs {
            mounts: default_mounts()
                .into_iter()
                .filter(|mount| mount.kind == Kind::Cgroup)
                .collect(),
            layers: vec!["/only".into()],
            ..Rootfs::default()
        };
        insta::assert_snapshot!(show(&rootfs, &Facts { cgroups, ..root_on_v2() }), @r#"
        bind /only on /
        mount tmpfs on /sys/fs/cgroup (rw,nosuid,nodev,noexec,mode=755)
        mount cgroup on /sys/fs/cgroup/memory (ro,nosuid,nodev,noexec,memory)
        rbind /sys/fs/cgroup/cpu,cpuacct/coracle/x on /sys/fs/cgroup/cpu,cpuacct (ro,nosuid,nodev,noexec,rprivate)
        symlink /sys/fs/cgroup/cpu and 1 more
        mount_setattr("/sys/fs/cgroup", MOUNT_ATTR_RDONLY)
        pivot_root(".", ".")
        "#);
    }

    #[test]
    fn volumes_come_after_the_defaults_and_read_only_comes_last() {
        let mut rootfs = two_layers();
        rootfs.mounts.clear();
        rootfs.devices.clear();
        rootfs.masked.clear();
        rootfs.readonly_paths.clear();
        rootfs.read_only = true;
        rootfs.volatile = true;
        let volume = Mount::bind("/volumes/data/_data", "/data");
        rootfs.add_mount(Mount { copy_up: true, ..volume });
        rootfs.add_mount(Mount::bind("/srv", "/srv").read_only());
        let shared = Mount { propagation: Propagation::RShared, ..Mount::bind("/mnt", "/mnt") };
        rootfs.add_mount(shared);
        rootfs.add_mount(Mount::tmpfs("/run", "size=1m"));
        insta::assert_snapshot!(show(&rootfs, &root_on_v2()), @r#"
        mount overlay on /  lower=2 upper volatile
        copy /data to /volumes/data/_data if empty
        rbind /volumes/data/_data on /data (rw,rprivate)
        rbind /srv on /srv (ro,rprivate)
        rbind /mnt on /mnt (rw,rshared)
        mount tmpfs on /run (rw,nosuid,nodev,noexec,size=1m)
        mount_setattr("/", MOUNT_ATTR_RDONLY)
        pivot_root(".", ".")
        "#);
    }

    #[test]
    fn a_repeated_layer_counts_where_it_is_topmost() {
        let layers = ["/a", "/b", "/a"].map(PathBuf::from);
        assert_eq!(top_first(&layers), ["/a", "/b"].map(PathBuf::from));
    }

    #[test]
    fn more_layers_than_the_kernel_takes_are_refused() {
        let layers = (0..501).map(|n| format!("/{n}").into()).collect();
        let error = plan(&Rootfs::new(layers, None, "/c"), &root_on_v2()).unwrap_err();
        assert_eq!(error.to_string(), "the image has 501 layers, and overlayfs takes 500 at most");
    }

    #[test]
    fn a_mount_of_the_callers_replaces_the_default_at_its_place() {
        let mut rootfs = two_layers();
        rootfs.add_mount(Mount::bind("/x", "/dev/shm"));
        assert_eq!(rootfs.mounts.len(), default_mounts().len());
        rootfs.add_mount(Mount::bind("/dev", "/dev"));
        let left: Vec<_> = rootfs.mounts.iter().map(|mount| mount.destination.as_path()).collect();
        assert_eq!(left, ["/proc", "/sys", "/sys/fs/cgroup", "/dev"].map(Path::new));
        assert!(!owns_dev(&rootfs), "nodes are not made on the host's /dev");
    }
}
