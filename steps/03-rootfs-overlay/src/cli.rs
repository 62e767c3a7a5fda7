//! The flags of this lesson, with Docker's names and meanings.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use cgroups::cli::LimitArgs;
use cgroups::{Access, Cgroup, DeviceKind, DevicePolicy, DeviceRule};
use namespaces::cli::RunArgs;
use namespaces::{Context, Error, Result};
use nix::sys::stat::{major, minor};

use crate::{Device, Mount, Rootfs, shm};

/// The flags of `run` up to this lesson.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Args {
    /// Lesson 1's.
    #[command(flatten)]
    pub run: RunArgs,
    /// Lesson 2's.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// This lesson's.
    #[command(flatten)]
    pub root: RootArgs,
}

impl Args {
    /// The cgroup `name`, which permits the devices too.
    pub fn cgroup(&self, name: &str) -> Result<Cgroup> {
        let name = format!("{}/{name}", self.limits.cgroup_parent);
        let devices = match self.limits.devices() {
            DevicePolicy::Default(rules) => {
                DevicePolicy::Default([rules, self.root.device_rules()?].concat())
            }
            policy => policy,
        };
        Ok(Cgroup::new(&name, self.limits.limits()?, devices))
    }

    /// Sets `root` up as the flags say.
    ///
    /// # Errors
    /// A device that is not there, or is none.
    pub fn apply(&self, root: &mut Rootfs) -> Result<()> {
        self.root.apply(root)?;
        // POSIX shared memory is files, which no ipc namespace keeps apart or joins.
        if self.run.ipc.as_deref() == Some("host") {
            root.add_mount(Mount::bind("/dev/shm", "/dev/shm"));
        }
        Ok(())
    }
}

/// What a container stands on, whatever its layers come from.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Root")]
pub struct RootArgs {
    /// Mount the root read-only
    #[arg(long)]
    pub read_only: bool,

    /// Size of /dev/shm: 64m, 1g [default: 64m]
    #[arg(long, value_name = "BYTES", value_parser = cgroups::size::bytes, allow_negative_numbers = true)]
    pub shm_size: Option<u64>,

    /// Show a device of the host in the container
    #[arg(
        long = "device",
        value_name = "DEVICE",
        help = "Show a device of the host in the container: /dev/sdc[:/dev/xvdc[:rwm]]"
    )]
    pub devices: Vec<HostDevice>,
}

impl RootArgs {
    /// Sets `root` up as the flags say.
    ///
    /// # Errors
    /// A device that is not there, or is none.
    pub fn apply(&self, root: &mut Rootfs) -> Result<()> {
        root.read_only = self.read_only;
        // To tmpfs, 0 is no limit; to Docker, it is no answer.
        if let Some(bytes) = self.shm_size.filter(|bytes| *bytes > 0) {
            let shared = Path::new("/dev/shm");
            let found = root.mounts.iter_mut().filter(|mount| mount.destination == shared);
            found.for_each(|mount| *mount = shm(&bytes.to_string()));
        }
        for device in &self.devices {
            root.devices.push(device.look_up()?.0);
        }
        Ok(())
    }

    /// What the cgroup must permit, so that the devices can be used.
    pub fn device_rules(&self) -> Result<Vec<DeviceRule>> {
        self.devices.iter().map(|device| Ok(device.look_up()?.1)).collect()
    }
}

/// A device of the host, and its place in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDevice {
    /// Its node on the host.
    pub source: PathBuf,
    /// Its node in the container.
    pub path: PathBuf,
    /// What may be done with it.
    pub access: Access,
}

impl FromStr for HostDevice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::new(format!("{text:?} is no device"))
                .hint("write it like /dev/sdc, /dev/sdc:/dev/xvdc or /dev/sdc:/dev/xvdc:rwm")
        };
        let parts: Vec<&str> = text.split(':').collect();
        let is_mode = |part: &str| !part.is_empty() && part.chars().all(|c| "rwm".contains(c));
        let (source, path, mode) = match parts.as_slice() {
            [source] => (*source, *source, "rwm"),
            [source, mode] if is_mode(mode) => (*source, *source, *mode),
            [source, path] => (*source, *path, "rwm"),
            [source, path, mode] if is_mode(mode) => (*source, *path, *mode),
            _ => return Err(wrong()),
        };
        if !source.starts_with('/') || !path.starts_with('/') {
            return Err(wrong());
        }
        let has = |letter| mode.contains(letter);
        let access = Access { read: has('r'), write: has('w'), mknod: has('m') };
        Ok(HostDevice { source: source.into(), path: path.into(), access })
    }
}

impl HostDevice {
    /// The node to make, and the permission to use it.
    ///
    /// # Errors
    /// A device that is not there, or is none.
    pub fn look_up(&self) -> Result<(Device, DeviceRule)> {
        let doing = || format!("look up the device {}", self.source.display());
        let found = self.source.metadata().doing(doing)?;
        let block = found.file_type().is_block_device();
        if !block && !found.file_type().is_char_device() {
            return Err(Error::new(format!("{} is not a device", self.source.display())));
        }
        let (major, minor) = (major(found.rdev()) as u32, minor(found.rdev()) as u32);
        let device = Device {
            path: self.path.clone(),
            source: self.source.clone(),
            block,
            major,
            minor,
            mode: found.mode() & 0o777,
            uid: found.uid(),
            gid: found.gid(),
        };
        let kind = if block { DeviceKind::Block } else { DeviceKind::Char };
        let rule = DeviceRule { kind, major: Some(major), minor: Some(minor), access: self.access };
        Ok((device, rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_written_as_docker_has_it() {
        let parse = |text: &str| {
            let found: HostDevice = text.parse().ok()?;
            let Access { read, write, mknod } = found.access;
            let letters = [(read, 'r'), (write, 'w'), (mknod, 'm')];
            let letters: String = letters.iter().filter(|(on, _)| *on).map(|(_, c)| c).collect();
            Some(format!("{} {} {letters}", found.source.display(), found.path.display()))
        };
        assert_eq!(parse("/dev/fuse").unwrap(), "/dev/fuse /dev/fuse rwm");
        assert_eq!(parse("/dev/fuse:r").unwrap(), "/dev/fuse /dev/fuse r");
        assert_eq!(parse("/dev/sda:/dev/xvda").unwrap(), "/dev/sda /dev/xvda rwm");
        assert_eq!(parse("/dev/sda:/dev/xvda:rm").unwrap(), "/dev/sda /dev/xvda rm");
        for wrong in ["", "fuse", "/dev/a:b", "/dev/a:/dev/b:x", "/dev/a:/b:r:w"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
