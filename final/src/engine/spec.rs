//! From what Docker's API asks for to what the OCI runtime specification says.
//!
//! A pure step: the container's record in, an OCI `config.json` out. Nothing is
//! looked up here but users' mistakes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bollard_stubs::models::{ContainerConfig, HostConfig, ThrottleDevice};
use namespaces::userns;
use oci_spec::runtime::{
    LinuxBlockIoBuilder, LinuxCpuBuilder, LinuxMemoryBuilder, LinuxNamespaceBuilder,
    LinuxNamespaceType, LinuxPidsBuilder, LinuxResources, LinuxThrottleDevice,
    LinuxThrottleDeviceBuilder, Mount, MountBuilder, PosixRlimit, PosixRlimitBuilder,
    PosixRlimitType, Spec,
};
use serde_json::json;

use super::devices::devices;
use super::error::{Error, Result};
use super::modes::{self, shares_host};
use super::record::Record;
use super::security;
use crate::runtime::device_rule;

/// Where a bundle's root is: beside its `config.json`.
const ROOT: &str = "rootfs";

/// The OCI configuration of a container.
///
/// `binds` are the mounts that the volumes service has decided on, `files` those
/// that the engine writes for it (`/etc/hosts` and its kin).
pub fn spec(record: &Record, cgroup: &Path, binds: Vec<Mount>, files: Vec<Mount>) -> Result<Spec> {
    let mut spec = crate::runtime::default_spec();
    let host = &record.host_config;
    process(&mut spec, record)?;
    security::secure(&mut spec, host)?;
    let root = spec.root_mut().as_mut().expect("the default has a root");
    root.set_path(ROOT.into()).set_readonly(Some(host.readonly_rootfs.unwrap_or(false)));
    if !shares_host(host.uts_mode.as_deref()) {
        spec.set_hostname(record.config.hostname.clone());
        spec.set_domainname(record.config.domainname.clone().filter(|name| !name.is_empty()));
    }
    mounts(&mut spec, host, binds, files);
    linux(&mut spec, host, cgroup)?;
    modes::apply(&mut spec, host);
    spec.set_annotations(host.annotations.clone().filter(|all| !all.is_empty()));
    Ok(spec)
}

fn process(spec: &mut Spec, record: &Record) -> Result<()> {
    let host = &record.host_config;
    let config = &record.config;
    let process = spec.process_mut().as_mut().expect("the default has a process");
    let cwd = config.working_dir.as_deref().filter(|cwd| !cwd.is_empty()).unwrap_or("/");
    if !cwd.starts_with('/') {
        return Err(Error::bad_parameter(format!(
            "the working directory '{cwd}' is invalid, it needs to be an absolute path"
        )));
    }
    process
        .set_args(Some(record.args.clone()))
        .set_env(Some(environment(config, record.tty())))
        .set_cwd(cwd.into())
        .set_terminal(Some(record.tty()))
        .set_oom_score_adj(host.oom_score_adj.map(|score| score as i32))
        .set_rlimits(rlimits(host)?);
    Ok(())
}

fn rlimits(host: &HostConfig) -> Result<Option<Vec<PosixRlimit>>> {
    let given = host.ulimits.as_ref().filter(|given| !given.is_empty());
    let Some(given) = given else { return Ok(None) };
    let limit = |limit: &bollard_stubs::models::ResourcesUlimits| {
        let name = limit.name.clone().unwrap_or_default();
        let upper = name.to_ascii_uppercase();
        let typ = format!("RLIMIT_{}", upper.strip_prefix("RLIMIT_").unwrap_or(&upper));
        let typ: PosixRlimitType = typ
            .parse()
            .map_err(|_| Error::bad_parameter(format!("invalid ulimit type: {name}")))?;
        let soft = limit.soft.unwrap_or(0);
        let builder = PosixRlimitBuilder::default().typ(typ).soft(soft as u64);
        Ok(builder.hard(limit.hard.unwrap_or(soft) as u64).build().expect("all fields are given"))
    };
    given.iter().map(limit).collect::<Result<Vec<_>>>().map(Some)
}

