//! Carries out a plan, in the child, in its private mount namespace.
//!
//! Everything is made detached and attached on a descriptor of its target, which the
//! kernel resolved inside the new root. So nothing in the image can redirect a mount,
//! not even while it happens, and nothing is ever mounted on the host.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use namespaces::{Context, Error, Result};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{Pid, chdir, chroot, fchdir, pivot_root};

use crate::mount::Flags;
use crate::plan::{Bind, Filesystem, Op};
use crate::sys::{self, Config};
use crate::{CHAPTER, Root, copy, dev, mask, overlay};

// ANCHOR: act
/// Does all of `ops`, each told as one step. `taken` are the trees that were copied in
/// the parent, by their place in the list of mounts. What comes back is the new root.
pub(crate) fn act(ops: &[Op], taken: &[(usize, OwnedFd)]) -> Result<Option<Root>> {
    let mut root = None;
    for op in ops {
        namespaces::explain::step(CHAPTER, || op.to_string(), || one(op, &mut root, taken))?;
    }
    Ok(root)
}
// ANCHOR_END: act

fn one(op: &Op, root: &mut Option<Root>, taken: &[(usize, OwnedFd)]) -> Result<()> {
    match op {
        Op::Overlay { layers_top_first, upper, options, target } => {
            *root = Some(overlay::mount(layers_top_first, upper.as_ref(), options, target)?);
            return Ok(());
        }
        Op::BindRoot { source, target } => {
            let mount = sys::open_tree(AT_FDCWD, source, true)
                .doing(|| format!("open the root {}", source.display()))?;
            *root = Some(attach_root(mount, target)?);
            return Ok(());
        }
        _ => {}
    }
    let root = root.as_ref().expect("a plan begins with the root");
    match op {
        Op::Overlay { .. } | Op::BindRoot { .. } => unreachable!("done above"),
        Op::Filesystem(filesystem) => mount_filesystem(root, filesystem),
        Op::CopyUp { source, subpath, destination } => {
            copy::copy_up(root, destination, source, subpath.as_deref())
        }
        Op::Bind(bind) => mount_bind(root, bind, taken),
        Op::Mknod(devices) => dev::make_nodes(root, devices),
        Op::BindNodes(devices) => dev::bind_nodes(root, devices),
        Op::Symlink(links) => dev::make_links(root, links),
        Op::Mask(paths) => mask::mask(root, paths),
        Op::ReadOnly(paths) => mask::make_read_only(root, paths),
        Op::Seal(path) => root
            .resolve(path)
            .and_then(|mount| sys::mount_setattr(mount.as_fd(), libc::MOUNT_ATTR_RDONLY, 0, false))
            .doing(|| format!("make {} read-only", path.display())),
        Op::PivotRoot => pivot(root),
    }
}

// ANCHOR: attach_root
/// Puts the new root somewhere in this mount namespace: pivot_root(2) only takes a
/// mount that is attached. Nobody outside ever sees it there.
pub(crate) fn attach_root(mount: OwnedFd, target: &Path) -> Result<Root> {
    let doing = || format!("attach the root to {}", target.display());
    let place =
        nix::fcntl::open(target, OFlag::O_PATH | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty())
            .doing(doing)?;
    sys::move_mount(mount.as_fd(), place.as_fd()).doing(doing)?;
    Ok(Root::from_fd(mount))
}
// ANCHOR_END: attach_root

