//! The flags of `run` and `create` about rights, and those that change little.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use bollard_stubs::models::{
    DeviceRequest, HostConfig, HostConfigIsolationEnum, HostConfigLogConfig,
    ResourcesBlkioWeightDevice,
};
use clap::Args;

/// Flags that end in the API's `HostConfig`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rights")]
pub struct OptionArgs {
    /// Give the program all rights of the host's root: every capability and device, and
    /// nothing hidden or read-only.
    #[arg(long)]
    privileged: bool,
    /// Give a capability that containers do not have: NET_ADMIN, or ALL.
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Take away a capability that containers have: NET_RAW, or ALL.
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// no-new-privileges, seccomp=unconfined, seccomp=FILE.json, systempaths=unconfined.
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// A kernel parameter of the container's namespaces: net.ipv4.ip_forward=1.
    #[arg(long, value_name = "KEY=VALUE")]
    sysctl: Vec<String>,
    /// Whom the kernel kills first when memory is short: -1000 (never) to 1000 (first).
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    oom_score_adj: Option<i64>,
    /// One more group of the process, by name or number.
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Mount what another container mounts: NAME, or NAME:ro.
    #[arg(long, value_name = "CONTAINER", help_heading = "Volumes")]
    volumes_from: Vec<String>,
    /// The driver of volumes that are made; `local` is the only one.
    #[arg(long, value_name = "DRIVER", help_heading = "Volumes")]
    volume_driver: Option<String>,
    /// A label: KEY=VALUE.
    #[arg(short, long, value_name = "KEY=VALUE", help_heading = "Engine")]
    label: Vec<String>,
    /// A file of labels, one on each line.
    #[arg(long, value_name = "FILE", help_heading = "Engine")]
    label_file: Vec<PathBuf>,
    /// Note something for an OCI runtime: KEY=VALUE.
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Engine")]
    annotation: Vec<String>,
    /// Where the log goes: json-file, local or none.
    #[arg(long, value_name = "DRIVER", help_heading = "Engine")]
    log_driver: Option<String>,
    /// An option of the log: max-size=10m, max-file=3.
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Engine")]
    log_opt: Vec<String>,
    /// Which OCI runtime; this engine is its own.
    #[arg(long, value_name = "RUNTIME", hide = true)]
    runtime: Option<String>,
    /// Which isolation; on Linux there is one.
    #[arg(long, value_name = "ISOLATION", hide = true)]
    isolation: Option<HostConfigIsolationEnum>,
    /// Which GPUs.
    #[arg(long, value_name = "REQUEST", hide = true)]
    gpus: Vec<String>,
    /// An option of the storage.
    #[arg(long, value_name = "KEY=VALUE", hide = true)]
    storage_opt: Vec<String>,
    /// A container to know by name.
    #[arg(long, value_name = "CONTAINER[:ALIAS]", hide = true)]
    link: Vec<String>,
    /// Share of one disk.
    #[arg(long, value_name = "DEVICE:WEIGHT", hide = true)]
    blkio_weight_device: Vec<String>,
    /// Real-time scheduling.
    #[arg(long, value_name = "MICROSECONDS", hide = true)]
    cpu_rt_period: Option<i64>,
    /// Real-time scheduling.
    #[arg(long, value_name = "MICROSECONDS", hide = true)]
    cpu_rt_runtime: Option<i64>,
    /// Docker's signatures, of which this engine has none to check.
    #[arg(long, value_name = "BOOL", hide = true, num_args = 0..=1, require_equals = true)]
    disable_content_trust: Option<Option<bool>>,
}

impl OptionArgs {
    /// The labels of files and of flags, which count more.
    pub fn labels(&self) -> Result<HashMap<String, String>> {
        let mut labels = HashMap::new();
        for file in &self.label_file {
            let what = || format!("read the label file {}", file.display());
            let text = fs::read_to_string(file).with_context(what)?;
            for (key, value) in namespaces::cli::parse_env_file(&text).with_context(what)? {
                labels.insert(key, value.unwrap_or_default());
            }
        }
        for label in &self.label {
            let (key, value) = label.split_once('=').unwrap_or((label, ""));
            if key.is_empty() {
                bail!("invalid label '{label}': empty name");
            }
            labels.insert(key.to_owned(), value.to_owned());
        }
        Ok(labels)
    }

