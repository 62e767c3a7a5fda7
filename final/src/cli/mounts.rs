//! `--volume`, `--mount` and `--tmpfs` as the API wants them.
//!
//! They are read here, so that a mistake is told before anything is asked of the
//! engine, and a relative path means what it means where the command is typed.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use bollard_stubs::models::{
    Mount, MountBindOptions, MountBindOptionsPropagationEnum as PropagationWord, MountTmpfsOptions,
    MountType, MountVolumeOptions, MountVolumeOptionsDriverConfig,
};
use rootfs::Propagation;
use volumes::cli::VolumeArgs;
use volumes::{Recursive, Source, Spec, parse_mount, parse_tmpfs, parse_volume};

/// `--volume` with a source: `HostConfig.Binds`; without one: `Config.Volumes`.
pub fn binds(args: &VolumeArgs) -> Result<(Vec<String>, Vec<String>)> {
    let (mut binds, mut anonymous) = (Vec::new(), Vec::new());
    for (place, text) in args.volumes.iter().enumerate() {
        // What is said twice is meant once, as with Docker.
        if args.volumes[..place].contains(text) {
            continue;
        }
        match parse_volume(text, &here()?)?.source {
            Source::Volume(volume) if volume.name.is_none() => anonymous.push(text.clone()),
            Source::Bind(bind) => {
                let (_, rest) = text.split_once(':').context("a bind has a source")?;
                binds.push(format!("{}:{rest}", bind.path.display()));
            }
            _ => binds.push(text.clone()),
        }
    }
    Ok((binds, anonymous))
}

/// `--mount`: `HostConfig.Mounts`.
pub fn mounts(args: &VolumeArgs) -> Result<Vec<Mount>> {
    args.mounts.iter().map(|text| Ok(mount(parse_mount(text, &here()?)?))).collect()
}

/// `--tmpfs`: `HostConfig.Tmpfs`.
pub fn tmpfs(args: &VolumeArgs) -> Result<Option<HashMap<String, String>>> {
    let mut all = HashMap::new();
    for text in &args.tmpfs {
        let spec = parse_tmpfs(text)?;
        let options = text.split_once(':').map(|(_, options)| options).unwrap_or_default();
        all.insert(spec.target.display().to_string(), options.to_owned());
    }
    Ok(Some(all).filter(|all| !all.is_empty()))
}

fn here() -> Result<PathBuf> {
    std::env::current_dir().context("find the current directory")
}

fn mount(spec: Spec) -> Mount {
    let mut mount = Mount {
        target: Some(spec.target.display().to_string()),
        read_only: Some(spec.read_only),
        ..Default::default()
    };
    match spec.source {
        Source::Bind(bind) => {
            mount.typ = Some(MountType::BIND);
            mount.source = Some(bind.path.display().to_string());
            mount.bind_options = Some(MountBindOptions {
                propagation: Some(word(bind.propagation)),
                non_recursive: Some(bind.recursive == Recursive::Disabled),
                create_mountpoint: Some(bind.create),
                read_only_non_recursive: Some(bind.recursive == Recursive::Writable),
                read_only_force_recursive: None,
            });
        }
        Source::Volume(volume) => {
            mount.typ = Some(MountType::VOLUME);
            mount.source = volume.name;
            mount.volume_options = Some(MountVolumeOptions {
                no_copy: Some(volume.nocopy),
                labels: Some(volume.labels.into_iter().collect()),
                driver_config: Some(MountVolumeOptionsDriverConfig {
                    name: volume.driver,
                    options: Some(volume.options.into_iter().collect()),
                }),
                subpath: volume.subpath.map(|path| path.display().to_string()),
            });
        }
        Source::Tmpfs(tmpfs) => {
            let option =
                |key: &str| tmpfs.options.iter().find_map(|option| option.strip_prefix(key));
            mount.typ = Some(MountType::TMPFS);
            mount.tmpfs_options = Some(MountTmpfsOptions {
                size_bytes: option("size=").and_then(|size| size.parse().ok()),
                mode: option("mode=").and_then(|mode| i64::from_str_radix(mode, 8).ok()),
                options: None,
            });
        }
    }
    mount
}

fn word(propagation: Propagation) -> PropagationWord {
    match propagation {
        Propagation::Private => PropagationWord::PRIVATE,
        Propagation::RPrivate => PropagationWord::RPRIVATE,
        Propagation::Slave => PropagationWord::SLAVE,
        Propagation::RSlave => PropagationWord::RSLAVE,
        Propagation::Shared => PropagationWord::SHARED,
        Propagation::RShared => PropagationWord::RSHARED,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        volumes: VolumeArgs,
    }

    #[test]
    fn a_volume_that_is_asked_for_twice_is_mounted_once() {
        let line = Line::parse_from(["x", "-v", "/a:/b", "-v", "/a:/b", "-v", "/c", "-v", "/c"]);
        let found = binds(&line.volumes).unwrap();
        assert_eq!(found, (vec!["/a:/b".to_owned()], vec!["/c".to_owned()]));
    }
}
