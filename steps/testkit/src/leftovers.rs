//! Proof that nothing is left: what exists before a test, compared with after.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::needs::{find, mounts_of};
use crate::{NetNs, wait_until};

/// The mounts, cgroups, network links, nft tables and processes of one moment.
///
/// Other tests run at the same time, so name what is yours: with
/// [`matching`](Self::matching) only things count whose text (mount line, cgroup
/// path, link, table; for a process its command line, environment and cgroup)
/// contains one of the words. A process counts besides when this test's thread
/// started it or one of its ancestors.
#[derive(Debug)]
pub struct Leftovers {
    before: BTreeSet<String>,
    words: Vec<String>,
    netns: Option<u32>,
}

impl Leftovers {
    /// Everything on this machine: for a test that nothing else runs beside.
    pub fn snapshot() -> Leftovers {
        Leftovers::matching(&[])
    }

    /// Only what contains one of the words: a `--root`, a cgroup parent, a bridge.
    pub fn matching(words: &[&str]) -> Leftovers {
        Leftovers::new(words, None)
    }

    /// As `matching`, with the links and tables of a test's own network.
    pub fn inside(netns: &NetNs, words: &[&str]) -> Leftovers {
        Leftovers::new(words, Some(netns.pid()))
    }

    fn new(words: &[&str], netns: Option<u32>) -> Leftovers {
        let mut leftovers = Leftovers {
            before: BTreeSet::new(),
            words: words.iter().map(|w| w.to_string()).collect(),
            netns,
        };
        leftovers.before = leftovers.now();
        leftovers
    }

    /// What is there now and was not before, sorted, one thing a line.
    pub fn found(&self) -> Vec<String> {
        self.now().difference(&self.before).cloned().collect()
    }

    /// Panics with the list when something is left. The kernel takes namespaces
    /// and cgroups apart after the last process is gone, so it gets two seconds.
    #[track_caller]
    pub fn assert_none(&self) {
        let mut found = Vec::new();
        let clean = wait_until(Duration::from_secs(2), || {
            found = self.found();
            found.is_empty()
        });
        assert!(clean, "left behind:\n  {}", found.join("\n  "));
    }

    fn now(&self) -> BTreeSet<String> {
        let mut things = BTreeSet::new();
        things.extend(mounts());
        things.extend(cgroups());
        // Of a network made for this test everything is the test's own.
        let mut network = links(self.netns);
        network.extend(tables(self.netns));
        if self.netns.is_none() {
            things.append(&mut network);
        }
        things.retain(|thing| self.concerns(thing));
        things.append(&mut network);
        things.extend(self.processes());
        things
    }

    fn concerns(&self, text: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|w| text.contains(w.as_str()))
    }

    /// Processes that this thread's children begot, and those that carry a word.
    fn processes(&self) -> BTreeSet<String> {
        let all = Process::all();
        let mut ours: BTreeSet<u32> = thread_children().into_iter().collect();
        loop {
            let grown = all.iter().filter(|p| ours.contains(&p.parent)).map(|p| p.pid);
            let before = ours.len();
            ours.extend(grown.collect::<Vec<_>>());
            if ours.len() == before {
                break;
            }
        }
        let own = std::process::id();
        let word = |p: &&Process| !self.words.is_empty() && self.concerns(&p.text());
        all.iter()
            .filter(|p| p.pid != own && (ours.contains(&p.pid) || word(p)))
            .map(|p| format!("process {} {}", p.pid, p.command))
            .collect()
    }
}

struct Process {
    pid: u32,
    parent: u32,
    command: String,
}

impl Process {
    /// Every process that still runs; a zombie only waits for its parent.
    fn all() -> Vec<Process> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|e| Process::read(e.file_name().to_str()?.parse().ok()?)).collect()
    }

    fn read(pid: u32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name is in parentheses and may contain anything.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        let (state, parent) = (fields.next()?, fields.next()?.parse().ok()?);
        if matches!(state, "Z" | "X") {
            return None;
        }
        let command = read_words(&format!("/proc/{pid}/cmdline"));
        Some(Process { pid, parent, command })
    }

    fn text(&self) -> String {
        let environment = read_words(&format!("/proc/{}/environ", self.pid));
        let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", self.pid)).unwrap_or_default();
        format!("{}\n{environment}\n{cgroup}", self.command)
    }
}

/// A file of NUL-terminated words, as one line.
fn read_words(file: &str) -> String {
    let bytes = fs::read(file).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned()
}

/// The children that the calling thread forked.
fn thread_children() -> Vec<u32> {
    let list = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn mounts() -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let describe = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        Some(format!("mount {} {right}", left.split(' ').nth(4)?))
    };
    table.lines().filter_map(describe).collect()
}

fn cgroups() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (root, _) in [mounts_of("cgroup"), mounts_of("cgroup2")].concat() {
        walk(&root, &mut found);
    }
    found
}

fn walk(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.insert(format!("cgroup {}", entry.path().display()));
            walk(&entry.path(), found);
        }
    }
}

fn links(netns: Option<u32>) -> BTreeSet<String> {
    if netns.is_some() {
        let names = lines_of(netns, "ip", &["-o", "link", "show"]);
        let name = |line: &str| Some(format!("link {}", line.split(": ").nth(1)?));
        return names.iter().filter_map(|line| name(line)).collect();
    }
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    entries.map(|e| format!("link {}", e.file_name().to_string_lossy())).collect()
}

fn tables(netns: Option<u32>) -> BTreeSet<String> {
    let tables = lines_of(netns, "nft", &["list", "tables"]);
    tables.into_iter().map(|table| format!("nft {table}")).collect()
}

/// What a program prints, here or in another network; nothing where it is missing.
fn lines_of(netns: Option<u32>, program: &str, args: &[&str]) -> Vec<String> {
    let Some(program) = find(program) else {
        return Vec::new();
    };
    let mut command = match netns {
        Some(pid) => {
            let mut enter = Command::new("nsenter");
            enter.arg(format!("--net=/proc/{pid}/ns/net")).arg(program);
            enter
        }
        None => Command::new(program),
    };
    let Ok(output) = command.args(args).output() else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(str::to_owned).collect()
}