fn mounts(spec: &mut Spec, host: &HostConfig, binds: Vec<Mount>, files: Vec<Mount>) {
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    if let Some(size) = host.shm_size.filter(|size| *size > 0)
        && let Some(shm) =
            mounts.iter_mut().find(|mount| mount.destination() == Path::new("/dev/shm"))
    {
        let mut options = shm.options().clone().unwrap_or_default();
        options.retain(|option| !option.starts_with("size="));
        options.push(format!("size={size}"));
        shm.set_options(Some(options));
    }
    // The engine's own files give way to what the user mounts in their place.
    for mount in files.into_iter().chain(binds) {
        mounts.retain(|old| old.destination() != mount.destination());
        mounts.push(mount);
    }
    spec.set_mounts(Some(mounts));
}

/// A bind mount of one of the engine's files.
pub fn file_mount(source: PathBuf, destination: &str, read_only: bool) -> Mount {
    let access = if read_only { "ro" } else { "rw" };
    MountBuilder::default()
        .destination(destination)
        .typ("bind")
        .source(source)
        .options(["rbind", "rprivate", access].map(String::from).to_vec())
        .build()
        .expect("all fields are given")
}

fn linux(spec: &mut Spec, host: &HostConfig, cgroup: &Path) -> Result<()> {
    let linux = spec.linux_mut().as_mut().expect("the default has a linux section");
    linux.set_cgroups_path(Some(cgroup.to_owned()));
    if host.sysctls.as_ref().is_some_and(|sysctls| !sysctls.is_empty()) {
        linux.set_sysctl(host.sysctls.clone());
    }
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    if userns::needed() {
        namespaces.push(
            LinuxNamespaceBuilder::default()
                .typ(LinuxNamespaceType::User)
                .build()
                .expect("it has a type"),
        );
    }
    linux.set_namespaces(Some(namespaces));
    let mut resources = linux.resources().clone().unwrap_or_default();
    let (nodes, rules) = devices(host)?;
    let mut allowed = match host.privileged {
        Some(true) => vec![json!({ "allow": true, "access": "rwm" })],
        _ => resources.devices().iter().flatten().map(|rule| json!(rule)).collect(),
    };
    allowed.extend(rules.iter().map(device_rule));
    linux.set_devices(Some(nodes));
    resources.set_devices(Some(serde_json::from_value(json!(allowed)).expect("rules of ours")));
    limit(&mut resources, host)?;
    linux.set_resources(Some(resources));
    Ok(())
}

/// The limits. What Docker's API writes as 0 means: none.
pub fn limit(resources: &mut LinuxResources, host: &HostConfig) -> Result<()> {
    let set = |value: Option<i64>| value.filter(|value| *value != 0);
    let mut memory = LinuxMemoryBuilder::default();
    if let Some(limit) = set(host.memory) {
        memory = memory.limit(limit);
    }
    if let Some(swap) = set(host.memory_swap) {
        memory = memory.swap(swap);
    }
    if let Some(reservation) = set(host.memory_reservation) {
        memory = memory.reservation(reservation);
    }
    if let Some(swappiness) = host.memory_swappiness.filter(|value| *value >= 0) {
        memory = memory.swappiness(swappiness as u64);
    }
    if host.oom_kill_disable == Some(true) {
        memory = memory.disable_oom_killer(true);
    }
    resources.set_memory(Some(memory.build().expect("all fields are optional")));

    let mut cpu = LinuxCpuBuilder::default();
    if let Some(nano) = set(host.nano_cpus) {
        if set(host.cpu_period).is_some() || set(host.cpu_quota).is_some() {
            return Err(Error::bad_parameter(
                "Conflicting options: Nano CPUs and CPU Period or Quota cannot both be set",
            ));
        }
        let processors = cgroups::Machine::this().cpus.len() as i64;
        if nano > processors * 1_000_000_000 {
            return Err(Error::bad_parameter(format!(
                "range of CPUs is from 0.01 to {processors}.00, as there are only {processors} \
                 CPUs available"
            )));
        }
        cpu = cpu.period(100_000_u64).quota(nano / 10_000);
    }
    if let Some(period) = set(host.cpu_period) {
        cpu = cpu.period(period as u64);
    }
    if let Some(quota) = set(host.cpu_quota) {
        cpu = cpu.quota(quota);
    }
    if let Some(shares) = set(host.cpu_shares) {
        cpu = cpu.shares(shares as u64);
    }
    if let Some(cpus) = host.cpuset_cpus.as_ref().filter(|list| !list.is_empty()) {
        cpu = cpu.cpus(cpus.clone());
    }
    if let Some(mems) = host.cpuset_mems.as_ref().filter(|list| !list.is_empty()) {
        cpu = cpu.mems(mems.clone());
    }
    resources.set_cpu(Some(cpu.build().expect("all fields are optional")));

    if let Some(pids) = host.pids_limit.filter(|limit| *limit != 0) {
        resources
            .set_pids(Some(LinuxPidsBuilder::default().limit(pids).build().expect("it is given")));
    }
    let mut io = LinuxBlockIoBuilder::default();
    if let Some(weight) = host.blkio_weight.filter(|weight| *weight > 0) {
        io = io.weight(weight);
    }
    if let Some(rates) = &host.blkio_device_read_bps {
        io = io.throttle_read_bps_device(throttles(rates)?);
    }
    if let Some(rates) = &host.blkio_device_write_bps {
        io = io.throttle_write_bps_device(throttles(rates)?);
    }
    if let Some(rates) = &host.blkio_device_read_iops {
        io = io.throttle_read_iops_device(throttles(rates)?);
    }
    if let Some(rates) = &host.blkio_device_write_iops {
        io = io.throttle_write_iops_device(throttles(rates)?);
    }
    resources.set_block_io(Some(io.build().expect("all fields are optional")));
    Ok(())
}

