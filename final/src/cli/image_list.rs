//! `images`, `history`, `tag`.

use std::process::ExitCode;

use anyhow::Result;
use bollard_stubs::models::{ImageHistoryResponseItem, ImageSummary};
use clap::Args;
use serde_json::json;

use super::format::{self, Format, Row};
use crate::client::{Client, encode};
use crate::engine::time;

/// `images`
#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Show all images. (There are no hidden ones; the flag is there for Docker's scripts.)
    #[arg(short, long)]
    all: bool,
    /// Show only what matches: before, dangling, label, reference (a pattern), since, until.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = format::filter)]
    filter: Vec<(String, String)>,
    /// Do not shorten ids.
    #[arg(long)]
    no_trunc: bool,
    /// Show ids only.
    #[arg(short, long)]
    quiet: bool,
    /// Show the digests of the manifests.
    #[arg(long)]
    digests: bool,
    /// Print through a template such as '{{.Repository}}', as a 'table …' of one, or as json.
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Show only this repository, or this image.
    #[arg(value_name = "REPOSITORY[:TAG]")]
    repository: Option<String>,
}

/// `history`
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Print through a template such as '{{.CreatedBy}}', as a 'table …' of one, or as json.
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Print sizes and times for people.
    #[arg(short = 'H', long, default_value_t = true, action = clap::ArgAction::Set,
          num_args = 0..=1, default_missing_value = "true")]
    human: bool,
    /// Do not shorten.
    #[arg(long)]
    no_trunc: bool,
    /// Show ids only.
    #[arg(short, long)]
    quiet: bool,
    /// Its name or id.
    image: String,
}

/// `tag`
#[derive(Debug, Args)]
pub struct TagArgs {
    /// The image's name or id.
    source: String,
    /// The additional name.
    target: String,
}

/// `coracle images`
pub async fn list(client: &Client, args: ImagesArgs) -> Result<ExitCode> {
    let reference = args.repository.map(|name| ("reference".to_owned(), name));
    let filters = encode(&format::filters(args.filter.iter().chain(&reference)));
    let path = format!("/images/json?all={}&filters={filters}", args.all);
    let digest = if args.digests { "{{.Digest}}\t" } else { "" };
    let table = format!(
        "{{{{.Repository}}}}\t{{{{.Tag}}}}\t{digest}{{{{.ID}}}}\t\
         {{{{if .CreatedSince }}}}{{{{.CreatedSince}}}}{{{{else}}}}N/A{{{{end}}}}\t{{{{.Size}}}}"
    );
    let digest = if args.digests { "digest: {{.Digest}}\n" } else { "" };
    let raw = match args.quiet {
        true => "image_id: {{.ID}}".to_owned(),
        false => RAW.replace("image_id", &format!("{digest}image_id")),
    };
    // A table of the user's own gets the digests as one more column.
    let wider = args.format.as_deref().filter(|text| {
        let own = text.starts_with("table") && *text != "table";
        args.digests && own && !text.contains("{{.Digest}}")
    });
    let wider = wider.map(|text| format!("{text}\t{{{{.Digest}}}}"));
    let format = match args.format.as_deref() {
        Some("raw") => Format::with_table(Some(&raw), false, &table),
        _ if wider.is_some() => Format::with_table(wider.as_deref(), args.quiet, &table),
        format => Format::with_table(format, args.quiet, &table),
    };
    let format = format?.of("*formatter.imageContext");
    let images: Vec<ImageSummary> = client.get(&path).await?;
    let digests = args.digests || format.shows("Digest");
    let rows: Vec<Row> =
        images.iter().flat_map(|image| rows(image, args.no_trunc, digests)).collect();
    format.print(rows, header)?;
    Ok(ExitCode::SUCCESS)
}

/// Docker's other form, a line for each field.
const RAW: &str = "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\n\
    created_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n";

/// An image's headings.
pub fn header(column: &str) -> String {
    match column {
        "ID" => "IMAGE ID".into(),
        "CreatedSince" => "CREATED".into(),
        other => format::heading(other),
    }
}

