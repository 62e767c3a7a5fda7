//! `update`: other limits and another restart policy, while the container runs.

use bollard_stubs::models::{
    ContainerUpdateBody, HostConfig, RestartPolicy, RestartPolicyNameEnum as Policy,
};
use oci_spec::runtime::LinuxResources;

use super::containers::Container;
use super::error::{Error, Result};
use super::{Engine, rename, spec};
use crate::runtime;
use crate::store;

/// Changes a container's limits and restart policy: what is given, and nothing else.
///
/// # Errors
/// Limits that make no sense, or that the kernel refuses; nothing is written down then.
pub fn update(engine: &Engine, id: &str, body: ContainerUpdateBody) -> Result<Vec<String>> {
    let asked = asked(body);
    if let Some(policy) = &asked.restart_policy {
        check_policy(policy)?;
    }
    // What makes no sense is refused before the container is looked for.
    runtime::check_limits(&resources(&swapped(&asked))?)
        .map_err(|error| Error::bad_parameter(error.to_string()))?;
    let (mut container, _lock) = rename::lock(engine, id)?;
    let id = container.record.id.clone();
    let cannot = |error: Error| Error {
        message: format!("Cannot update container {id}: {}", error.message),
        ..error
    };
    let old = container.record.host_config.clone();
    merge(&mut container.record.host_config, &asked).map_err(cannot)?;
    let mut live = changed(&asked, &container.record.host_config);
    let merged = resources(&container.record.host_config).map_err(cannot)?;
    runtime::check_limits(&merged).map_err(Error::from).map_err(cannot)?;
    if container.state()?.is_alive()
        && let Some(group) = container.group()?
    {
        // The limit of both is only known together with that of memory.
        live.memory = live.memory.or(live.memory_swap.and(container.record.host_config.memory));
        let result = runtime::update_limits(&group, &resources(&live)?);
        result.map_err(Error::from).map_err(cannot)?;
    }
    if let Err(error) = write(&container, &merged) {
        container.record.host_config = old;
        return Err(cannot(error));
    }
    engine.events.tell_container(&container.dir, "update", &[]);
    Ok(Vec::new())
}

/// The record, and the configuration of the next start.
fn write(container: &Container, resources: &LinuxResources) -> Result<()> {
    let durable = !container.record.auto_remove();
    let mut spec = container.spec()?;
    if let Some(linux) = spec.linux_mut() {
        let devices = linux.resources().as_ref().and_then(|old| old.devices().clone());
        let mut resources = resources.clone();
        resources.set_devices(devices);
        linux.set_resources(Some(resources));
    }
    let text = serde_json::to_vec(&spec)
        .map_err(|error| Error::system(format!("write config.json: {error}")))?;
    store::write_atomic(&container.dir.config(), &text, durable)?;
    Ok(store::write(&container.dir.record(), &container.record, durable)?)
}

fn resources(host: &HostConfig) -> Result<LinuxResources> {
    let mut resources = LinuxResources::default();
    spec::limit(&mut resources, host)?;
    Ok(resources)
}

/// The body as a `HostConfig` with what is asked for, and nothing where nothing is:
/// clients write 0 and "" for that.
fn asked(body: ContainerUpdateBody) -> HostConfig {
    let number = |value: Option<i64>| value.filter(|value| *value != 0);
    let text = |value: Option<String>| value.filter(|value| !value.is_empty());
    HostConfig {
        memory: number(body.memory),
        memory_swap: number(body.memory_swap),
        memory_reservation: number(body.memory_reservation),
        nano_cpus: number(body.nano_cpus),
        cpu_shares: number(body.cpu_shares),
        cpu_period: number(body.cpu_period),
        cpu_quota: number(body.cpu_quota),
        cpuset_cpus: text(body.cpuset_cpus),
        cpuset_mems: text(body.cpuset_mems),
        pids_limit: body.pids_limit,
        blkio_weight: body.blkio_weight.filter(|weight| *weight != 0),
        blkio_device_read_bps: body.blkio_device_read_bps,
        blkio_device_write_bps: body.blkio_device_write_bps,
        blkio_device_read_iops: body.blkio_device_read_iops,
        blkio_device_write_iops: body.blkio_device_write_iops,
        restart_policy: body
            .restart_policy
            .filter(|policy| policy.name.is_some_and(|name| name != Policy::EMPTY)),
        ..Default::default()
    }
}