/// fsopen, fsconfig, fsmount, move_mount.
fn mount_filesystem(root: &Root, filesystem: &Filesystem) -> Result<()> {
    let Filesystem { kind, destination, flags, options, exact, or_bind } = filesystem;
    let doing = || format!("mount {kind} on {}", destination.display());
    let mount = match (new_filesystem(kind, options, *flags), or_bind) {
        (Err(error), Some(path)) if error.is(Errno::EPERM) => {
            let tree = sys::open_tree(AT_FDCWD, *path, true).doing(doing).map_err(|error| {
                error.hint(format!("the host's is to be shown, and is not at {path}"))
            })?;
            sys::mount_setattr(tree.as_fd(), flags.bits(), libc::MS_PRIVATE, true).doing(doing)?;
            tree
        }
        (mount, _) => {
            mount.map_err(|error| explain_refusal(kind, Error { doing: doing(), ..error }))?
        }
    };
    let target = directory(root, destination, *exact)?;
    if *kind == "tmpfs" && !exact {
        refuse_proc(&target, destination)?;
    }
    sys::move_mount(mount.as_fd(), target.as_fd()).doing(doing)
}

// ANCHOR: new_filesystem
/// A detached mount of a new filesystem.
pub(crate) fn new_filesystem(kind: &str, options: &[String], flags: Flags) -> Result<OwnedFd> {
    let doing = || format!("mount {kind}");
    let fs = sys::fsopen(kind).doing(doing)?;
    for option in options {
        let request = match option.split_once('=') {
            Some((key, value)) => Config::Text(key, value),
            None => Config::Flag(option),
        };
        sys::fsconfig(fs.as_fd(), request)
            .doing(|| format!("mount {kind} with the option {option:?}"))
            .map_err(|error| with_log(error, &fs))?;
    }
    sys::fsconfig(fs.as_fd(), Config::Text("source", kind)).doing(doing)?;
    sys::fsconfig(fs.as_fd(), Config::Create).doing(doing).map_err(|error| with_log(error, &fs))?;
    sys::fsmount(fs.as_fd(), flags.bits()).doing(doing)
}
// ANCHOR_END: new_filesystem

/// Adds the filesystem's own words, which it leaves to be read in its context.
pub(crate) fn with_log(error: Error, fs: &OwnedFd) -> Error {
    let mut line = [0u8; 512];
    let read = fs.try_clone().map(File::from).and_then(|mut fs| fs.read(&mut line));
    match read.map(|length| String::from_utf8_lossy(&line[..length]).trim().to_owned()) {
        // "e overlay: Unknown parameter": a letter for the severity, and the text.
        Ok(text) if text.len() > 2 => error.hint(format!("the kernel says \"{}\"", &text[2..])),
        _ => error,
    }
}

fn explain_refusal(kind: &str, error: Error) -> Error {
    match (kind, error.errno.map(Errno::from_raw)) {
        ("proc" | "sysfs", Some(Errno::EPERM)) => error.hint(
            "parts of it are hidden from this process, so the kernel does not let it see all in a new one; \
             run the outer container with --security-opt systempaths=unconfined",
        ),
        (_, Some(Errno::ENODEV)) => error.hint("this kernel does not have that filesystem"),
        _ => error,
    }
}

// ANCHOR: mount_bind
/// open_tree, mount_setattr, move_mount.
fn mount_bind(root: &Root, bind: &Bind, taken: &[(usize, OwnedFd)]) -> Result<()> {
    let doing = || format!("bind {} on {}", bind.source.display(), bind.destination.display());
    let tree = match find(taken, bind.taken) {
        Some(tree) => tree.try_clone().doing(doing)?,
        None => open_source(&bind.source, bind.subpath.as_deref(), bind.recursive)?,
    };
    restrict(&tree, bind).doing(doing)?;
    let is_dir = is_dir(tree.as_fd()).doing(doing)?;
    let target = if is_dir {
        directory(root, &bind.destination, false)
    } else {
        file(root, &bind.destination)
    }?;
    refuse_proc(&target, &bind.destination)?;
    // In the place of /proc itself, only another one of the kernel's.
    if bind.destination == Path::new("/proc") && !is_proc(&tree).doing(doing)? {
        return Err(in_proc(&bind.destination));
    }
    sys::move_mount(tree.as_fd(), target.as_fd()).doing(doing)
}
// ANCHOR_END: mount_bind

