//! What is done about a container that ends, or that is not well: `--restart`, `--health-…`.

use anyhow::{Result, bail};
use bollard_stubs::models::{HealthConfig, RestartPolicy, RestartPolicyNameEnum};
use clap::Args;
use jiff::SignedDuration;

/// Restart policy and health check.
#[derive(Debug, Args)]
#[command(next_help_heading = "Supervision")]
pub struct SupervisionArgs {
    /// When to start it again by itself: no, on-failure, on-failure:TIMES, always, unless-stopped.
    #[arg(long, value_name = "POLICY", value_parser = policy, default_value = "no")]
    restart: RestartPolicy,
    /// Ask for its health with this line, run by its shell: 0 is healthy.
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// Between two checks: 30s, 1m30s, 500ms.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    health_interval: Option<i64>,
    /// When a check counts as failed.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    health_timeout: Option<i64>,
    /// How many failures in a row make it unhealthy.
    #[arg(long, value_name = "N")]
    health_retries: Option<i64>,
    /// How long after the start failures do not count.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    health_start_period: Option<i64>,
    /// Between two checks of that time.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    health_start_interval: Option<i64>,
    /// Do not ask for its health, whatever the image says.
    #[arg(long)]
    no_healthcheck: bool,
}

impl SupervisionArgs {
    /// For Docker's `HostConfig`.
    pub fn restart_policy(&self) -> RestartPolicy {
        self.restart.clone()
    }

    /// For Docker's `Config`; `None`: as the image has it.
    pub fn health_config(&self) -> Result<Option<HealthConfig>> {
        let given = HealthConfig {
            test: self.health_cmd.as_ref().map(|line| vec!["CMD-SHELL".into(), line.clone()]),
            interval: self.health_interval,
            timeout: self.health_timeout,
            retries: self.health_retries,
            start_period: self.health_start_period,
            start_interval: self.health_start_interval,
        };
        let none = given == HealthConfig::default();
        match self.no_healthcheck {
            true if !none => bail!("--no-healthcheck conflicts with --health-* options"),
            true => Ok(Some(HealthConfig { test: Some(vec!["NONE".into()]), ..given })),
            false => Ok((!none).then_some(given)),
        }
    }
}

/// `on-failure:3`
pub fn policy(text: &str) -> Result<RestartPolicy, String> {
    let (name, times) = match text.split_once(':') {
        Some((name, times)) => (name, Some(times)),
        None => (text, None),
    };
    let known = name.parse::<RestartPolicyNameEnum>();
    let known = known.map_err(|_| {
        format!("there are no, on-failure, always and unless-stopped, and not {name:?}")
    })?;
    let times = times.map(str::parse::<i64>).transpose();
    let times = times.map_err(|_| "maximum retry count must be an integer".to_owned())?;
    Ok(RestartPolicy { name: Some(known), maximum_retry_count: Some(times.unwrap_or(0)) })
}

/// `1m30s` in nanoseconds.
fn duration(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no duration: write it like 30s, 1m30s or 500ms");
    let duration = text.parse::<SignedDuration>().map_err(|_| wrong())?;
    match duration.as_nanos() {
        0 => Ok(0),
        nanos @ 1_000_000.. => i64::try_from(nanos).map_err(|_| wrong()),
        _ => Err("it is shorter than a millisecond".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_a_name_and_perhaps_a_number() {
        let policy = |text| super::policy(text).map(|policy| policy.maximum_retry_count);
        assert_eq!(policy("on-failure:3"), Ok(Some(3)));
        assert_eq!(policy("always"), Ok(Some(0)));
        assert!(policy("sometimes").is_err() && policy("on-failure:x").is_err());
    }

    #[test]
    fn a_duration_is_at_least_a_millisecond() {
        assert_eq!(duration("1m30s"), Ok(90_000_000_000));
        assert_eq!(duration("0s"), Ok(0));
        assert!(duration("soon").is_err_and(|why| why.contains("1m30s")));
        assert!(duration("10us").is_err() && duration("-1s").is_err() && duration("5").is_err());
    }
}
