//! A container's control group, and who is in it.

use std::collections::HashSet;
use std::fs;

use cgroups::Group;
use nix::unistd::Pid;
use oci_spec::runtime::Spec;

use super::containers::Container;
use super::error::{Error, Result};
use crate::store::State;

impl Container {
    /// The OCI configuration that its shim runs it by.
    pub fn spec(&self) -> Result<Spec> {
        let path = self.dir.config();
        serde_json::from_slice(&fs::read(&path)?)
            .map_err(|error| Error::system(format!("read {}: {error}", path.display())))
    }

    /// Its control group; none for an ordinary user's container that has no limits.
    pub fn group(&self) -> Result<Option<Group>> {
        let spec = self.spec()?;
        let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
        let name = path.map(|path| path.to_string_lossy().trim_matches('/').to_owned());
        Ok(name.and_then(|name| Group::open(&name).ok()))
    }

    /// The processes in it, as the host counts.
    pub fn pids(&self, state: &State) -> Result<Vec<Pid>> {
        match self.group()? {
            Some(group) => Ok(group.pids()?),
            None => Ok(in_namespace_of(Pid::from_raw(state.pid))),
        }
    }
}

/// The processes in the pid namespace of `first`, where there is no group to ask.
fn in_namespace_of(first: Pid) -> Vec<Pid> {
    let namespace = |pid: Pid| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(wanted) = namespace(first) else { return Vec::new() };
    // What it shares with us tells nobody apart.
    if Some(&wanted) == namespace(Pid::this()).as_ref() {
        return vec![first];
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let inside = all.map(Pid::from_raw).filter(|pid| namespace(*pid).as_ref() == Some(&wanted));
    inside.collect::<HashSet<_>>().into_iter().collect()
}
