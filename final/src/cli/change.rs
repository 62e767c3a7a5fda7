//! `rename` and `update`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use bollard_stubs::models::{
    ContainerUpdateBody, ContainerUpdateResponse, RestartPolicy, RestartPolicyNameEnum,
};
use cgroups::size;
use clap::Args;
use hyper::Method;

use super::{each, out};
use crate::client::{Client, encode};

/// `rename`
#[derive(Debug, Args)]
pub struct RenameArgs {
    /// A name, an id, or an unambiguous beginning of an id.
    container: String,
    /// The name that it gets.
    new_name: String,
}

/// `update`
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// The share against others when disks are busy: 10 to 1000.
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// Microseconds of one period of the processor quota.
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<i64>,
    /// Microseconds of processor time in each period; -1 for no limit.
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// The share against others when processors are short.
    #[arg(short, long, value_name = "SHARES")]
    cpu_shares: Option<i64>,
    /// How many processors: 1.5.
    #[arg(long, value_name = "NUMBER", value_parser = size::nano_cpus)]
    cpus: Option<u64>,
    /// On which processors it may run: 0-2,7.
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// From which memory nodes it may take memory.
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// The memory limit: 512m, 2g.
    #[arg(short, long, value_name = "BYTES", value_parser = size::bytes)]
    memory: Option<u64>,
    /// Memory that reclaim spares as long as it can.
    #[arg(long, value_name = "BYTES", value_parser = size::bytes)]
    memory_reservation: Option<u64>,
    /// Memory and swap together; -1 for as much swap as there is.
    #[arg(long, value_name = "BYTES", value_parser = size::bytes_or_unlimited, allow_hyphen_values = true)]
    memory_swap: Option<i64>,
    /// Processes and threads; -1 for no limit.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// When it is started again: no, on-failure, on-failure:N, always, unless-stopped.
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Names, ids, or unambiguous beginnings of ids.
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
}

/// `coracle rename`
pub async fn rename(client: &Client, args: RenameArgs) -> Result<ExitCode> {
    let (old, new) = (encode(&args.container), encode(&args.new_name));
    client.post(&format!("/containers/{old}/rename?name={new}")).await?;
    Ok(ExitCode::SUCCESS)
}

/// `coracle update`
pub async fn update(client: &Client, args: UpdateArgs) -> Result<ExitCode> {
    let bytes = |value: Option<u64>| value.map(|value| value as i64);
    let body = ContainerUpdateBody {
        blkio_weight: args.blkio_weight,
        cpu_period: args.cpu_period,
        cpu_quota: args.cpu_quota,
        cpu_shares: args.cpu_shares,
        nano_cpus: bytes(args.cpus),
        cpuset_cpus: args.cpuset_cpus,
        cpuset_mems: args.cpuset_mems,
        memory: bytes(args.memory),
        memory_reservation: bytes(args.memory_reservation),
        memory_swap: args.memory_swap,
        pids_limit: args.pids_limit,
        restart_policy: args.restart.as_deref().map(policy).transpose()?,
        ..Default::default()
    };
    if body == ContainerUpdateBody::default() {
        bail!("you must provide one or more flags when using this command");
    }
    each(&args.names, async |name| {
        let path = format!("/containers/{}/update", encode(&name));
        let answer: ContainerUpdateResponse = client.call(Method::POST, &path, Some(&body)).await?;
        out::line(name)?;
        for warning in answer.warnings.iter().flatten() {
            out::tell(format!("WARNING: {warning}"));
        }
        Ok(())
    })
    .await
}

/// `on-failure:3`
pub fn policy(text: &str) -> Result<RestartPolicy> {
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, Some(count)),
        None => (text, None),
    };
    let name = match name {
        "" | "no" => RestartPolicyNameEnum::NO,
        "always" => RestartPolicyNameEnum::ALWAYS,
        "unless-stopped" => RestartPolicyNameEnum::UNLESS_STOPPED,
        "on-failure" => RestartPolicyNameEnum::ON_FAILURE,
        _ => bail!("invalid restart policy '{name}'"),
    };
    let count = match count.map(str::parse) {
        None => None,
        Some(Ok(count)) => Some(count),
        Some(Err(_)) => {
            bail!("invalid restart policy format: maximum retry count must be an integer")
        }
    };
    Ok(RestartPolicy { name: Some(name), maximum_retry_count: count })
}
