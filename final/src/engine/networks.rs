//! Networks: which container is where, in Docker's shapes.

use std::collections::HashMap;

use bollard_stubs::models::{
    EndpointSettings, NetworkSettings, PortBinding, PortMap, PortSummary, PortSummaryTypeEnum,
};
use networking::{DEFAULT, Lease, Network, Networks, Protocol, Published};

use super::error::Result;
use super::network;
use super::record::Record;
use crate::store::{Root, State};

/// Where containers are in their networks, by container id, as of one moment.
#[derive(Debug, Default)]
pub struct Places {
    leases: HashMap<String, Vec<(Network, Lease)>>,
    ids: HashMap<String, String>,
}

impl Places {
    /// Reads all leases.
    pub fn read(root: &Root) -> Result<Self> {
        let networks = Networks::open(root.data())?;
        let mut places = Self::default();
        for network in networks.list()? {
            for lease in networks.glance(&network.id) {
                let all = places.leases.entry(lease.container.clone()).or_default();
                all.push((network.clone(), lease));
            }
            places.ids.insert(network.name, network.id);
        }
        Ok(places)
    }

    fn on(&self, record: &Record, network: &str) -> Option<&(Network, Lease)> {
        self.leases.get(&record.id)?.iter().find(|(on, _)| on.name == network)
    }

    /// The `Ports` of `ps`: what is published, and what is exposed without being so.
    pub fn summaries(record: &Record, state: &State) -> Vec<PortSummary> {
        let published = published(state);
        let mut ports: Vec<_> = published
            .iter()
            .map(|port| PortSummary {
                ip: Some(port.address().to_string()),
                private_port: port.container,
                public_port: Some(port.host),
                typ: Some(typ(port.protocol)),
            })
            .collect();
        for (port, protocol) in exposed(record) {
            if !published.iter().any(|one| (one.container, one.protocol) == (port, protocol)) {
                let typ = Some(typ(protocol));
                ports.push(PortSummary { ip: None, private_port: port, public_port: None, typ });
            }
        }
        ports
    }

    /// The container's networks, by name. One that does not run has no place on them,
    /// though it may not have given it back yet.
    pub fn endpoints(&self, record: &Record, alive: bool) -> HashMap<String, EndpointSettings> {
        let mode = record.host_config.network_mode.as_deref().unwrap_or_default();
        if mode.starts_with("container:") {
            return HashMap::new();
        }
        let endpoints = record.endpoints().into_iter();
        endpoints
            .map(|(name, asked)| (name.clone(), self.endpoint(record, &name, asked, alive)))
            .collect()
    }

    /// What was asked for, and what has become of it.
    fn endpoint(
        &self,
        record: &Record,
        name: &str,
        asked: EndpointSettings,
        alive: bool,
    ) -> EndpointSettings {
        let is_users = !matches!(name, DEFAULT | "host" | "none");
        let id = self.ids.get(name).cloned();
        let text = |text: Option<String>| Some(text.unwrap_or_default());
        let place = self.on(record, name).filter(|_| alive);
        EndpointSettings {
            dns_names: is_users.then(|| network::names_of(record, &asked)),
            gw_priority: Some(asked.gw_priority.unwrap_or(0)),
            network_id: text(id),
            endpoint_id: text(place.map(|(on, _)| network::endpoint_id(&on.id, &record.id))),
            // An internal network leads nowhere.
            gateway: text(
                place.filter(|(on, _)| !on.internal).map(|(on, _)| on.gateway.to_string()),
            ),
            ip_address: text(place.map(|(_, lease)| lease.address.to_string())),
            ip_prefix_len: Some(place.map_or(0, |(on, _)| on.subnet.prefix.into())),
            mac_address: text(
                place
                    .map(|(_, lease)| network::hardware_address(lease.hardware_address()))
                    .or(asked.mac_address.clone()),
            ),
            ipv6_gateway: text(None),
            global_ipv6_address: text(None),
            global_ipv6_prefix_len: Some(0),
            ..asked
        }
    }

    /// The `NetworkSettings` of `inspect`.
    pub fn settings(&self, record: &Record, state: &State) -> NetworkSettings {
        let mut ports = PortMap::new();
        for (port, protocol) in exposed(record) {
            ports.insert(format!("{port}/{protocol}"), None);
        }
        for port in published(state) {
            let binding = PortBinding {
                host_ip: Some(port.address().to_string()),
                host_port: Some(port.host.to_string()),
            };
            let key = format!("{}/{}", port.container, port.protocol);
            ports.entry(key).or_default().get_or_insert_default().push(binding);
        }
        NetworkSettings {
            sandbox_id: Some(String::new()),
            sandbox_key: Some(String::new()),
            ports: Some(ports),
            networks: Some(self.endpoints(record, state.is_alive())),
        }
    }
}

/// The ports as they became, on a bridge or by pasta.
fn published(state: &State) -> &[Published] {
    if state.is_alive() { &state.ports } else { &[] }
}

fn typ(protocol: Protocol) -> PortSummaryTypeEnum {
    match protocol {
        Protocol::Tcp => PortSummaryTypeEnum::TCP,
        Protocol::Udp => PortSummaryTypeEnum::UDP,
    }
}

/// The ports that the container exposes.
pub fn exposed(record: &Record) -> Vec<(u16, Protocol)> {
    let ports = record.config.exposed_ports.iter().flatten();
    ports.filter_map(|port| networking::parse_expose(port).ok()).flatten().collect()
}
