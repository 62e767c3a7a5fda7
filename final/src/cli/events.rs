//! `events`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::json;

use super::format::{Format, Row};
use super::{format, logs, out};
use crate::client::{Client, encode};
use crate::store::events::Event;

/// `events`
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Show only what matches: type=container, event=die, container=, image=, volume=, network=, label=.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = format::filter)]
    filter: Vec<(String, String)>,
    /// Also what has happened since: 10m, 1h30m, 2026-01-02T03:04:05Z, or seconds since 1970.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what happens until then.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Print through a template such as '{{.Action}} {{.Actor.ID}}', or as json.
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
}

/// `coracle events`
pub async fn events(client: &Client, args: EventsArgs) -> Result<ExitCode> {
    let time = |text: &Option<String>| text.as_deref().map(logs::absolute).transpose();
    let path = format!(
        "/events?since={}&until={}&filters={}",
        encode(&time(&args.since)?.unwrap_or_default()),
        encode(&time(&args.until)?.unwrap_or_default()),
        encode(&format::filters(&args.filter)),
    );
    let form = match args.format.as_deref() {
        None | Some("") => Form::Plain,
        Some("json" | "{{json .}}") => Form::Json,
        Some(text) => Form::Template(Format::new(Some(text), false, &[])?),
    };
    let mut body = client.send(Method::GET, &path, None).await?.into_body();
    let mut begun = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        begun.extend_from_slice(&data);
        while let Some(end) = begun.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = begun.drain(..=end).collect();
            let event = serde_json::from_slice(&line).context("understand the engine's event")?;
            form.print(&event)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// How an event is printed.
enum Form {
    Plain,
    Json,
    Template(Format),
}

impl Form {
    fn print(&self, event: &Event) -> Result<()> {
        match self {
            Self::Plain => out::line(plain(event)),
            Self::Json => out::line(serde_json::to_string(event)?),
            Self::Template(format) => format.line(fields(event)),
        }
    }
}

/// `TIME TYPE ACTION ID (KEY=VALUE, …)`
fn plain(event: &Event) -> String {
    let time = jiff::Timestamp::from_nanosecond(event.time_nano.into()).unwrap_or_default();
    let time = time.to_zoned(jiff::tz::TimeZone::system());
    let time = time.strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string();
    // Go writes the zone that has no offset as a letter.
    let time = time.strip_suffix("+00:00").map_or(time.clone(), |utc| format!("{utc}Z"));
    let kind = json!(event.kind);
    let attributes: Vec<_> =
        event.actor.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let attributes = match attributes.is_empty() {
        true => String::new(),
        false => format!(" ({})", attributes.join(", ")),
    };
    let (kind, action) = (kind.as_str().unwrap_or_default(), &event.action);
    format!("{time} {kind} {action} {}{attributes}", event.actor.id)
}

/// An event as the fields that Docker's templates know.
fn fields(event: &Event) -> Row {
    Row::from(json!({
        "Status": event.status.as_deref().unwrap_or_default(),
        "ID": event.id.as_deref().unwrap_or_default(),
        "From": event.from.as_deref().unwrap_or_default(),
        "Type": event.kind,
        "Action": event.action,
        "Actor": event.actor,
        "Scope": event.scope,
        "Time": event.time,
        "TimeNano": event.time_nano,
    }))
}
