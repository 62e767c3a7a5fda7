//! What a shim is told beside the OCI configuration, which has no words for it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use networking::{Mode, Place, Port, files::Names};
use oci_spec::runtime::LinuxCapabilities;
use serde::{Deserialize, Serialize};

use super::shim::{Attach, LogOptions};
use crate::store::Record;

/// `containers/<id>/shim.json`, written by the engine before the shim is launched.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Instructions {
    /// The image's layers, the bottom one first. None: `root.path` is the root.
    pub layers: Vec<PathBuf>,
    /// The container's changes need not survive the machine's sudden end.
    pub volatile: bool,
    /// Destinations of volumes that the image's content is copied to when empty.
    pub copy_up: Vec<PathBuf>,
    /// For some destinations, the part of the source that is mounted.
    pub subpaths: BTreeMap<PathBuf, PathBuf>,
    /// What devices are called on the host, where that may be something else.
    pub devices: BTreeMap<PathBuf, PathBuf>,
    /// The network; `None`: as the OCI configuration's namespaces have it.
    pub network: Option<NetworkPlan>,
    /// Containers whose namespaces this one shares.
    pub partners: Vec<Partner>,
    /// The log.
    pub log: LogOptions,
    /// Keep none.
    pub no_log: bool,
    /// Remove the container when it has ended, and this name with it.
    pub auto_remove: Option<AutoRemove>,
    /// Run a small init as the first process.
    pub init: bool,
    /// Who the program runs as, and with what input.
    #[serde(flatten)]
    pub session: Session,
}

impl Record for Instructions {
    const VERSION: u32 = 1;
}

/// `--pid container:NAME`, `--ipc container:NAME`: another container of the same store,
/// and which of its namespaces are ours too. Which process that means is looked up at
/// every start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Partner {
    /// Its id.
    pub id: String,
    /// Share its processes.
    pub pid: bool,
    /// Share its semaphores, queues, and shared memory, which includes /dev/shm.
    pub ipc: bool,
}

/// `--rm`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AutoRemove {
    /// The container's name, to be released.
    pub name: String,
}

/// What a container's program and an exec's have in common.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// `name|uid[:group|gid]`, looked up inside; empty: `process.user` counts.
    pub user: String,
    /// Supplementary groups by name or number, beside those of `process.user`.
    pub groups: Vec<String>,
    /// Keep standard input open; without, it is empty.
    pub open_stdin: bool,
    /// Close it when the first client that is attached to it ends its own.
    pub stdin_once: bool,
    /// Rows and columns of the terminal, if there is one.
    pub tty_size: Option<(u16, u16)>,
}

/// A name of the container's own for another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Link {
    /// The other's name, one of its aliases, or its short id.
    pub container: String,
    /// What it is called here.
    pub name: String,
}

/// The container's place in a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkPlan {
    /// The engine's root, under which networks and leases are kept.
    pub root: PathBuf,
    /// Whose network.
    pub mode: Mode,
    /// For another container's network: that one's first process.
    pub join: Option<u32>,
    /// Its places on bridges; `None`: one on the network that `mode` names.
    #[serde(default)]
    pub places: Option<Vec<Place>>,
    /// Names of its own for others.
    #[serde(default)]
    pub links: Vec<Link>,
    /// Those of them that are lines of `/etc/hosts`, since on the default network nobody
    /// answers for them: each with the other's id, which knows its address at each start.
    #[serde(default)]
    pub linked: Vec<Link>,
    /// The ports to publish.
    pub ports: Vec<Port>,
    /// The container's own name, for `/etc/hosts` and `/etc/hostname`.
    pub hostname: String,
    /// What is said about other names.
    pub names: Names,
}

/// `execs/<id>/exec.json`, written by the exec's shim. Whatever it does not say is as it
/// is for the container's own program.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecInstructions {
    /// What to run.
    pub args: Vec<String>,
    /// Its environment, all of it; nothing: the container's.
    pub env: Vec<String>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// It gets a terminal of its own.
    pub terminal: bool,
    /// Without the container's seccomp list.
    pub privileged: bool,
    /// What it may do, where that is more than the container's program.
    pub capabilities: Option<LinuxCapabilities>,
    /// Which streams the client that created it wants.
    pub attach: Attach,
    /// The keys that leave its terminal, in Docker's words; empty for the usual ones.
    #[serde(default)]
    pub detach_keys: String,
    /// Who the program runs as, and with what input.
    #[serde(flatten)]
    pub session: Session,
}

impl Record for ExecInstructions {
    const VERSION: u32 = 1;
}
