//! Devices: which nodes a container has, and what may be done with them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use bollard_stubs::models::{DeviceMapping, HostConfig};
use cgroups::DeviceRule;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType};
use rootfs::cli::HostDevice;

use super::error::{Error, Result};

/// What in /dev is the container's own, or means another one's terminal.
const NOT_SHARED: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", "console"];

/// How deep folders below a device's path are looked into.
const DEEPEST: usize = 16;

/// `--device`, `--device-cgroup-rule` and `--privileged`: nodes to make, and permissions.
pub fn devices(host: &HostConfig) -> Result<(Vec<LinuxDevice>, Vec<DeviceRule>)> {
    let bad = |error: namespaces::Error| Error::bad_parameter(error.to_string());
    let (mut nodes, mut rules) = (Vec::new(), Vec::new());
    if host.privileged == Some(true) {
        // Some of them may vanish at this moment, and some be no real ones.
        let found = below(Path::new("/dev"), DEEPEST).into_iter();
        nodes.extend(found.filter_map(|path| node(&path, &path, "rwm").ok()).map(|found| found.0));
    }
    for mapping in host.devices.iter().flatten() {
        let access = mapping.cgroup_permissions.as_deref().filter(|access| !access.is_empty());
        for (source, path) in pairs(mapping)? {
            let (node, rule) = node(&source, &path, access.unwrap_or("rwm")).map_err(bad)?;
            nodes.retain(|old: &LinuxDevice| old.path() != node.path());
            nodes.push(node);
            rules.push(rule);
        }
    }
    for rule in host.device_cgroup_rules.iter().flatten() {
        rules.push(rule.parse().map_err(bad)?);
    }
    Ok((nodes, rules))
}

/// For the places of devices that were asked for, what is there on the host.
pub fn sources(host: &HostConfig) -> Result<BTreeMap<PathBuf, PathBuf>> {
    let mut sources = BTreeMap::new();
    for mapping in host.devices.iter().flatten() {
        sources.extend(pairs(mapping)?.into_iter().map(|(source, path)| (path, source)));
    }
    Ok(sources)
}

/// One device, or all in a folder, each with its place in the container.
fn pairs(mapping: &DeviceMapping) -> Result<Vec<(PathBuf, PathBuf)>> {
    let source = PathBuf::from(mapping.path_on_host.clone().unwrap_or_default());
    let path = mapping.path_in_container.clone().filter(|path| !path.is_empty());
    let path = path.map_or_else(|| source.clone(), PathBuf::from);
    if !source.is_dir() {
        return Ok(vec![(source, path)]);
    }
    let real = source.canonicalize()?;
    let place = |found: PathBuf| {
        let place = path.join(found.strip_prefix(&real).unwrap_or(&found));
        (found, place)
    };
    let all: Vec<_> = below(&real, DEEPEST).into_iter().map(place).collect();
    match all.is_empty() {
        true => Err(Error::bad_parameter(format!(
            "error gathering device information while adding custom device {:?}: \
             there is no device in this folder",
            source.display().to_string()
        ))),
        false => Ok(all),
    }
}

/// The device nodes below a folder, without following links.
fn below(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let shared = entries.filter(|entry| !NOT_SHARED.iter().any(|name| entry.file_name() == *name));
    let mut found = Vec::new();
    for entry in shared {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => found.extend(below(&entry.path(), depth - 1)),
            Ok(kind) if kind.is_char_device() || kind.is_block_device() => found.push(entry.path()),
            _ => {}
        }
    }
    found.sort();
    found
}

fn node(source: &Path, path: &Path, access: &str) -> namespaces::Result<(LinuxDevice, DeviceRule)> {
    let text = format!("{}:{}:{access}", source.display(), path.display());
    let (node, rule) = text.parse::<HostDevice>().and_then(|device| device.look_up())?;
    let kind = if node.block { LinuxDeviceType::B } else { LinuxDeviceType::C };
    let builder = LinuxDeviceBuilder::default().path(node.path).typ(kind);
    let builder = builder.major(i64::from(node.major)).minor(i64::from(node.minor));
    let builder = builder.file_mode(node.mode).uid(node.uid).gid(node.gid);
    Ok((builder.build().expect("all fields are given"), rule))
}
