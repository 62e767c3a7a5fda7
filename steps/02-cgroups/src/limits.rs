//! What a container may use at most: plain data, and whether it makes sense.

use namespaces::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::size::{human, list};

/// The least memory that a container can be set up in, as Docker has it.
const LEAST_MEMORY: u64 = 6 << 20;

/// What a container may use at most. `None` and an empty list mean: no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of memory, page cache included.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; -1 for as much swap as there is. `None`
    /// with a memory limit means twice that limit.
    pub memory_swap: Option<i64>,
    /// Bytes that reclaim spares as long as it finds something elsewhere.
    pub memory_reservation: Option<u64>,
    /// 0 to 100: how readily memory is swapped rather than page cache dropped.
    /// Only cgroup v1 has it.
    pub memory_swappiness: Option<i64>,
    /// Processes wait where memory is out, instead of being killed. Only cgroup v1 has it.
    pub oom_kill_disable: bool,
    /// Processors, in billionths (Docker's NanoCpus).
    pub cpus: Option<u64>,
    /// Microseconds of one period of the processor quota.
    pub cpu_period: Option<u64>,
    /// Microseconds of processor time per period, all processors together; -1 for no limit.
    pub cpu_quota: Option<i64>,
    /// The share against others when processors are short: 2 to 262144, usual is 1024.
    pub cpu_shares: Option<u64>,
    /// The processors it may run on, `0-2,7`.
    pub cpuset_cpus: Option<String>,
    /// The memory nodes it may take memory from.
    pub cpuset_mems: Option<String>,
    /// Processes and threads; 0 and -1 for no limit.
    pub pids: Option<i64>,
    /// The share against others when disks are busy: 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// Bytes per second read from a device.
    pub device_read_bps: Vec<Rate>,
    /// Bytes per second written to a device.
    pub device_write_bps: Vec<Rate>,
    /// Reads per second from a device.
    pub device_read_iops: Vec<Rate>,
    /// Writes per second to a device.
    pub device_write_iops: Vec<Rate>,
}

/// How fast one block device may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// The device's major number.
    pub major: u64,
    /// The device's minor number.
    pub minor: u64,
    /// Bytes or operations per second; 0 for no limit.
    pub rate: u64,
}

/// What the machine has, as far as limits refer to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The processors that are online.
    pub cpus: Vec<u32>,
    /// The memory nodes that are online.
    pub mems: Vec<u32>,
}

impl Machine {
    /// This machine. A kernel without nodes has the one node 0.
    pub fn this() -> Self {
        let online = |what: &str| {
            std::fs::read_to_string(format!("/sys/devices/system/{what}/online"))
                .ok()
                .and_then(|text| list(&text))
                .filter(|numbers| !numbers.is_empty())
        };
        let count = || std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        Self {
            cpus: online("cpu").unwrap_or_else(|| (0..count()).collect()),
            mems: online("node").unwrap_or_else(|| vec![0]),
        }
    }
}

impl Limits {
    /// True if nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// True if processors or memory nodes are chosen.
    pub(crate) fn has_cpuset(&self) -> bool {
        self.cpuset_cpus.is_some() || self.cpuset_mems.is_some()
    }

    /// Refuses limits that contradict each other, or the machine.
    ///
    /// The rules are Docker's: the kernel would refuse some of these with EINVAL
    /// and take others without a word.
    pub fn check(&self, machine: &Machine) -> Result<()> {
        self.check_memory()?;
        self.check_cpu(machine)?;
        check_set("processors", &self.cpuset_cpus, &machine.cpus)?;
        check_set("memory nodes", &self.cpuset_mems, &machine.mems)?;
        match self.blkio_weight {
            Some(weight) if weight != 0 && !(10..=1000).contains(&weight) => {
                wrong(format!("a block I/O weight of {weight}"), "it must be from 10 to 1000")
            }
            _ => Ok(()),
        }
    }

