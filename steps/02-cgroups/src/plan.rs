//! From limits to the files that a cgroup is told them by: decided here, written later.

use std::fmt;

use crate::limits::{Limits, Rate};

/// Microseconds of a period where the user gives none: the kernel's own default.
const PERIOD: u64 = 100_000;

// ANCHOR: write
/// One file to write, or the first of several that this kernel has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The controller that the file belongs to.
    pub controller: &'static str,
    /// File and value; where there are several, the first file that exists counts.
    pub choices: Vec<(&'static str, String)>,
    /// False for what we add by ourselves: a kernel without the file does without.
    pub required: bool,
}
// ANCHOR_END: write

impl Write {
    fn new(controller: &'static str, file: &'static str, value: impl ToString) -> Self {
        Self { controller, choices: vec![(file, value.to_string())], required: true }
    }

    fn or(mut self, file: &'static str, value: impl ToString) -> Self {
        self.choices.push((file, value.to_string()));
        self
    }

    fn if_there(mut self) -> Self {
        self.required = false;
        self
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (file, value)) in self.choices.iter().enumerate() {
            let or = if n == 0 { "" } else { " | " };
            write!(f, "{or}{file} = {value}")?;
        }
        f.write_str(if self.required { "" } else { "   (if there)" })
    }
}

// ANCHOR: v2
/// The files of cgroup v2, in the order in which the kernel accepts them.
pub fn v2(limits: &Limits) -> Vec<Write> {
    let mut plan = Vec::new();
    if let Some(memory) = limits.memory.filter(|memory| *memory > 0) {
        plan.push(Write::new("memory", "memory.max", memory));
        plan.push(swap_v2(memory, limits.memory_swap));
    }
    if let Some(reservation) = limits.memory_reservation.filter(|bytes| *bytes > 0) {
        plan.push(Write::new("memory", "memory.low", reservation));
    }
    if let Some(swappiness) = limits.memory_swappiness {
        plan.push(Write::new("memory", "memory.swappiness", swappiness));
    }
    if let Some((quota, period)) = quota(limits) {
        let quota = quota.map_or("max".into(), |quota| quota.to_string());
        plan.push(Write::new("cpu", "cpu.max", format!("{quota} {}", period.unwrap_or(PERIOD))));
    }
    if let Some(shares) = limits.cpu_shares.filter(|shares| *shares > 0) {
        plan.push(Write::new("cpu", "cpu.weight", cpu_weight(shares)));
    }
    cpuset(limits, &mut plan);
    if let Some(pids) = limits.pids {
        plan.push(pids_max(pids));
    }
    if let Some(weight) = limits.blkio_weight.filter(|weight| *weight > 0) {
        // BFQ's range holds Docker's; io.weight's is ten times as wide.
        let wide = 1 + (u64::from(weight) - 10) * 9_999 / 990;
        plan.push(Write::new("io", "io.bfq.weight", weight).or("io.weight", wide));
    }
    for (key, rates) in [
        ("rbps", &limits.device_read_bps),
        ("wbps", &limits.device_write_bps),
        ("riops", &limits.device_read_iops),
        ("wiops", &limits.device_write_iops),
    ] {
        for Rate { major, minor, rate } in rates {
            let rate = if *rate == 0 { "max".into() } else { rate.to_string() };
            plan.push(Write::new("io", "io.max", format!("{major}:{minor} {key}={rate}")));
        }
    }
    plan
}
// ANCHOR_END: v2

// ANCHOR: swap_v2
/// v2 counts swap by itself, Docker counts both together.
fn swap_v2(memory: u64, total: Option<i64>) -> Write {
    let file = "memory.swap.max";
    match total {
        Some(-1) => Write::new("memory", file, "max").if_there(),
        None | Some(0) => Write::new("memory", file, memory).if_there(),
        Some(total) => Write::new("memory", file, (total as u64).saturating_sub(memory)),
    }
}
// ANCHOR_END: swap_v2

