//! `explain`: how a container was made.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;
use namespaces::explain::{Step, render};

use super::out;
use crate::client::{Client, encode};

/// `explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A name, an id, or an unambiguous beginning of an id.
    container: String,
    /// Print a JSON object for each step.
    #[arg(long)]
    json: bool,
}

/// `coracle explain`
pub async fn explain(client: &Client, args: ExplainArgs) -> Result<ExitCode> {
    let path = format!("/containers/{}/explain", encode(&args.container));
    let birth = read(client, Method::GET, &path).await?;
    match args.json {
        true => out::text(birth)?,
        false => out::text(timeline(&birth)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts a container, and tells on standard error how it was made.
pub async fn start(client: &Client, id: &str) -> Result<()> {
    let birth = read(client, Method::POST, &format!("/containers/{id}/start?explain=1")).await?;
    out::tell(timeline(&birth)?.trim_end());
    Ok(())
}

async fn read(client: &Client, method: Method, path: &str) -> Result<String> {
    let response = client.send(method, path, None).await?;
    let bytes = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec())?)
}

/// A line for each step.
fn timeline(birth: &str) -> Result<String> {
    let mut lines = String::new();
    for line in birth.lines() {
        let step: Step =
            serde_json::from_str(line).context("understand the container's record of its birth")?;
        lines.push_str(&render(&step));
        lines.push('\n');
    }
    Ok(lines)
}
