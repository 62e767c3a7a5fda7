//! `volume`.

use std::process::ExitCode;

use anyhow::Result;
use bollard_stubs::models::{Volume, VolumeCreateRequest, VolumeListResponse, VolumePruneResponse};
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::containers::filters;
use super::format::{self, Format};
use super::{each, out};
use crate::client::{Client, encode};
use crate::engine::spec::pairs;

/// What can be done with volumes.
#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// Create a volume.
    Create(CreateArgs),
    /// List volumes.
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Show everything that is known of volumes, as JSON.
    Inspect {
        /// Names.
        #[arg(required = true)]
        volumes: Vec<String>,
    },
    /// Remove volumes that no container uses.
    Rm {
        /// Be content if there is no such volume.
        #[arg(short, long)]
        force: bool,
        /// Names.
        #[arg(required = true)]
        volumes: Vec<String>,
    },
    /// Remove all anonymous volumes that no container uses.
    Prune {
        /// Remove named volumes, too.
        #[arg(short, long)]
        all: bool,
        /// Do not ask. (Nothing is asked; the flag is there for Docker's scripts.)
        #[arg(short, long)]
        force: bool,
    },
}

/// `volume create`
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// A label: KEY=VALUE.
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// An option of the local driver: type=tmpfs, device=…, o=….
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Its name; a random one where none is given.
    name: Option<String>,
}

/// `volume ls`
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Show only what matches: name=, label=, dangling=true.
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Show names only.
    #[arg(short, long)]
    quiet: bool,
    /// Print through a template such as '{{.Name}}', as a 'table …' of one, or as json.
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
}

/// `coracle volume`
pub async fn volume(client: &Client, command: VolumeCommand) -> Result<ExitCode> {
    match command {
        VolumeCommand::Create(args) => {
            let request = VolumeCreateRequest {
                name: args.name,
                labels: Some(pairs(&args.label)),
                driver_opts: Some(pairs(&args.opt)),
                ..Default::default()
            };
            let volume: Volume =
                client.call(Method::POST, "/volumes/create", Some(&request)).await?;
            out::line(volume.name)?;
        }
        VolumeCommand::Ls(args) => {
            let path = format!("/volumes?filters={}", encode(&filters(&args.filter)?));
            let list: VolumeListResponse = client.get(&path).await?;
            let rows = list.volumes.iter().flatten().map(row).collect();
            Format::new(args.format.as_deref(), args.quiet, &["Driver", "Name"])?
                .print(rows, header)?;
        }
        VolumeCommand::Inspect { volumes } => {
            let mut found: Vec<Value> = Vec::new();
            for name in &volumes {
                found.push(client.get(&format!("/volumes/{}", encode(name))).await?);
            }
            out::line(serde_json::to_string_pretty(&found)?)?;
        }
        VolumeCommand::Rm { force, volumes } => {
            return each(&volumes, async |name| {
                client.delete(&format!("/volumes/{}?force={force}", encode(&name))).await?;
                out::line(name)
            })
            .await;
        }
        VolumeCommand::Prune { all, force: _ } => {
            let filters = if all { r#"{"all":["true"]}"# } else { "{}" };
            let path = format!("/volumes/prune?filters={}", encode(filters));
            let pruned: VolumePruneResponse = client.call(Method::POST, &path, None::<&()>).await?;
            pruned.volumes_deleted.iter().flatten().try_for_each(out::line)?;
            let reclaimed = format::size(pruned.space_reclaimed.unwrap_or(0));
            out::line(format!("Total reclaimed space: {reclaimed}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn header(column: &str) -> String {
    if column == "Name" { "VOLUME NAME".into() } else { format::heading(column) }
}

fn row(volume: &Volume) -> Value {
    json!({
        "ID": volume.name,
        "Name": volume.name,
        "Driver": volume.driver,
        "Mountpoint": volume.mountpoint,
        "Scope": "local",
        "Labels": volume.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(","),
    })
}
