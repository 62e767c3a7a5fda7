//! `stats`: what a container uses, in Docker's shape.

use std::fs;
use std::time::Duration;

use cgroups::Stats;
use jiff::Timestamp;
use nix::unistd::Pid;
use serde_json::{Map, Value, json};

use super::Engine;
use super::containers::Container;
use super::error::Result;
use super::time::NEVER;

/// How often a client that stays is told.
const EACH: Duration = Duration::from_secs(1);

/// What one look at a container has found.
#[derive(Debug, Clone)]
struct Sample {
    read: String,
    cpu: Value,
    rest: Map<String, Value>,
}

/// Tells what a container uses until it is gone or `sink` takes no more: once, or each
/// second. The first of two samples only tells where the second begins, unless
/// `one_shot`.
///
/// # Errors
/// There is no such container.
pub fn watch(
    engine: &Engine,
    id: &str,
    stream: bool,
    one_shot: bool,
    sink: &dyn Fn(Value) -> bool,
) -> Result<()> {
    let container = engine.containers.find(id)?;
    let mut before = None;
    if !stream {
        let first = sample(&container)?;
        match first {
            Some(first) if !one_shot => before = Some(first),
            first => {
                sink(told(&container, first, None));
                return Ok(());
            }
        }
        std::thread::sleep(EACH);
    }
    loop {
        let Ok(now) = sample(&container) else { return Ok(()) };
        if !sink(told(&container, now.clone(), before)) || !stream {
            return Ok(());
        }
        before = now;
        std::thread::sleep(EACH);
    }
}

/// Looks at a container; nothing if it does not run.
fn sample(container: &Container) -> Result<Option<Sample>> {
    let state = container.state()?;
    if !state.is_alive() {
        return Ok(None);
    }
    let group = container.group()?;
    let stats = match group {
        Some(group) => group.stats(),
        None => of_processes(&container.pids(&state)?),
    };
    let mut rest = Map::new();
    rest.insert("pids_stats".into(), pids(&stats));
    rest.insert("blkio_stats".into(), io(&stats));
    rest.insert("memory_stats".into(), memory(&stats));
    let of_host = container.record.host_config.network_mode.as_deref() == Some("host");
    if !of_host && let Some(networks) = networks(state.pid) {
        rest.insert("networks".into(), networks);
    }
    Ok(Some(Sample { read: format!("{:.9}", Timestamp::now()), cpu: cpu(&stats), rest }))
}

/// Where the kernel counts for nobody: an ordinary user's container without a cgroup. What
/// its processes say of themselves, without those that have ended.
fn of_processes(pids: &[Pid]) -> Stats {
    let mut stats = Stats::default();
    for text in pids.iter().filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok()) {
        let Some(process) = process(&text) else { continue };
        stats.cpu.user += process.user;
        stats.cpu.system += process.system;
        stats.memory.usage += process.resident;
        stats.pids.current += process.threads;
    }
    stats.cpu.total = stats.cpu.user + stats.cpu.system;
    stats
}

/// What a process uses: nanoseconds, bytes, and how many threads.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    user: u64,
    system: u64,
    threads: u64,
    resident: u64,
}

/// `PID (NAME) STATE PPID …`: fields 14, 15, 20 and 24 of proc_pid_stat(5). A name may
/// have spaces and parentheses.
fn process(stat: &str) -> Option<Process> {
    /// sysconf(_SC_CLK_TCK) is 100 on every Linux that we run on.
    const TICK: u64 = 10_000_000;
    const PAGE: u64 = 4096;
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<_> = rest.split_whitespace().collect();
    // The first field here is the third there.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Process {
        user: number(14)? * TICK,
        system: number(15)? * TICK,
        threads: number(20)?,
        resident: number(24)? * PAGE,
    })
}

/// Docker's answer. What nobody counts is left out, or 0, as Go has it.
fn told(container: &Container, now: Option<Sample>, before: Option<Sample>) -> Value {
    let record = &container.record;
    let nothing = || {
        json!({ "cpu_usage": { "total_usage": 0, "usage_in_kernelmode": 0,
        "usage_in_usermode": 0 }, "throttling_data": { "periods": 0, "throttled_periods": 0,
        "throttled_time": 0 } })
    };
    let lists = || {
        json!({ "io_service_bytes_recursive": null, "io_serviced_recursive": null,
        "io_queue_recursive": null, "io_service_time_recursive": null,
        "io_wait_time_recursive": null, "io_merged_recursive": null, "io_time_recursive": null,
        "sectors_recursive": null })
    };
    let (preread, precpu) = before.map_or((NEVER.into(), nothing()), |one| (one.read, one.cpu));
    let (read, cpu, rest) = match now {
        Some(Sample { read, cpu, rest }) => (read, cpu, rest),
        None => {
            let empty = json!({ "pids_stats": {}, "blkio_stats": lists(), "memory_stats": {} });
            let Value::Object(empty) = empty else { unreachable!("it is written as an object") };
            (NEVER.into(), nothing(), empty)
        }
    };
    let mut all = json!({
        "id": record.id,
        "name": format!("/{}", record.name),
        "os_type": "linux",
        "read": read,
        "preread": preread,
        "cpu_stats": cpu,
        "precpu_stats": precpu,
        "num_procs": 0,
        "storage_stats": {},
    });
    all.as_object_mut().expect("it is written as an object").extend(rest);
    all
}

