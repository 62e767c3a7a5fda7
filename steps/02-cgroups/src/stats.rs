//! What a container uses: read from its cgroup, never counted by us.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::group::Group;
use crate::size::human;

/// What a container has used and uses now. What this machine does not count is 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Processor time.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Processes and threads.
    pub pids: Pids,
    /// Block I/O, one entry per device.
    pub io: Vec<Io>,
}

/// Processor time, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// All of it.
    pub total: u64,
    /// In programs.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// Of all of it, what each processor has done; empty with version 2, which does not say.
    pub each: Vec<u64>,
    /// Periods with a quota that have passed.
    pub periods: u64,
    /// Those of them in which the quota was used up.
    pub throttled_periods: u64,
    /// Time spent waiting for the next period.
    pub throttled: u64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// All that is charged to it, page cache included.
    pub usage: u64,
    /// The most that this has been.
    pub max_usage: u64,
    /// Page cache that nobody has asked for lately, the first to be given up.
    pub inactive_file: u64,
    /// The limit; `None` for none.
    pub limit: Option<u64>,
    /// Processes killed because of the limit.
    pub oom_kills: u64,
    /// The kernel's own list, `memory.stat`.
    pub detail: BTreeMap<String, u64>,
}

// ANCHOR: used
impl Memory {
    /// What `docker stats` shows: the usage without the cache that costs nothing to drop.
    pub fn used(&self) -> u64 {
        self.usage.saturating_sub(self.inactive_file)
    }
}
// ANCHOR_END: used

/// Processes and threads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pids {
    /// How many there are.
    pub current: u64,
    /// How many there may be; `None` for no limit.
    pub limit: Option<u64>,
}

/// What went to and came from one block device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Io {
    /// The device's major number.
    pub major: u64,
    /// The device's minor number.
    pub minor: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Read operations.
    pub reads: u64,
    /// Write operations.
    pub writes: u64,
}

/// The memory limit was reached, and the kernel found nothing to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutOfMemory {
    /// How many processes it has killed.
    pub kills: u64,
    /// The limit in bytes; `None` if it was that of a group above.
    pub limit: Option<u64>,
}

impl OutOfMemory {
    /// The sentence for whoever wonders, given the container's exit code.
    pub fn told(&self, code: u8) -> String {
        const KILLED: u8 = 128 + 9;
        let who = match (code, self.kills) {
            (KILLED, _) => "killed".into(),
            (_, 1) => "a process in the container was killed".into(),
            (_, n) => format!("{n} processes in the container were killed"),
        };
        let limit = self.limit.map(|limit| format!(", limit {}", human(limit)));
        format!("{who}: out of memory{}", limit.unwrap_or_default())
    }
}

impl Group {
    // ANCHOR: oom_kills
    /// How many processes the kernel has killed because the memory limit was reached.
    pub fn oom_kills(&self) -> u64 {
        match (self.in_v1("memory"), self.in_v2()) {
            (Some(path), _) => field(&path.join("memory.oom_control"), "oom_kill"),
            (None, Some(path)) => field(&path.join("memory.events"), "oom_kill"),
            (None, None) => None,
        }
        .unwrap_or(0)
    }
    // ANCHOR_END: oom_kills

    // ANCHOR: out_of_memory
    /// What there is to tell if it has.
    pub fn out_of_memory(&self) -> Option<OutOfMemory> {
        let kills = self.oom_kills();
        let limit = || match (self.in_v1("memory"), self.in_v2()) {
            (Some(path), _) => limit_v1(path),
            (None, Some(path)) => number(&path.join("memory.max")),
            (None, None) => None,
        };
        (kills > 0).then(|| OutOfMemory { kills, limit: limit() })
    }
    // ANCHOR_END: out_of_memory

    /// What the group uses now.
    pub fn stats(&self) -> Stats {
        let v2 = self.in_v2();
        let v1 = |controller| self.in_v1(controller);
        Stats {
            cpu: match (v1("cpuacct"), v2) {
                (Some(usage), _) => cpu_v1(usage, v1("cpu")),
                (None, Some(path)) => cpu_v2(path),
                (None, None) => Cpu::default(),
            },
            memory: Memory {
                oom_kills: self.oom_kills(),
                ..match (v1("memory"), v2) {
                    (Some(path), _) => memory_v1(path),
                    (None, Some(path)) => memory_v2(path),
                    (None, None) => Memory::default(),
                }
            },
            // Here both versions have the same files.
            pids: v1("pids").or(v2).map(pids).unwrap_or_default(),
            io: match (v1("blkio"), v2) {
                (Some(path), _) => io_v1(path),
                (None, Some(path)) => io_v2(path),
                (None, None) => Vec::new(),
            },
        }
    }
}

fn cpu_v2(path: &Path) -> Cpu {
    let stat = fields(&path.join("cpu.stat"));
    let get = |name: &str| stat.get(name).copied().unwrap_or(0);
    Cpu {
        total: get("usage_usec") * 1000,
        user: get("user_usec") * 1000,
        system: get("system_usec") * 1000,
        each: Vec::new(),
        periods: get("nr_periods"),
        throttled_periods: get("nr_throttled"),
        throttled: get("throttled_usec") * 1000,
    }
}

