//! Networks: made, listed, shown, removed; and who is on them.
//!
//! A network of containers is a bridge, whose record and mechanism are lesson 5's.
//! Two more are there from the beginning and have neither: `host` and `none`.

mod connect;
mod create;
mod links;
mod places;

use std::collections::BTreeMap;

use bollard_stubs::models::EndpointResource;
use jiff::{SignedDuration, Timestamp};
use networking::{DEFAULT, Network};
use serde_json::{Value, json};

use super::containers::Containers;
use super::error::{Error, Result};
use super::filters::Filters;
use super::record::Record;
use crate::store::events::{Actor, Kind};
use crate::store::{self, Events, Root, now};

pub use connect::{connect, disconnect, renamed};
pub use links::{all as links, check as check_links};
pub use places::{check_mode, configure, names_of, places, prepare};

/// The networks of one root.
pub struct Networks {
    root: Root,
}

/// A network that is there.
#[derive(Debug, Clone)]
pub enum Found {
    /// A bridge.
    Bridge(Box<Network>),
    /// The host's own, or none at all: `host` or `none`.
    Fixed {
        /// Its name.
        name: &'static str,
        /// Its driver, as Docker calls it.
        driver: &'static str,
        /// 64 hexadecimal digits.
        id: String,
    },
}

impl Found {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Bridge(network) => &network.name,
            Self::Fixed { name, .. } => name,
        }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        match self {
            Self::Bridge(network) => &network.id,
            Self::Fixed { id, .. } => id,
        }
    }

    fn driver(&self) -> &str {
        match self {
            Self::Bridge(_) => "bridge",
            Self::Fixed { driver, .. } => driver,
        }
    }

    /// Tells what happens to it, perhaps by a container.
    fn tell(&self, root: &std::path::Path, what: &str, container: Option<&str>) {
        let actor = Actor::new(self.id()).with("name", self.name()).with("type", self.driver());
        let actor = container.into_iter().fold(actor, |actor, id| actor.with("container", id));
        Events::of(root).tell(Kind::Network, what, actor);
    }

    /// It is there from the beginning, and to the end.
    pub fn is_predefined(&self) -> bool {
        self.name() == DEFAULT || matches!(self, Self::Fixed { .. })
    }

    fn label(&self, key: &str) -> Option<String> {
        match self {
            Self::Bridge(network) => network.wishes.labels.get(key).cloned(),
            Self::Fixed { .. } => None,
        }
    }
}

impl Networks {
    /// The networks kept under `root`.
    pub fn new(root: &Root) -> Self {
        Self { root: root.clone() }
    }

    /// The records and the mechanism.
    fn records(&self) -> Result<networking::Networks> {
        Ok(networking::Networks::open(self.root.data())?)
    }

    /// All of them, by name.
    pub fn all(&self) -> Result<Vec<Found>> {
        let records = self.records()?;
        // The default one is made when somebody first looks for it.
        let default = records.find(DEFAULT)?.id;
        let fixed = |name, driver| Found::Fixed { name, driver, id: derived_id(&[&default, name]) };
        let bridges = records.list()?.into_iter().map(|network| Found::Bridge(Box::new(network)));
        let mut all: Vec<_> = bridges.collect();
        all.extend([fixed("host", "host"), fixed("none", "null")]);
        all.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(all)
    }

    /// The network with this name, this id, or this unambiguous start of an id.
    pub fn find(&self, wanted: &str) -> Result<Found> {
        let wanted = if wanted == "default" { DEFAULT } else { wanted };
        let all = self.all()?;
        if let Some(found) = all.iter().find(|n| n.name() == wanted || n.id() == wanted) {
            return Ok(found.clone());
        }
        let mut matching =
            all.into_iter().filter(|n| !wanted.is_empty() && n.id().starts_with(wanted));
        let found = matching
            .next()
            .ok_or_else(|| Error::not_found(format!("network {wanted} not found")))?;
        match matching.count() {
            0 => Ok(found),
            more => Err(Error::bad_parameter(format!(
                "network {wanted} is ambiguous ({} matches found based on ID prefix)",
                more + 1
            ))),
        }
    }

