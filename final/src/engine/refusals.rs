//! What can be asked of Docker's API and makes no sense, or cannot be done here: refused,
//! not ignored. What a client sends without meaning anything by it, nulls, zeroes and empty
//! lists, passes.

use bollard_stubs::models::{ContainerConfig, HostConfig};

use super::error::{Error, Result};
use super::lifecycle;

/// Names of runtimes by which clients mean: the usual one.
const RUNTIMES: [&str; 4] = ["", "runc", "io.containerd.runc.v2", "coracle"];

/// Refuses what cannot be done, and says what is passed over.
pub fn check(config: &ContainerConfig, host: &HostConfig) -> Result<Vec<String>> {
    check_sense(config, host)?;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let number = |value: Option<i64>| value.unwrap_or(0) != 0;
    let isolation = host.isolation.map(|isolation| isolation.to_string()).unwrap_or_default();
    let runtime = text(&host.runtime);
    let refused: [(bool, String); 7] = [
        (
            has(&host.device_requests),
            format!(
                "could not select device driver \"{}\" with capabilities: {:?}",
                host.device_requests
                    .iter()
                    .flatten()
                    .next()
                    .and_then(|request| request.driver.clone())
                    .unwrap_or_default(),
                host.device_requests
                    .iter()
                    .flatten()
                    .next()
                    .and_then(|request| request.capabilities.clone())
                    .unwrap_or_default(),
            ),
        ),
        (
            host.storage_opt.as_ref().is_some_and(|options| !options.is_empty()),
            "--storage-opt is not supported: a container's changes have no quota of their own"
                .into(),
        ),
        (
            !RUNTIMES.contains(&runtime.as_str()),
            format!("unknown or invalid runtime name: {runtime}"),
        ),
        (
            !matches!(isolation.as_str(), "" | "default"),
            format!("invalid isolation '{isolation}': Linux knows only 'default'"),
        ),
        (
            has(&host.blkio_weight_device),
            "weights of single devices are not supported: use --blkio-weight".into(),
        ),
        (
            number(host.cpu_realtime_period) || number(host.cpu_realtime_runtime),
            "this engine does not limit the CPU real-time scheduler".into(),
        ),
        (
            !matches!(text(&host.cgroup).as_str(), ""),
            "joining another container's cgroup is not supported".into(),
        ),
    ];
    match refused.into_iter().find(|(asked, _)| *asked) {
        Some((_, why)) => Err(Error::bad_parameter(why)),
        None => Ok(warnings(host)),
    }
}

/// Refuses at once what would only be found when it is used: at the start, or at the end.
fn check_sense(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    if let Some(signal) = config.stop_signal.as_deref().filter(|signal| !signal.is_empty()) {
        lifecycle::parse_signal(signal)?;
    }
    let is_nameless = |variable: &&String| variable.is_empty() || variable.starts_with('=');
    if let Some(variable) = config.env.iter().flatten().find(is_nameless) {
        return Err(Error::bad_parameter(format!("invalid environment variable: {variable}")));
    }
    match host.oom_score_adj.unwrap_or(0) {
        -1000..=1000 => Ok(()),
        score => Err(Error::bad_parameter(format!(
            "Invalid value {score}, range for oom score adj is [-1000, 1000]"
        ))),
    }
}

fn warnings(host: &HostConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    let windows =
        [host.cpu_count, host.cpu_percent, host.io_maximum_iops, host.io_maximum_bandwidth];
    if windows.into_iter().flatten().any(|value| value != 0) {
        warnings.push("limits that only Windows has are discarded".into());
    }
    warnings
}

fn has<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}
