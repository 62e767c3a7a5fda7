//! `network`.

use std::collections::HashMap;
use std::process::ExitCode;

use anyhow::{Result, bail};
use bollard_stubs::models::{
    EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig, NetworkConnectRequest,
    NetworkCreateRequest, NetworkCreateResponse, NetworkDisconnectRequest,
};
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::described::Flags;
use super::format::{self, Format, Row};
use super::inspect::Inspector;
use super::{each, out, prune};
use crate::client::{Client, encode};
use crate::engine::spec::pairs;

/// What can be done with networks.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum NetworkCommand {
    /// Create a network.
    Create(Flags<CreateArgs>),
    /// List networks.
    #[command(visible_alias = "list")]
    Ls(Flags<LsArgs>),
    /// Show everything that is known of networks, and who is on them, as JSON.
    Inspect(Flags<InspectArgs>),
    /// Remove networks that nobody is on.
    #[command(visible_alias = "remove")]
    Rm {
        /// Be content if there is no such network.
        #[arg(short, long)]
        force: bool,
        /// Names or ids.
        #[arg(required = true, value_name = "NETWORK")]
        networks: Vec<String>,
    },
    /// Put a container on a network; one that runs at once.
    Connect(Flags<ConnectArgs>),
    /// Take a container off a network; one that runs at once.
    Disconnect {
        /// Be content if there is no such container.
        #[arg(short, long)]
        force: bool,
        /// The network's name or id.
        network: String,
        /// The container's name or id.
        container: String,
    },
    /// Remove all networks that no running container is on.
    Prune(Flags<prune::ContainersArgs>),
    /// Take a network's bridge and rules off this host until they are needed again.
    Down {
        /// The network's name or id.
        #[arg(default_value = networking::DEFAULT)]
        network: String,
    },
}

/// `network create`
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The driver; there is only bridge.
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// The addresses: 10.9.0.0/16. A free range of the engine's own if none is given.
    #[arg(long, value_name = "SUBNET")]
    subnet: Vec<String>,
    /// The host's own address there.
    #[arg(long, value_name = "IP")]
    gateway: Vec<String>,
    /// Give containers addresses from this part of the subnet only.
    #[arg(long, value_name = "SUBNET")]
    ip_range: Vec<String>,
    /// No way out, and no way in but from the host.
    #[arg(long)]
    internal: bool,
    /// Containers may be put on it by hand, which they always may.
    #[arg(long)]
    attachable: bool,
    /// IPv6 addresses, which this engine's networks do not have.
    #[arg(long)]
    ipv6: bool,
    /// A label: KEY=VALUE.
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// An option of the bridge driver: com.docker.network.driver.mtu=1400.
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Its name.
    #[arg(value_name = "NETWORK")]
    name: String,
}

/// `network ls`
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Show only what matches: name=, id=, driver=, label=, type=custom, dangling=true.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = format::filter)]
    filter: Vec<(String, String)>,
    /// Show ids only.
    #[arg(short, long)]
    quiet: bool,
    /// Show ids in full.
    #[arg(long)]
    no_trunc: bool,
    /// Print through a template such as '{{.Name}}', as a 'table …' of one, or as json.
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
}

/// `network inspect`
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Print through a template such as '{{.Driver}}', or as json in one line.
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Say more, which there is not.
    #[arg(short, long)]
    verbose: bool,
    /// Names or ids.
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

/// `network connect`
#[derive(Debug, Args)]
pub struct ConnectArgs {
    /// This very address.
    #[arg(long, value_name = "IP")]
    ip: Option<String>,
    /// What else its neighbours may call the container.
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// What the container, and nobody else, calls another: CONTAINER:NAME.
    #[arg(long, value_name = "LINK")]
    link: Vec<String>,
    /// Of several networks, the one with the highest number is the way out.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    gw_priority: Option<i64>,
    /// The network's name or id.
    network: String,
    /// The container's name or id.
    container: String,
}