    fn check_memory(&self) -> Result<()> {
        let memory = self.memory.unwrap_or(0);
        let reservation = self.memory_reservation.unwrap_or(0);
        if memory > 0 && memory < LEAST_MEMORY {
            return wrong(
                format!("a memory limit of {}", human(memory)),
                "the minimum is 6 MiB, less does not hold a container",
            );
        }
        if reservation > 0 && reservation < LEAST_MEMORY {
            return wrong(
                format!("a memory reservation of {}", human(reservation)),
                "the minimum is 6 MiB",
            );
        }
        if memory > 0 && reservation > memory {
            return wrong(
                format!(
                    "a reservation of {} with a limit of {}",
                    human(reservation),
                    human(memory)
                ),
                "the memory limit must not be less than the reservation",
            );
        }
        match self.memory_swap {
            Some(total) if total < -1 => {
                return wrong(format!("a memory-swap limit of {total}"), "use -1 for no limit");
            }
            Some(total) if total > 0 && memory == 0 => {
                return wrong(
                    format!(
                        "a memory-swap limit of {} without a memory limit",
                        human(total as u64)
                    ),
                    "give --memory too",
                );
            }
            Some(total) if total > 0 && (total as u64) < memory => {
                return wrong(
                    format!(
                        "a memory-swap limit of {} with a memory limit of {}",
                        human(total as u64),
                        human(memory)
                    ),
                    "it counts memory and swap together, so it must not be less than the memory limit",
                );
            }
            _ => {}
        }
        match self.memory_swappiness {
            Some(swappiness) if !(0..=100).contains(&swappiness) => {
                wrong(format!("a swappiness of {swappiness}"), "it must be from 0 to 100")
            }
            _ => Ok(()),
        }
    }

    fn check_cpu(&self, machine: &Machine) -> Result<()> {
        let available = machine.cpus.len() as u64;
        if let Some(nano) = self.cpus.filter(|nano| *nano > 0) {
            if self.cpu_period.is_some() || self.cpu_quota.is_some() {
                return wrong(
                    "--cpus together with --cpu-period or --cpu-quota",
                    "they say the same thing, choose one",
                );
            }
            if !(10_000_000..=available * 1_000_000_000).contains(&nano) {
                return wrong(
                    format!("a limit of {} processors", nano as f64 / 1e9),
                    format!("it must be from 0.01 to {available}, which is what this machine has"),
                );
            }
        }
        if let Some(period) = self.cpu_period.filter(|period| *period > 0)
            && !(1_000..=1_000_000).contains(&period)
        {
            return wrong(
                format!("a processor period of {period} µs"),
                "it must be from 1000 (1 ms) to 1000000 (1 s)",
            );
        }
        match self.cpu_quota {
            Some(quota) if (1..1_000).contains(&quota) || quota < -1 => wrong(
                format!("a processor quota of {quota} µs"),
                "it must be at least 1000 (1 ms), or -1 for no limit",
            ),
            _ => match self.cpu_shares {
                Some(shares) if shares != 0 && !(2..=262_144).contains(&shares) => {
                    wrong(format!("{shares} processor shares"), "from 2 to 262144, usual is 1024")
                }
                _ => Ok(()),
            },
        }
    }
}

/// Every number that is asked for must be there.
fn check_set(what: &str, asked: &Option<String>, available: &[u32]) -> Result<()> {
    let Some(asked) = asked else { return Ok(()) };
    match list(asked).filter(|numbers| asked.is_empty() || !numbers.is_empty()) {
        None => wrong(format!("{asked:?} as a list of {what}"), "write it like 0-2,7"),
        Some(numbers) if numbers.iter().all(|number| available.contains(number)) => Ok(()),
        Some(_) => {
            let available: Vec<_> = available.iter().map(u32::to_string).collect();
            wrong(
                format!("the {what} {asked} are not available"),
                format!("this machine has {}", available.join(",")),
            )
        }
    }
}

