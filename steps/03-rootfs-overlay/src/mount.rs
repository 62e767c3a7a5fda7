//! What is mounted in a container, as data.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One mount in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where, as the container sees it: absolute.
    pub destination: PathBuf,
    /// What.
    pub kind: Kind,
    /// What is forbidden in it.
    pub flags: Flags,
    /// How changes travel between this mount and its source on the host.
    pub propagation: Propagation,
    /// The filesystem's own options, comma separated: `mode=1777,size=64m`.
    pub data: String,
    /// A volume: if the source is empty, first copy there what the image has at
    /// `destination`.
    pub copy_up: bool,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A file or directory of the host.
    Bind {
        /// Its path on the host: absolute.
        source: PathBuf,
        /// A part of `source` instead of all. Resolved so that no link in it leads
        /// out of `source`.
        subpath: Option<PathBuf>,
        /// With the mounts below it.
        recursive: bool,
        /// `read_only` counts for the mounts below it too.
        recursive_read_only: bool,
    },
    /// Files in memory.
    Tmpfs,
    /// The processes of the container's pid namespace.
    Proc,
    /// Devices and drivers; its network part is the container's.
    Sysfs,
    /// POSIX message queues of the container's ipc namespace.
    Mqueue,
    /// Terminals of the container's own.
    Devpts,
    /// The container's own cgroup; v1 and v2.
    Cgroup,
}

/// What is forbidden in a mount: mount_setattr(2), `MOUNT_ATTR_*`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Flags {
    /// Writing.
    pub read_only: bool,
    /// Set-user-ID bits and file capabilities.
    pub nosuid: bool,
    /// Opening device nodes.
    pub nodev: bool,
    /// Executing programs.
    pub noexec: bool,
    /// Not a ban: always update the access time.
    pub strictatime: bool,
    /// Never update the access time.
    pub noatime: bool,
}

impl Flags {
    /// Nothing is forbidden.
    pub const NONE: Flags = Flags {
        read_only: false,
        nosuid: false,
        nodev: false,
        noexec: false,
        strictatime: false,
        noatime: false,
    };
    /// No set-user-ID, no devices, no programs: what holds data only.
    pub const DATA: Flags = Flags { nosuid: true, nodev: true, noexec: true, ..Flags::NONE };

    /// The same, read-only.
    pub fn read_only(self) -> Flags {
        Flags { read_only: true, ..self }
    }

    /// As `MOUNT_ATTR_*` bits.
    pub(crate) fn bits(self) -> u64 {
        let bit = |on: bool, bit: u64| if on { bit } else { 0 };
        bit(self.read_only, libc::MOUNT_ATTR_RDONLY)
            | bit(self.nosuid, libc::MOUNT_ATTR_NOSUID)
            | bit(self.nodev, libc::MOUNT_ATTR_NODEV)
            | bit(self.noexec, libc::MOUNT_ATTR_NOEXEC)
            | bit(self.strictatime, libc::MOUNT_ATTR_STRICTATIME)
            | bit(self.noatime, libc::MOUNT_ATTR_NOATIME)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (true, if self.read_only { "ro" } else { "rw" }),
            (self.nosuid, "nosuid"),
            (self.nodev, "nodev"),
            (self.noexec, "noexec"),
            (self.strictatime, "strictatime"),
            (self.noatime, "noatime"),
        ];
        let words: Vec<_> = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        f.write_str(&words.join(","))
    }
}

/// How mounts made later travel between a bind and its source: mount_namespaces(7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// Not at all; the mounts below are not changed.
    Private,
    /// Not at all.
    #[default]
    RPrivate,
    /// From the host into the container, for this mount only.
    Slave,
    /// From the host into the container.
    RSlave,
    /// Both ways, for this mount only.
    Shared,
    /// Both ways.
    RShared,
}

impl Propagation {
    /// All, in Docker's words.
    pub const ALL: [(&'static str, Propagation); 6] = [
        ("private", Propagation::Private),
        ("rprivate", Propagation::RPrivate),
        ("slave", Propagation::Slave),
        ("rslave", Propagation::RSlave),
        ("shared", Propagation::Shared),
        ("rshared", Propagation::RShared),
    ];

    /// Docker's word for it, if it is one.
    pub fn parse(word: &str) -> Option<Propagation> {
        Self::ALL.iter().find(|(name, _)| *name == word).map(|(_, found)| *found)
    }

    /// The `MS_*` bit, and whether it counts for all mounts below.
    pub(crate) fn bits(self) -> (u64, bool) {
        match self {
            Propagation::Private => (libc::MS_PRIVATE, false),
            Propagation::RPrivate => (libc::MS_PRIVATE, true),
            Propagation::Slave => (libc::MS_SLAVE, false),
            Propagation::RSlave => (libc::MS_SLAVE, true),
            Propagation::Shared => (libc::MS_SHARED, false),
            Propagation::RShared => (libc::MS_SHARED, true),
        }
    }

    /// True if the host's mounts are to be seen, so that the ties must not be cut.
    pub(crate) fn is_tied(self) -> bool {
        !matches!(self, Propagation::Private | Propagation::RPrivate)
    }
}

impl fmt::Display for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, propagation)| propagation == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

