//! `start`, `stop`, `kill`, `pause`, `unpause`, `wait`, `rm`.

use std::process::ExitCode;

use anyhow::Result;
use bollard_stubs::models::{ContainerInspectResponse, ContainerWaitResponse};
use clap::Args;
use hyper::{Method, StatusCode};

use super::attach::{self, View};
use super::{each, out};
use crate::client::{Client, Refused, encode};

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
    /// Give the container this standard input.
    #[arg(short, long)]
    interactive: bool,
    /// The keys that leave its terminal, and let it go on.
    #[arg(long, value_name = "KEYS", default_value = "")]
    detach_keys: String,
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

/// `coracle start`
pub async fn start(client: &Client, args: StartArgs) -> Result<ExitCode> {
    if args.attach || args.interactive {
        let [name] = args.names.as_slice() else {
            anyhow::bail!("you cannot start and attach multiple containers at once");
        };
        let container: ContainerInspectResponse =
            client.get(&format!("/containers/{}/json", encode(name))).await?;
        let config = container.config.unwrap_or_default();
        let view = View {
            stdin: args.interactive && config.open_stdin == Some(true),
            stdout: true,
            stderr: true,
            signals: true,
            removed: container.host_config.and_then(|host| host.auto_remove) == Some(true),
            explain: false,
            detach_keys: args.detach_keys,
        };
        let (id, tty) = (container.id.unwrap_or_default(), config.tty.unwrap_or(false));
        return attach::start_and_stay(client, &id, tty, view).await;
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

/// `coracle restart`
pub async fn restart(client: &Client, args: StopArgs) -> Result<ExitCode> {
    let timeout = args.timeout.map(|seconds| format!("&t={seconds}")).unwrap_or_default();
    let signal =
        args.signal.map(|signal| format!("&signal={}", encode(&signal))).unwrap_or_default();
    each(&args.names, async |name| {
        client.post(&format!("/containers/{}/restart?{timeout}{signal}", encode(&name))).await?;
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
