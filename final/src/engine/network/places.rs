//! Which networks a container is to be on: from Docker's `NetworkingConfig` to the
//! places that its shim takes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use bollard_stubs::models::{ContainerConfig, EndpointSettings, HostConfig, NetworkingConfig};
use networking::netlink::Mac;
use networking::{DEFAULT, Mode, Network, Place};

use super::{Found, Networks, links};
use crate::engine::Engine;
use crate::engine::containers::Container;
use crate::engine::error::{Error, Result};
use crate::engine::record::Record;
use crate::runtime::Instructions;
use crate::store;

/// What is asked for, by the network's name.
pub type Endpoints = BTreeMap<String, EndpointSettings>;

/// What Docker says where a network that is none meets one that is.
const WITH_NONE: &str = "container cannot be connected to multiple networks with one of the \
                         networks in private (none) mode";
const WITH_HOST: &str =
    "container cannot be disconnected from host network or connected to host network";
const WITH_SHARED: &str = "container sharing network namespace with another container or host \
                           cannot be connected to any other network";

/// At creation: refuses what contradicts the mode, in Docker's words, and says what
/// has no meaning there.
pub fn check_mode(config: &ContainerConfig, host: &HostConfig) -> Result<Option<String>> {
    let mode = host.network_mode.as_deref().unwrap_or_default();
    let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let binds = host.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty());
    let publishes = binds || host.publish_all_ports == Some(true);
    let exposes = some(&config.exposed_ports);
    let undefined = "This would result in undefined behavior";
    let conflicts = match mode.parse() {
        Ok(Mode::Container(_)) => vec![
            (given(&config.hostname), "hostname and the network mode".into()),
            (
                some(&host.links),
                format!("container type network can't be used with links. {undefined}"),
            ),
            (some(&host.dns), "dns and the network mode".into()),
            (some(&host.extra_hosts), "custom host-to-IP mapping and the network mode".into()),
            (publishes, "port publishing and the container type network mode".into()),
            (exposes, "port exposing and the container type network mode".into()),
        ],
        Ok(Mode::Host) => vec![(
            some(&host.links),
            format!("host type networking can't be used with links. {undefined}"),
        )],
        _ => Vec::new(),
    };
    if let Some((_, conflict)) = conflicts.into_iter().find(|(asked, _)| *asked) {
        return Err(Error::bad_parameter(format!("conflicting options: {conflict}")));
    }
    let discarded = || "Published ports are discarded when using host network mode".to_owned();
    Ok((mode == "host" && binds).then(discarded))
}

/// At creation: the container's networks, of which the mode's is one. Networks are
/// called by their names from here on, if they are there.
pub fn configure(
    networks: &Networks,
    host: &mut HostConfig,
    config: Option<NetworkingConfig>,
) -> Result<Option<Endpoints>> {
    let config = config.and_then(|config| config.endpoints_config).unwrap_or_default();
    let mode = host.network_mode.get_or_insert_default();
    if !is_bridge(mode) {
        if config.values().any(|place| place.mac_address.as_ref().is_some_and(|m| !m.is_empty())) {
            return Err(Error::bad_parameter(
                "conflicting options: mac-address and the network mode",
            ));
        }
        let other = config.keys().find(|name| *name != mode);
        return match (other, mode.as_str()) {
            (None, _) => Ok(None),
            (_, "none") => Err(Error::bad_parameter(WITH_NONE)),
            (_, "host") => Err(Error::bad_parameter(WITH_HOST)),
            _ => Err(Error::bad_parameter(WITH_SHARED)),
        };
    }
    let own_name = |wanted: &str| match networks.find(wanted) {
        Ok(found) => found.name().to_owned(),
        Err(_) => wanted.to_owned(),
    };
    if mode != DEFAULT {
        *mode = own_name(mode);
    }
    let mut endpoints = Endpoints::new();
    for (wanted, settings) in config {
        let name = own_name(&wanted);
        match &*name {
            "none" => return Err(Error::bad_parameter(WITH_NONE)),
            "host" => return Err(Error::bad_parameter(WITH_HOST)),
            _ => drop(endpoints.insert(name, as_asked(settings))),
        }
    }
    endpoints.entry(mode.clone()).or_default();
    for (name, settings) in &endpoints {
        // One that is not there is told at the start, as Docker does it.
        match networks.find(name) {
            Ok(Found::Bridge(network)) => drop(place(&network, settings)?),
            _ if name == DEFAULT => {}
            _ => drop(wishes(settings)?),
        }
    }
    Ok(Some(endpoints))
}