// ANCHOR: open_source
/// A detached copy of a part of the host's tree.
pub(crate) fn open_source(
    source: &Path,
    subpath: Option<&Path>,
    recursive: bool,
) -> Result<OwnedFd> {
    let doing = || format!("open {}, which is to be mounted", source.display());
    match subpath {
        None => {
            sys::open_tree(AT_FDCWD, source, recursive).doing(doing).map_err(|error| {
                match error.errno.map(Errno::from_raw) {
                    Some(Errno::EINVAL) if !recursive => {
                        error.hint("it has mounts below it that may not be uncovered")
                    }
                    _ => error,
                }
            })
        }
        Some(below) => {
            let part = Root::open(source).and_then(|source| source.resolve(below));
            let part =
                part.doing(|| format!("open {} in {}", below.display(), source.display()))?;
            sys::open_tree(part.as_fd(), "", recursive).doing(doing)
        }
    }
}
// ANCHOR_END: open_source

// ANCHOR: restrict
fn restrict(tree: &OwnedFd, bind: &Bind) -> nix::Result<()> {
    let (propagation, all) = bind.propagation.bits();
    if all == bind.recursive_flags {
        return sys::mount_setattr(tree.as_fd(), bind.flags.bits(), propagation, all);
    }
    sys::mount_setattr(tree.as_fd(), 0, propagation, all)?;
    sys::mount_setattr(tree.as_fd(), bind.flags.bits(), 0, bind.recursive_flags)
}
// ANCHOR_END: restrict

fn is_dir(fd: BorrowedFd) -> nix::Result<bool> {
    Ok(SFlag::from_bits_truncate(fstat(fd)?.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR)
}

// ANCHOR: directory
/// The directory to mount on, made if it is missing. `exact`: with no link on the way.
fn directory(root: &Root, path: &Path, exact: bool) -> Result<OwnedFd> {
    let found = match exact {
        true => root.resolve_plain(path),
        false => root.resolve(path),
    };
    let found = match found {
        Err(Errno::ENOENT) if exact => root.mkdir_plain(path, 0o755),
        Err(Errno::ENOENT) => root.mkdir_all(path, 0o755),
        found => found,
    };
    let found = found.map_err(|errno| no_place(path, errno))?;
    match is_dir(found.as_fd()) {
        Ok(true) => Ok(found),
        Ok(false) => Err(no_place(path, Errno::ENOTDIR)),
        Err(errno) => Err(no_place(path, errno)),
    }
}
// ANCHOR_END: directory

/// The file to mount on, made if it is missing.
fn file(root: &Root, path: &Path) -> Result<OwnedFd> {
    let found = match root.resolve(path) {
        Err(Errno::ENOENT) => {
            let parent = path.parent().unwrap_or(Path::new("/"));
            let create = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
            root.mkdir_all(parent, 0o755)
                .and_then(|_| root.open_with(path, create, 0o755))
                .and_then(|_| root.resolve(path))
        }
        found => found,
    };
    let found = found.map_err(|errno| no_place(path, errno))?;
    match is_dir(found.as_fd()) {
        Ok(false) => Ok(found),
        Ok(true) => Err(no_place(path, Errno::EISDIR)),
        Err(errno) => Err(no_place(path, errno)),
    }
}

fn no_place(path: &Path, errno: Errno) -> Error {
    let error = Error::os(
        format!("find a place to mount on at {} in the container", path.display()),
        errno,
    );
    match errno {
        Errno::ELOOP => {
            error.hint("the image has a symbolic link there, which could lead the mount elsewhere")
        }
        Errno::ENOTDIR => error.hint("are you trying to mount a directory onto a file?"),
        Errno::EISDIR => error.hint("are you trying to mount a file onto a directory?"),
        Errno::EROFS => {
            error.hint("it is missing in the image, and cannot be made in a read-only one")
        }
        _ => error,
    }
}

/// What programs such as lxcfs replace in /proc to show the container's own numbers.
const REPLACEABLE: [&str; 8] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
];

