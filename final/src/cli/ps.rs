//! `ps`.

use std::process::ExitCode;

use anyhow::Result;
use bollard_stubs::models::ContainerSummary;
use clap::Args;
use serde_json::{Value as Json, json};

use super::format::{self, Format, Row};
use crate::client::{Client, encode};
use crate::engine::time;

/// `ps`
#[derive(Debug, Args)]
pub struct PsArgs {
    /// Show all containers, not only those that run.
    #[arg(short, long)]
    all: bool,
    /// Show only what matches: ancestor, before, exited, expose, health, id, label,
    /// name (a regular expression), network, publish, since, status, volume.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = format::filter)]
    filter: Vec<(String, String)>,
    /// Show the last created container.
    #[arg(short, long)]
    latest: bool,
    /// Show the last N created containers; -1 for no limit.
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value = "-1",
        allow_negative_numbers = true
    )]
    last: i64,
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

const COLUMNS: &[&str] = &["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];

/// Docker's other form, a line for each field.
const RAW: &str = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\n\
    created_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\n\
    names: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n";

/// `coracle ps`
pub async fn ps(client: &Client, args: PsArgs) -> Result<ExitCode> {
    let mut columns = COLUMNS.to_vec();
    columns.extend(args.size.then_some("Size"));
    let raw = match (args.quiet, args.size) {
        (true, _) => "container_id: {{.ID}}".to_owned(),
        (false, true) => format!("{RAW}size: {{{{.Size}}}}\n"),
        (false, false) => RAW.to_owned(),
    };
    let format = match args.format.as_deref() {
        Some("raw") => Format::new(Some(&raw), false, &columns),
        format => Format::new(format, args.quiet, &columns),
    };
    // What is no template is told in other words here, as Docker does.
    let format = format.map_err(|error| error.saying("failed to parse template"))?;
    let format = format.of("*formatter.ContainerContext").saying("failed to execute template");
    let limit = if args.latest && args.last == -1 { 1 } else { args.last };
    // A template that shows the size wants it to be known.
    let all = args.format.as_deref().is_some_and(|format| format.contains("json .}}"));
    let size = args.size || !args.quiet && (all || format.shows("Size"));
    let filters = encode(&format::filters(&args.filter));
    let path =
        format!("/containers/json?all={}&size={size}&limit={limit}&filters={filters}", args.all);
    let containers: Vec<ContainerSummary> = client.get(&path).await?;
    if containers.is_empty() {
        // What does not fit is told even where there is nothing that it could fit.
        format.render(&row(&ContainerSummary::default(), true))?;
    }
    let rows = containers.iter().map(|container| row(container, args.no_trunc)).collect();
    format.print(rows, header)?;
    Ok(ExitCode::SUCCESS)
}

/// A container's headings.
pub fn header(column: &str) -> String {
    match column {
        "ID" => "CONTAINER ID".into(),
        "RunningFor" => "CREATED".into(),
        other => format::heading(other),
    }
}

/// A container as the fields that Docker's templates know.
pub fn row(container: &ContainerSummary, no_trunc: bool) -> Row {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let id = text(&container.id);
    let names = container.names.iter().flatten().map(|name| name.trim_start_matches('/'));
    let mounts: Vec<_> = container.mounts.iter().flatten().collect();
    let mount_names = mounts.iter().map(|mount| {
        let name = mount.name.clone().filter(|name| !name.is_empty()).or(mount.source.clone());
        let name = name.unwrap_or_default();
        if no_trunc { name } else { format::ellipsis(&name, 15) }
    });
    let local = mounts.iter().filter(|mount| mount.driver.as_deref() == Some("local")).count();
    let labels = container.labels.iter().flatten();
    let created = container.created.unwrap_or(0);
    let command = text(&container.command);
    let command = if no_trunc { command } else { format::ellipsis(&command, 20) };
    let networks = container.network_settings.as_ref().and_then(|all| all.networks.as_ref());
    let row: Json = json!({
        "ID": if no_trunc { id.as_str() } else { format::short(&id) },
        "Image": image(container, no_trunc),
        "Command": crate::template::print::quote(&command),
        "CreatedAt": time::local(created),
        "RunningFor": format!("{} ago", time::human_duration(time::since(created))),
        "Status": text(&container.status),
        "State": container.state.map(|state| state.to_string()).unwrap_or_default(),
        "Ports": format::ports(container.ports.as_deref().unwrap_or_default()),
        "Names": names.collect::<Vec<_>>().join(","),
        "Labels": format::sorted(labels.clone().map(|(key, value)| format!("{key}={value}"))),
        "Mounts": mount_names.collect::<Vec<_>>().join(","),
        "LocalVolumes": local.to_string(),
        "Networks": format::sorted(networks.into_iter().flatten().map(|(name, _)| name.clone())),
        "Platform": Json::Null,
        "Size": size(container),
    });
    Row::from(row).labels(labels)
}

/// The image's name; a part of its id, where that is its only name now.
fn image(container: &ContainerSummary, no_trunc: bool) -> String {
    let name = container.image.clone().unwrap_or_default();
    let id = container.image_id.as_deref().unwrap_or_default();
    match name.as_str() {
        "" => "<no image>".into(),
        _ if no_trunc => name,
        _ if format::short(&name) == format::short(id) => format::short(id).to_owned(),
        // The digest is for programs.
        _ => name.split('@').next().unwrap_or_default().to_owned(),
    }
}

fn size(container: &ContainerSummary) -> String {
    let written = format::size(container.size_rw.unwrap_or(0));
    match container.size_root_fs.unwrap_or(0) {
        0 => written,
        all => format!("{written} (virtual {})", format::size(all)),
    }
}
