//! `container prune`, `image prune`, `volume prune`, `system prune`.

use std::io::{BufRead, Write};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use hyper::Method;
use serde::Deserialize;

use super::format::{self, sum};
use super::out;
use crate::client::{Client, encode};

/// `container prune`
#[derive(Debug, Args)]
pub struct ContainersArgs {
    /// Do not ask.
    #[arg(short, long)]
    force: bool,
    /// Remove only what matches: label, label!, until (10m, a time).
    #[arg(long, value_name = "KEY=VALUE", value_parser = format::filter)]
    filter: Vec<(String, String)>,
}

/// `image prune`
#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Remove all images that no container was made from, not only those without a name.
    #[arg(short, long)]
    all: bool,
    /// Do not ask.
    #[arg(short, long)]
    force: bool,
    /// Remove only what matches: label, label!, until (10m, a time).
    #[arg(long, value_name = "KEY=VALUE", value_parser = format::filter)]
    filter: Vec<(String, String)>,
}

/// `volume prune`
#[derive(Debug, Args)]
pub struct VolumesArgs {
    /// Remove named volumes, too.
    #[arg(short, long)]
    all: bool,
    /// Do not ask.
    #[arg(short, long)]
    force: bool,
    /// Remove only what matches: label, label!.
    #[arg(long, value_name = "KEY=VALUE", value_parser = format::filter)]
    filter: Vec<(String, String)>,
}

/// `system prune`
#[derive(Debug, Args)]
pub struct SystemArgs {
    /// Remove all images that no container was made from, not only those without a name.
    #[arg(short, long)]
    all: bool,
    /// Do not ask.
    #[arg(short, long)]
    force: bool,
    /// Remove anonymous volumes that no container uses, too.
    #[arg(long)]
    volumes: bool,
    /// Remove only what matches: label, label!, until (10m, a time).
    #[arg(long, value_name = "KEY=VALUE", value_parser = format::filter)]
    filter: Vec<(String, String)>,
}

/// What came of it, whatever was pruned.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Report {
    containers_deleted: Option<Vec<String>>,
    networks_deleted: Option<Vec<String>>,
    volumes_deleted: Option<Vec<String>>,
    images_deleted: Option<Vec<ImageRecord>>,
    space_reclaimed: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ImageRecord {
    untagged: Option<String>,
    deleted: Option<String>,
}

/// Filters, as they were given.
type Filters = Vec<(String, String)>;

/// `coracle container prune`
pub async fn containers(client: &Client, args: ContainersArgs) -> Result<ExitCode> {
    if args.force || confirmed("WARNING! This will remove all stopped containers.")? {
        total(run(client, "containers", &args.filter).await?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `coracle network prune`
pub async fn networks(client: &Client, args: ContainersArgs) -> Result<ExitCode> {
    let warning =
        "WARNING! This will remove all custom networks not used by at least one container.";
    if args.force || confirmed(warning)? {
        run(client, "networks", &args.filter).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `coracle image prune`
pub async fn images(client: &Client, mut args: ImagesArgs) -> Result<ExitCode> {
    let warning = match args.all {
        true => {
            "WARNING! This will remove all images without at least one container associated to them."
        }
        false => "WARNING! This will remove all dangling images.",
    };
    if args.force || confirmed(warning)? {
        args.filter.push(("dangling".into(), (!args.all).to_string()));
        total(run(client, "images", &args.filter).await?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `coracle volume prune`
pub async fn volumes(client: &Client, mut args: VolumesArgs) -> Result<ExitCode> {
    if args.all && args.filter.iter().any(|(key, _)| key == "all") {
        bail!("conflicting options: cannot specify both --all and --filter all=1");
    }
    let which = if args.all { "all local" } else { "anonymous local" };
    let warning =
        format!("WARNING! This will remove {which} volumes not used by at least one container.");
    if args.force || confirmed(&warning)? {
        args.filter.extend(args.all.then(|| ("all".into(), "true".into())));
        total(run(client, "volumes", &args.filter).await?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `coracle system prune`
pub async fn system(client: &Client, args: SystemArgs) -> Result<ExitCode> {
    if args.volumes && args.filter.iter().any(|(key, _)| key == "until") {
        bail!("the \"until\" filter is not supported with \"--volumes\"");
    }
    if !args.force && !confirmed(&warning(&args))? {
        return Ok(ExitCode::SUCCESS);
    }
    let mut reclaimed = run(client, "containers", &args.filter).await?;
    reclaimed += run(client, "networks", &args.filter).await?;
    if args.volumes {
        reclaimed += run(client, "volumes", &args.filter).await?;
    }
    let mut filter = args.filter.clone();
    filter.push(("dangling".into(), (!args.all).to_string()));
    total(reclaimed + run(client, "images", &filter).await?)?;
    Ok(ExitCode::SUCCESS)
}

fn warning(args: &SystemArgs) -> String {
    let mut warning = "WARNING! This will remove:\n  - all stopped containers\n  \
        - all networks not used by at least one container\n"
        .to_owned();
    if args.volumes {
        warning += "  - all anonymous volumes not used by at least one container\n";
    }
    warning += match args.all {
        true => "  - all images without at least one container associated to them\n",
        false => "  - all dangling images\n",
    };
    if !args.filter.is_empty() {
        warning += "\n  Items to be pruned will be filtered with:\n";
        let mut filters: Vec<_> =
            args.filter.iter().map(|(key, value)| format!("  - {key}={value}\n")).collect();
        filters.sort();
        warning += &filters.concat();
    }
    warning
}

/// Asks; whoever says nothing says no.
fn confirmed(warning: &str) -> Result<bool> {
    out::text(format!("{warning}\nAre you sure you want to continue? [y/N] "))?;
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

/// Has one kind of thing pruned, and prints what went. The bytes that became free.
async fn run(client: &Client, kind: &str, filters: &Filters) -> Result<i64> {
    let path = format!("/{kind}/prune?filters={}", encode(&format::filters(filters)));
    let report: Report = client.call(Method::POST, &path, None::<&()>).await?;
    let images = report.images_deleted.map(|images| {
        let line = |image: ImageRecord| match (image.untagged, image.deleted) {
            (Some(name), _) => format!("untagged: {name}"),
            (None, deleted) => format!("deleted: {}", deleted.unwrap_or_default()),
        };
        images.into_iter().map(line).collect()
    });
    let lists: [(&str, Option<Vec<String>>); 4] = [
        ("Containers", report.containers_deleted),
        ("Networks", report.networks_deleted),
        ("Volumes", report.volumes_deleted),
        ("Images", images),
    ];
    for (title, list) in lists {
        let list = list.unwrap_or_default();
        if !list.is_empty() {
            out::text(format!("Deleted {title}:\n{}\n\n", list.join("\n")))?;
        }
    }
    Ok(report.space_reclaimed)
}

fn total(bytes: i64) -> Result<()> {
    out::line(format!("Total reclaimed space: {}", sum(bytes)))
}