/// One row for each name that an image has; one without a name for an image that has none.
fn rows(image: &ImageSummary, no_trunc: bool, digests: bool) -> Vec<Row> {
    let split = |name: &String, at: char| {
        name.rsplit_once(at).map(|(name, rest)| (name.to_owned(), rest.to_owned()))
    };
    let tags: Vec<_> = image.repo_tags.iter().filter_map(|name| split(name, ':')).collect();
    let by_digest: Vec<_> = image.repo_digests.iter().filter_map(|name| split(name, '@')).collect();
    let mut rows = Vec::new();
    let mut add = |repository: &str, tag: &str, digest: &str| {
        rows.push(row(image, repository, tag, digest, no_trunc));
    };
    for (repository, tag) in &tags {
        let own = by_digest.iter().filter(|(name, _)| digests && name == repository);
        let own: Vec<_> = own.map(|(_, digest)| digest.as_str()).collect();
        match own.is_empty() {
            true => add(repository, tag, "<none>"),
            false => own.into_iter().for_each(|digest| add(repository, tag, digest)),
        }
    }
    for (repository, digest) in &by_digest {
        if !tags.iter().any(|(tagged, _)| tagged == repository) {
            add(repository, "<none>", if digests { digest } else { "" });
        }
    }
    if tags.is_empty() && by_digest.is_empty() {
        add("<none>", "<none>", "<none>");
    }
    rows
}

/// An image under one of its names, as the fields that Docker's templates know.
pub fn row(image: &ImageSummary, repository: &str, tag: &str, digest: &str, no_trunc: bool) -> Row {
    let unknown = |size: i64, text: String| if size == -1 { "N/A".into() } else { text };
    let unique = image.size - image.shared_size;
    Row::from(json!({
        "Repository": repository,
        "Tag": tag,
        "Digest": digest,
        "ID": if no_trunc { image.id.as_str() } else { format::short(&image.id) },
        "CreatedAt": time::local(image.created),
        "CreatedSince": format!("{} ago", time::human_duration(time::since(image.created))),
        "Size": format::size(image.size),
        "VirtualSize": format::sum(image.size),
        "SharedSize": unknown(image.shared_size, format::sum(image.shared_size)),
        "UniqueSize": unknown(image.shared_size, format::sum(unique)),
        "Containers": unknown(image.containers, image.containers.to_string()),
    }))
}

/// `coracle history`
pub async fn history(client: &Client, args: HistoryArgs) -> Result<ExitCode> {
    let created = if args.human { "CreatedSince" } else { "CreatedAt" };
    let columns = ["ID", created, "CreatedBy", "Size", "Comment"];
    let format = Format::new(args.format.as_deref(), args.quiet, &columns)?;
    let format = format.of("*image.historyContext");
    let path = format!("/images/{}/history", encode(&args.image));
    let steps: Vec<ImageHistoryResponseItem> = client.get(&path).await?;
    format.print(steps.iter().map(|step| step_row(step, &args)).collect(), step_header)?;
    Ok(ExitCode::SUCCESS)
}

fn step_header(column: &str) -> String {
    match column {
        "ID" => "IMAGE".into(),
        "CreatedSince" => "CREATED".into(),
        other => format::heading(other),
    }
}

/// What nobody dates has the epoch's beginning, or one not long after.
const LONG_AGO: i64 = 946_684_800;

fn step_row(step: &ImageHistoryResponseItem, args: &HistoryArgs) -> Row {
    let by = step.created_by.replace('\t', " ");
    let at = time::rfc3339(step.created);
    let since = match step.created {
        _ if !args.human => at.clone(),
        ..=LONG_AGO => "N/A".into(),
        created => format!("{} ago", time::human_duration(time::since(created))),
    };
    Row::from(json!({
        "ID": if args.no_trunc { step.id.as_str() } else { format::short(&step.id) },
        "CreatedAt": at,
        "CreatedSince": since,
        "CreatedBy": if args.no_trunc { by } else { format::ellipsis(&by, 45) },
        "Size": if args.human { format::size(step.size) } else { step.size.to_string() },
        "Comment": step.comment,
    }))
}

/// `coracle tag`
pub async fn tag(client: &Client, args: TagArgs) -> Result<ExitCode> {
    let path = format!("/images/{}/tag?repo={}", encode(&args.source), encode(&args.target));
    client.post(&path).await?;
    Ok(ExitCode::SUCCESS)
}
