//! Namespaces that are shared with other containers of the same store.

use std::path::Path;

use namespaces::{Error, Namespaces, Result};
use nix::unistd::Pid;
use rootfs::Rootfs;

use super::instructions::Partner;
use crate::store::ContainerDir;

/// Containers that run, each with its first process.
pub(super) struct Partners<'a>(Vec<(&'a Partner, ContainerDir, Pid)>);

impl<'a> Partners<'a> {
    /// Looks up which processes are meant now.
    ///
    /// # Errors
    /// One that does not run.
    pub fn find(asked: &'a [Partner], dir: &ContainerDir) -> Result<Self> {
        let one = |partner: &'a Partner| {
            let folder = dir.path().with_file_name(&partner.id);
            let folder = ContainerDir::at(folder);
            Ok((partner, folder.clone(), first_process(&folder)?))
        };
        asked.iter().map(one).collect::<Result<_>>().map(Self)
    }

    /// Joins what is to be shared.
    pub fn share(&self, mut namespaces: Namespaces) -> Result<Namespaces> {
        for (partner, dir, pid) in &self.0 {
            let flag = |on, flag| if on { flag } else { 0 };
            let kinds =
                flag(partner.pid, libc::CLONE_NEWPID) | flag(partner.ipc, libc::CLONE_NEWIPC);
            namespaces = namespaces.of_process(*pid, kinds as u64)?;
            still_runs(dir, *pid)?;
        }
        Ok(namespaces)
    }

    /// POSIX shared memory has no namespace: it is files, and lies in /dev/shm.
    pub fn share_memory(&self, mut root: Rootfs) -> Result<Rootfs> {
        for (_, dir, pid) in self.0.iter().filter(|(partner, ..)| partner.ipc) {
            root.share(*pid, Path::new("/dev/shm"))?;
            still_runs(dir, *pid)?;
        }
        Ok(root)
    }
}

fn first_process(dir: &ContainerDir) -> Result<Pid> {
    let state = dir.state()?;
    if state.is_alive() {
        return Ok(Pid::from_raw(state.pid));
    }
    Err(Error::new(format!("share the namespaces of container {}: it is not running", dir.id())))
}

/// A number is used again when a process has ended: what was opened by it is the
/// container's only if that runs still.
fn still_runs(dir: &ContainerDir, pid: Pid) -> Result<()> {
    match first_process(dir)? == pid {
        true => Ok(()),
        false => Err(Error::new(format!(
            "share the namespaces of container {}: it was just started again",
            dir.id()
        ))),
    }
}