fn cpu(stats: &Stats) -> Value {
    let cpu = &stats.cpu;
    let (system, online) = system_cpu();
    let mut usage = json!({
        "total_usage": cpu.total,
        "usage_in_kernelmode": cpu.system,
        "usage_in_usermode": cpu.user,
    });
    if !cpu.each.is_empty() {
        usage["percpu_usage"] = json!(cpu.each);
    }
    json!({
        "cpu_usage": usage,
        "system_cpu_usage": system,
        "online_cpus": online,
        "throttling_data": {
            "periods": cpu.periods,
            "throttled_periods": cpu.throttled_periods,
            "throttled_time": cpu.throttled,
        },
    })
}

/// What all processors together have done, in nanoseconds, and how many there are. The
/// first seven fields of the first line of /proc/stat, in 1/100 s: guests are in them.
fn system_cpu() -> (u64, u64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let sum = |line: &str| {
        let fields = line.split_whitespace().skip(1).take(7);
        fields.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>()
    };
    let total = text.lines().next().map(sum).unwrap_or(0);
    let processor = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    (total * 10_000_000, text.lines().filter(processor).count() as u64)
}

fn memory(stats: &Stats) -> Value {
    let memory = &stats.memory;
    // Without a limit of its own it may take all that the machine has.
    let limit = memory.limit.unwrap_or(u64::MAX).min(total_memory());
    let mut told = json!({ "usage": memory.usage, "stats": memory.detail, "limit": limit });
    if memory.max_usage > 0 {
        told["max_usage"] = memory.max_usage.into();
    }
    told
}

fn total_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn pids(stats: &Stats) -> Value {
    let mut told = json!({ "current": stats.pids.current });
    // Docker's word for no limit is the largest number, and none at all on v1.
    match stats.pids.limit {
        Some(limit) => told["limit"] = limit.into(),
        None if is_v1(stats) => {}
        None => told["limit"] = u64::MAX.into(),
    }
    told
}

fn io(stats: &Stats) -> Value {
    let (read, write) = if is_v1(stats) { ("Read", "Write") } else { ("read", "write") };
    let entries = |values: &dyn Fn(&cgroups::Io) -> (u64, u64)| -> Vec<Value> {
        let two = |io: &cgroups::Io| {
            let (got, gave) = values(io);
            let entry = |op: &str, value: u64| json!({ "major": io.major, "minor": io.minor, "op": op, "value": value });
            [entry(read, got), entry(write, gave)]
        };
        stats.io.iter().flat_map(two).collect()
    };
    // Where v1 has nothing to tell, Docker has an empty list.
    let none = if is_v1(stats) { json!([]) } else { Value::Null };
    json!({
        "io_service_bytes_recursive": entries(&|io| (io.read_bytes, io.write_bytes)),
        "io_serviced_recursive": entries(&|io| (io.reads, io.writes)),
        "io_queue_recursive": none,
        "io_service_time_recursive": none,
        "io_wait_time_recursive": none,
        "io_merged_recursive": none,
        "io_time_recursive": none,
        "sectors_recursive": none,
    })
}

/// Only v1 has limits that hold for a whole tree of groups.
fn is_v1(stats: &Stats) -> bool {
    stats.memory.detail.contains_key("hierarchical_memory_limit")
}

/// The container's interfaces but for its loopback, as /proc/PID/net/dev counts them.
fn networks(pid: i32) -> Option<Value> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?;
    let all: Map<_, _> = text.lines().skip(2).filter_map(interface).collect();
    (!all.is_empty()).then(|| all.into())
}

/// `eth0: bytes packets errs drop fifo frame compressed multicast bytes packets errs drop …`
fn interface(line: &str) -> Option<(String, Value)> {
    let (name, counts) = line.split_once(':')?;
    let name = name.trim();
    let counts: Vec<u64> = counts.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    if name == "lo" || counts.len() < 12 {
        return None;
    }
    let told = json!({
        "rx_bytes": counts[0], "rx_packets": counts[1], "rx_errors": counts[2],
        "rx_dropped": counts[3], "tx_bytes": counts[8], "tx_packets": counts[9],
        "tx_errors": counts[10], "tx_dropped": counts[11],
    });
    Some((name.to_owned(), told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_an_odd_name_says_what_it_uses() {
        let line = "7 (a) b (c) S 1 7 7 0 -1 4194560 91 0 0 0 12 3 0 0 20 0 2 0 99 2437120 245 18";
        let used =
            Process { user: 120_000_000, system: 30_000_000, threads: 2, resident: 1_003_520 };
        assert_eq!(process(line), Some(used));
        assert_eq!(process("7 (a"), None);
        let ours = of_processes(&[Pid::this()]);
        assert!(ours.memory.usage > 0 && ours.pids.current > 0);
    }

    #[test]
    fn an_interface_is_read_and_the_loopback_is_not() {
        let line = "  eth0:    1532      18    1    2    0     0          0         0      7       3    4    5    0     0       0          0";
        let (name, told) = interface(line).unwrap();
        assert_eq!(name, "eth0");
        assert_eq!(told["rx_bytes"], 1532);
        assert_eq!((&told["tx_bytes"], &told["tx_dropped"]), (&json!(7), &json!(5)));
        assert!(interface(&line.replace("eth0", "lo")).is_none());
    }

    #[test]
    fn the_machine_has_processors_that_do_something() {
        let (used, online) = system_cpu();
        assert!(used > 0 && online > 0);
        assert!(total_memory() > 1 << 20);
    }
}
