//! What is done about a container whose shim was killed.
//!
//! The kernel has killed the container with it, and taken back mounts and
//! namespaces. Left are the cgroup, the address, the ports' rules, and a record that
//! says "running".

use std::fs;

use cgroups::Cgroup;
use namespaces::{Context, Error, Result};
use networking::Networks;
use nix::errno::Errno;
use oci_spec::runtime::Spec;

use super::Instructions;
use super::shim::{self, SOCKET};
use crate::store::{self, ContainerDir, Events, Lock, State};

/// What a container was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It has a shim, which knows more.
    Owned,
    /// Nobody owns it, and there is nothing to do: it has not run yet, or has ended.
    Settled(State),
    /// Its shim was killed. What was left of it is gone now, and its state is this.
    Dead(State),
    /// The same, and it was to be removed at its end: it is.
    Removed,
}

// ANCHOR: reconcile
/// Looks at a container, and cleans up behind a shim that was killed.
pub fn reconcile(dir: &ContainerDir) -> Result<Found> {
    if !dir.lock_path().exists() {
        return dir.state().map(Found::Settled);
    }
    // Held until the end: of two engines only one cleans up.
    let lock = match Lock::try_exclusive(&dir.lock_path()) {
        // Its shim has removed it at this moment.
        Err(error) if error.is(Errno::ENOENT) => return dir.state().map(Found::Settled),
        lock => lock?,
    };
    let Some(_lock) = lock else { return Ok(Found::Owned) };
    let state = dir.state()?;
    // The shim removes its socket when it has tidied up.
    let socket = dir.path().join(SOCKET);
    if !state.is_alive() && !socket.exists() {
        return Ok(Found::Settled(state));
    }
    give_back(dir)?;
    let _ = fs::remove_file(&socket);
    let instructions: Instructions = store::read(&dir.instructions())?.unwrap_or_default();
    if state.is_alive() {
        let code = (128 + libc::SIGKILL).to_string();
        Events::of(dir.root()).tell_container(dir, "die", &[("exitCode", &code)]);
    }
    if let Some(removal) = &instructions.auto_remove {
        shim::auto_remove(dir, removal)?;
        return Ok(Found::Removed);
    }
    let state = if state.is_alive() { state.killed() } else { state };
    match dir.set_state(&state, true) {
        // On a disk that the container has filled it must still be seen, and removed: that
        // makes room. The next who looks finds the same.
        Err(error) if !error.is(Errno::ENOSPC) && !error.is(Errno::EDQUOT) => Err(error),
        _ => Ok(Found::Dead(state)),
    }
}
// ANCHOR_END: reconcile

/// The cgroup, with whoever is left in it, and what the network holds for it.
fn give_back(dir: &ContainerDir) -> Result<()> {
    let bytes = fs::read(dir.config()).doing(|| format!("read {}", dir.config().display()))?;
    let spec: Spec = serde_json::from_slice(&bytes)
        .map_err(|error| Error::new(format!("read {}: {error}", dir.config().display())))?;
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    if let Some(path) = path {
        match Cgroup::open(path.to_string_lossy().trim_matches('/')) {
            Ok(group) => group.remove()?,
            Err(error) if error.is(Errno::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    let instructions: Instructions = store::read(&dir.instructions())?.unwrap_or_default();
    match instructions.network {
        Some(plan) => Networks::open(&plan.root)?.release(&dir.id()),
        None => Ok(()),
    }
}