/// A container in this mode is on bridges, and can be put on others.
pub fn is_bridge(mode: &str) -> bool {
    matches!(mode.parse(), Ok(Mode::Bridge(_)))
}

/// Why a container in this mode cannot be put on networks.
pub fn why_fixed(mode: &str) -> Error {
    Error::bad_parameter(match mode {
        "host" => WITH_HOST,
        "none" => WITH_NONE,
        _ => WITH_SHARED,
    })
}

/// Why nobody can be put on this network.
pub fn why_unreachable(network: &Found) -> Error {
    why_fixed(network.name())
}

/// Only what is a wish: the rest is told by the engine.
pub fn as_asked(settings: EndpointSettings) -> EndpointSettings {
    EndpointSettings {
        ipam_config: settings.ipam_config,
        aliases: settings.aliases.filter(|aliases| !aliases.is_empty()),
        mac_address: settings.mac_address.filter(|mac| !mac.is_empty()),
        gw_priority: settings.gw_priority,
        driver_opts: settings.driver_opts.filter(|options| !options.is_empty()),
        links: settings.links.filter(|links| !links.is_empty()),
        ..Default::default()
    }
}

/// The places of a container, its mode's network first, then the others by name.
/// `None` for a container that is not on bridges.
///
/// # Errors
/// A network is not there.
pub fn places(networks: &Networks, record: &Record) -> Result<Option<Vec<Place>>> {
    let mode = record.host_config.network_mode.as_deref().unwrap_or_default();
    if !is_bridge(mode) {
        return Ok(None);
    }
    let endpoints = record.endpoints();
    let mut order: Vec<_> = endpoints.iter().collect();
    order.sort_by_key(|(name, _)| *name != mode);
    let mut places = Vec::new();
    for (name, settings) in order {
        if name == DEFAULT {
            // By its name: it need not be there yet.
            places.push(Place { network: DEFAULT.into(), ..wishes(settings)? });
            continue;
        }
        match networks.find(name)? {
            Found::Bridge(network) => {
                let names = names_of(record, settings);
                places.push(Place { names, ..place(&network, settings)? });
            }
            found => return Err(why_unreachable(&found)),
        }
    }
    Ok(Some(places))
}