// ANCHOR: refuse_proc
/// A mount over /proc would deceive whoever sets up the container through it
/// (CVE-2019-16884), so the place itself is asked where it lies, not its name.
fn refuse_proc(target: &OwnedFd, destination: &Path) -> Result<()> {
    let inside = is_proc(target).doing(|| format!("look at {}", destination.display()))?;
    let harmless = REPLACEABLE.iter().any(|path| destination == Path::new(path));
    if inside && !harmless { Err(in_proc(destination)) } else { Ok(()) }
}

fn is_proc(fd: &OwnedFd) -> nix::Result<bool> {
    Ok(fstatfs(fd)?.filesystem_type() == PROC_SUPER_MAGIC)
}

fn in_proc(destination: &Path) -> Error {
    Error::new(format!("mount on {}: it is inside of /proc", destination.display()))
        .hint("choose another path in the container")
}
// ANCHOR_END: refuse_proc

// ANCHOR: pivot
/// Makes `root` the root of this mount namespace and lets go of the old one.
///
/// With both arguments `.`, the old root ends up on top of the new one, at the same
/// place, and needs no directory in the image to be put. It is detached from there;
/// after that no path leads back to the host.
fn pivot(root: &Root) -> Result<()> {
    fchdir(root).doing(|| "change to the new root")?;
    pivot_root(".", ".").doing(|| "pivot_root(\".\", \".\")").map_err(|error| match error.errno {
        Some(errno) if errno == Errno::EINVAL as i32 => error.hint(
            "a root in memory only (initramfs) cannot be left: start the machine from a disk, or from a root in tmpfs",
        ),
        _ => error,
    })?;
    umount2(".", MntFlags::MNT_DETACH).doing(|| "detach the old root")?;
    chdir("/").doing(|| "change to /")
}
// ANCHOR_END: pivot

/// In the parent: copies of the trees that must keep their ties to the host. In the
/// child's namespace they would be cut already.
pub(crate) fn take(ops: &[Op], taken: &mut Vec<(usize, OwnedFd)>) -> Result<()> {
    for op in ops {
        if let Op::Bind(Bind { taken: Some(index), source, subpath, recursive, .. }) = op
            && find(taken, Some(*index)).is_none()
        {
            taken.push((*index, open_source(source, subpath.as_deref(), *recursive)?));
        }
    }
    Ok(())
}

fn find(taken: &[(usize, OwnedFd)], index: Option<usize>) -> Option<&OwnedFd> {
    taken.iter().find(|(place, _)| Some(*place) == index).map(|(_, tree)| tree)
}

/// A detached copy of what process `pid` has mounted at `path`.
///
/// Only what is in the caller's own mount namespace can be copied, so the caller goes
/// there, and comes back. What it finds is the other container's to decide; no link
/// there leads it further than that container's own root.
pub(crate) fn tree_of_process(pid: Pid, path: &Path) -> Result<OwnedFd> {
    let doing = || format!("open {} of process {pid}", path.display());
    let namespace = |of: &str| File::open(format!("/proc/{of}/ns/mnt")).doing(doing);
    let (ours, theirs) = (namespace("self")?, namespace(&pid.to_string())?);
    let (root, folder) = (Root::open("/").doing(doing)?, Root::open(".").doing(doing)?);
    setns(&theirs, CloneFlags::CLONE_NEWNS).doing(doing)?;
    let found = Root::open("/").and_then(|root| root.resolve(path));
    let tree = found.and_then(|found| sys::open_tree(found.as_fd(), "", true));
    setns(&ours, CloneFlags::CLONE_NEWNS).doing(|| "come back to the own mount namespace")?;
    // setns(2) has made the namespace's root ours, which it need not have been.
    fchdir(&root).and_then(|()| chroot(".")).doing(|| "come back to the own root")?;
    fchdir(&folder).doing(|| "come back to the own folder")?;
    tree.doing(doing)
}
