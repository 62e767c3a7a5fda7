//! `--volumes-from`: what another container mounts, mounted again.

use std::path::PathBuf;

use bollard_stubs::models::{HostConfig, MountPoint};
use rootfs::Propagation;
use volumes::{Bind, Recursive, Source, Spec, Volume};

use super::containers::Containers;
use super::error::{Error, Result};

/// The mounts of the containers that are named, the last one's at each place. What is
/// in memory is each container's own, and does not count.
///
/// # Errors
/// A container that there is not, or a mode that there is not.
pub fn specs(host: &HostConfig, containers: &Containers) -> Result<Vec<Spec>> {
    let mut all: Vec<Spec> = Vec::new();
    for text in host.volumes_from.iter().flatten() {
        let (name, mode) = text.split_once(':').unwrap_or((text, ""));
        let read_only = read_only(mode, text)?;
        for point in &containers.find(name)?.record.mounts {
            let Some(spec) = spec(point, read_only) else { continue };
            all.retain(|old| old.target != spec.target);
            all.push(spec);
        }
    }
    Ok(all)
}

/// `ro`; of the other words, those about SELinux labels mean nothing here.
fn read_only(mode: &str, text: &str) -> Result<bool> {
    let words: Vec<_> = mode.split(',').filter(|word| !word.is_empty()).collect();
    match words.iter().find(|word| !["ro", "rw", "z", "Z"].contains(*word)) {
        Some(_) => Err(Error::bad_parameter(format!("invalid volumes-from specification: {text}"))),
        None => Ok(words.contains(&"ro")),
    }
}

fn spec(point: &MountPoint, read_only: bool) -> Option<Spec> {
    let source = match point.typ.as_deref() {
        Some("volume") => Source::Volume(Volume {
            name: point.name.clone(),
            driver: point.driver.clone(),
            nocopy: true,
            subpath: None,
            labels: Default::default(),
            options: Default::default(),
        }),
        Some("bind") => Source::Bind(Bind {
            path: PathBuf::from(point.source.clone()?),
            create: false,
            propagation: point
                .propagation
                .as_deref()
                .and_then(Propagation::parse)
                .unwrap_or_default(),
            recursive: Recursive::Enabled,
        }),
        _ => return None,
    };
    Some(Spec {
        target: PathBuf::from(point.destination.clone()?),
        read_only: read_only || point.rw == Some(false),
        source,
        relabel: false,
    })
}