fn wrong(what: impl Into<String>, why: impl Into<String>) -> Result<()> {
    Err(Error::new(what).hint(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn machine() -> Machine {
        Machine { cpus: vec![0, 1], mems: vec![0] }
    }

    fn refusal(limits: Limits) -> String {
        limits.check(&machine()).expect_err("these limits make no sense").to_string()
    }

    #[test]
    fn sensible_limits_pass() {
        let limits = Limits {
            memory: Some(64 * MIB),
            memory_swap: Some(-1),
            cpus: Some(2_000_000_000),
            cpu_shares: Some(2),
            cpuset_cpus: Some("0-1".into()),
            cpuset_mems: Some("0".into()),
            pids: Some(-1),
            blkio_weight: Some(10),
            ..Limits::default()
        };
        assert_eq!(limits.check(&machine()), Ok(()));
        assert_eq!(Limits::default().check(&machine()), Ok(()));
    }

    #[test]
    fn wrong_memory_is_refused_in_one_sentence() {
        let limits = |memory, memory_swap, memory_reservation| Limits {
            memory,
            memory_swap,
            memory_reservation,
            ..Limits::default()
        };
        insta::assert_snapshot!(refusal(limits(Some(4 * MIB), None, None)),
            @"a memory limit of 4 MiB: the minimum is 6 MiB, less does not hold a container");
        insta::assert_snapshot!(refusal(limits(Some(64 * MIB), Some(32 << 20), None)),
            @"a memory-swap limit of 32 MiB with a memory limit of 64 MiB: it counts memory and swap together, so it must not be less than the memory limit");
        insta::assert_snapshot!(refusal(limits(None, Some(32 << 20), None)),
            @"a memory-swap limit of 32 MiB without a memory limit: give --memory too");
        insta::assert_snapshot!(refusal(limits(Some(64 * MIB), None, Some(65 * MIB))),
            @"a reservation of 65 MiB with a limit of 64 MiB: the memory limit must not be less than the reservation");
        insta::assert_snapshot!(refusal(Limits { memory_swappiness: Some(101), ..Limits::default() }),
            @"a swappiness of 101: it must be from 0 to 100");
    }

    #[test]
    fn wrong_processors_are_refused_in_one_sentence() {
        let cpus = |cpus| Limits { cpus: Some(cpus), ..Limits::default() };
        insta::assert_snapshot!(refusal(cpus(3_000_000_000)),
            @"a limit of 3 processors: it must be from 0.01 to 2, which is what this machine has");
        insta::assert_snapshot!(refusal(cpus(1)),
            @"a limit of 0.000000001 processors: it must be from 0.01 to 2, which is what this machine has");
        insta::assert_snapshot!(refusal(Limits { cpu_quota: Some(5000), ..cpus(1_000_000_000) }),
            @"--cpus together with --cpu-period or --cpu-quota: they say the same thing, choose one");
        insta::assert_snapshot!(refusal(Limits { cpu_period: Some(10), ..Limits::default() }),
            @"a processor period of 10 µs: it must be from 1000 (1 ms) to 1000000 (1 s)");
        insta::assert_snapshot!(refusal(Limits { cpuset_cpus: Some("0,5".into()), ..Limits::default() }),
            @"the processors 0,5 are not available: this machine has 0,1");
        insta::assert_snapshot!(refusal(Limits { cpuset_cpus: Some("x".into()), ..Limits::default() }),
            @r#""x" as a list of processors: write it like 0-2,7"#);
        insta::assert_snapshot!(refusal(Limits { cpuset_cpus: Some(",".into()), ..Limits::default() }),
            @r#""," as a list of processors: write it like 0-2,7"#);
        insta::assert_snapshot!(refusal(Limits { cpu_shares: Some(1), ..Limits::default() }),
            @"1 processor shares: from 2 to 262144, usual is 1024");
    }
}
