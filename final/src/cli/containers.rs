//! `start`, `stop`, `kill`, `pause`, `unpause`, `wait`, `rm`, `ps`.

use std::process::ExitCode;

use anyhow::Result;
use bollard_stubs::models::{ContainerInspectResponse, ContainerSummary, ContainerWaitResponse};
use clap::Args;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::attach::{self, View};
use super::format::{self, Format};
use super::{each, out};
use crate::client::{Client, Refused, encode};
use crate::engine::time;

/// Containers by name or id.
#[derive(Debug, Args)]
pub struct NamesArgs {
    /// Names, ids, or unambiguous beginnings of ids.
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
}

/// `start`
#[derive(Debug, Args)]
pub struct StartArgs {
    /// Show the container's output, and end as it ends.
    #[arg(short, long)]
    attach: bool,
    /// Give the container this standard input; with --attach.
    #[arg(short, long)]
    interactive: bool,
    /// Names, ids, or unambiguous beginnings of ids.
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
}

/// `stop`
#[derive(Debug, Args)]
pub struct StopArgs {
    /// The signal that asks; the image's or SIGTERM where none is given.
    #[arg(short, long)]
    signal: Option<String>,
    /// Seconds until it is killed; -1 waits for ever.
    #[arg(
        short,
        long = "timeout",
        visible_alias = "time",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    timeout: Option<i64>,
    /// Names, ids, or unambiguous beginnings of ids.
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
}

/// `kill`
#[derive(Debug, Args)]
pub struct KillArgs {
    /// The signal, by name or number.
    #[arg(short, long, default_value = "KILL")]
    signal: String,
    /// Names, ids, or unambiguous beginnings of ids.
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
}

/// `rm`
#[derive(Debug, Args)]
pub struct RmArgs {
    /// Kill it first if it runs.
    #[arg(short, long)]
    force: bool,
    /// Remove its anonymous volumes, too.
    #[arg(short, long)]
    volumes: bool,
    /// Names, ids, or unambiguous beginnings of ids.
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
}

/// `ps`
#[derive(Debug, Args)]
pub struct PsArgs {
    /// Show all containers, not only those that run.
    #[arg(short, long)]
    all: bool,
    /// Show only what matches: name=web, status=exited, label=tier, id=, ancestor=, exited=, volume=.
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Show the last created container.
    #[arg(short, long)]
    latest: bool,
    /// Show the last N created containers.
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<u32>,
    /// Do not shorten.
    #[arg(long)]
    no_trunc: bool,
    /// Show ids only.
    #[arg(short, long)]
    quiet: bool,
    /// Show how much each container has written.
    #[arg(short, long)]
    size: bool,
    /// Print through a template such as '{{.Names}}', as a 'table …' of one, or as json.
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
}

/// `coracle start`
pub async fn start(client: &Client, args: StartArgs) -> Result<ExitCode> {
    if args.attach || args.interactive {
        let [name] = args.names.as_slice() else {
            anyhow::bail!("start --attach takes one container at a time");
        };
        let container: ContainerInspectResponse =
            client.get(&format!("/containers/{}/json", encode(name))).await?;
        let view = View {
            stdin: args.interactive,
            stdout: args.attach,
            stderr: args.attach,
            signals: true,
            removed: container.host_config.as_ref().and_then(|host| host.auto_remove) == Some(true),
            explain: false,
        };
        return attach::start_attached(client, &container, view).await;
    }
    each(&args.names, async |name| {
        client.post(&format!("/containers/{}/start", encode(&name))).await?;
        out::line(name)
    })
    .await
}

/// `coracle stop`
pub async fn stop(client: &Client, args: StopArgs) -> Result<ExitCode> {
    let timeout = args.timeout.map(|seconds| format!("&t={seconds}")).unwrap_or_default();
    let signal =
        args.signal.map(|signal| format!("&signal={}", encode(&signal))).unwrap_or_default();
    each(&args.names, async |name| {
        client.post(&format!("/containers/{}/stop?{timeout}{signal}", encode(&name))).await?;
        out::line(name)
    })
    .await
}

/// `coracle kill`
pub async fn kill(client: &Client, args: KillArgs) -> Result<ExitCode> {
    each(&args.names, async |name| {
        let path = format!("/containers/{}/kill?signal={}", encode(&name), encode(&args.signal));
        client.post(&path).await?;
        out::line(name)
    })
    .await
}

