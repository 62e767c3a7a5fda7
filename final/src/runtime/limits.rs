//! OCI's resources in lesson 2's words.

use cgroups::{
    Access, DEFAULT_RULES, DeviceKind, DevicePolicy, DeviceRule, Group, Limits, Machine, Rate,
};
use namespaces::Result;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, LinuxResources, LinuxThrottleDevice};

/// Refuses limits that contradict each other or the machine, before anything is made.
pub fn check(resources: &LinuxResources) -> Result<()> {
    let limits = limits(resources);
    if limits.is_empty() { Ok(()) } else { limits.check(&Machine::this()) }
}

/// Changes the limits of a container that runs: those that are given here.
pub fn update(group: &Group, resources: &LinuxResources) -> Result<()> {
    let mut limits = limits(resources);
    // Here -1 takes a limit away; at the creation there is none to take.
    limits.pids = resources.pids().map(|pids| pids.limit()).filter(|limit| *limit != 0);
    group.update(&limits)
}

/// The limits. What is zero or negative in a place where only a positive number
/// means something is no limit.
pub(super) fn limits(resources: &LinuxResources) -> Limits {
    let mut limits = Limits::default();
    let positive =
        |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
    if let Some(memory) = resources.memory() {
        limits.memory = positive(memory.limit());
        limits.memory_swap = memory.swap().filter(|swap| *swap != 0);
        limits.memory_reservation = positive(memory.reservation());
        limits.oom_kill_disable = memory.disable_oom_killer().unwrap_or(false);
        limits.memory_swappiness = memory.swappiness().map(|swappiness| swappiness as i64);
    }
    if let Some(cpu) = resources.cpu() {
        limits.cpu_period = cpu.period().filter(|period| *period > 0);
        limits.cpu_quota = cpu.quota().filter(|quota| *quota != 0);
        limits.cpu_shares = cpu.shares().filter(|shares| *shares > 0);
        limits.cpuset_cpus = cpu.cpus().clone().filter(|cpus| !cpus.is_empty());
        limits.cpuset_mems = cpu.mems().clone().filter(|mems| !mems.is_empty());
    }
    limits.pids = resources.pids().map(|pids| pids.limit()).filter(|limit| *limit > 0);
    if let Some(io) = resources.block_io() {
        limits.blkio_weight = io.weight().filter(|weight| *weight > 0);
        limits.device_read_bps = rates(io.throttle_read_bps_device());
        limits.device_write_bps = rates(io.throttle_write_bps_device());
        limits.device_read_iops = rates(io.throttle_read_iops_device());
        limits.device_write_iops = rates(io.throttle_write_iops_device());
    }
    limits
}

fn rates(devices: &Option<Vec<LinuxThrottleDevice>>) -> Vec<Rate> {
    let rate = |device: &LinuxThrottleDevice| Rate {
        major: device.major() as u64,
        minor: device.minor() as u64,
        rate: device.rate(),
    };
    devices.iter().flatten().map(rate).collect()
}

/// Which devices the container may use: all, or the default ones and those that are
/// named beside them.
pub(super) fn devices(resources: &LinuxResources) -> DevicePolicy {
    let allowed = resources.devices().iter().flatten().filter(|rule| rule.allow());
    let rules: Vec<_> = allowed.map(rule).collect();
    let everything =
        DeviceRule { kind: DeviceKind::All, major: None, minor: None, access: Access::ALL };
    match rules.contains(&everything) {
        true => DevicePolicy::All,
        false => DevicePolicy::Default(
            rules.into_iter().filter(|rule| !DEFAULT_RULES.contains(rule)).collect(),
        ),
    }
}

fn rule(oci: &LinuxDeviceCgroup) -> DeviceRule {
    let kind = match oci.typ() {
        Some(LinuxDeviceType::B) => DeviceKind::Block,
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => DeviceKind::Char,
        _ => DeviceKind::All,
    };
    // -1 is OCI's other way to say: every one.
    let number = |number: Option<i64>| number.and_then(|n| u32::try_from(n).ok());
    let may = |letter| oci.access().as_deref().unwrap_or("rwm").contains(letter);
    let access = Access { read: may('r'), write: may('w'), mknod: may('m') };
    DeviceRule { kind, major: number(oci.major()), minor: number(oci.minor()), access }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(json: serde_json::Value) -> LinuxResources {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn the_default_devices_are_the_default_policy() {
        let spec = super::super::spec::default_spec();
        let resources = spec.linux().as_ref().unwrap().resources().as_ref().unwrap();
        assert_eq!(devices(resources), DevicePolicy::default());
    }

    #[test]
    fn a_rule_for_everything_is_no_policy() {
        let all = resources(serde_json::json!({ "devices": [{ "allow": true, "access": "rwm" }] }));
        assert_eq!(devices(&all), DevicePolicy::All);
    }

    #[test]
    fn zeroes_are_no_limits() {
        let none = resources(serde_json::json!({
            "memory": { "limit": 0, "swap": 0 }, "cpu": { "shares": 0, "quota": 0 },
            "pids": { "limit": 0 },
        }));
        assert_eq!(limits(&none), Limits::default());
        let some = resources(serde_json::json!({
            "memory": { "limit": 67108864, "swap": -1 }, "pids": { "limit": 50 },
            "cpu": { "quota": 50000, "period": 100000, "cpus": "0" },
        }));
        let expected = Limits {
            memory: Some(64 << 20),
            memory_swap: Some(-1),
            pids: Some(50),
            cpu_quota: Some(50_000),
            cpu_period: Some(100_000),
            cpuset_cpus: Some("0".into()),
            ..Limits::default()
        };
        assert_eq!(limits(&some), expected);
    }
}
