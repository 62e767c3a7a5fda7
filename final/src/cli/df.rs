//! `system df`.

use std::process::ExitCode;

use anyhow::Result;
use bollard_stubs::models::{ContainerSummary, ContainerSummaryStateEnum, ImageSummary, Volume};
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::format::{self, Format, Row, sum};
use super::{image_list, out, ps, volumes};
use crate::client::Client;
use crate::template::value::{Field, Struct, Value};

/// `system df`
#[derive(Debug, Args)]
pub struct DfArgs {
    /// Show each thing by itself.
    #[arg(short, long)]
    verbose: bool,
    /// Print through a template such as '{{.Type}}', as a 'table …' of one, or as json.
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Usage {
    layers_size: i64,
    images: Option<Vec<ImageSummary>>,
    containers: Option<Vec<ContainerSummary>>,
    volumes: Option<Vec<Volume>>,
}

/// `coracle system df`
pub async fn df(client: &Client, args: DfArgs) -> Result<ExitCode> {
    let columns = ["Type", "TotalCount", "Active", "Size", "Reclaimable"];
    let format = Format::new(args.format.as_deref(), false, &columns)?;
    let format = format.of("*formatter.diskUsageImagesContext");
    let usage: Usage = client.get("/system/df").await?;
    let images = usage.images.unwrap_or_default();
    let mut containers = usage.containers.unwrap_or_default();
    let volumes = usage.volumes.unwrap_or_default();
    // The image below is counted with the images.
    containers.iter_mut().for_each(|container| container.size_root_fs = None);
    if args.verbose {
        return verbose(&args, &images, &containers, &volumes);
    }
    let rows = vec![
        image_total(&images, usage.layers_size),
        container_total(&containers),
        volume_total(&volumes),
        total("Build Cache", 0, 0, 0, "0B".into()),
    ];
    format.print(rows, |column| match column {
        "TotalCount" => "TOTAL".into(),
        other => format::heading(other),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn total(kind: &str, count: usize, active: usize, size: i64, reclaimable: String) -> Row {
    Row::from(json!({
        "Type": kind,
        "TotalCount": count.to_string(),
        "Active": active.to_string(),
        "Size": sum(size),
        "Reclaimable": reclaimable,
    }))
}

/// `1.982MB (100%)`
fn share(part: i64, whole: i64) -> String {
    match whole {
        0 => sum(part),
        _ => format!("{} ({}%)", sum(part), part * 100 / whole),
    }
}

fn image_total(images: &[ImageSummary], layers: i64) -> Row {
    let used: Vec<_> = images.iter().filter(|image| image.containers > 0).collect();
    let needed: i64 = used.iter().map(|image| image.size - image.shared_size).sum();
    total("Images", images.len(), used.len(), layers, share(layers - needed, layers))
}

fn container_total(containers: &[ContainerSummary]) -> Row {
    use ContainerSummaryStateEnum::{PAUSED, RESTARTING, RUNNING};
    let size = |container: &&ContainerSummary| container.size_rw.unwrap_or(0);
    let active = |container: &&ContainerSummary| {
        matches!(container.state, Some(RUNNING | PAUSED | RESTARTING))
    };
    let all: i64 = containers.iter().map(|container| size(&container)).sum();
    let running = containers.iter().filter(active).count();
    let free: i64 = containers.iter().filter(|one| !active(one)).map(|one| size(&one)).sum();
    total("Containers", containers.len(), running, all, share(free, all))
}

fn volume_total(volumes: &[Volume]) -> Row {
    let usage = || volumes.iter().filter_map(|volume| volume.usage_data.as_ref());
    let active = usage().filter(|usage| usage.ref_count > 0).count();
    let all: i64 = usage().map(|usage| usage.size).sum();
    let free: i64 = usage().filter(|usage| usage.ref_count == 0).map(|usage| usage.size).sum();
    total("Local Volumes", volumes.len(), active, all, share(free, all))
}

/// Everything by itself: as tables, or in one object that a template looks at.
fn verbose(
    args: &DfArgs,
    images: &[ImageSummary],
    containers: &[ContainerSummary],
    all_volumes: &[Volume],
) -> Result<ExitCode> {
    let table = matches!(args.format.as_deref(), None | Some("" | "table"));
    let image = |image: &ImageSummary| {
        let name = image.repo_tags.first().and_then(|name| name.rsplit_once(':'));
        let (repository, tag) = name.unwrap_or(("<none>", "<none>"));
        image_list::row(image, repository, tag, "", !table)
    };
    let images: Vec<_> = images.iter().map(image).collect();
    let containers: Vec<_> = containers.iter().map(|one| ps::row(one, !table)).collect();
    let all_volumes: Vec<_> = all_volumes.iter().map(volumes::row).collect();
    if !table {
        let list = |name: &str, rows: &[Row]| {
            let rows = rows.iter().map(|row| row.value("*formatter.Context", true)).collect();
            let value = Value::list(rows, "*formatter.Context");
            Field { name: name.into(), json: Some(name.into()), value }
        };
        let fields = vec![
            list("Images", &images),
            list("Containers", &containers),
            list("Volumes", &all_volumes),
            list("BuildCache", &[]),
        ];
        let name = "*formatter.diskUsageContext".into();
        let all = Value::Struct(Struct { name, fields, escaped: false }.into());
        let format = match args.format.as_deref() {
            Some("json") => "{{json .}}",
            format => format.unwrap_or_default(),
        };
        out::text(format::rendered(&format::unescape(format), &all)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let print = |columns: &[&str], rows: Vec<Row>, header| {
        Format::new(None, false, columns)?.print(rows, header)
    };
    out::text("Images space usage:\n\n")?;
    let columns = [
        "Repository",
        "Tag",
        "ID",
        "CreatedSince",
        "Size",
        "SharedSize",
        "UniqueSize",
        "Containers",
    ];
    print(&columns, images, image_list::header)?;
    out::text("\nContainers space usage:\n\n")?;
    let columns =
        ["ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"];
    print(&columns, containers, ps::header)?;
    out::text("\nLocal Volumes space usage:\n\n")?;
    print(&["Name", "Links", "Size"], all_volumes, volumes::header)?;
    out::text("\nBuild cache usage: 0B\n\n")?;
    let columns =
        ["ID", "CacheType", "Size", "CreatedSince", "LastUsedSince", "UsageCount", "Shared"];
    print(&columns, Vec::new(), |column| match column {
        "ID" => "CACHE ID".into(),
        "CreatedSince" => "CREATED".into(),
        "LastUsedSince" => "LAST USED".into(),
        "UsageCount" => "USAGE".into(),
        other => format::heading(other),
    })?;
    Ok(ExitCode::SUCCESS)
}
