//! The root of a container that does not run, put together for somebody to look at.

use std::fs;

use namespaces::{Context, Error, Result};
use oci_spec::runtime::Spec;
use rootfs::{Kind, Mount, Propagation, Root, Rootfs, Upper};

use super::instructions::Instructions;
use super::mounts;
use crate::store::{self, ContainerDir};

/// The files that the engine writes for a container.
const FILES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// The layers, and the volumes in their places. What the kernel shows in a container
/// (/proc, /dev, /sys, memory) is not there, and nothing ties it to the host's mounts.
///
/// Call it in a mount namespace of its own: what is mounted goes with that.
pub fn assemble(dir: &ContainerDir) -> Result<Root> {
    let what = || format!("read {}", dir.config().display());
    let spec: Spec = serde_json::from_slice(&fs::read(dir.config()).doing(what)?)
        .map_err(|error| Error::new(format!("{}: {error}", what())))?;
    let instructions: Instructions = store::read(&dir.instructions())?.unwrap_or_default();
    let mut mounts = Vec::new();
    for oci in spec.mounts().iter().flatten() {
        let mount = mounts::mount(oci, &instructions)?;
        if matches!(mount.kind, Kind::Bind { .. }) {
            mounts.push(Mount { propagation: Propagation::RPrivate, ..mount });
        }
    }
    for file in FILES {
        let (path, place) = (dir.path().join(file), format!("/etc/{file}"));
        let free = mounts.iter().all(|mount| mount.destination.as_os_str() != place.as_str());
        if free && path.exists() {
            mounts.push(Mount::bind(path, place));
        }
    }
    let oci_root = spec.root().as_ref();
    let (layers, upper) = match instructions.layers.as_slice() {
        [] => {
            let path = oci_root.map_or("rootfs".into(), |root| root.path().clone());
            (vec![dir.path().join(path)], None)
        }
        layers => (layers.to_vec(), Some(Upper { upper: dir.upper(), work: dir.work() })),
    };
    let mut root = Rootfs::new(layers, upper, dir.rootfs());
    root.mounts = mounts;
    root.devices.clear();
    root.masked.clear();
    root.readonly_paths.clear();
    root.read_only = oci_root.and_then(|root| root.readonly()).unwrap_or(false);
    root.assemble()
}
