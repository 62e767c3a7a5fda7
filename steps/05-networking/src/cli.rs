//! The flags of this lesson.

use std::net::IpAddr;

use namespaces::Result;

use crate::files::{ExtraHost, Names};
use crate::modes::Mode;
use crate::network::DEFAULT;
use crate::port::{Port, Protocol, parse_expose, parse_publish, publish_all};

/// How a container is reached, and what it reaches.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkArgs {
    /// Connect to a network: bridge (the default), host, none, container:NAME, or a
    /// network's name
    #[arg(long, alias = "net", value_name = "NETWORK")]
    pub network: Option<Mode>,
    /// How it is reached
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// The ports of a container, and its names.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Network")]
pub struct ReachArgs {
    /// Publish a port
    #[arg(
        short,
        long,
        value_name = "PORT",
        allow_hyphen_values = true,
        help = "Publish a port: [[IP:][HOST]:]CONTAINER[/udp], also ranges"
    )]
    pub publish: Vec<String>,
    /// Publish every exposed port to a random port of the host
    #[arg(short = 'P', long)]
    pub publish_all: bool,
    /// Expose a port or a range of ports
    #[arg(long, value_name = "PORT")]
    pub expose: Vec<String>,
    /// Ask this name server
    #[arg(long, value_name = "IP")]
    pub dns: Vec<IpAddr>,
    /// Search this domain for short names
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// Set a resolver option, see resolv.conf(5)
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    pub dns_option: Vec<String>,
    /// Add a line to /etc/hosts: NAME:IP, or NAME:host-gateway
    #[arg(long, value_name = "NAME:IP")]
    pub add_host: Vec<ExtraHost>,
}

impl NetworkArgs {
    /// The network that was asked for, or the default one.
    pub fn mode(&self) -> Mode {
        self.network.clone().unwrap_or_else(|| Mode::Bridge(DEFAULT.into()))
    }

    /// See [`ReachArgs::ports`].
    pub fn ports(&self, image: &[(u16, Protocol)]) -> Result<Vec<Port>> {
        self.reach.ports(image)
    }

    /// See [`ReachArgs::names`].
    pub fn names(&self) -> Names {
        self.reach.names()
    }
}

impl ReachArgs {
    /// The ports to publish, from `-p`, and from `-P` with `--expose` and with what
    /// the image exposes.
    pub fn ports(&self, image: &[(u16, Protocol)]) -> Result<Vec<Port>> {
        let mut ports = Vec::new();
        for spec in &self.publish {
            // Twice the same is twice, and the second finds the port in use.
            ports.extend(parse_publish(spec)?);
        }
        let mut exposed = image.to_vec();
        for spec in &self.expose {
            exposed.extend(parse_expose(spec)?);
        }
        if self.publish_all {
            ports.extend(publish_all(&ports, &exposed));
        }
        Ok(ports)
    }

    /// What the command line says about names.
    pub fn names(&self) -> Names {
        Names {
            servers: self.dns.clone(),
            search: self.dns_search.clone(),
            options: self.dns_option.clone(),
            hosts: self.add_host.clone(),
        }
    }
}
