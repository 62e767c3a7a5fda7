//! What a test may need of the machine, checked at run time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use nix::unistd::geteuid;

use crate::user::{account, has_subids};
use crate::{temp_dir, user};

/// Something that a test cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Effective uid 0.
    Root,
    /// An ordinary account to run as: see [`user`].
    User,
    /// That account owns ranges in /etc/subuid and /etc/subgid, and newuidmap is there.
    Subids,
    /// A cgroup v1 hierarchy with the memory controller.
    CgroupV1,
    /// A cgroup v2 hierarchy whose root offers cpu, memory and pids.
    CgroupV2,
    /// A program in PATH (or in an sbin folder).
    Program(&'static str),
    /// An ordinary account may make user namespaces.
    UserNamespaces,
    /// The overlay filesystem, mounted by us, over a temporary folder.
    Overlay,
    /// Root, a network namespace with a bridge in it, and nft.
    Network,
}

impl Needs {
    /// `Err` says in a few words what is missing: "needs root".
    pub fn check(self) -> Result<(), String> {
        let (met, what) = match self {
            Needs::Root => (geteuid().is_root(), "root".to_owned()),
            Needs::User => {
                (account().is_some(), "an ordinary user account (useradd -m NAME)".to_owned())
            }
            Needs::Subids => {
                (subids(), "a user with ranges in /etc/subuid and newuidmap".to_owned())
            }
            Needs::CgroupV1 => (cgroup_v1(), "cgroup v1 with the memory controller".to_owned()),
            Needs::CgroupV2 => (cgroup_v2(), "cgroup v2 with controllers".to_owned()),
            Needs::Program(name) => (find(name).is_some(), format!("the program {name}")),
            Needs::UserNamespaces => {
                (*USER_NAMESPACES, "user namespaces for ordinary users".to_owned())
            }
            Needs::Overlay => (*OVERLAY, "the overlay filesystem".to_owned()),
            Needs::Network => (*NETWORK, "root, network namespaces, bridges and nft".to_owned()),
        };
        if met { Ok(()) } else { Err(format!("needs {what}")) }
    }

    /// Whether a missing need fails the test instead of ignoring it.
    pub(crate) fn is_required(self) -> bool {
        let all = std::env::var_os("CORACLE_TESTS").is_some_and(|v| v == "all");
        all && !matches!(self, Needs::CgroupV1 | Needs::CgroupV2)
    }
}

/// Where a program is: in PATH, or where PATH often does not reach.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn subids() -> bool {
    find("newuidmap").is_some() && account().is_some_and(|(name, uid, _)| has_subids(&name, uid))
}

/// The mount points of a filesystem type, with the superblock's options.
pub(crate) fn mounts_of(kind: &str) -> Vec<(PathBuf, String)> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (target, found) = (fields.next()?, fields.next()?);
            (found == kind).then(|| (target.into(), fields.next().unwrap_or("").to_owned()))
        })
        .collect()
}

fn cgroup_v1() -> bool {
    let mounts = mounts_of("cgroup");
    mounts.iter().any(|(_, options)| options.split(',').any(|o| o == "memory"))
}

fn cgroup_v2() -> bool {
    mounts_of("cgroup2").iter().any(|(root, _)| {
        let offered = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        ["cpu", "memory", "pids"].iter().all(|name| offered.split_whitespace().any(|o| o == *name))
    })
}

/// Tried once and for real: sysctls, AppArmor and seccomp all have a say.
static USER_NAMESPACES: LazyLock<bool> = LazyLock::new(|| {
    user().is_some_and(|user| {
        let mut unshare = user.command("unshare");
        succeeds(unshare.args(["--user", "--map-root-user", "--mount", "true"]))
    })
});

static OVERLAY: LazyLock<bool> = LazyLock::new(|| {
    let dir = temp_dir();
    for folder in ["lower", "upper", "work", "merged"] {
        fs::create_dir(dir.path().join(folder)).expect("create a folder");
    }
    let mut unshare = Command::new("unshare");
    if !geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let mount = "mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged";
    succeeds(unshare.args(["--mount", "sh", "-c", mount]).current_dir(dir.path()))
});

static NETWORK: LazyLock<bool> = LazyLock::new(|| {
    let make = "ip link add name br0 type bridge && ip link add name v0 type veth peer name v1 && \
        nft add table inet t && nft add chain inet t c '{ type nat hook postrouting priority 100; }'";
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    geteuid().is_root()
        && Path::new("/proc/self/ns/net").exists()
        && succeeds(Command::new("unshare").args(["--net", "sh", "-c", make]).env("PATH", path))
});

fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