/// `coracle network`
pub async fn network(client: &Client, command: NetworkCommand) -> Result<ExitCode> {
    match command {
        NetworkCommand::Create(Flags(args)) => {
            let created: NetworkCreateResponse =
                client.call(Method::POST, "/networks/create", Some(&args.request()?)).await?;
            if !created.warning.is_empty() {
                out::tell(format!("WARNING: {}", created.warning));
            }
            out::line(created.id)?;
        }
        NetworkCommand::Ls(Flags(args)) => list(client, args).await?,
        NetworkCommand::Inspect(Flags(args)) => return inspect(client, args).await,
        NetworkCommand::Rm { force, networks } => {
            return each(&networks, async |name| {
                match client.delete(&format!("/networks/{}", encode(&name))).await {
                    Err(error) if force && is_missing(&error) => Ok(()),
                    removed => removed.and_then(|()| out::line(name)),
                }
            })
            .await;
        }
        NetworkCommand::Connect(Flags(args)) => {
            let path = format!("/networks/{}/connect", encode(&args.network));
            send(client, &path, &args.request()).await?;
        }
        NetworkCommand::Disconnect { force, network, container } => {
            let path = format!("/networks/{}/disconnect", encode(&network));
            let request = NetworkDisconnectRequest { container, force: Some(force) };
            send(client, &path, &request).await?;
        }
        NetworkCommand::Prune(Flags(args)) => return prune::networks(client, args).await,
        NetworkCommand::Down { network } => {
            client.post(&format!("/networks/{}/down", encode(&network))).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn is_missing(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<crate::client::Refused>();
    refused.is_some_and(|refused| refused.status == hyper::StatusCode::NOT_FOUND)
}

/// A request that is answered by its status alone.
async fn send(client: &Client, path: &str, request: &impl serde::Serialize) -> Result<()> {
    let body = serde_json::to_vec(request)?;
    client.send(Method::POST, path, Some(body)).await.map(drop)
}

async fn list(client: &Client, args: LsArgs) -> Result<()> {
    let path = format!("/networks?filters={}", encode(&format::filters(&args.filter)));
    let networks: Vec<Value> = client.get(&path).await?;
    let rows = networks.iter().map(|network| row(network, args.no_trunc)).collect();
    let columns = ["ID", "Name", "Driver", "Scope"];
    Format::new(args.format.as_deref(), args.quiet, &columns)?
        .of("*network.networkContext")
        .print::<Row>(rows, header)
}

async fn inspect(client: &Client, args: InspectArgs) -> Result<ExitCode> {
    let mut inspector = Inspector::new(args.format.as_deref())?;
    let mut errors = Vec::new();
    for name in &args.networks {
        let verbose = if args.verbose { "?verbose=1" } else { "" };
        let found = client.text(&format!("/networks/{}{verbose}", encode(name))).await;
        errors.extend(found.and_then(|object| inspector.add("Network", &object)).err());
    }
    inspector.end()?;
    errors.iter().for_each(|error| out::tell(format!("coracle: {error:#}")));
    Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn header(column: &str) -> String {
    match column {
        "ID" => "NETWORK ID".into(),
        "CreatedAt" => "CREATED AT".into(),
        _ => format::heading(column),
    }
}

fn row(network: &Value, whole: bool) -> Row {
    let text = |key: &str| network[key].as_str().unwrap_or_default().to_owned();
    let id = text("Id");
    let labels: HashMap<String, String> =
        serde_json::from_value(network["Labels"].clone()).unwrap_or_default();
    let mut all: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    all.sort();
    // As Go prints a time.
    let created = text("Created");
    let created = created.replacen('T', " ", 1).replace('Z', " +0000 UTC");
    let fields = json!({
        "ID": if whole { id.as_str() } else { format::short(&id) },
        "Name": text("Name"),
        "Driver": text("Driver"),
        "Scope": text("Scope"),
        "IPv4": network["EnableIPv4"].to_string(),
        "IPv6": network["EnableIPv6"].to_string(),
        "Internal": network["Internal"].to_string(),
        "CreatedAt": created,
        "Labels": all.join(","),
    });
    Row::from(fields).labels(&labels)
}

impl CreateArgs {
    fn request(&self) -> Result<NetworkCreateRequest> {
        let one = |values: &[String], flag: &str| match values {
            [] => Ok(None),
            [one] => Ok(Some(one.clone())),
            _ => bail!("--{flag}: a bridge network has one subnet in this engine"),
        };
        let config = IpamConfig {
            subnet: one(&self.subnet, "subnet")?,
            gateway: one(&self.gateway, "gateway")?,
            ip_range: one(&self.ip_range, "ip-range")?,
            auxiliary_addresses: None,
        };
        let given = config != IpamConfig::default();
        Ok(NetworkCreateRequest {
            name: self.name.clone(),
            driver: Some(self.driver.clone()),
            internal: Some(self.internal),
            attachable: Some(self.attachable),
            enable_ipv6: self.ipv6.then_some(true),
            ipam: given.then(|| Ipam { config: Some(vec![config]), ..Ipam::default() }),
            labels: Some(pairs(&self.label)),
            options: Some(pairs(&self.opt)),
            ..Default::default()
        })
    }
}

impl ConnectArgs {
    fn request(&self) -> NetworkConnectRequest {
        let ipam = self.ip.clone().map(|ip| EndpointIpamConfig {
            ipv4_address: Some(ip),
            ..EndpointIpamConfig::default()
        });
        let settings = EndpointSettings {
            ipam_config: ipam,
            aliases: (!self.alias.is_empty()).then(|| self.alias.clone()),
            links: (!self.link.is_empty()).then(|| self.link.clone()),
            gw_priority: self.gw_priority,
            ..EndpointSettings::default()
        };
        NetworkConnectRequest { container: self.container.clone(), endpoint_config: Some(settings) }
    }
}
