//! What can be asked of Docker's API and not be done here: refused, not ignored. What a
//! client sends without meaning anything by it, nulls, zeroes and empty lists, passes.

use bollard_stubs::models::{ContainerConfig, HostConfig};

use super::error::{Error, Result};

/// Names of runtimes by which clients mean: the usual one.
const RUNTIMES: [&str; 4] = ["", "runc", "io.containerd.runc.v2", "coracle"];

/// Refuses what cannot be done, and says what is passed over.
pub fn check(_config: &ContainerConfig, host: &HostConfig) -> Result<Vec<String>> {
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