impl Mount {
    /// A mount of `kind` without further options.
    pub fn new(kind: Kind, destination: impl Into<PathBuf>, flags: Flags) -> Mount {
        Mount {
            destination: destination.into(),
            kind,
            flags,
            propagation: Propagation::default(),
            data: String::new(),
            copy_up: false,
        }
    }

    /// Shows `source` of the host, with all that is mounted below it.
    pub fn bind(source: impl Into<PathBuf>, destination: impl Into<PathBuf>) -> Mount {
        let kind = Kind::Bind {
            source: source.into(),
            subpath: None,
            recursive: true,
            recursive_read_only: true,
        };
        Mount::new(kind, destination, Flags::NONE)
    }

    /// Files in memory, with Docker's defaults.
    pub fn tmpfs(destination: impl Into<PathBuf>, data: impl Into<String>) -> Mount {
        Mount::new(Kind::Tmpfs, destination, Flags::DATA).data(data)
    }

    /// Sets the filesystem's own options.
    pub fn data(self, data: impl Into<String>) -> Mount {
        Mount { data: data.into(), ..self }
    }

    /// Forbids writing.
    pub fn read_only(self) -> Mount {
        Mount { flags: self.flags.read_only(), ..self }
    }
}

// ANCHOR: default_mounts
/// What Docker mounts in every container, in this order.
pub fn default_mounts() -> Vec<Mount> {
    let dev = Flags { nosuid: true, strictatime: true, ..Flags::NONE };
    let pts = Flags { nosuid: true, noexec: true, ..Flags::NONE };
    vec![
        Mount::new(Kind::Proc, "/proc", Flags::DATA),
        Mount::new(Kind::Tmpfs, "/dev", dev).data("mode=755,size=65536k"),
        Mount::new(Kind::Devpts, "/dev/pts", pts).data("newinstance,ptmxmode=0666,mode=0620,gid=5"),
        Mount::new(Kind::Sysfs, "/sys", Flags::DATA.read_only()),
        Mount::new(Kind::Cgroup, "/sys/fs/cgroup", Flags::DATA.read_only()),
        Mount::new(Kind::Mqueue, "/dev/mqueue", Flags::DATA),
        shm("64m"),
    ]
}
// ANCHOR_END: default_mounts

/// The container's shared memory, `size` as tmpfs(5) writes it: `--shm-size`.
pub fn shm(size: &str) -> Mount {
    Mount::tmpfs("/dev/shm", format!("mode=1777,size={size}"))
}

// ANCHOR: default_masked
/// What tells about the host and is not namespaced: hidden. Docker's list.
pub const DEFAULT_MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
// ANCHOR_END: default_masked

// ANCHOR: default_readonly
/// What would change the host: not writable. Docker's list.
pub const DEFAULT_READONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
// ANCHOR_END: default_readonly

/// [`DEFAULT_MASKED`], and the temperature history of each processor, from which
/// the host's load can be read.
pub fn default_masked() -> Vec<PathBuf> {
    let found = std::fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
    let is_cpu = |name: &OsStr| {
        let number = name.as_bytes().strip_prefix(b"cpu");
        number.is_some_and(|number| number.first().is_some_and(u8::is_ascii_digit))
    };
    let cpus = found.filter(|entry| is_cpu(&entry.file_name()));
    let throttles = cpus.map(|cpu| cpu.path().join("thermal_throttle"));
    let mut throttles: Vec<_> = throttles.filter(|path| path.exists()).collect();
    throttles.sort();
    DEFAULT_MASKED.iter().map(PathBuf::from).chain(throttles).collect()
}

/// A device node in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Where, as the container sees it: absolute.
    pub path: PathBuf,
    /// The same device on the host: what is bound where no node can be made.
    pub source: PathBuf,
    /// A block device, not a character device.
    pub block: bool,
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
    /// The permissions, as `0o666`.
    pub mode: u32,
    /// The owner, as the container counts.
    pub uid: u32,
    /// The group, as the container counts.
    pub gid: u32,
}

impl Device {
    fn memory(name: &str, major: u32, minor: u32) -> Device {
        let path = Path::new("/dev").join(name);
        Device {
            source: path.clone(),
            path,
            block: false,
            major,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        }
    }
}

/// The devices of every container: the OCI runtime specification's list.
pub fn default_devices() -> Vec<Device> {
    vec![
        Device::memory("null", 1, 3),
        Device::memory("zero", 1, 5),
        Device::memory("full", 1, 7),
        Device::memory("random", 1, 8),
        Device::memory("urandom", 1, 9),
        Device::memory("tty", 5, 0),
    ]
}
