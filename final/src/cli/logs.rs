//! `logs`.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use bollard_stubs::models::ContainerInspectResponse;
use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;
use jiff::{SignedDuration, Timestamp};

use super::out;
use super::streams::Demux;
use crate::client::{Client, encode};
use crate::engine::time;

/// `logs`
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Go on until the container ends.
    #[arg(short, long)]
    follow: bool,
    /// Only what was said since: 10m, 1h30m, 2026-01-02T03:04:05Z, or seconds since 1970.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Only what was said until then.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Only so many lines from the end.
    #[arg(short = 'n', long, default_value = "all", value_name = "N", allow_hyphen_values = true)]
    tail: String,
    /// Put before each line what the log's driver was told to keep with it.
    #[arg(long)]
    details: bool,
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
    let when = |text: &Option<String>, flag: &str| {
        let wrong = || format!("invalid value for \"{flag}\"");
        text.as_deref().map(absolute).transpose().with_context(wrong)
    };
    let path = format!(
        "/containers/{name}/logs?stdout=1&stderr=1&follow={}&timestamps={}&tail={}&since={}&until={}&details={}",
        args.follow,
        args.timestamps,
        encode(&args.tail),
        encode(&when(&args.since, "since")?.unwrap_or_default()),
        encode(&when(&args.until, "until")?.unwrap_or_default()),
        args.details,
    );
    let mut body = client.send(Method::GET, &path, None).await?.into_body();
    let mut demux = Demux::new(tty);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            out::to_stdout(demux.write(&data))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A time, or how long ago it was, as seconds since the epoch. Docker's grammar:
/// `10m`, `1.5h`, `2026-01-02`, `2026-01-02T03:04`, with or without a zone, or seconds.
pub fn absolute(text: &str) -> Result<String> {
    let (later, duration) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let time = if let Some(ago) = time::go_duration(duration).filter(|_| duration != "0") {
        let ago = SignedDuration::from_secs_f64(if later { -ago } else { ago });
        Timestamp::now().checked_sub(ago).ok()
    } else if text.parse::<f64>().is_ok() {
        return Ok(text.to_owned());
    } else {
        text.parse().ok().or_else(|| day_with_zone(text)).or_else(|| local(text))
    };
    match time {
        Some(time) => Ok(format!("{}.{:09}", time.as_second(), time.subsec_nanosecond())),
        None => bail!("failed to parse value as time or duration: \"{text}\""),
    }
}

/// `2026-01-02Z`, `2026-01-02+01:00`: the beginning of that day there.
fn day_with_zone(text: &str) -> Option<Timestamp> {
    let (day, zone) = text.split_at_checked("2026-01-02".len())?;
    format!("{day}T00:00:00{zone}").parse().ok()
}

/// A time that names no zone is one of ours: `2026-01-02`, `2026-01-02T03:04:05`.
fn local(text: &str) -> Option<Timestamp> {
    let time: jiff::civil::DateTime = text.parse().ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::system()).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_docker_reads_them() {
        let seconds =
            |text: &str| absolute(text).unwrap().split('.').next().unwrap().parse::<i64>();
        let now = Timestamp::now().as_second();
        for (text, ago) in [("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("-10m", -600)] {
            let found = seconds(text).unwrap();
            assert!((now - ago - 2..=now - ago + 2).contains(&found), "{text}: {found}");
        }
        for text in ["2026-01-02T03:04:05Z", "2026-01-02T04:04:05+01:00"] {
            assert_eq!(seconds(text), Ok(1_767_323_045), "{text}");
        }
        assert_eq!(seconds("2026-01-02Z"), Ok(1_767_312_000));
        assert_eq!(absolute("1767312000.000000001").unwrap(), "1767312000.000000001");
        for text in ["2026-01-02", "2026-01-02T03:04", "2026-01-02T03:04:05.5"] {
            assert!(seconds(text).is_ok(), "{text}");
        }
        for text in ["bogus", "10d", ""] {
            assert!(absolute(text).is_err(), "{text}");
        }
    }
}
