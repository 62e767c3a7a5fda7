//! `inspect`: containers, images and volumes.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use hyper::StatusCode;
use serde_json::Value;

use super::format::Template;
use super::out;
use crate::client::{Client, Refused, encode};

/// `inspect`
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Print through a template such as '{{.State.Status}}'.
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Look for this kind of thing only.
    #[arg(long = "type", value_name = "KIND", value_parser = ["container", "image", "volume"])]
    kind: Option<String>,
    /// Names or ids.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// `coracle inspect`
pub async fn inspect(client: &Client, args: InspectArgs) -> Result<ExitCode> {
    let template = args
        .format
        .as_deref()
        .filter(|format| *format != "json")
        .map(Template::parse)
        .transpose()?;
    let mut code = ExitCode::SUCCESS;
    let mut found = Vec::new();
    for name in &args.names {
        match find(client, name, args.kind.as_deref()).await {
            Ok(object) => match &template {
                Some(template) => out::line(template.render(&object)?)?,
                None => found.push(object),
            },
            Err(error) => {
                out::tell(format!("coracle: {error:#}"));
                code = ExitCode::FAILURE;
            }
        }
    }
    match args.format.as_deref() {
        None => out::line(serde_json::to_string_pretty(&found)?)?,
        Some("json") => out::line(serde_json::to_string(&found)?)?,
        Some(_) => {}
    }
    Ok(code)
}

/// The first kind of thing that has this name.
async fn find(client: &Client, name: &str, kind: Option<&str>) -> Result<Value> {
    let kinds = [
        ("container", "/containers/", "/json"),
        ("image", "/images/", "/json"),
        ("volume", "/volumes/", ""),
    ];
    for (_, before, after) in
        kinds.iter().filter(|(this, ..)| kind.is_none_or(|kind| kind == *this))
    {
        match client.get(&format!("{before}{}{after}", encode(name))).await {
            Err(error)
                if error
                    .downcast_ref::<Refused>()
                    .is_some_and(|r| r.status == StatusCode::NOT_FOUND) => {}
            result => return result,
        }
    }
    anyhow::bail!("No such {}: {name}", kind.unwrap_or("object"))
}