/// `coracle pause`
pub async fn pause(client: &Client, args: NamesArgs) -> Result<ExitCode> {
    each(&args.names, async |name| {
        client.post(&format!("/containers/{}/pause", encode(&name))).await?;
        out::line(name)
    })
    .await
}

/// `coracle unpause`
pub async fn unpause(client: &Client, args: NamesArgs) -> Result<ExitCode> {
    each(&args.names, async |name| {
        client.post(&format!("/containers/{}/unpause", encode(&name))).await?;
        out::line(name)
    })
    .await
}

/// `coracle wait`
pub async fn wait(client: &Client, args: NamesArgs) -> Result<ExitCode> {
    each(&args.names, async |name| {
        let path = format!("/containers/{}/wait", encode(&name));
        let ended: ContainerWaitResponse = client.call(Method::POST, &path, None::<&()>).await?;
        out::line(ended.status_code)
    })
    .await
}

/// `coracle rm`
pub async fn rm(client: &Client, args: RmArgs) -> Result<ExitCode> {
    each(&args.names, async |name| {
        let path = format!("/containers/{}?force={}&v={}", encode(&name), args.force, args.volumes);
        match client.delete(&path).await {
            // Whoever insists wants it gone, and it is.
            Err(error) if args.force && is_missing(&error) => {
                out::tell(format!("coracle: {error}"));
                return Ok(());
            }
            result => result?,
        }
        out::line(name)
    })
    .await
}

fn is_missing(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<Refused>();
    refused.is_some_and(|refused| refused.status == StatusCode::NOT_FOUND)
}

/// `coracle ps`
pub async fn ps(client: &Client, args: PsArgs) -> Result<ExitCode> {
    let limit = if args.latest { Some(1) } else { args.last };
    let limit = limit.map(|limit| format!("&limit={limit}")).unwrap_or_default();
    let filters = encode(&filters(&args.filter)?);
    let path =
        format!("/containers/json?all={}&size={}&filters={filters}{limit}", args.all, args.size);
    let containers: Vec<ContainerSummary> = client.get(&path).await?;
    let rows = containers.iter().map(|container| row(container, args.no_trunc)).collect();
    let mut columns = vec!["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];
    if args.size {
        columns.push("Size");
    }
    Format::new(args.format.as_deref(), args.quiet, &columns)?.print(rows, header)?;
    Ok(ExitCode::SUCCESS)
}

/// `--filter` as the API wants it: `{"name":["web"]}`.
pub fn filters(given: &[String]) -> Result<String> {
    let mut filters = serde_json::Map::new();
    for filter in given {
        let Some((key, value)) = filter.split_once('=') else {
            anyhow::bail!("invalid filter '{filter}': write it as key=value");
        };
        let values = filters.entry(key).or_insert_with(|| json!([]));
        values.as_array_mut().expect("all are lists").push(json!(value));
    }
    Ok(Value::Object(filters).to_string())
}

fn header(column: &str) -> String {
    match column {
        "ID" => "CONTAINER ID".into(),
        "RunningFor" => "CREATED".into(),
        other => format::heading(other),
    }
}

/// A container as the fields that Docker's templates know.
fn row(container: &ContainerSummary, no_trunc: bool) -> Value {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let id = text(&container.id);
    let names = container.names.iter().flatten().map(|name| name.trim_start_matches('/'));
    let mounts = container.mounts.iter().flatten();
    let mounts = mounts.filter_map(|mount| mount.name.clone().or(mount.source.clone()));
    let labels = container.labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    json!({
        "ID": if no_trunc { id.as_str() } else { format::short(&id) },
        "Image": text(&container.image),
        "Command": format!("\"{}\"", if no_trunc { text(&container.command) } else { format::ellipsis(&text(&container.command), 20) }),
        "CreatedAt": time::local(container.created.unwrap_or(0)),
        "RunningFor": format!("{} ago", time::human_duration(time::since(container.created.unwrap_or(0)))),
        "Status": text(&container.status),
        "State": container.state.map(|state| state.to_string()).unwrap_or_default(),
        "Ports": format::ports(container.ports.as_deref().unwrap_or_default()),
        "Names": names.collect::<Vec<_>>().join(","),
        "Labels": labels.collect::<Vec<_>>().join(","),
        "Mounts": mounts.collect::<Vec<_>>().join(","),
        "Networks": container.network_settings.as_ref().and_then(|settings| settings.networks.as_ref())
            .map(|networks| networks.keys().cloned().collect::<Vec<_>>().join(",")).unwrap_or_default(),
        "Size": format::size(container.size_rw.unwrap_or(0)),
    })
}
