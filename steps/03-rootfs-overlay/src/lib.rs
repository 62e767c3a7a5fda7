//! Lesson 3: a container that stands on its own, layered, root.
//!
//! [`Rootfs`] is the mechanism: layers below, one directory on top that takes the
//! changes, and everything that a program expects to find mounted. What will be done is
//! decided first, as data ([`plan`]); then the child carries it out, in its own
//! mount namespace. Nothing is ever mounted on the host, so nothing can be left there.

mod act;
mod cgroupfs;
mod changes;
pub mod cli;
mod copy;
mod dev;
pub mod doctor;
mod facts;
mod mask;
mod mount;
mod overlay;
mod plan;
mod root;
mod scratch;
mod sys;
mod workdir;

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use namespaces::{CloneArgs, Context, Mechanism, Result};
use nix::unistd::Pid;

pub use cgroupfs::{Hierarchy, View};
pub use changes::{Change, ChangeKind, changes};
pub use dev::DevConsole;
pub use facts::Facts;
pub use mount::{
    DEFAULT_MASKED, DEFAULT_READONLY, Device, Flags, Kind, Mount, Propagation, default_devices,
    default_masked, default_mounts, shm,
};
pub use plan::{Bind, Filesystem, Op, plan};
pub use root::Root;
pub use scratch::Scratch;
pub use workdir::WorkingDirectory;

/// The chapter that explains what this crate asks of the kernel.
const CHAPTER: u8 = 3;

/// The root of a container. All fields are the caller's to change before the start.
#[derive(Debug, Default)]
pub struct Rootfs {
    /// Directories, the bottom layer first. A single one without `upper` is the root
    /// itself, and takes the changes.
    pub layers: Vec<PathBuf>,
    /// What takes the changes. Without, several layers are a read-only root.
    pub upper: Option<Upper>,
    /// A directory of the host that the root is attached to before it becomes `/`; seen
    /// by the container's first process only.
    pub target: PathBuf,
    /// What is mounted in it, in this order.
    pub mounts: Vec<Mount>,
    /// What is made in its /dev.
    pub devices: Vec<Device>,
    /// Paths that are hidden; those that do not exist do not matter.
    pub masked: Vec<PathBuf>,
    /// Paths that cannot be written to; likewise.
    pub readonly_paths: Vec<PathBuf>,
    /// The root itself cannot be written to.
    pub read_only: bool,
    /// Changes need not survive a crash of the machine, nor a second start: no sync(2)
    /// when the container ends.
    pub volatile: bool,
    /// What was copied in the parent, with its place in `mounts`.
    taken: Vec<(usize, OwnedFd)>,
}

/// The directories of an overlay that can be written to, both on one filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upper {
    /// Takes the changes. Its owner and mode are those of `/` in the container.
    pub upper: PathBuf,
    /// overlayfs's own; empty before the first use.
    pub work: PathBuf,
}

impl Upper {
    /// The directories `upper` and `work` below `dir`, made if they are missing.
    pub fn below(dir: &Path) -> Result<Upper> {
        let found = Upper { upper: dir.join("upper"), work: dir.join("work") };
        for (dir, mode) in [(&found.upper, 0o755), (&found.work, 0o700)] {
            let made = DirBuilder::new().recursive(true).mode(mode).create(dir);
            made.doing(|| format!("create {}", dir.display()))?;
        }
        Ok(found)
    }
}

impl Rootfs {
    /// A root of these layers (bottom first), with Docker's mounts, devices, masked and
    /// read-only paths.
    pub fn new(layers: Vec<PathBuf>, upper: Option<Upper>, target: impl Into<PathBuf>) -> Rootfs {
        Rootfs {
            mounts: default_mounts(),
            devices: default_devices(),
            masked: default_masked(),
            readonly_paths: DEFAULT_READONLY.iter().map(PathBuf::from).collect(),
            ..Rootfs::bare(layers, upper, target)
        }
    }

    /// A root of these layers, with nothing mounted in it, and nothing hidden.
    pub fn bare(layers: Vec<PathBuf>, upper: Option<Upper>, target: impl Into<PathBuf>) -> Rootfs {
        Rootfs { layers, upper, target: target.into(), ..Rootfs::default() }
    }

    /// Adds a mount. What was to be mounted at the same place is not; with a /dev or a
    /// /sys of the caller's, neither is what belongs to the default one.
    pub fn add_mount(&mut self, mount: Mount) {
        let place = mount.destination.clone();
        let whole = ["/dev", "/sys"].iter().any(|dir| place == Path::new(dir));
        self.mounts.retain(|old| {
            let below = whole && old.destination.starts_with(&place);
            old.destination != place && !below
        });
        self.mounts.push(mount);
    }

    /// Shows at `path` what another container, that of process `pid`, has there. To be
    /// called when all other mounts are known.
    ///
    /// # Errors
    /// There is no such process, or nothing at `path`. Refused with more than one thread.
    pub fn share(&mut self, pid: Pid, path: &Path) -> Result<()> {
        let tree = act::tree_of_process(pid, path)?;
        self.add_mount(Mount::bind(path, path));
        self.taken.push((self.mounts.len() - 1, tree));
        Ok(())
    }
}

impl Rootfs {
    /// Puts everything in its place, but does not make it the root of this process: for
    /// who wants to look at a container that does not run, or copy something into it.
    ///
    /// Call it in a mount namespace of its own, whose mounts are private: what is
    /// mounted goes when the last process in that namespace does.
    pub fn assemble(&self) -> Result<Root> {
        let mut ops = plan(self, &Facts::detect())?;
        ops.retain(|op| *op != Op::PivotRoot);
        let root = act::act(&ops, &[])?;
        Ok(root.expect("a plan begins with the root"))
    }
}

// ANCHOR: mechanism
impl Mechanism for Rootfs {
    fn before_clone(&mut self, _: &mut CloneArgs) -> Result<()> {
        if self.mounts.iter().any(|mount| mount.propagation.is_tied())
            && nix::unistd::geteuid().is_root()
        {
            let ops = plan(self, &Facts::default())?;
            act::take(&ops, &mut self.taken)?;
        }
        Ok(())
    }

    fn in_child(&self) -> Result<()> {
        let ops = plan(self, &Facts::detect())?;
        act::act(&ops, &self.taken).map(drop)
    }

    fn teardown(&mut self) -> Result<()> {
        // The mounts went with the namespace. The copies are still held here.
        self.taken.clear();
        Ok(())
    }
}
// ANCHOR_END: mechanism
