//! The overlay itself: read-only layers, and one on top that takes the changes.
//!
//! The classic way, `mount -o lowerdir=a:b:c`, has room for one page of text: some
//! dozens of layers. Here each layer is an open directory. Since Linux 6.13 overlayfs
//! takes it as such; before, the process changes to /proc/self/fd, where each layer has
//! a name of a few bytes, so that 500 of them (the kernel's limit) fit in the page.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use namespaces::{Context, Error, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount as mount_classic};
use nix::sys::stat::Mode;
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};
use nix::unistd::{chdir, fchdir};

use crate::act::{attach_root, with_log};
use crate::sys::{self, Config};
use crate::{Root, Upper};

struct Layers {
    top_first: Vec<OwnedFd>,
    upper: Option<(OwnedFd, OwnedFd)>,
}

/// Mounts the layers as one tree on `target`, and returns its root.
pub(crate) fn mount(
    top_first: &[PathBuf],
    upper: Option<&Upper>,
    options: &[&str],
    target: &Path,
) -> Result<Root> {
    let layers = Layers {
        top_first: top_first.iter().map(|layer| open_dir(layer)).collect::<Result<_>>()?,
        upper: match upper {
            Some(Upper { upper, work }) => Some((open_dir(upper)?, open_dir(work)?)),
            None => None,
        },
    };
    let mounted = match by_descriptors(&layers, options) {
        Ok(mount) => attach_root(mount, target),
        // The answers to a request that the kernel does not know, the second before Linux 6.5.
        // But EINVAL may have been meant.
        Err(error) if error.is(Errno::EINVAL) => {
            by_names(&layers, options, target).map_err(|_| error)
        }
        Err(error) if error.is(Errno::EOPNOTSUPP) => by_names(&layers, options, target),
        Err(error) => Err(error),
    };
    mounted.map_err(|error| diagnose(error, upper))
}

fn open_dir(path: &Path) -> Result<OwnedFd> {
    // Not O_PATH: fsconfig(2) takes that only since Linux 6.15.
    open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .doing(|| format!("open the layer {}", path.display()))
}

// ANCHOR: by_descriptors
/// The new way: `lowerdir+` appends one layer.
fn by_descriptors(layers: &Layers, options: &[&str]) -> Result<OwnedFd> {
    let doing = || "mount overlay on /";
    let fs = sys::fsopen("overlay").doing(doing)?;
    let set = |request| {
        sys::fsconfig(fs.as_fd(), request).doing(doing).map_err(|error| with_log(error, &fs))
    };
    set(Config::Text("source", "overlay"))?;
    for layer in &layers.top_first {
        set(Config::Fd("lowerdir+", layer.as_fd()))?;
    }
    if let Some((upper, work)) = &layers.upper {
        set(Config::Fd("upperdir", upper.as_fd()))?;
        set(Config::Fd("workdir", work.as_fd()))?;
    }
    for option in options {
        set(Config::Flag(option))?;
    }
    set(Config::Create)?;
    sys::fsmount(fs.as_fd(), 0).doing(doing)
}
// ANCHOR_END: by_descriptors

// ANCHOR: by_names
/// The classic way, with names as short as `7`.
fn by_names(layers: &Layers, options: &[&str], target: &Path) -> Result<Root> {
    let doing = || "mount overlay on /";
    let data = classic_options(layers, options);
    let (kind, data) = (Some("overlay"), Some(data.as_str()));
    let before = open_dir(Path::new("."))?;
    chdir("/proc/self/fd").doing(doing)?;
    let mounted = mount_classic(kind, target, kind, MsFlags::empty(), data).doing(doing);
    fchdir(before).doing(doing)?;
    mounted.and_then(|()| Root::open(target).doing(doing))
}
// ANCHOR_END: by_names

fn classic_options(layers: &Layers, options: &[&str]) -> String {
    let names: Vec<_> =
        layers.top_first.iter().map(|layer| layer.as_raw_fd().to_string()).collect();
    let mut data = format!("lowerdir={}", names.join(":"));
    if let Some((upper, work)) = &layers.upper {
        data += &format!(",upperdir={},workdir={}", upper.as_raw_fd(), work.as_raw_fd());
    }
    options.iter().for_each(|option| data += &format!(",{option}"));
    data
}

// ANCHOR: diagnose
/// Says what the cause is, where it can be known.
fn diagnose(error: Error, upper: Option<&Upper>) -> Error {
    let on_overlay = |path: &Path| {
        statfs(path).is_ok_and(|found| found.filesystem_type() == OVERLAYFS_SUPER_MAGIC)
    };
    match (error.errno.map(Errno::from_raw), upper) {
        (Some(Errno::EINVAL), Some(upper)) if on_overlay(&upper.upper) => {
            error.hint("the upper directory is itself on overlayfs; pass --root on a real disk")
        }
        (Some(Errno::EINVAL), Some(upper)) if upper.work.join("work/incompat/volatile").exists() => error
            .hint("this upper directory belonged to a volatile mount, and its content is not to be trusted; remove it"),
        (Some(Errno::EINVAL | Errno::EOPNOTSUPP), Some(_)) if error.hint.is_none() => error.hint(
            "the filesystem of the upper directory cannot keep one (no extended attributes, or no whiteouts); \
             pass --root on ext4, xfs or btrfs",
        ),
        (Some(Errno::EPERM), _) => {
            error.hint("overlayfs in a user namespace takes Linux 5.11; run as root, or with a newer kernel")
        }
        (Some(Errno::ENODEV), _) => error.hint("the kernel has no overlayfs; as root: modprobe overlay"),
        (Some(Errno::EBUSY), _) => error.hint("another container uses the same upper directory"),
        _ => error,
    }
}
// ANCHOR_END: diagnose
