//! `volume`.

use std::process::ExitCode;

use anyhow::Result;
use bollard_stubs::models::{Volume, VolumeCreateRequest, VolumeListResponse};
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::json;

use super::described::Flags;
use super::format::{self, Format, Row};
use super::{each, inspect, out, prune};
use crate::client::{Client, encode};
use crate::engine::spec::pairs;

/// What can be done with volumes.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum VolumeCommand {
    /// Create a volume.
    Create(Flags<CreateArgs>),
    /// List volumes.
    #[command(visible_alias = "list")]
    Ls(Flags<LsArgs>),
    /// Show everything that is known of volumes, as JSON.
    Inspect {
        /// Print through a template such as '{{.Mountpoint}}', or as json in one line.
        #[arg(short, long, value_name = "TEMPLATE")]
        format: Option<String>,
        /// Names.
        #[arg(required = true)]
        volumes: Vec<String>,
    },
    /// Remove volumes that no container uses.
    #[command(visible_alias = "remove")]
    Rm {
        /// Be content if there is no such volume.
        #[arg(short, long)]
        force: bool,
        /// Names.
        #[arg(required = true)]
        volumes: Vec<String>,
    },
    /// Remove all anonymous volumes that no container uses.
    Prune(Flags<prune::VolumesArgs>),
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
    /// Show only what matches: dangling, driver, label, name (a regular expression).
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = format::filter)]
    filter: Vec<(String, String)>,
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
        VolumeCommand::Create(Flags(args)) => {
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
        VolumeCommand::Ls(Flags(args)) => return list(client, args).await,
        VolumeCommand::Inspect { format, volumes } => {
            let only = Some(inspect::Kind::Volume);
            return inspect::show(client, format.as_deref(), &volumes, only, false).await;
        }
        VolumeCommand::Rm { force, volumes } => {
            return each(&volumes, async |name| {
                client.delete(&format!("/volumes/{}?force={force}", encode(&name))).await?;
                out::line(name)
            })
            .await;
        }
        VolumeCommand::Prune(Flags(args)) => return prune::volumes(client, args).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(client: &Client, args: LsArgs) -> Result<ExitCode> {
    let format = match args.format.as_deref() {
        None | Some("table") if args.quiet => Some("{{.Name}}"),
        Some("raw") => Some("name: {{.Name}}\ndriver: {{.Driver}}\n"),
        format => format,
    };
    let format = Format::new(format, false, &["Driver", "Name"])?;
    let path = format!("/volumes?filters={}", encode(&format::filters(&args.filter)));
    let list: VolumeListResponse = client.get(&path).await?;
    let mut volumes = list.volumes.unwrap_or_default();
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    let rows: Vec<Row> = volumes.iter().map(row).collect();
    format.of("*formatter.volumeContext").print(rows, header)?;
    Ok(ExitCode::SUCCESS)
}

/// A volume's headings.
pub fn header(column: &str) -> String {
    if column == "Name" { "VOLUME NAME".into() } else { format::heading(column) }
}

/// A volume as the fields that Docker's templates know.
pub fn row(volume: &Volume) -> Row {
    let usage = volume.usage_data.as_ref();
    let unknown = || "N/A".to_owned();
    let row = Row::from(json!({
        "Name": volume.name,
        "Driver": volume.driver,
        "Mountpoint": volume.mountpoint,
        "Scope": "local",
        "Labels": format::sorted(volume.labels.iter().map(|(key, value)| format!("{key}={value}"))),
        "Links": usage.map_or_else(unknown, |usage| usage.ref_count.to_string()),
        "Size": usage.map_or_else(unknown, |usage| format::sum(usage.size)),
        "Availability": "N/A",
        "Group": "N/A",
        "Status": "N/A",
    }));
    row.labels(&volume.labels)
}
