//! `--network` and its kin, of `run` and `create`.

use std::collections::HashMap;
use std::str::FromStr;

use anyhow::{Result, bail};
use bollard_stubs::models::{EndpointIpamConfig, EndpointSettings, NetworkingConfig};
use clap::Args;
use networking::cli::ReachArgs;

/// Where the container is in networks.
#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub struct ConnectionArgs {
    /// Connect to a network: bridge (the default), host, none, container:NAME, or one
    /// of your own. Several are allowed, also as name=NET,alias=NAME,ip=IP,gw-priority=N.
    #[arg(long, alias = "net", value_name = "NETWORK")]
    network: Vec<Connection>,
    /// What else the neighbours on a network of your own may call the container.
    #[arg(long, alias = "net-alias", value_name = "NAME")]
    network_alias: Vec<String>,
    /// This very address, on a network of your own.
    #[arg(long, value_name = "IP")]
    ip: Option<String>,
    /// This very hardware address.
    #[arg(long, value_name = "MAC")]
    mac_address: Option<String>,
    /// How it is reached.
    #[command(flatten)]
    pub reach: ReachArgs,
}

/// One `--network`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Connection {
    network: String,
    settings: EndpointSettings,
}

impl FromStr for Connection {
    type Err = anyhow::Error;

    /// A name, or Docker's list of fields.
    fn from_str(text: &str) -> Result<Self> {
        let mut connection = Self::default();
        if !text.contains('=') {
            connection.network = text.to_owned();
            return Ok(connection);
        }
        let settings = &mut connection.settings;
        for field in text.split(',') {
            let Some((key, value)) = field.split_once('=') else {
                bail!("invalid field {field}: it must be a key=value pair");
            };
            match key.trim().to_ascii_lowercase().as_str() {
                "name" => connection.network = value.to_owned(),
                "alias" => settings.aliases.get_or_insert_default().push(value.to_owned()),
                "ip" => ipam(settings).ipv4_address = Some(value.to_owned()),
                "ip6" => ipam(settings).ipv6_address = Some(value.to_owned()),
                "mac-address" => settings.mac_address = Some(value.to_owned()),
                "link-local-ip" => {
                    let all = &mut ipam(settings).link_local_ips;
                    all.get_or_insert_default().push(value.to_owned());
                }
                "driver-opt" => {
                    let (key, value) = value.split_once('=').unwrap_or((value, ""));
                    let all = settings.driver_opts.get_or_insert_default();
                    all.insert(key.to_owned(), value.to_owned());
                }
                "gw-priority" => match value.parse() {
                    Ok(priority) => settings.gw_priority = Some(priority),
                    Err(_) => bail!("invalid gw-priority ({value}): it is no number"),
                },
                _ => bail!("invalid field key {key}"),
            }
        }
        match connection.network.is_empty() {
            true => bail!("network name/id is not specified"),
            false => Ok(connection),
        }
    }
}

fn ipam(settings: &mut EndpointSettings) -> &mut EndpointIpamConfig {
    settings.ipam_config.get_or_insert_default()
}

impl ConnectionArgs {
    /// The network that counts for all that is not on several: the first one.
    pub fn mode(&self) -> Option<String> {
        self.network.first().map(|connection| connection.network.clone())
    }

    /// What is wished for on each network.
    ///
    /// # Errors
    /// Docker's sentences for what contradicts itself.
    pub fn config(&self) -> Result<Option<NetworkingConfig>> {
        let mut all = self.network.clone();
        let wishes =
            !self.network_alias.is_empty() || self.ip.is_some() || self.mac_address.is_some();
        if all.is_empty() && !wishes {
            return Ok(None);
        }
        if all.is_empty() {
            all.push(Connection { network: "default".into(), ..Connection::default() });
        }
        self.add_to_first(&mut all[0])?;
        let mut endpoints = HashMap::new();
        for Connection { network, settings } in all.iter().cloned() {
            let alone = matches!(&*network, "host" | "none") || network.starts_with("container:");
            if alone && all.len() > 1 {
                bail!(
                    "conflicting options: cannot attach both user-defined and non-user-defined \
                     network-modes"
                );
            }
            if alone && settings == EndpointSettings::default() {
                continue;
            }
            if endpoints.insert(network.clone(), settings).is_some() {
                bail!("network \"{network}\" is specified multiple times");
            }
        }
        Ok(Some(NetworkingConfig { endpoints_config: Some(endpoints) }))
    }