/// The files of cgroup v1, in the order in which the kernel accepts them.
pub fn v1(limits: &Limits) -> Vec<Write> {
    let mut plan = Vec::new();
    if let Some(memory) = limits.memory.filter(|memory| *memory > 0) {
        let both = "memory.memsw.limit_in_bytes";
        // The limit of both must never be below that of memory: open it, then close it.
        plan.push(Write::new("memory", both, -1).if_there());
        plan.push(Write::new("memory", "memory.limit_in_bytes", memory));
        match limits.memory_swap {
            Some(-1) => {}
            None | Some(0) => plan.push(
                Write::new("memory", both, memory.saturating_mul(2).min(i64::MAX as u64))
                    .if_there(),
            ),
            Some(total) => plan.push(Write::new("memory", both, total)),
        }
    }
    if let Some(reservation) = limits.memory_reservation.filter(|bytes| *bytes > 0) {
        plan.push(Write::new("memory", "memory.soft_limit_in_bytes", reservation));
    }
    if let Some(swappiness) = limits.memory_swappiness {
        plan.push(Write::new("memory", "memory.swappiness", swappiness));
    }
    if limits.oom_kill_disable {
        plan.push(Write::new("memory", "memory.oom_control", 1));
    }
    if let Some((quota, period)) = quota(limits) {
        if let Some(period) = period {
            plan.push(Write::new("cpu", "cpu.cfs_period_us", period));
        }
        plan.push(Write::new("cpu", "cpu.cfs_quota_us", quota.map_or(-1, |quota| quota as i64)));
    }
    if let Some(shares) = limits.cpu_shares.filter(|shares| *shares > 0) {
        plan.push(Write::new("cpu", "cpu.shares", shares));
    }
    cpuset(limits, &mut plan);
    if let Some(pids) = limits.pids {
        plan.push(pids_max(pids));
    }
    if let Some(weight) = limits.blkio_weight.filter(|weight| *weight > 0) {
        plan.push(Write::new("blkio", "blkio.weight", weight).or("blkio.bfq.weight", weight));
    }
    for (file, rates) in [
        ("blkio.throttle.read_bps_device", &limits.device_read_bps),
        ("blkio.throttle.write_bps_device", &limits.device_write_bps),
        ("blkio.throttle.read_iops_device", &limits.device_read_iops),
        ("blkio.throttle.write_iops_device", &limits.device_write_iops),
    ] {
        for Rate { major, minor, rate } in rates {
            plan.push(Write::new("blkio", file, format!("{major}:{minor} {rate}")));
        }
    }
    plan
}

// ANCHOR: quota
/// Microseconds per period, `None` for no limit, and the period, `None` for the
/// kernel's. `--cpus` is a quota in words.
fn quota(limits: &Limits) -> Option<(Option<u64>, Option<u64>)> {
    if let Some(nano) = limits.cpus.filter(|nano| *nano > 0) {
        return Some((Some(nano * PERIOD / 1_000_000_000), Some(PERIOD)));
    }
    let period = limits.cpu_period.filter(|period| *period > 0);
    match limits.cpu_quota.filter(|quota| *quota != 0) {
        None if period.is_none() => None,
        quota => Some((quota.and_then(|quota| u64::try_from(quota).ok()), period)),
    }
}
// ANCHOR_END: quota

fn cpuset(limits: &Limits, plan: &mut Vec<Write>) {
    let sets = [("cpuset.cpus", &limits.cpuset_cpus), ("cpuset.mems", &limits.cpuset_mems)];
    for (file, set) in sets {
        if let Some(set) = set.as_ref().filter(|set| !set.is_empty()) {
            plan.push(Write::new("cpuset", file, set));
        }
    }
}

// ANCHOR: pids_max
fn pids_max(pids: i64) -> Write {
    match pids {
        ..=0 => Write::new("pids", "pids.max", "max"),
        _ => Write::new("pids", "pids.max", pids),
    }
}
// ANCHOR_END: pids_max