fn cpu_v1(usage: &Path, quota: Option<&Path>) -> Cpu {
    let stat = quota.map(|path| fields(&path.join("cpu.stat"))).unwrap_or_default();
    let get = |name: &str| stat.get(name).copied().unwrap_or(0);
    Cpu {
        total: number(&usage.join("cpuacct.usage")).unwrap_or(0),
        user: number(&usage.join("cpuacct.usage_user")).unwrap_or(0),
        system: number(&usage.join("cpuacct.usage_sys")).unwrap_or(0),
        each: numbers(&usage.join("cpuacct.usage_percpu")),
        periods: get("nr_periods"),
        throttled_periods: get("nr_throttled"),
        throttled: get("throttled_time"),
    }
}

/// The numbers of a line.
fn numbers(path: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

// ANCHOR: memory_v2
fn memory_v2(path: &Path) -> Memory {
    let detail = fields(&path.join("memory.stat"));
    Memory {
        usage: number(&path.join("memory.current")).unwrap_or(0),
        max_usage: number(&path.join("memory.peak")).unwrap_or(0),
        inactive_file: detail.get("inactive_file").copied().unwrap_or(0),
        limit: number(&path.join("memory.max")),
        oom_kills: 0,
        detail,
    }
}
// ANCHOR_END: memory_v2

fn memory_v1(path: &Path) -> Memory {
    let detail = fields(&path.join("memory.stat"));
    Memory {
        usage: number(&path.join("memory.usage_in_bytes")).unwrap_or(0),
        max_usage: number(&path.join("memory.max_usage_in_bytes")).unwrap_or(0),
        inactive_file: detail.get("total_inactive_file").copied().unwrap_or(0),
        limit: limit_v1(path),
        oom_kills: 0,
        detail,
    }
}

/// v1 has no word for "no limit", only the largest number of pages.
fn limit_v1(path: &Path) -> Option<u64> {
    number(&path.join("memory.limit_in_bytes")).filter(|bytes| *bytes < 1 << 62)
}

fn pids(path: &Path) -> Pids {
    Pids {
        current: number(&path.join("pids.current")).unwrap_or(0),
        limit: number(&path.join("pids.max")),
    }
}

fn io_v2(path: &Path) -> Vec<Io> {
    read(&path.join("io.stat")).lines().filter_map(io_v2_line).collect()
}

/// `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`
fn io_v2_line(line: &str) -> Option<Io> {
    let mut words = line.split_whitespace();
    let (major, minor) = device(words.next()?)?;
    let mut io = Io { major, minor, ..Io::default() };
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        let value = value.parse().unwrap_or(0);
        match key {
            "rbytes" => io.read_bytes = value,
            "wbytes" => io.write_bytes = value,
            "rios" => io.reads = value,
            "wios" => io.writes = value,
            _ => {}
        }
    }
    Some(io)
}

fn io_v1(path: &Path) -> Vec<Io> {
    let bytes = read(&path.join("blkio.throttle.io_service_bytes_recursive"));
    let operations = read(&path.join("blkio.throttle.io_serviced_recursive"));
    let mut devices = BTreeMap::new();
    for (text, count_bytes) in [(&bytes, true), (&operations, false)] {
        for ((major, minor), what, value) in text.lines().filter_map(io_v1_line) {
            let empty = || Io { major, minor, ..Io::default() };
            let io = devices.entry((major, minor)).or_insert_with(empty);
            match (what, count_bytes) {
                ("Read", true) => io.read_bytes = value,
                ("Write", true) => io.write_bytes = value,
                ("Read", false) => io.reads = value,
                ("Write", false) => io.writes = value,
                _ => {}
            }
        }
    }
    devices.into_values().collect()
}

/// `8:0 Read 4096`
fn io_v1_line(line: &str) -> Option<((u64, u64), &str, u64)> {
    let mut words = line.split_whitespace();
    Some((device(words.next()?)?, words.next()?, words.next()?.parse().ok()?))
}

fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A file with one number; `None` also for `max`.
fn number(path: &Path) -> Option<u64> {
    read(path).trim().parse().ok()
}

/// A file with a name and a number on each line.
fn fields(path: &Path) -> BTreeMap<String, u64> {
    let text = read(path);
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.filter_map(|(name, value)| Some((name.into(), value.trim().parse().ok()?))).collect()
}

/// One of them.
pub(crate) fn field(path: &Path, name: &str) -> Option<u64> {
    fields(path).get(name).copied()
}

/// A file that this kernel does not have is empty.
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_is_read_in_both_versions() {
        let expected =
            Io { major: 8, minor: 0, read_bytes: 4096, write_bytes: 512, reads: 1, writes: 2 };
        let line = "8:0 rbytes=4096 wbytes=512 rios=1 wios=2 dbytes=0 dios=0";
        assert_eq!(io_v2_line(line), Some(expected));
        assert_eq!(io_v1_line("8:0 Read 4096"), Some(((8, 0), "Read", 4096)));
        assert_eq!(io_v1_line("Total 4096"), None);
    }

    #[test]
    fn memory_used_leaves_out_the_cache_that_costs_nothing() {
        let memory = Memory { usage: 10, inactive_file: 4, ..Memory::default() };
        assert_eq!(memory.used(), 6);
    }
}
