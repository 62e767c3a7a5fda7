//! Networks: which container is where, in Docker's shapes.

use std::collections::HashMap;

use bollard_stubs::models::{
    EndpointSettings, NetworkSettings, PortBinding, PortMap, PortSummary, PortSummaryTypeEnum,
};
use networking::{Lease, Network, Networks, Protocol, Published, mac};

use super::error::Result;
use super::record::Record;
use crate::store::{Root, State};

/// Where containers are in their networks, by container id, as of one moment.
#[derive(Debug, Default)]
pub struct Places(HashMap<String, (Network, Lease)>);

impl Places {
    /// Reads all leases.
    pub fn read(root: &Root) -> Result<Self> {
        let networks = Networks::open(root.data())?;
        let mut places = HashMap::new();
        for network in networks.list()? {
            for lease in networks.leases(&network)? {
                places.insert(lease.container.clone(), (network.clone(), lease));
            }
        }
        Ok(Self(places))
    }

    fn of(&self, record: &Record) -> Option<&(Network, Lease)> {
        self.0.get(&record.id)
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

    /// The container's networks, by name.
    pub fn endpoints(&self, record: &Record) -> HashMap<String, EndpointSettings> {
        let mode = record.host_config.network_mode.clone().unwrap_or_default();
        if mode.starts_with("container:") {
            return HashMap::new();
        }
        let empty = EndpointSettings {
            network_id: Some(String::new()),
            endpoint_id: Some(String::new()),
            gateway: Some(String::new()),
            ip_address: Some(String::new()),
            ip_prefix_len: Some(0),
            mac_address: Some(String::new()),
            ..Default::default()
        };
        let settings = match self.of(record) {
            None => empty,
            Some((network, lease)) => EndpointSettings {
                network_id: Some(network.id.clone()),
                endpoint_id: Some(record.id.clone()),
                gateway: Some(network.gateway.to_string()),
                ip_address: Some(lease.address.to_string()),
                ip_prefix_len: Some(network.subnet.prefix.into()),
                mac_address: Some(hardware_address(lease)),
                ..empty
            },
        };
        HashMap::from([(mode, settings)])
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
            networks: Some(self.endpoints(record)),
        }
    }
}

/// The ports as they became, on a bridge or by pasta.
fn published(state: &State) -> &[Published] {
    if state.is_alive() { &state.ports } else { &[] }
}

fn hardware_address(lease: &Lease) -> String {
    mac(lease.address).map(|byte| format!("{byte:02x}")).join(":")
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
