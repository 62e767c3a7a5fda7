//! `logs`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use bollard_stubs::models::ContainerInspectResponse;
use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;
use jiff::{SignedDuration, Timestamp};

use super::out;
use super::streams::Demux;
use crate::client::{Client, encode};

/// `logs`
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Go on until the container ends.
    #[arg(short, long)]
    follow: bool,
    /// Only what was said since: 10m, 1h30m, 2026-01-02T03:04:05Z, or seconds since 1970.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what was said until then.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only so many lines from the end.
    #[arg(short = 'n', long, default_value = "all", value_name = "N")]
    tail: String,
    /// Put the time before each line.
    #[arg(short, long)]
    timestamps: bool,
    /// A name, an id, or an unambiguous beginning of an id.
    container: String,
}

/// `coracle logs`
pub async fn logs(client: &Client, args: LogsArgs) -> Result<ExitCode> {
    let name = encode(&args.container);
    let container: ContainerInspectResponse =
        client.get(&format!("/containers/{name}/json")).await?;
    let tty = container.config.and_then(|config| config.tty).unwrap_or(false);
    if args.tail != "all" && args.tail.parse::<i64>().is_err() {
        bail!("invalid --tail {}: a number of lines, or all", args.tail);
    }
    let time = |text: &Option<String>| text.as_deref().map(absolute).transpose();
    let path = format!(
        "/containers/{name}/logs?stdout=1&stderr=1&follow={}&timestamps={}&tail={}&since={}&until={}",
        args.follow,
        args.timestamps,
        encode(&args.tail),
        encode(&time(&args.since)?.unwrap_or_default()),
        encode(&time(&args.until)?.unwrap_or_default()),
    );
    let mut body = client.send(Method::GET, &path, None, false).await?.into_body();
    let mut demux = Demux::new(tty);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            out::to_stdout(demux.write(&data))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A time, or how long ago it was, as seconds since the epoch.
pub fn absolute(text: &str) -> Result<String> {
    if let Ok(ago) = text.parse::<SignedDuration>() {
        let time = Timestamp::now() - ago;
        return Ok(format!("{}.{:09}", time.as_second(), time.subsec_nanosecond()));
    }
    if let Some(time) = local(text) {
        return Ok(time.as_second().to_string());
    }
    if text.parse::<f64>().is_ok() || text.parse::<Timestamp>().is_ok() {
        return Ok(text.to_owned());
    }
    bail!(
        "invalid time {text}: write 10m, 1h30m, 2026-01-02, 2026-01-02T03:04:05Z, or seconds since 1970"
    )
}

/// A time that names no zone is one of ours: `2026-01-02`, `2026-01-02T03:04:05`.
fn local(text: &str) -> Option<Timestamp> {
    if text.parse::<Timestamp>().is_ok() {
        return None;
    }
    let time: jiff::civil::DateTime = text.parse().ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::system()).ok()?.timestamp())
}