/// The same without what only counts together with what the container has.
fn swapped(asked: &HostConfig) -> HostConfig {
    let mut alone = asked.clone();
    if alone.memory.is_none() {
        alone.memory_swap = None;
    }
    alone
}

/// What the kernel is to be told: what is asked for, and what hangs together with it.
fn changed(asked: &HostConfig, merged: &HostConfig) -> HostConfig {
    let mut live = asked.clone();
    if live.memory.is_some() {
        live.memory_swap = merged.memory_swap;
    }
    // 0 takes the limit away; here it is the kernel's word for that.
    live.pids_limit = live.pids_limit.map(|limit| if limit <= 0 { -1 } else { limit });
    live
}

/// Docker's rules for what goes over what.
fn merge(host: &mut HostConfig, asked: &HostConfig) -> Result<()> {
    let has = |value: Option<i64>| value.is_some_and(|value| value > 0);
    let conflicts = [
        (
            has(asked.nano_cpus) && has(host.cpu_period),
            "Nano CPUs cannot be updated as CPU Period has already been set",
        ),
        (
            has(asked.nano_cpus) && has(host.cpu_quota),
            "Nano CPUs cannot be updated as CPU Quota has already been set",
        ),
        (
            has(asked.cpu_period) && has(host.nano_cpus),
            "CPU Period cannot be updated as NanoCPUs has already been set",
        ),
        (
            has(asked.cpu_quota) && has(host.nano_cpus),
            "CPU Quota cannot be updated as NanoCPUs has already been set",
        ),
    ];
    if let Some((_, why)) = conflicts.iter().find(|(conflict, _)| *conflict) {
        return Err(Error::conflict(format!("Conflicting options: {why}")));
    }
    if let Some(memory) = asked.memory {
        let swap = host.memory_swap.unwrap_or(0);
        // Without a word about it, a limit came with as much swap.
        let swap = if swap == 0 { host.memory.unwrap_or(0).saturating_mul(2) } else { swap };
        if swap != -1 && memory > swap && asked.memory_swap.is_none() {
            return Err(Error::conflict(
                "Memory limit should be smaller than already set memoryswap limit, update the \
                 memoryswap at the same time",
            ));
        }
        host.memory_swap = Some(swap);
    }
    if let Some(policy) = &asked.restart_policy {
        if host.auto_remove == Some(true) && policy.name != Some(Policy::NO) {
            return Err(Error::conflict(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            ));
        }
        host.restart_policy = Some(policy.clone());
    }
    macro_rules! over {
        ($($field:ident),*) => { $(if asked.$field.is_some() {
            host.$field = asked.$field.clone();
        })* };
    }
    over!(
        memory,
        memory_swap,
        memory_reservation,
        nano_cpus,
        cpu_shares,
        cpu_period,
        cpu_quota,
        cpuset_cpus,
        cpuset_mems,
        pids_limit,
        blkio_weight,
        blkio_device_read_bps,
        blkio_device_write_bps,
        blkio_device_read_iops,
        blkio_device_write_iops
    );
    Ok(())
}

fn check_policy(policy: &RestartPolicy) -> Result<()> {
    let count = policy.maximum_retry_count.unwrap_or(0);
    let refuse = |why: &str| Err(Error::bad_parameter(format!("invalid restart policy: {why}")));
    match policy.name {
        Some(Policy::ON_FAILURE) if count < 0 => refuse("maximum retry count cannot be negative"),
        Some(Policy::ON_FAILURE) => Ok(()),
        _ if count != 0 => refuse("maximum retry count can only be used with 'on-failure'"),
        _ => Ok(()),
    }
}