// ANCHOR: cpu_weight
/// v1 shares (2 to 262144, usual 1024) as a v2 weight (1 to 10000, usual 100).
///
/// Both scales are geometric around their usual value, but lopsided: 1024 is 2^10,
/// at 9/17 of the way from 2^1 to 2^18; 100 is 10^2, half of the way from 10^0 to
/// 10^4. No straight line, not even on logarithmic paper, goes through all three
/// points; a parabola does, and this is it:
///
/// ```text
/// l = log2(shares)    weight = 10 ^ (l²/612 + 125·l/612 - 7/34)
/// ```
///
/// runc has used it since 1.3.2, crun since 1.23. Before, a straight line made
/// the usual 1024 shares a weight of 39, less than half of the usual 100.
pub fn cpu_weight(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    let l = (shares.min(1 << 18) as f64).log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}
// ANCHOR_END: cpu_weight

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> Limits {
        let rate = |rate| vec![Rate { major: 8, minor: 0, rate }];
        Limits {
            memory: Some(64 << 20),
            memory_swap: Some(96 << 20),
            memory_reservation: Some(32 << 20),
            memory_swappiness: None,
            oom_kill_disable: false,
            cpus: Some(500_000_000),
            cpu_shares: Some(512),
            cpuset_cpus: Some("0-1".into()),
            cpuset_mems: Some("0".into()),
            pids: Some(50),
            blkio_weight: Some(500),
            device_read_bps: rate(1 << 20),
            device_write_bps: rate(2 << 20),
            device_read_iops: rate(100),
            device_write_iops: rate(0),
            ..Limits::default()
        }
    }

    fn told(plan: Vec<Write>) -> String {
        plan.iter().map(Write::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn no_limits_are_no_writes() {
        assert_eq!(v1(&Limits::default()), []);
        assert_eq!(v2(&Limits::default()), []);
    }

    #[test]
    fn all_limits_in_v2() {
        insta::assert_snapshot!(told(v2(&everything())), @"
        memory.max = 67108864
        memory.swap.max = 33554432
        memory.low = 33554432
        cpu.max = 50000 100000
        cpu.weight = 59
        cpuset.cpus = 0-1
        cpuset.mems = 0
        pids.max = 50
        io.bfq.weight = 500 | io.weight = 4950
        io.max = 8:0 rbps=1048576
        io.max = 8:0 wbps=2097152
        io.max = 8:0 riops=100
        io.max = 8:0 wiops=max
        ");
    }

    #[test]
    fn all_limits_in_v1() {
        insta::assert_snapshot!(told(v1(&everything())), @"
        memory.memsw.limit_in_bytes = -1   (if there)
        memory.limit_in_bytes = 67108864
        memory.memsw.limit_in_bytes = 100663296
        memory.soft_limit_in_bytes = 33554432
        cpu.cfs_period_us = 100000
        cpu.cfs_quota_us = 50000
        cpu.shares = 512
        cpuset.cpus = 0-1
        cpuset.mems = 0
        pids.max = 50
        blkio.weight = 500 | blkio.bfq.weight = 500
        blkio.throttle.read_bps_device = 8:0 1048576
        blkio.throttle.write_bps_device = 8:0 2097152
        blkio.throttle.read_iops_device = 8:0 100
        blkio.throttle.write_iops_device = 8:0 0
        ");
    }

    #[test]
    fn swap_is_twice_the_memory_where_nothing_is_said() {
        let limits =
            |memory_swap| Limits { memory: Some(64 << 20), memory_swap, ..Limits::default() };
        insta::assert_snapshot!(told(v2(&limits(None))), @"
        memory.max = 67108864
        memory.swap.max = 67108864   (if there)
        ");
        insta::assert_snapshot!(told(v1(&limits(None))), @"
        memory.memsw.limit_in_bytes = -1   (if there)
        memory.limit_in_bytes = 67108864
        memory.memsw.limit_in_bytes = 134217728   (if there)
        ");
        insta::assert_snapshot!(told(v2(&limits(Some(-1)))), @"
        memory.max = 67108864
        memory.swap.max = max   (if there)
        ");
        insta::assert_snapshot!(told(v1(&limits(Some(-1)))), @"
        memory.memsw.limit_in_bytes = -1   (if there)
        memory.limit_in_bytes = 67108864
        ");
        insta::assert_snapshot!(told(v2(&limits(Some(64 << 20)))), @"
        memory.max = 67108864
        memory.swap.max = 0
        ");
    }

    #[test]
    fn a_quota_without_a_period_and_the_other_way_round() {
        let limits = |cpu_quota, cpu_period| Limits { cpu_quota, cpu_period, ..Limits::default() };
        insta::assert_snapshot!(told(v2(&limits(Some(20_000), None))), @"cpu.max = 20000 100000");
        insta::assert_snapshot!(told(v1(&limits(Some(20_000), None))), @"cpu.cfs_quota_us = 20000");
        insta::assert_snapshot!(told(v2(&limits(None, Some(50_000)))), @"cpu.max = max 50000");
        insta::assert_snapshot!(told(v1(&limits(Some(-1), Some(50_000)))), @"
        cpu.cfs_period_us = 50000
        cpu.cfs_quota_us = -1
        ");
    }

    #[test]
    fn the_usual_share_is_the_usual_weight() {
        let pairs = [0, 2, 3, 256, 512, 1024, 2048, 4096, 10_000, 262_144, 300_000]
            .map(|shares| format!("{shares} -> {}", cpu_weight(shares)));
        insta::assert_snapshot!(pairs.join("\n"), @"
        0 -> 1
        2 -> 1
        3 -> 2
        256 -> 35
        512 -> 59
        1024 -> 100
        2048 -> 174
        4096 -> 303
        10000 -> 627
        262144 -> 10000
        300000 -> 10000
        ");
    }
}