    /// The flags that name no network mean the first.
    fn add_to_first(&self, first: &mut Connection) -> Result<()> {
        let settings = &mut first.settings;
        let is_users = !matches!(&*first.network, "default" | "bridge" | "host" | "none")
            && !first.network.starts_with("container:");
        if !self.network_alias.is_empty() {
            if settings.aliases.is_some() {
                bail!(
                    "conflicting options: cannot specify both --network-alias and per-network alias"
                );
            }
            settings.aliases = Some(self.network_alias.clone());
        }
        if settings.aliases.is_some() && !is_users {
            bail!("network-scoped aliases are only supported for user-defined networks");
        }
        if let Some(ip) = &self.ip {
            if ipam(settings).ipv4_address.replace(ip.clone()).is_some() {
                bail!("conflicting options: cannot specify both --ip and per-network IPv4 address");
            }
            if !is_users {
                bail!("user specified IP address is supported on user defined networks only");
            }
        }
        if let Some(mac) = &self.mac_address
            && settings.mac_address.replace(mac.clone()).is_some()
        {
            bail!(
                "conflicting options: cannot specify both --mac-address and per-network MAC address"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        connections: ConnectionArgs,
    }

    fn ask(words: &str) -> String {
        let words = ["run"].into_iter().chain(words.split_whitespace());
        let parsed = match Command::try_parse_from(words) {
            Ok(parsed) => parsed.connections,
            Err(error) => return error.to_string().lines().next().unwrap_or_default().to_owned(),
        };
        match parsed.config() {
            Ok(config) => {
                let all = config.and_then(|config| config.endpoints_config).unwrap_or_default();
                let sorted: std::collections::BTreeMap<_, _> = all.into_iter().collect();
                let json = serde_json::to_string(&sorted).unwrap();
                format!("{} {json}", parsed.mode().unwrap_or_default())
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn networks_are_written_as_docker_writes_them() {
        let asked = [
            "",
            "--network host",
            "--network b --network a --network-alias x --ip 10.0.0.5",
            "--network name=a,alias=x,alias=y,ip=10.0.0.5,gw-priority=3",
            "--mac-address 02:42:00:00:00:01",
            "--network a --network a",
            "--network a --network host",
            "--network-alias x",
            "--ip 10.0.0.5",
            "--network name=a,alias=x --network-alias y",
            "--network alias=x",
            "--network name=a,foo=b",
        ];
        let table: Vec<_> = asked.iter().map(|words| format!("{words}: {}", ask(words))).collect();
        insta::assert_snapshot!(table.join("\n"), @r#"
        :  {}
        --network host: host {}
        --network b --network a --network-alias x --ip 10.0.0.5: b {"a":{},"b":{"IPAMConfig":{"IPv4Address":"10.0.0.5"},"Aliases":["x"]}}
        --network name=a,alias=x,alias=y,ip=10.0.0.5,gw-priority=3: a {"a":{"IPAMConfig":{"IPv4Address":"10.0.0.5"},"Aliases":["x","y"],"GwPriority":3}}
        --mac-address 02:42:00:00:00:01:  {"default":{"MacAddress":"02:42:00:00:00:01"}}
        --network a --network a: network "a" is specified multiple times
        --network a --network host: conflicting options: cannot attach both user-defined and non-user-defined network-modes
        --network-alias x: network-scoped aliases are only supported for user-defined networks
        --ip 10.0.0.5: user specified IP address is supported on user defined networks only
        --network name=a,alias=x --network-alias y: conflicting options: cannot specify both --network-alias and per-network alias
        --network alias=x: error: invalid value 'alias=x' for '--network <NETWORK>': network name/id is not specified
        --network name=a,foo=b: error: invalid value 'name=a,foo=b' for '--network <NETWORK>': invalid field key foo
        "#);
    }
}
