//! `--pid`, `--ipc`, `--uts`, `--userns`, `--cgroupns`: whose world a container sees.

use bollard_stubs::models::{ContainerConfig, HostConfig};
use oci_spec::runtime::{LinuxNamespaceType as Kind, Mount, MountBuilder, Spec};

use super::containers::Containers;
use super::error::{Error, Result};
use crate::runtime::Partner;

/// True for the mode `host` of a namespace.
pub fn shares_host(mode: Option<&str>) -> bool {
    mode == Some("host")
}

/// The other container that a mode means.
fn other(mode: &Option<String>) -> Option<&str> {
    mode.as_deref()?.strip_prefix("container:")
}

/// Refuses modes that there are not, and what contradicts them.
pub fn check(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    let modes: [(&str, &Option<String>, &[&str]); 4] = [
        ("PID", &host.pid_mode, &["", "host", "private"]),
        ("IPC", &host.ipc_mode, &["", "host", "private", "shareable", "none"]),
        ("UTS", &host.uts_mode, &["", "host"]),
        ("user namespace", &host.userns_mode, &["", "host"]),
    ];
    for (what, mode, known) in modes {
        let text = mode.as_deref().unwrap_or("");
        let named =
            matches!(what, "PID" | "IPC") && other(mode).is_some_and(|name| !name.is_empty());
        if !named && !known.contains(&text) {
            return Err(Error::bad_parameter(format!("invalid {what} mode: {text}")));
        }
    }
    let named = config.hostname.as_deref().is_some_and(|name| !name.is_empty());
    if named && shares_host(host.uts_mode.as_deref()) {
        return Err(Error::bad_parameter("conflicting options: hostname and the UTS mode"));
    }
    Ok(())
}

/// The containers whose namespaces this one joins.
///
/// # Errors
/// One that there is not, or that does not let itself be joined.
pub fn partners(host: &HostConfig, containers: &Containers) -> Result<Vec<Partner>> {
    let mut partners: Vec<Partner> = Vec::new();
    for (mode, pid) in [(&host.pid_mode, true), (&host.ipc_mode, false)] {
        let Some(name) = other(mode) else { continue };
        let found = containers.find(name)?.record;
        let theirs = found.host_config.ipc_mode.as_deref().unwrap_or("");
        if !pid && !matches!(theirs, "shareable" | "host") {
            return Err(Error::bad_parameter(format!(
                "can't join IPC of container {}: non-shareable IPC \
                 (hint: use IpcMode:shareable for the donor container)",
                found.id
            )));
        }
        match partners.iter_mut().find(|partner| partner.id == found.id) {
            Some(known) => known.ipc = true,
            None => partners.push(Partner { id: found.id, pid, ipc: !pid }),
        }
    }
    Ok(partners)
}

/// Takes out of the configuration what is not the container's own.
pub fn apply(spec: &mut Spec, host: &HostConfig) {
    let mut taken = Vec::new();
    let mut take = |kind, when: bool| taken.extend(when.then_some(kind));
    let shared = |mode: &Option<String>| shares_host(mode.as_deref()) || other(mode).is_some();
    take(Kind::Pid, shared(&host.pid_mode));
    take(Kind::Ipc, shared(&host.ipc_mode));
    take(Kind::Uts, shared(&host.uts_mode));
    take(Kind::Network, shares_host(host.network_mode.as_deref()));
    let cgroup = host.cgroupns_mode.map(|mode| mode.to_string());
    // Docker's rule for v1 and v2 alike: who may do all, sees all.
    take(Kind::Cgroup, shares_host(cgroup.as_deref()));
    let linux = spec.linux_mut().as_mut().expect("the default has a linux section");
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    namespaces.retain(|namespace| !taken.contains(&namespace.typ()));
    linux.set_namespaces(Some(namespaces));
    share_memory(spec, host);
}

/// POSIX shared memory is files in /dev/shm, and goes with the ipc mode.
fn share_memory(spec: &mut Spec, host: &HostConfig) {
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    let is_shm = |mount: &Mount| mount.destination().as_os_str() == "/dev/shm";
    match host.ipc_mode.as_deref() {
        Some("host") => {
            let bind = MountBuilder::default().destination("/dev/shm").typ("bind");
            let bind = bind.source("/dev/shm").options(["rbind", "rprivate"].map(String::from));
            mounts.retain(|mount| !is_shm(mount));
            mounts.push(bind.build().expect("all fields are given"));
        }
        // Of another container, the shim asks for it.
        Some(mode) if mode == "none" || mode.starts_with("container:") => {
            mounts.retain(|mount| !is_shm(mount));
        }
        _ => {}
    }
    spec.set_mounts(Some(mounts));
}
