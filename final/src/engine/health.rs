//! Health checks, from the image and the user to what the shim does, and back to what
//! `inspect` shows.

use bollard_stubs::models::HealthConfig;
use images::Healthcheck;
use serde_json::{Value as Json, json};

use super::error::{Error, Result};
use crate::store::{Health, HealthStatus};

/// The shortest time that is not 0, in nanoseconds.
const SHORTEST: i64 = 1_000_000;

/// Completes what the user asks for with what the image asks for, and refuses what
/// makes no sense.
///
/// # Errors
/// Times below a millisecond, a negative number of retries, an unknown kind of test.
pub fn complete(config: &mut Option<HealthConfig>, image: Option<&Healthcheck>) -> Result<()> {
    if let Some(image) = image {
        let own = config.get_or_insert_default();
        if own.test.as_ref().is_none_or(Vec::is_empty) {
            own.test = Some(image.test.clone()).filter(|test| !test.is_empty());
        }
        let or = |own: &mut Option<i64>, image: i64| {
            if own.unwrap_or(0) == 0 && image != 0 {
                *own = Some(image);
            }
        };
        or(&mut own.interval, image.interval);
        or(&mut own.timeout, image.timeout);
        or(&mut own.retries, image.retries);
        or(&mut own.start_period, image.start_period);
        or(&mut own.start_interval, image.start_interval);
    }
    config.as_ref().map_or(Ok(()), check)
}

fn check(config: &HealthConfig) -> Result<()> {
    let times = [
        ("Interval", config.interval),
        ("Timeout", config.timeout),
        ("StartPeriod", config.start_period),
        ("StartInterval", config.start_interval),
    ];
    for (name, time) in times {
        if time.is_some_and(|time| time != 0 && time < SHORTEST) {
            return Err(Error::bad_parameter(format!(
                "{name} in Healthcheck cannot be less than 1ms"
            )));
        }
    }
    if config.retries.is_some_and(|retries| retries < 0) {
        return Err(Error::bad_parameter("Retries in Healthcheck cannot be negative"));
    }
    match config.test.iter().flatten().next().map(String::as_str) {
        None | Some("NONE" | "CMD" | "CMD-SHELL") => Ok(()),
        Some(other) => Err(Error::bad_parameter(format!(
            "Unknown healthcheck type '{other}' (expected 'CMD') in container config"
        ))),
    }
}

/// The `Health` of `inspect`.
pub fn shown(health: &Health) -> Json {
    let log = health.log.iter().map(|checked| {
        json!({
            "Start": checked.start,
            "End": checked.end,
            "ExitCode": checked.exit_code,
            "Output": checked.output,
        })
    });
    json!({
        "Status": word(Some(health)),
        "FailingStreak": health.failing_streak,
        "Log": log.collect::<Vec<_>>(),
    })
}

/// What `ps` adds to the status of a container that runs.
pub fn suffix(health: Option<&Health>) -> &'static str {
    match health.map(|health| health.status) {
        None => "",
        Some(HealthStatus::Starting) => " (health: starting)",
        Some(HealthStatus::Healthy) => " (healthy)",
        Some(HealthStatus::Unhealthy) => " (unhealthy)",
    }
}

/// The word that the filter `health=` takes.
pub fn word(health: Option<&Health>) -> &'static str {
    match health.map(|health| health.status) {
        None => "none",
        Some(HealthStatus::Starting) => "starting",
        Some(HealthStatus::Healthy) => "healthy",
        Some(HealthStatus::Unhealthy) => "unhealthy",
    }
}