    /// What they ask for.
    pub fn apply(&self, host: &mut HostConfig) -> Result<()> {
        let (security_opt, open) = security_options(&self.security_opt)?;
        host.security_opt = some(security_opt);
        if open {
            host.masked_paths = Some(Vec::new());
            host.readonly_paths = Some(Vec::new());
        }
        host.privileged = Some(self.privileged);
        host.cap_add = some(self.cap_add.clone());
        host.cap_drop = some(self.cap_drop.clone());
        host.sysctls = Some(pairs(&self.sysctl, "sysctl")?);
        host.oom_score_adj = self.oom_score_adj;
        host.group_add = some(self.group_add.clone());
        host.volumes_from = some(self.volumes_from.clone());
        host.volume_driver = self.volume_driver.clone();
        host.annotations = Some(pairs(&self.annotation, "annotation")?);
        host.log_config = self.log_config()?;
        host.runtime = self.runtime.clone();
        host.isolation = self.isolation;
        host.device_requests = some(self.gpus.iter().map(|_| gpu()).collect());
        host.storage_opt = Some(pairs(&self.storage_opt, "storage option")?);
        host.links = some(self.link.clone());
        let weight = |device: &String| ResourcesBlkioWeightDevice {
            path: device.split(':').next().map(str::to_owned),
            weight: device.rsplit(':').next().and_then(|weight| weight.parse().ok()),
        };
        host.blkio_weight_device = some(self.blkio_weight_device.iter().map(weight).collect());
        host.cpu_realtime_period = self.cpu_rt_period;
        host.cpu_realtime_runtime = self.cpu_rt_runtime;
        Ok(())
    }

    fn log_config(&self) -> Result<Option<HostConfigLogConfig>> {
        if self.log_driver.is_none() && self.log_opt.is_empty() {
            return Ok(None);
        }
        let typ = Some(self.log_driver.clone().unwrap_or_else(|| "json-file".into()));
        Ok(Some(HostConfigLogConfig { typ, config: Some(pairs(&self.log_opt, "log option")?) }))
    }
}

/// What Docker's client asks the API for with `--gpus`.
fn gpu() -> DeviceRequest {
    let capabilities = Some(vec![vec!["gpu".to_owned()]]);
    DeviceRequest { count: Some(-1), capabilities, ..Default::default() }
}

/// As Docker's client sends them: a list of system calls as what the file holds. And
/// whether nothing of the system is to be hidden, which the API has no such word for.
fn security_options(given: &[String]) -> Result<(Vec<String>, bool)> {
    let (mut options, mut open) = (Vec::new(), false);
    for option in given {
        match option.split_once(['=', ':']) {
            Some(("systempaths", "unconfined")) => open = true,
            Some(("seccomp", file)) if !matches!(file, "unconfined" | "builtin") => {
                let what = || format!("opening seccomp profile ({file}) failed");
                let text = fs::read_to_string(file).with_context(what)?;
                let profile: serde_json::Value =
                    serde_json::from_str(&text).with_context(|| {
                        format!("compacting json for seccomp profile ({file}) failed")
                    })?;
                options.push(format!("seccomp={profile}"));
            }
            None if option != "no-new-privileges" => bail!("invalid --security-opt: {option:?}"),
            _ => options.push(option.clone()),
        }
    }
    Ok((options, open))
}

/// `KEY=VALUE`, each key with its last value.
fn pairs(given: &[String], what: &str) -> Result<HashMap<String, String>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => bail!("invalid {what} '{text}': write KEY=VALUE"),
    };
    given.iter().map(pair).collect()
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
