//! `pull`, `images`, `rmi`.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Result, bail};
use bollard_stubs::models::{CreateImageInfo, ImageDeleteResponseItem, ImageSummary};
use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::containers::filters;
use super::format::{self, Format};
use super::{each, out};
use crate::client::{Client, encode};
use crate::engine::time;

/// `pull`
#[derive(Debug, Args)]
pub struct PullArgs {
    /// Print the image's name only.
    #[arg(short, long)]
    quiet: bool,
    /// The platform, as os/architecture[/variant], of an image that has several.
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// The image: a name with its tag or digest, or an id.
    image: String,
}

/// `images`
#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Show only what matches: reference=, label=, dangling=true.
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
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

/// `rmi`
#[derive(Debug, Args)]
pub struct RmiArgs {
    /// Remove it even though stopped containers were made from it, or it has several names.
    #[arg(short, long)]
    force: bool,
    /// Names or ids.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// `coracle pull`
pub async fn pull(client: &Client, args: PullArgs) -> Result<ExitCode> {
    let name = download(client, &args.image, args.platform.as_deref(), args.quiet).await?;
    out::line(name)?;
    Ok(ExitCode::SUCCESS)
}

/// Pulls an image, and shows how it goes on standard error. Its full name.
pub async fn download(
    client: &Client,
    image: &str,
    platform: Option<&str>,
    quiet: bool,
) -> Result<String> {
    let platform =
        platform.map(|platform| format!("&platform={}", encode(platform))).unwrap_or_default();
    let path = format!("/images/create?fromImage={}{platform}", encode(image));
    let mut body = client.send(Method::POST, &path, None, false).await?.into_body();
    let mut show = Show::new(quiet);
    let (mut buffer, mut last) = (Vec::new(), image.to_owned());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        buffer.extend(data);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let Ok(info) = serde_json::from_slice::<CreateImageInfo>(&line) else { continue };
            if let Some(message) =
                info.error_detail.as_ref().and_then(|detail| detail.message.clone())
            {
                show.end();
                bail!(message);
            }
            if let Some(name) =
                info.status.as_deref().and_then(|status| status.strip_prefix("Name: "))
            {
                last = name.to_owned();
            } else {
                show.tell(&info);
            }
        }
    }
    show.end();
    Ok(last)
}

/// The progress of a pull: bars on a terminal, a line for each thing done elsewhere.
struct Show {
    quiet: bool,
    bars: Option<MultiProgress>,
    layers: HashMap<String, ProgressBar>,
}

impl Show {
    fn new(quiet: bool) -> Self {
        let bars = (!quiet && std::io::stderr().is_terminal()).then(MultiProgress::new);
        Self { quiet, bars, layers: HashMap::new() }
    }

    fn tell(&mut self, info: &CreateImageInfo) {
        let status = info.status.as_deref().unwrap_or_default();
        let total = info.progress_detail.as_ref().and_then(|detail| detail.total);
        let current = info.progress_detail.as_ref().and_then(|detail| detail.current).unwrap_or(0);
        if self.quiet {
            return;
        }
        match (&self.bars, &info.id) {
            (Some(bars), Some(id)) => {
                let bar = self.layers.entry(id.clone()).or_insert_with(|| {
                    let style = "{prefix}  {msg:16} {bar:30} {bytes:>10} of {total_bytes}";
                    let style = ProgressStyle::with_template(style).expect("a fixed template");
                    bars.add(ProgressBar::new(0).with_style(style).with_prefix(id.clone()))
                });
                if let Some(total) = total {
                    bar.set_length(total as u64);
                    bar.set_position(current as u64);
                }
                bar.set_message(status.to_owned());
            }
            // Without a terminal, what goes on is not told; what is done is.
            (None, Some(id)) if total.is_none() => out::tell(format!("{id}: {status}")),
            (_, None) if !status.is_empty() => self.line(status),
            _ => {}
        }
    }

    fn line(&self, text: &str) {
        match &self.bars {
            Some(bars) => drop(bars.println(text)),
            None => out::tell(text),
        }
    }

    fn end(&mut self) {
        for bar in self.layers.values() {
            bar.abandon();
        }
        let _ = std::io::stderr().flush();
    }
}

/// `coracle images`
pub async fn list(client: &Client, args: ImagesArgs) -> Result<ExitCode> {
    let mut given = args.filter.clone();
    given.extend(args.repository.as_ref().map(|repository| format!("reference={repository}")));
    let path = format!("/images/json?filters={}", encode(&filters(&given)?));
    let images: Vec<ImageSummary> = client.get(&path).await?;
    let rows = images.iter().flat_map(|image| rows(image, args.no_trunc)).collect();
    let columns: &[&str] = if args.digests {
        &["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"]
    } else {
        &["Repository", "Tag", "ID", "CreatedSince", "Size"]
    };
    Format::new(args.format.as_deref(), args.quiet, columns)?.print(rows, header)?;
    Ok(ExitCode::SUCCESS)
}

fn header(column: &str) -> String {
    match column {
        "ID" => "IMAGE ID".into(),
        "CreatedSince" => "CREATED".into(),
        other => format::heading(other),
    }
}

/// One row for each name that an image has; one without a name for an image that has none.
fn rows(image: &ImageSummary, no_trunc: bool) -> Vec<Value> {
    let digest =
        image.repo_digests.first().and_then(|name| name.split_once('@')).map(|(_, digest)| digest);
    let row = |repository: &str, tag: &str| {
        json!({
            "Repository": repository,
            "Tag": tag,
            "Digest": digest.unwrap_or("<none>"),
            "ID": if no_trunc { image.id.as_str() } else { format::short(&image.id) },
            "CreatedAt": time::local(image.created),
            "CreatedSince": format!("{} ago", time::human_duration(time::since(image.created))),
            "Size": format::size(image.size),
            "Containers": image.containers.to_string(),
        })
    };
    if image.repo_tags.is_empty() {
        return vec![row("<none>", "<none>")];
    }
    let names =
        image.repo_tags.iter().map(|name| name.rsplit_once(':').unwrap_or((name, "<none>")));
    names.map(|(repository, tag)| row(repository, tag)).collect()
}

/// `coracle rmi`
pub async fn rmi(client: &Client, args: RmiArgs) -> Result<ExitCode> {
    each(&args.images, async |name| {
        let path = format!("/images/{}?force={}", encode(&name), args.force);
        let items: Vec<ImageDeleteResponseItem> =
            client.call(Method::DELETE, &path, None::<&()>).await?;
        for item in items {
            item.untagged.iter().try_for_each(|name| out::line(format!("Untagged: {name}")))?;
            item.deleted.iter().try_for_each(|id| out::line(format!("Deleted: {id}")))?;
        }
        Ok(())
    })
    .await
}