/// What the container's neighbours may call it: its name, its aliases, its short id,
/// its host name.
pub fn names_of(record: &Record, settings: &EndpointSettings) -> Vec<String> {
    let aliases = settings.aliases.iter().flatten().cloned();
    let hostname = record.config.hostname.clone().filter(|name| !name.is_empty());
    let all = [record.name.clone()].into_iter().chain(aliases);
    let all = all.chain([record.id[..12].to_owned()]).chain(hostname);
    let mut names: Vec<String> = Vec::new();
    for name in all {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// One place, without the names.
///
/// # Errors
/// What makes no sense, or not on this network.
pub fn place(network: &Network, settings: &EndpointSettings) -> Result<Place> {
    let place = wishes(settings)?;
    let bad = |text: &str| Err(Error::bad_parameter(text));
    if network.name == DEFAULT {
        if place.address.is_some() {
            return bad("user specified IP address is supported on user defined networks only");
        }
        if settings.aliases.is_some() {
            return bad("network-scoped alias is supported only for containers in user defined \
                        networks");
        }
    }
    if let Some(address) = place.address {
        if !network.wishes.subnet {
            return bad("user specified IP address is supported only when connecting to networks \
                        with user configured subnets");
        }
        if !network.subnet.contains(address) {
            return Err(Error::bad_parameter(format!(
                "invalid address {address}: it does not belong to any of this network's subnets"
            )));
        }
    }
    Ok(Place { network: network.id.clone(), ..place })
}

/// What is wished for, on whatever network.
fn wishes(settings: &EndpointSettings) -> Result<Place> {
    let bad = |text: String| Err(Error::bad_parameter(text));
    let options = settings.driver_opts.iter().flatten().map(|(key, _)| key);
    if let Some(option) = options.filter(|key| means_something(key)).min() {
        return bad(format!("unknown option {option} of the bridge driver's endpoint"));
    }
    let ipam = settings.ipam_config.clone().unwrap_or_default();
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    if given(ipam.ipv6_address).is_some() || ipam.link_local_ips.is_some_and(|l| !l.is_empty()) {
        return bad("IPv6 and link-local addresses are not supported by this engine".into());
    }
    let address = match given(ipam.ipv4_address) {
        None => None,
        Some(text) => match text.parse::<Ipv4Addr>() {
            Ok(address) => Some(address),
            Err(_) => return bad(format!("invalid IPv4 address: {text}")),
        },
    };
    let mac = match &settings.mac_address {
        None => None,
        Some(text) => match parse_mac(text) {
            Some(mac) => Some(mac),
            None => return bad(format!("invalid MAC address: {text}")),
        },
    };
    let priority = settings.gw_priority.unwrap_or(0);
    Ok(Place { address, mac, priority, ..Place::default() })
}

/// An option that Docker's own drivers know. Any other is kept, and means nothing, as
/// with Docker: people leave notes for themselves there.
pub fn means_something(option: &str) -> bool {
    option.starts_with("com.docker.network.")
}

/// Six bytes, of one interface: the lowest bit of the first is for groups.
fn parse_mac(text: &str) -> Option<Mac> {
    let bytes = text
        .split([':', '-'])
        .map(|byte| u8::from_str_radix(byte, 16).ok().filter(|_| byte.len() == 2));
    let mac: Mac = bytes.collect::<Option<Vec<_>>>()?.try_into().ok()?;
    (mac[0] & 1 == 0).then_some(mac)
}

/// Before a start: networks may have come and gone since the container was created.
pub fn prepare(engine: &Engine, container: &Container) -> Result<()> {
    let record = &container.record;
    let Some(places) = places(&engine.networks, record)? else { return Ok(()) };
    let linked = links::on_default(engine, record)?;
    rewrite(container, |plan| {
        plan.places = Some(places);
        plan.links = links::all(record);
        plan.linked = linked;
    })
}

/// Changes what the shim is told of the network, if there is something to change.
pub fn rewrite(
    container: &Container,
    change: impl FnOnce(&mut crate::runtime::NetworkPlan),
) -> Result<()> {
    let path = container.dir.instructions();
    let Some(mut instructions) = store::read::<Instructions>(&path)? else { return Ok(()) };
    let before = instructions.network.clone();
    if let Some(plan) = &mut instructions.network {
        change(plan);
    }
    match instructions.network == before {
        true => Ok(()),
        false => Ok(store::write(&path, &instructions, false)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hardware_address_is_six_bytes_of_one_interface() {
        assert_eq!(parse_mac("02:42:ac:11:00:02"), Some([2, 0x42, 0xac, 0x11, 0, 2]));
        assert_eq!(parse_mac("02-42-AC-11-00-02"), Some([2, 0x42, 0xac, 0x11, 0, 2]));
        for bad in ["", "02:42", "03:42:ac:11:00:02", "02:42:ac:11:00:2", "02:42:ac:11:00:02:07"] {
            assert_eq!(parse_mac(bad), None, "{bad}");
        }
    }
}
