//! Where this machine keeps its cgroups.
//!
// ANCHOR: trees
//! ```text
//! v2      one tree            /sys/fs/cgroup/<group>/{memory.max,cpu.max,pids.max,…}
//! v1      one per controller  /sys/fs/cgroup/memory/<group>/memory.limit_in_bytes
//!                             /sys/fs/cgroup/pids/<group>/pids.max, …
//! hybrid  v1, and a v2 tree beside it for what needs no controller: birth, freeze, kill
//! ```
// ANCHOR_END: trees

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use namespaces::{Context, Result};

/// The controllers that this crate knows what to do with.
const KNOWN: [&str; 9] =
    ["memory", "cpu", "cpuacct", "cpuset", "pids", "devices", "freezer", "blkio", "io"];

/// Which versions of cgroups this machine has mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hierarchy {
    /// One tree per controller only.
    V1,
    /// One tree for all.
    V2,
    /// Controllers in v1 trees, and a v2 tree beside them.
    Hybrid,
}

impl Hierarchy {
    /// What this machine has; `None` where no cgroups are mounted.
    pub fn detect() -> Option<Self> {
        Mounts::of_this_process().ok()?.hierarchy()
    }
}

impl fmt::Display for Hierarchy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hierarchy::V1 => "v1",
            Hierarchy::V2 => "v2",
            Hierarchy::Hybrid => "hybrid (controllers in v1, and a v2 tree)",
        })
    }
}

/// One mounted tree of cgroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Whether it is the one tree of v2.
    pub v2: bool,
    /// The known controllers in it. Several may be mounted together: `cpu,cpuacct`.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// This process's own group, as a folder under the mount point.
    pub own: PathBuf,
}

/// The mounted trees, as one process sees them, and where it is in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mounts {
    /// The v1 trees with a controller that we know, in the order of their mounting.
    pub v1: Vec<Tree>,
    /// The v2 tree, with the controllers that it may give out.
    pub v2: Option<Tree>,
}

impl Mounts {
    /// The trees, and this process's place in them.
    pub fn of_this_process() -> Result<Self> {
        Self::of_process("self")
    }

    /// The trees, and the place of the process `pid` in them.
    pub fn of_process(pid: &str) -> Result<Self> {
        let read = |path: String| fs::read_to_string(&path).doing(|| format!("read {path}"));
        let mut mounts = Self::parse(
            &read("/proc/self/mountinfo".into())?,
            &read(format!("/proc/{pid}/cgroup"))?,
        );
        if let Some(v2) = &mut mounts.v2 {
            let file = v2.mountpoint.join("cgroup.controllers");
            v2.controllers = known(fs::read_to_string(file).unwrap_or_default().split_whitespace());
        }
        Ok(mounts)
    }

    // ANCHOR: parse
    /// Both files as the kernel writes them: see proc_pid_mountinfo(5) and cgroups(7).
    fn parse(mountinfo: &str, own_groups: &str) -> Self {
        let mut mounts = Self::default();
        for line in mountinfo.lines() {
            let Some(mount) = Mount::parse(line) else { continue };
            let controllers = known(mount.options.split(','));
            let Some(own) = own_group(own_groups, mount.v2, &controllers) else { continue };
            let own = mount.folder_of(own);
            let tree = Tree { v2: mount.v2, controllers, mountpoint: mount.point.into(), own };
            if mount.v2 {
                // A tree can be mounted twice; the first place is the usual one.
                mounts.v2.get_or_insert(Tree { controllers: Vec::new(), ..tree });
            } else if !mounts.v1.iter().any(|seen| seen.controllers == tree.controllers) {
                mounts.v1.push(tree);
            }
        }
        mounts
    }
    // ANCHOR_END: parse

    /// Which versions these are; `None` for none.
    pub fn hierarchy(&self) -> Option<Hierarchy> {
        match (&self.v2, self.v1.is_empty()) {
            (Some(_), true) => Some(Hierarchy::V2),
            (Some(_), false) => Some(Hierarchy::Hybrid),
            (None, false) => Some(Hierarchy::V1),
            (None, true) => None,
        }
    }

