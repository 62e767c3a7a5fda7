//! `top`, `port` and `diff`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use bollard_stubs::models::{
    ContainerInspectResponse, ContainerTopResponse, FilesystemChange, PortMap,
};
use clap::Args;

use super::out;
use crate::client::{Client, encode};

/// `top`
#[derive(Debug, Args)]
pub struct TopArgs {
    /// A name, an id, or an unambiguous beginning of an id.
    container: String,
    /// Options of ps(1): -o pid,comm.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PS OPTIONS")]
    options: Vec<String>,
}

/// `port`
#[derive(Debug, Args)]
pub struct PortArgs {
    /// A name, an id, or an unambiguous beginning of an id.
    container: String,
    /// Only this port of the container: 80, 53/udp.
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

/// `diff`
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// A name, an id, or an unambiguous beginning of an id.
    container: String,
}

/// The narrowest column of `top`, and the space behind each, as Docker has them.
const COLUMN: (usize, usize) = (20, 3);

/// `coracle top`
pub async fn top(client: &Client, args: TopArgs) -> Result<ExitCode> {
    let (name, options) = (encode(&args.container), encode(&args.options.join(" ")));
    let top: ContainerTopResponse =
        client.get(&format!("/containers/{name}/top?ps_args={options}")).await?;
    let rows: Vec<_> = top.titles.into_iter().chain(top.processes.into_iter().flatten()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let longest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        COLUMN.0.max(longest + COLUMN.1)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let Some((last, cells)) = row.split_last() else { continue };
        for (cell, width) in cells.iter().zip(&widths) {
            text += &format!("{cell:<width$}");
        }
        text += &format!("{last}\n");
    }
    out::text(text)?;
    Ok(ExitCode::SUCCESS)
}

/// `coracle port`
pub async fn port(client: &Client, args: PortArgs) -> Result<ExitCode> {
    let name = &args.container;
    let container: ContainerInspectResponse =
        client.get(&format!("/containers/{}/json", encode(name))).await?;
    let ports = container.network_settings.and_then(|settings| settings.ports).unwrap_or_default();
    let lines = match &args.port {
        None => all_ports(&ports),
        Some(port) => {
            let wanted = wanted(port)?;
            let found = bindings(&ports, &wanted);
            if found.is_empty() {
                bail!("No public port '{port}' published for {name}");
            }
            found
        }
    };
    lines.iter().try_for_each(out::line)?;
    Ok(ExitCode::SUCCESS)
}

/// `80` is `80/tcp`.
fn wanted(port: &str) -> Result<String> {
    let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    match number.parse::<u16>() {
        Ok(number) if number > 0 => Ok(format!("{number}/{protocol}")),
        _ => bail!("invalid port '{port}': write a number, or a number and a protocol as 53/udp"),
    }
}

/// `80/tcp -> 0.0.0.0:8080`, by the number of the port.
fn all_ports(ports: &PortMap) -> Vec<String> {
    let number = |port: &str| port.split('/').next().and_then(|n| n.parse::<u16>().ok());
    let mut names: Vec<_> = ports.keys().collect();
    names.sort_by_key(|name| (number(name), name.to_owned()));
    let lines = names.into_iter().flat_map(|name| {
        let found = bindings(ports, name);
        found.into_iter().map(move |binding| format!("{name} -> {binding}"))
    });
    lines.collect()
}

/// `0.0.0.0:8080`, `[::]:8080`
fn bindings(ports: &PortMap, name: &str) -> Vec<String> {
    let bindings = ports.get(name).into_iter().flatten().flatten();
    let mut lines: Vec<_> = bindings
        .map(|binding| {
            let ip = binding.host_ip.as_deref().unwrap_or_default();
            let port = binding.host_port.as_deref().unwrap_or_default();
            if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
        })
        .collect();
    lines.sort();
    lines
}

/// `coracle diff`
pub async fn diff(client: &Client, args: DiffArgs) -> Result<ExitCode> {
    let path = format!("/containers/{}/changes", encode(&args.container));
    let changes: Option<Vec<FilesystemChange>> = client.get(&path).await?;
    for change in changes.into_iter().flatten() {
        let letter = match change.kind as i32 {
            0 => 'C',
            1 => 'A',
            _ => 'D',
        };
        out::line(format!("{letter} {}", change.path))?;
    }
    Ok(ExitCode::SUCCESS)
}
