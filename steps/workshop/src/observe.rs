//! What the host sees of a container while it runs, and of what it leaves.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Result, bail};

/// Something to look at from the host while the program waits at `ready`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Which of these namespaces the container has of its own.
    Namespaces(Vec<String>),
    /// The names of its processes, and their pids inside.
    Processes,
    /// Its mounts, in order: place, type, read-only or not.
    Mounts,
    /// Its id maps: how many ids, from which inside.
    Maps,
    /// Files of its cgroup, by their v2 names: `memory.max`.
    Cgroup(Vec<String>),
    /// What a command prints on the host: `ip route`.
    Command(Vec<String>),
}

impl FromStr for Sight {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace().map(str::to_owned);
        Ok(match words.next().as_deref() {
            Some("namespaces") => Sight::Namespaces(words.collect()),
            Some("processes") => Sight::Processes,
            Some("mounts") => Sight::Mounts,
            Some("maps") => Sight::Maps,
            Some("cgroup") => Sight::Cgroup(words.collect()),
            Some("command") => Sight::Command(words.collect()),
            _ => bail!(
                "Observe knows namespaces KIND…, processes, mounts, maps, cgroup FILE…, command …; not {text:?}"
            ),
        })
    }
}

/// The container's first process: the first one below `program` that has a namespace
/// which `program` has not; else its first child, else itself.
pub(crate) fn container_of(program: u32) -> u32 {
    let below = descendants(program);
    let kinds = kinds();
    let differs = |pid: &&u32| kinds.iter().any(|kind| is_own(kind, **pid, program));
    below.iter().find(differs).or(below.first()).copied().unwrap_or(program)
}

fn kinds() -> Vec<String> {
    let entries = fs::read_dir("/proc/self/ns").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.ends_with("_for_children")).collect()
}

fn is_own(kind: &str, pid: u32, program: u32) -> bool {
    let inode = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    inode(pid).is_some_and(|own| Some(own) != inode(program))
}

/// The processes below one, parents before children.
fn descendants(of: u32) -> Vec<u32> {
    let mut found = vec![of];
    let mut next = 0;
    while next < found.len() {
        found.extend(children(found[next]));
        next += 1;
    }
    found.split_off(1)
}

/// The processes that `pid` is the parent of, lowest first.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut pids: Vec<_> = pids.filter(|child| parent(*child) == Some(pid)).collect();
    pids.sort_unstable();
    pids
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may contain anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The lines that a sight adds to the picture.
pub(crate) fn look(
    sight: &Sight,
    program: u32,
    ask: impl Fn(&str, &[&str]) -> String,
) -> Vec<String> {
    let container = container_of(program);
    match sight {
        Sight::Namespaces(kinds) => kinds
            .iter()
            .map(|kind| {
                let whose = if is_own(kind, container, program) { "its own" } else { "the host's" };
                format!("{kind} namespace: {whose}")
            })
            .collect(),
        Sight::Processes => {
            let mut pids = vec![container];
            pids.extend(descendants(container));
            pids.iter().filter_map(|pid| process(*pid)).collect()
        }
        Sight::Mounts => mounts(container),
        Sight::Maps => ["uid_map", "gid_map"].iter().map(|file| map(container, file)).collect(),
        Sight::Cgroup(files) => files.iter().map(|file| cgroup_file(container, file)).collect(),
        Sight::Command(words) => {
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let Some((name, args)) = words.split_first() else { return Vec::new() };
            let line = words.join(" ");
            ask(name, args).lines().map(|answer| format!("{line}: {}", answer.trim_end())).collect()
        }
    }
}

/// "process sh: pid 1 inside".
fn process(pid: u32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim_start_matches(':').trim().to_owned())
    };
    let pids = field("NSpid")?;
    let inside = match pids.split_whitespace().collect::<Vec<_>>()[..] {
        [.., _, inside] => format!("pid {inside} inside"),
        _ => "only a pid of the host's".into(),
    };
    Some(format!("process {}: {inside}", field("Name")?))
}

fn mounts(pid: u32) -> Vec<String> {
    let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    let describe = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(4);
        let (place, options) = (left.next()?, left.next()?);
        let way = if options.split(',').any(|option| option == "ro") {
            "read-only"
        } else {
            "read-write"
        };
        Some(format!("mount {place}: {}, {way}", right.split(' ').next()?))
    };
    table.lines().filter_map(describe).collect()
}

/// The outer ids are the machine's own business.
fn map(pid: u32, file: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let range = |line: &str| {
        let mut fields = line.split_whitespace();
        let (inside, count) = (fields.next()?, fields.nth(1)?);
        Some(format!("{count} from {inside}"))
    };
    format!("{file}: {}", text.lines().filter_map(range).collect::<Vec<_>>().join(", "))
}

/// A cgroup v2 file, or what v1 has in its place, in v2's words.
fn cgroup_file(pid: u32, file: &str) -> String {
    let read = |controller: &str, name: &str| {
        let folder = cgroup_folder(pid, controller)?;
        fs::read_to_string(folder.join(name)).ok().map(|text| text.trim().to_owned())
    };
    let controller = file.split('.').next().unwrap_or_default();
    let v1 = || match file {
        "memory.max" => read("memory", "memory.limit_in_bytes").map(|limit| {
            // v1 says "no limit" as the largest number of whole pages.
            if limit.len() > 18 { "max".into() } else { limit }
        }),
        "cpu.max" => {
            let quota = read("cpu", "cpu.cfs_quota_us")?;
            let quota = if quota == "-1" { "max".into() } else { quota };
            Some(format!("{quota} {}", read("cpu", "cpu.cfs_period_us")?))
        }
        _ => read(controller, file),
    };
    let value = read("", file).or_else(v1).unwrap_or_else(|| "not there".into());
    format!("{file}: {value}")
}

/// The folder of a process's cgroup, in v2 (`""`) or in a v1 controller's hierarchy.
pub(crate) fn cgroup_folder(pid: u32, controller: &str) -> Option<PathBuf> {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = table.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        controllers.split(',').any(|c| c == controller).then(|| path.to_owned())
    })?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let root = mounts.lines().find_map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        let fits = match controller {
            "" => fields[2] == "cgroup2",
            _ => fields[2] == "cgroup" && fields[3].split(',').any(|o| o == controller),
        };
        fits.then(|| fields[1].to_owned())
    })?;
    Some(Path::new(&root).join(path.trim_start_matches('/')))
}