    /// The v1 trees alone, as on a machine that mounts nothing else.
    pub fn v1_only(self) -> Self {
        Self { v2: None, ..self }
    }
}

/// One line of mountinfo, if it is about cgroups.
struct Mount<'a> {
    v2: bool,
    /// The folder of the tree that is mounted, `/` but inside of containers.
    root: &'a str,
    point: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// `36 25 0:31 / /sys/fs/cgroup/cpu rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct`
    fn parse(line: &'a str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let v2 = match right.next()? {
            "cgroup" => false,
            "cgroup2" => true,
            _ => return None,
        };
        Some(Self { v2, root, point, options: right.nth(1)? })
    }

    /// A group's folder. What is not below the mounted part is out of sight: then
    /// the mount point is the nearest that there is.
    fn folder_of(&self, group: &str) -> PathBuf {
        let below = Path::new(group).strip_prefix(self.root).unwrap_or(Path::new(""));
        // Joined with nothing, a path would get a slash at its end.
        match below.as_os_str().is_empty() {
            true => self.point.into(),
            false => Path::new(self.point).join(below),
        }
    }
}

/// The process's group in one tree, from lines like `4:cpu,cpuacct:/user` and `0::/user`.
fn own_group<'a>(groups: &'a str, v2: bool, controllers: &[String]) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (names, group) = (fields.next()?, fields.next()?);
        let here = match v2 {
            true => names.is_empty(),
            false => names.split(',').any(|name| controllers.iter().any(|known| known == name)),
        };
        here.then_some(group)
    })
}

fn known<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names.filter(|name| KNOWN.contains(name)).map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEMD_V1: &str = "\
22 27 0:21 / /proc rw shared:14 - proc proc rw
30 23 0:26 / /sys/fs/cgroup ro shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd
35 30 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:16 - cgroup cgroup rw,cpu,cpuacct
36 30 0:32 / /sys/fs/cgroup/net_cls rw shared:17 - cgroup cgroup rw,net_cls
37 30 0:33 / /sys/fs/cgroup/pids rw shared:18 - cgroup cgroup rw,pids
";

    #[test]
    fn controllers_mounted_together_are_one_tree() {
        let groups = "7:pids:/user.slice\n4:cpu,cpuacct:/user.slice\n2:net_cls:/\n1:name=systemd:/x\n0::/x\n";
        let mounts = Mounts::parse(SYSTEMD_V1, groups);
        assert_eq!(mounts.hierarchy(), Some(Hierarchy::Hybrid));
        let told: Vec<_> = mounts
            .v1
            .iter()
            .map(|tree| format!("{} {}", tree.controllers.join(","), tree.own.display()))
            .collect();
        assert_eq!(
            told,
            [
                "cpu,cpuacct /sys/fs/cgroup/cpu,cpuacct/user.slice",
                "pids /sys/fs/cgroup/pids/user.slice"
            ]
        );
        let v2 = mounts.v2.expect("there is a v2 tree");
        assert_eq!(v2.own, Path::new("/sys/fs/cgroup/unified/x"));
    }

    #[test]
    fn in_a_container_the_mount_is_a_part_of_the_tree() {
        let mountinfo = "30 23 0:26 /docker/ab /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        let own = |groups| Mounts::parse(mountinfo, groups).v2.expect("there is a v2 tree").own;
        assert_eq!(own("0::/docker/ab\n"), Path::new("/sys/fs/cgroup"));
        assert_eq!(own("0::/docker/ab/leaf\n"), Path::new("/sys/fs/cgroup/leaf"));
        assert_eq!(own("0::/elsewhere\n"), Path::new("/sys/fs/cgroup"));
    }

    #[test]
    fn no_mounts_are_no_hierarchy() {
        assert_eq!(Mounts::parse("", "0::/\n").hierarchy(), None);
    }
}
