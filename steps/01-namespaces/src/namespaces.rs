//! The mechanism of this lesson: a world of its own. See namespaces(7).

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::unistd::{Pid, sethostname};

use crate::error::{Context, Result};
use crate::explain::step;
use crate::id_map::IdMaps;
use crate::mechanism::{Child, CloneArgs, Mechanism};
use crate::sys;
use crate::userns;

const CHAPTER: u8 = 1;

const USER: u64 = libc::CLONE_NEWUSER as u64;

/// New namespaces for the container: which ones, and what is in them.
#[derive(Debug)]
pub struct Namespaces {
    flags: u64,
    joined: Vec<(OwnedFd, u64)>,
    joins_user: bool,
    hostname: Option<String>,
    domainname: Option<String>,
    maps: Option<IdMaps>,
}

impl Namespaces {
    /// No new namespace: the container shares the caller's world.
    pub fn none() -> Self {
        Self {
            flags: 0,
            joined: Vec::new(),
            joins_user: false,
            hostname: None,
            domainname: None,
            maps: None,
        }
    }

    // ANCHOR: container_flags
    /// What a container gets by default: pid, mount, uts, ipc, net and cgroup.
    pub fn container() -> Self {
        let flags = libc::CLONE_NEWPID
            | libc::CLONE_NEWNS
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWNET
            | libc::CLONE_NEWCGROUP;
        Self { flags: flags as u64, ..Self::none() }
    }
    // ANCHOR_END: container_flags

    /// The container shares one of the caller's namespaces: `libc::CLONE_NEWNET`.
    pub fn without(mut self, flag: i32) -> Self {
        self.flags &= !(flag as u64);
        self
    }

    /// One more namespace.
    pub fn and(mut self, flag: i32) -> Self {
        self.flags |= flag as u64;
        self
    }

    /// True if the container gets this namespace of its own.
    pub fn has(&self, flag: i32) -> bool {
        self.flags & flag as u64 != 0
    }

    /// Instead of new ones, these namespaces (`CLONE_NEW*`) of a process that is there.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of_process(self, pid: Pid, flags: u64) -> Result<Self> {
        let process = sys::pidfd_open(pid).doing(|| format!("find process {pid}"))?;
        Ok(self.of(process, flags))
    }

    /// Instead of a new one, the namespace that a file means: `/proc/PID/ns/net`, or
    /// wherever that is mounted.
    ///
    /// # Errors
    /// There is no such file.
    pub fn of_file(self, path: &Path, flag: i32) -> Result<Self> {
        let file = File::open(path).doing(|| format!("open the namespace {}", path.display()))?;
        Ok(self.of(file.into(), flag as u64))
    }

    /// The user namespace comes first: it decides over the others.
    fn of(mut self, namespaces: OwnedFd, flags: u64) -> Self {
        self.flags &= !flags;
        let place = if flags & USER != 0 { 0 } else { self.joined.len() };
        self.joined.insert(place, (namespaces, flags));
        self
    }

    /// The name that `hostname` shows inside; needs a uts namespace.
    pub fn hostname(mut self, name: impl Into<String>) -> Self {
        self.hostname = Some(name.into());
        self
    }

    /// The NIS domain name inside; needs a uts namespace.
    pub fn domainname(mut self, name: impl Into<String>) -> Self {
        self.domainname = Some(name.into());
        self
    }

    /// A user namespace too, with these maps: the way for whoever is not root.
    /// The kernel makes it first, and it owns all the others.
    pub fn user(mut self, maps: IdMaps) -> Self {
        self.maps = Some(maps);
        self.and(libc::CLONE_NEWUSER)
    }
}

impl Mechanism for Namespaces {
    fn before_clone(&mut self, args: &mut CloneArgs) -> Result<()> {
        args.flags |= self.flags;
        self.joins_user = self.joined.iter().any(|(_, flags)| flags & USER != 0);
        args.join.append(&mut self.joined);
        Ok(())
    }

    fn in_parent(&mut self, child: &Child) -> Result<()> {
        match &self.maps {
            Some(maps) => maps.write(child.pid),
            None => Ok(()),
        }
    }

    // ANCHOR: in_child
    fn in_child(&self) -> Result<()> {
        if self.maps.is_some() || self.joins_user {
            userns::become_root()?;
        }
        if self.has(libc::CLONE_NEWNS) {
            make_mounts_private()?;
        }
        if let Some(name) = &self.hostname {
            step(
                CHAPTER,
                || format!("sethostname({name:?})"),
                || sethostname(name).doing(|| format!("set the hostname to {name}")),
            )?;
        }
        if let Some(name) = &self.domainname {
            step(
                CHAPTER,
                || format!("setdomainname({name:?})"),
                || sys::setdomainname(name).doing(|| format!("set the domain name to {name}")),
            )?;
        }
        Ok(())
    }
    // ANCHOR_END: in_child
}

// ANCHOR: make_mounts_private
/// A new mount namespace starts as a copy whose mounts still tell the original of
/// every change. Cut that, or the container's mounts would appear on the host.
pub(crate) fn make_mounts_private() -> Result<()> {
    step(
        CHAPTER,
        || "mount(\"/\", MS_REC|MS_PRIVATE)".into(),
        || {
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
                .doing(|| "make the mounts private")
        },
    )
}
// ANCHOR_END: make_mounts_private