    /// What `network ls` shows.
    pub fn list(&self, filters: &Filters) -> Result<Vec<Value>> {
        filters.only(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
        let types = filters.values("type").map(|typ| match typ {
            "custom" | "builtin" => Ok(()),
            typ => Err(Error::bad_parameter(format!("invalid filter: 'type'='{typ}'"))),
        });
        types.collect::<Result<()>>()?;
        let records = self.records()?;
        let unused =
            |network: &Found| !network.is_predefined() && records.glance(network.id()).is_empty();
        let admitted = |network: &Found| {
            let is_true = |text: &str| matches!(text, "true" | "1");
            filters.admit("name", |name| network.name().contains(name))
                && filters.admit("id", |id| network.id().starts_with(id))
                && filters.admit("driver", |driver| network.driver() == driver)
                && filters.admit("scope", |scope| scope == "local")
                && filters.admit("type", |typ| network.is_predefined() == (typ == "builtin"))
                && filters.admit("dangling", |yes| is_true(yes) == unused(network))
                && filters.admit_labels(|key| network.label(key))
        };
        let all = self.all()?.into_iter().filter(admitted);
        Ok(all.map(|network| self.shape(&network, json!({}))).collect())
    }

    /// What `network inspect` shows.
    pub fn inspect(&self, containers: &Containers, wanted: &str) -> Result<Value> {
        let network = self.find(wanted)?;
        let attached = match &network {
            Found::Bridge(network) => self.on_bridge(network)?,
            Found::Fixed { name, id, .. } => in_mode(containers, name, id)?,
        };
        let attached = serde_json::to_value(attached).map_err(|e| Error::system(e.to_string()))?;
        Ok(self.shape(&network, attached))
    }

    fn on_bridge(&self, network: &Network) -> Result<BTreeMap<String, EndpointResource>> {
        let mut attached = BTreeMap::new();
        for lease in self.records()?.glance(&network.id) {
            let name = self.name_of(&lease.container);
            let resource = EndpointResource {
                name: Some(name),
                endpoint_id: Some(endpoint_id(&network.id, &lease.container)),
                mac_address: Some(hardware_address(lease.hardware_address())),
                ipv4_address: Some(format!("{}/{}", lease.address, network.subnet.prefix)),
                ipv6_address: Some(String::new()),
            };
            attached.insert(lease.container, resource);
        }
        Ok(attached)
    }

    fn name_of(&self, container: &str) -> String {
        let record = store::read::<Record>(&self.root.container(container).record());
        record.ok().flatten().map(|record| record.name).unwrap_or_default()
    }

    /// Removes a network that nobody is on.
    pub fn remove(&self, wanted: &str) -> Result<()> {
        let network = self.find(wanted)?;
        if network.is_predefined() {
            return Err(Error::forbidden(format!(
                "{} is a pre-defined network and cannot be removed",
                network.name()
            )));
        }
        let records = self.records()?;
        records.remove(network.id()).map_err(|error| {
            let attached = records.glance(network.id()).into_iter().map(|lease| {
                let name = self.name_of(&lease.container);
                format!("name:\"{name}\" id:\"{}\"", &lease.container[..12])
            });
            match attached.collect::<Vec<_>>() {
                // Somebody else was quicker, or it is a failure of its own.
                none if none.is_empty() => not_found_or(error),
                endpoints => Error::forbidden(format!(
                    "error while removing network: network {} has active endpoints ({})",
                    network.name(),
                    endpoints.join(", ")
                )),
            }
        })?;
        network.tell(self.root.data(), "destroy", None);
        Ok(())
    }

    /// Removes all networks that nobody has use for. Their names.
    pub fn prune(&self, filters: &Filters) -> Result<Vec<String>> {
        filters.only(&["label", "label!", "until"])?;
        let until = filters.values("until").map(moment).next().transpose()?;
        let records = self.records()?;
        records.reconcile()?;
        let mut removed = Vec::new();
        for network in self.all()?.into_iter().filter(|network| !network.is_predefined()) {
            let Found::Bridge(record) = &network else { continue };
            let young = until.is_some_and(|until| {
                record.wishes.created.parse().is_ok_and(|created: Timestamp| created >= until)
            });
            let spared = filters.values("label!").any(|wanted| match wanted.split_once('=') {
                Some((key, value)) => network.label(key).as_deref() == Some(value),
                None => network.label(wanted).is_some(),
            });
            if young || spared || !filters.admit_labels(|key| network.label(key)) {
                continue;
            }
            // One that is used stays, without a word.
            if records.glance(network.id()).is_empty() && self.remove(network.id()).is_ok() {
                removed.push(network.name().to_owned());
            }
        }
        Ok(removed)
    }

    /// Takes a network's bridge and rules off this host, until it is needed again.
    pub fn down(&self, wanted: &str) -> Result<()> {
        match self.find(wanted)? {
            Found::Bridge(network) => self.records()?.down(&network.id).map_err(|error| {
                let text = error.to_string().replace(&network.id, &network.name);
                Error::forbidden(text)
            }),
            Found::Fixed { name, .. } => {
                Err(Error::forbidden(format!("{name} is a pre-defined network without a bridge")))
            }
        }
    }

    /// Docker's `Network`, with every field that it has.
    fn shape(&self, network: &Found, containers: Value) -> Value {
        let mut shape = json!({
            "Name": network.name(),
            "Id": network.id(),
            "Created": self.created(network),
            "Scope": "local",
            "Driver": network.driver(),
            "EnableIPv4": true,
            "EnableIPv6": false,
            "IPAM": { "Driver": "default", "Options": null, "Config": [] },
            "Internal": false,
            "Attachable": false,
            "Ingress": false,
            "ConfigFrom": { "Network": "" },
            "ConfigOnly": false,
            "Containers": containers,
            "Options": {},
            "Labels": {},
        });
        let Found::Bridge(record) = network else { return shape };
        let Network { bridge, subnet, gateway, mtu, internal, wishes, .. } = &**record;
        let mut config = json!({ "Subnet": subnet.to_string(), "Gateway": gateway.to_string() });
        if let Some(range) = wishes.range {
            config["IPRange"] = json!(range.to_string());
        }
        shape["IPAM"]["Config"] = json!([config]);
        shape["Internal"] = json!(internal);
        shape["Attachable"] = json!(wishes.attachable);
        shape["Labels"] = json!(wishes.labels);
        shape["Options"] = json!(wishes.options);
        if network.is_predefined() {
            shape["Options"] = json!({
                "com.docker.network.bridge.default_bridge": "true",
                "com.docker.network.bridge.enable_icc": "true",
                "com.docker.network.bridge.enable_ip_masquerade": "true",
                "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
                "com.docker.network.bridge.name": bridge,
                "com.docker.network.driver.mtu": mtu.to_string(),
            });
        } else {
            shape["IPAM"]["Options"] = json!({});
        }
        shape
    }

    /// The predefined ones are as old as the store.
    fn created(&self, network: &Found) -> String {
        match network {
            Found::Bridge(network) if !network.wishes.created.is_empty() => {
                network.wishes.created.clone()
            }
            _ => {
                let made = self.root.containers().metadata().and_then(|data| data.created());
                let made = made.ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
                made.map_or_else(now, |time| time.to_string())
            }
        }
    }
}

/// A time, or as long ago as a duration of Go's says: `24h`.
fn moment(text: &str) -> Result<Timestamp> {
    match text.parse::<SignedDuration>() {
        Ok(ago) => Ok(Timestamp::now() - ago),
        Err(_) => super::logs::parse_time(text),
    }
}

/// The containers that run in the host's network, or in none.
fn in_mode(
    containers: &Containers,
    mode: &str,
    id: &str,
) -> Result<BTreeMap<String, EndpointResource>> {
    let mut attached = BTreeMap::new();
    for container in containers.all()? {
        let record = &container.record;
        if record.host_config.network_mode.as_deref() != Some(mode)
            || !container.state().is_ok_and(|state| state.is_alive())
        {
            continue;
        }
        let resource = EndpointResource {
            name: Some(record.name.clone()),
            endpoint_id: Some(endpoint_id(id, &record.id)),
            mac_address: Some(String::new()),
            ipv4_address: Some(String::new()),
            ipv6_address: Some(String::new()),
        };
        attached.insert(record.id.clone(), resource);
    }
    Ok(attached)
}

/// A hardware address as people write it.
pub fn hardware_address(mac: networking::netlink::Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The id of a container's place on a network.
pub fn endpoint_id(network: &str, container: &str) -> String {
    derived_id(&[network, container])
}

/// 64 hexadecimal digits that always come from the same words.
fn derived_id(words: &[&str]) -> String {
    let digits = |n: u8| {
        let seed = format!("{n} {}", words.join(" "));
        format!("{:016x}", networking::hash(seed.as_bytes()))
    };
    (0..4).map(digits).collect()
}

fn not_found_or(error: namespaces::Error) -> Error {
    match error.doing.ends_with(" not found") {
        true => Error::not_found(error.doing),
        false => error.into(),
    }
}
