//! Which user outside stands behind which user inside: uid_map and gid_map of
//! user_namespaces(7).

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::unistd::{Pid, getegid, geteuid};

use crate::accounts::accounts;
use crate::error::{Context, Error, Result};
use crate::explain::step;

const CHAPTER: u8 = 1;

/// `count` ids from `inside` on stand for as many from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// The first id, as the container counts.
    pub inside: u32,
    /// The first id, as the caller's user namespace counts.
    pub outside: u32,
    /// How many; never 0.
    pub count: u32,
}

/// The user ids or the group ids of a user namespace. Ranges do not overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMap(Vec<IdRange>);

impl IdMap {
    /// Root inside is `outside` outside, and there is nobody else.
    pub fn single(outside: u32) -> Self {
        Self(vec![IdRange { inside: 0, outside, count: 1 }])
    }

    /// Root inside is `own` outside; those after root are taken from `subordinate`
    /// ranges, given as first id and count.
    pub fn with_subordinate(own: u32, subordinate: &[(u32, u32)]) -> Self {
        let mut map = Self::single(own);
        let mut inside: u32 = 1;
        for &(outside, count) in subordinate {
            // The highest id means "none".
            let count = count.min(u32::MAX - inside);
            if count > 0 {
                map.0.push(IdRange { inside, outside, count });
                inside += count;
            }
        }
        map
    }

    /// The ranges, in the order in which they are written.
    pub fn ranges(&self) -> &[IdRange] {
        &self.0
    }

    /// The id outside that stands behind `inside`, if one does.
    pub fn outside(&self, inside: u32) -> Option<u32> {
        let holds =
            |range: &&IdRange| inside.checked_sub(range.inside).is_some_and(|n| n < range.count);
        self.0.iter().find(holds).map(|range| range.outside + (inside - range.inside))
    }

    fn is_single(&self) -> bool {
        matches!(self.0[..], [IdRange { count: 1, .. }])
    }

    /// As newuidmap(1) wants it: three numbers for each range.
    fn arguments(&self) -> Vec<String> {
        self.to_string().split_whitespace().map(str::to_owned).collect()
    }
}

/// As in `/proc/PID/uid_map`: a line for each range.
impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, IdRange { inside, outside, count }) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { "\n" };
            write!(f, "{separator}{inside} {outside} {count}")?;
        }
        Ok(())
    }
}

/// Both maps of a user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMaps {
    /// The user ids.
    pub uid: IdMap,
    /// The group ids.
    pub gid: IdMap,
}

impl IdMaps {
    // ANCHOR: standard
    /// The caller is root inside. The ids from 1 on are the caller's subordinate
    /// ones, where `/etc/subuid` and `/etc/subgid` grant some and newuidmap(1) and
    /// newgidmap(1) are installed; otherwise there is nobody but root.
    pub fn standard() -> Self {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let ranges = |path| {
            let name = accounts().into_iter().find(|account| account.uid == uid);
            let text = fs::read_to_string(path).unwrap_or_default();
            subordinate(&text, name.as_ref().map(|account| account.name.as_str()), uid)
        };
        let (uids, gids) = (ranges("/etc/subuid"), ranges("/etc/subgid"));
        let tools = find_tool("newuidmap").is_some() && find_tool("newgidmap").is_some();
        if uids.is_empty() || gids.is_empty() || !tools {
            return Self { uid: IdMap::single(uid), gid: IdMap::single(gid) };
        }
        Self { uid: IdMap::with_subordinate(uid, &uids), gid: IdMap::with_subordinate(gid, &gids) }
    }
    // ANCHOR_END: standard

    // ANCHOR: may_set_groups
    /// False if setgroups(2) must be off inside: the kernel's price for a map that an
    /// ordinary user writes without help. Otherwise a group that exists to *deny*
    /// access could be left that way (CVE-2014-8989).
    fn may_set_groups(&self) -> bool {
        geteuid().is_root() || !(self.uid.is_single() && self.gid.is_single())
    }
    // ANCHOR_END: may_set_groups

