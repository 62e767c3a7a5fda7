//! `pull`, `rmi`.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use ::images::Reference;
use anyhow::{Result, bail};
use bollard_stubs::models::{CreateImageInfo, ImageDeleteResponseItem};
use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{each, login, out};
use crate::client::{Client, encode};

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
    if !args.quiet && is_name_only(&args.image) {
        out::line(format_args!("Using default tag: {DEFAULT_TAG}"))?;
    }
    let name = download(client, &args.image, args.platform.as_deref(), args.quiet).await?;
    out::line(name)?;
    Ok(ExitCode::SUCCESS)
}

/// The tag of a name that has none.
const DEFAULT_TAG: &str = "latest";

/// Whether this is a name without a tag or a digest.
fn is_name_only(image: &str) -> bool {
    let own = image.rsplit_once(':').is_some_and(|(_, tag)| tag == DEFAULT_TAG);
    !own && image
        .parse::<Reference>()
        .is_ok_and(|reference| reference.digest().is_none() && reference.tag() == Some(DEFAULT_TAG))
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
    // In this process, the engine finds it where we would.
    let login = match client {
        Client::Daemon(_) => login::of(image)?,
        Client::Here(_) => None,
    };
    let mut body = client.send_as(login.as_deref(), Method::POST, &path).await?.into_body();
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
            let status = info.status.as_deref().filter(|status| status.starts_with("Status: "));
            if let Some((_, name)) = status.and_then(|status| status.rsplit_once(" for ")) {
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
            (Some(_), Some(tag)) if status.starts_with("Pulling from ") => {
                self.line(&format!("{tag}: {status}"));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_without_a_tag_and_a_digest_is_given_one() {
        let digest = format!("busybox@sha256:{}", "0".repeat(64));
        for (image, expected) in [
            ("busybox", true),
            ("127.0.0.1:5000/library/busybox", true),
            ("busybox:latest", false),
            ("busybox:1", false),
            (&digest, false),
            ("no name", false),
        ] {
            assert_eq!(is_name_only(image), expected, "{image}");
        }
    }
}