/// The kernel knows devices by number; Docker's API names them by path.
fn throttles(rates: &[ThrottleDevice]) -> Result<Vec<LinuxThrottleDevice>> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let throttle = |rate: &ThrottleDevice| {
        let path = rate.path.clone().unwrap_or_default();
        let metadata = std::fs::metadata(&path)
            .map_err(|error| Error::bad_parameter(format!("look up the device {path}: {error}")))?;
        if !metadata.file_type().is_block_device() {
            return Err(Error::bad_parameter(format!("{path} is no block device")));
        }
        let number = metadata.rdev();
        Ok(LinuxThrottleDeviceBuilder::default()
            .major(nix::sys::stat::major(number) as i64)
            .minor(nix::sys::stat::minor(number) as i64)
            .rate(rate.rate.unwrap_or(0) as u64)
            .build()
            .expect("all fields are given"))
    };
    rates.iter().map(throttle).collect()
}

/// Sets variables over those that are there, which keep their place; one without `=` is
/// taken out.
pub fn override_env(env: &mut Vec<String>, over: &[String]) {
    for variable in over {
        let key = |text: &str| text.split('=').next().map(str::to_owned);
        let old = env.iter().position(|old| key(old) == key(variable));
        match (old, variable.contains('=')) {
            (Some(old), true) => env[old] = variable.clone(),
            (Some(old), false) => drop(env.remove(old)),
            (None, true) => env.push(variable.clone()),
            (None, false) => {}
        }
    }
}

/// What a process of the container finds in its environment: Docker's three, and over
/// them what the image and the user say.
pub fn environment(config: &ContainerConfig, tty: bool) -> Vec<String> {
    let mut env = vec![format!("PATH={}", namespaces::DEFAULT_PATH)];
    env.extend(config.hostname.as_ref().map(|hostname| format!("HOSTNAME={hostname}")));
    env.extend(tty.then(|| "TERM=xterm".to_owned()));
    override_env(&mut env, config.env.as_deref().unwrap_or_default());
    env
}

/// The API's `[height, width]`.
pub fn console_size(size: Option<&[usize]>) -> Option<(u16, u16)> {
    match size {
        Some([height, width]) if *height > 0 && *width > 0 => Some((*height as u16, *width as u16)),
        _ => None,
    }
}

/// Labels, environment and such as a map from what Docker writes as `KEY=VALUE`.
pub fn pairs(list: &[String]) -> HashMap<String, String> {
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    list.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_set_over_an_old_one_and_taken_out_without_a_value() {
        let mut env = vec!["A=1".to_owned(), "B=2".into(), "C=3".into()];
        override_env(&mut env, &["A=9".into(), "B".into(), "D=4".into()]);
        assert_eq!(env, ["A=9", "C=3", "D=4"]);
    }

    #[test]
    fn a_terminal_sets_term_and_a_path_is_always_there() {
        let config = ContainerConfig {
            hostname: Some("box".into()),
            env: Some(vec!["A=1".into(), "HOSTNAME".into()]),
            ..ContainerConfig::default()
        };
        let path = format!("PATH={}", namespaces::DEFAULT_PATH);
        assert_eq!(environment(&config, true), [&path, "TERM=xterm", "A=1"]);
    }
}