    // ANCHOR: write_maps
    /// Writes both maps of `pid`, which has just been cloned with `CLONE_NEWUSER`.
    pub(crate) fn write(&self, pid: Pid) -> Result<()> {
        if geteuid().is_root() {
            write_proc(pid, "uid_map", &self.uid.to_string())?;
            write_proc(pid, "gid_map", &self.gid.to_string())
        } else if !self.may_set_groups() {
            write_proc(pid, "setgroups", "deny")?;
            write_proc(pid, "uid_map", &self.uid.to_string())?;
            write_proc(pid, "gid_map", &self.gid.to_string())
        } else {
            self.write_with_tools(pid)
        }
    }
    // ANCHOR_END: write_maps

    /// More than one's own id takes a privileged helper that reads `/etc/subuid`.
    /// The two know nothing of each other and run side by side.
    fn write_with_tools(&self, pid: Pid) -> Result<()> {
        let call = |tool: &str, map: &IdMap| format!("{tool} {pid} {}", map.arguments().join(" "));
        let uids = Tool::start("newuidmap", pid, &self.uid)?;
        let gids = Tool::start("newgidmap", pid, &self.gid);
        step(CHAPTER, || call("newuidmap", &self.uid), || uids.finish())?;
        step(CHAPTER, || call("newgidmap", &self.gid), || gids?.finish())
    }
}

fn write_proc(pid: Pid, file: &str, text: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{file}");
    let call = || format!("write {path}  {}", text.replace('\n', ", "));
    step(CHAPTER, call, || fs::write(&path, text).doing(call))
}

/// The ranges that subuid(5) grants to a user, by name or by number.
fn subordinate(text: &str, name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    let uid = uid.to_string();
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let ours = Some(owner) == name || owner == uid;
        let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (ours && range.1 > 0).then_some(range)
    };
    text.lines().filter_map(range).collect()
}

/// newuidmap(1) or newgidmap(1), at work.
struct Tool {
    name: &'static str,
    child: Child,
}

impl Tool {
    fn start(name: &'static str, pid: Pid, map: &IdMap) -> Result<Self> {
        let path = find_tool(name).unwrap_or_else(|| name.into());
        let mut command = Command::new(path);
        command.arg(pid.to_string()).args(map.arguments());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().doing(|| format!("run {name}"))?;
        Ok(Self { name, child })
    }

    fn finish(self) -> Result<()> {
        let name = self.name;
        let output = self.child.wait_with_output().doing(|| format!("wait for {name}"))?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr);
        let words = words.trim().trim_start_matches(&format!("{name}: ")).to_owned();
        Err(Error::new(format!("map the ids with {name}: {words}")).hint(
            "it must be setuid root or have cap_setuid, and /etc/subuid must grant the range",
        ))
    }
}

/// Where a program is that `PATH` may not reach.
pub(crate) fn find_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut found = std::env::split_paths(&path).chain(usual).map(|folder| folder.join(name));
    found.find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_reads_as_the_kernel_shows_it() {
        let map = IdMap::with_subordinate(1000, &[(100_000, 65_536), (300_000, 10)]);
        assert_eq!(map.to_string(), "0 1000 1\n1 100000 65536\n65537 300000 10");
        assert_eq!(IdMap::single(1000).to_string(), "0 1000 1");
    }

    #[test]
    fn an_id_inside_stands_for_one_outside_or_none() {
        let map = IdMap::with_subordinate(1000, &[(100_000, 65_536)]);
        assert_eq!(map.outside(0), Some(1000));
        assert_eq!(map.outside(1), Some(100_000));
        assert_eq!(map.outside(65_536), Some(165_535));
        assert_eq!(map.outside(65_537), None);
    }

    #[test]
    fn ranges_are_granted_by_name_or_by_number() {
        let text = "ann:100000:65536\nbob:165536:65536\n1000:300000:10\nann:bad:1\nann:5:0\n";
        assert_eq!(subordinate(text, Some("ann"), 1000), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(subordinate(text, None, 7), []);
    }
}
