//! Lesson 2: a container that gets only its share.
//!
//! A control group is a folder. Its files say what the processes in it may use, and
//! tell what they have used. [`Cgroup`] puts a container into one from its first
//! moment on; [`Group`] looks at one and changes it while the container runs.
//!
//! [`Limits`] is what the user wants. [`plan`] turns that into files and values, one
//! list for cgroup v2 and one for v1; nothing is decided after that.

mod bpf;
mod cgroup;
mod claim;
pub mod cli;
mod devices;
pub mod doctor;
mod group;
mod hierarchy;
mod limits;
pub mod plan;
pub mod size;
mod stats;
mod sys;
mod v1;
mod v2;

pub use cgroup::Cgroup;
pub use devices::{Access, DEFAULT_RULES, DeviceKind, DevicePolicy, DeviceRule};
pub use group::Group;
pub use hierarchy::{Hierarchy, Mounts, Tree};
pub use limits::{Limits, Machine, Rate};
pub use stats::{Cpu, Io, Memory, OutOfMemory, Pids, Stats};

/// The chapter that explains what this crate asks of the kernel.
const CHAPTER: u8 = 2;

/// True for root of the machine, not for root of a user namespace, whom the kernel
/// treats as the ordinary user that they are outside.
fn is_real_root() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let whole = map.split_whitespace().eq(["0", "0", "4294967295"]);
    nix::unistd::geteuid().is_root() && whole
}
