//! `network create`: from Docker's request to what lesson 5 is asked for.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bollard_stubs::models::{IpamConfig, NetworkCreateRequest};
use networking::{Subnet, Wanted, Wishes};

use super::places::means_something;
use super::{Found, Networks};
use crate::engine::error::{Error, Result};
use crate::store::now;

/// The names that mean something else.
const PREDEFINED: [&str; 4] = ["bridge", "host", "none", "default"];

impl Networks {
    /// Makes a network. Its id.
    pub fn create(&self, request: NetworkCreateRequest) -> Result<String> {
        let wanted = wanted(request)?;
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::forbidden(
                "an ordinary user's engine cannot make networks: the kernel lets only root lay \
                 cables between containers; every container has its own way out by pasta",
            ));
        }
        let network = self.records()?.create(wanted).map_err(refusal)?;
        let id = network.id.clone();
        Found::Bridge(Box::new(network)).tell(self.root.data(), "create", None);
        Ok(id)
    }
}

/// What the mechanism refuses, in Docker's kinds. It has no kinds of its own.
fn refusal(error: namespaces::Error) -> Error {
    let text = error.to_string();
    match &error.doing {
        doing if doing.ends_with(" already exists") => Error::conflict(text),
        doing if doing.starts_with("invalid pool request") => Error::forbidden(text),
        doing if doing.starts_with("bridge name ") => Error::conflict(text),
        doing if doing.starts_with("no matching subnet") || doing.starts_with("invalid ") => {
            Error::bad_parameter(text)
        }
        _ => error.into(),
    }
}

/// Understands a request, and refuses what makes no sense or is not there.
fn wanted(request: NetworkCreateRequest) -> Result<Wanted> {
    let bad = Error::bad_parameter;
    let name = request.name;
    if PREDEFINED.contains(&&*name) {
        return Err(Error::forbidden(format!(
            "operation is not permitted on predefined {name} network"
        )));
    }
    // A name is no file's here, nor Docker's.
    if name.trim().is_empty() || name.contains(|c: char| c == '/' || c.is_control()) {
        return Err(bad(format!("invalid network name \"{name}\": it is empty, or has a slash")));
    }
    match request.driver.as_deref().unwrap_or("") {
        "" | "bridge" | "default" => {}
        one @ ("host" | "null") => {
            return Err(Error::forbidden(format!(
                "only one instance of \"{one}\" network is allowed"
            )));
        }
        driver => return Err(Error::not_found(format!("plugin \"{driver}\" not found"))),
    }
    let not_there = [
        ("IPv6 in networks (--ipv6)", request.enable_ipv6 == Some(true)),
        ("a network without IPv4", request.enable_ipv4 == Some(false)),
        ("an ingress network", request.ingress == Some(true)),
        ("a config-only network", request.config_only == Some(true)),
        (
            "a network configured from another",
            request.config_from.and_then(|from| from.network).is_some_and(|from| !from.is_empty()),
        ),
        ("a swarm's network", request.scope.is_some_and(|s| !matches!(&*s, "" | "local"))),
    ];
    if let Some((what, _)) = not_there.iter().find(|(_, asked)| *asked) {
        return Err(bad(format!("{what} is not supported by this engine")));
    }
    let ipam = request.ipam.unwrap_or_default();
    match ipam.driver.as_deref().unwrap_or("") {
        "" | "default" => {}
        driver => return Err(Error::not_found(format!("plugin \"{driver}\" not found"))),
    }
    if let Some(option) = ipam.options.iter().flatten().map(|(key, _)| key).min() {
        return Err(bad(format!("unknown ipam option {option}")));
    }
    let config = match ipam.config.unwrap_or_default().as_slice() {
        [] => IpamConfig::default(),
        [one] => one.clone(),
        _ => return Err(bad("a bridge network has one subnet in this engine".into())),
    };
    let mut wanted = Wanted {
        name,
        internal: request.internal.unwrap_or(false),
        wishes: Wishes {
            created: now(),
            attachable: request.attachable.unwrap_or(false),
            labels: request.labels.unwrap_or_default().into_iter().collect(),
            ..Wishes::default()
        },
        ..Wanted::default()
    };
    addresses(&mut wanted, &config)?;
    options(&mut wanted, request.options.unwrap_or_default())?;
    Ok(wanted)
}

fn addresses(wanted: &mut Wanted, config: &IpamConfig) -> Result<()> {
    let bad = |text: String| Error::bad_parameter(text);
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if let Some((name, _)) = config.auxiliary_addresses.iter().flatten().min() {
        return Err(bad(format!(
            "auxiliary address {name}: reserved addresses are not supported by this engine"
        )));
    }
    wanted.subnet = given(&config.subnet).map(|text| subnet("subnet", &text)).transpose()?;
    wanted.wishes.range = given(&config.ip_range).map(|t| subnet("ip-range", &t)).transpose()?;
    wanted.gateway = given(&config.gateway)
        .map(|text| {
            text.parse::<Ipv4Addr>()
                .map_err(|_| bad(format!("invalid gateway {text}: it is no IPv4 address")))
        })
        .transpose()?;
    if wanted.subnet.is_none() && (wanted.gateway.is_some() || wanted.wishes.range.is_some()) {
        return Err(bad("every ip-range or gateway must have a corresponding subnet".into()));
    }
    Ok(())
}

/// A subnet, written as what it is.
fn subnet(what: &str, text: &str) -> Result<Subnet> {
    let bad = |why: String| Error::bad_parameter(format!("invalid {what} {text}: {why}"));
    let Some((address, prefix)) = text.split_once('/') else {
        return Err(bad("invalid CIDR block notation".into()));
    };
    if address.contains(':') {
        return Err(bad("this engine's networks speak IPv4".into()));
    }
    let Ok(address) = address.parse::<Ipv4Addr>() else {
        return Err(bad("invalid CIDR block notation".into()));
    };
    let known = prefix.parse().ok().filter(|prefix| (1..=32).contains(prefix));
    let Some(prefix) = known else { return Err(bad("invalid CIDR block notation".into())) };
    // A range may be as small as one address.
    if prefix > 30 && what == "subnet" {
        return Err(bad("a gateway and a container must fit into it: at most /30".into()));
    }
    let subnet = Subnet::around(address, prefix);
    match subnet.base == address {
        true => Ok(subnet),
        false => Err(bad(format!("it should be {subnet}"))),
    }
}

/// Docker's options of the bridge driver, as far as there is something behind them.
fn options(wanted: &mut Wanted, options: HashMap<String, String>) -> Result<()> {
    let flag = |key: &str, value: &str| match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(Error::bad_parameter(format!(
            "failed to parse {key} value: {value} is neither true nor false"
        ))),
    };
    let wrong = |key: &str, value: &str| {
        Error::bad_parameter(format!("failed to parse {key} value: {value}"))
    };
    for (key, value) in &options {
        let wishes = &mut wanted.wishes;
        match key.as_str() {
            "com.docker.network.bridge.name" => wanted.bridge = Some(value.clone()),
            "com.docker.network.driver.mtu" => {
                let mtu = value.parse().ok().filter(|mtu| (68..=65535).contains(mtu));
                wishes.mtu = Some(mtu.ok_or_else(|| wrong(key, value))?);
            }
            "com.docker.network.bridge.enable_icc" => wishes.apart = !flag(key, value)?,
            "com.docker.network.bridge.enable_ip_masquerade" => {
                wishes.no_masquerade = !flag(key, value)?;
            }
            "com.docker.network.bridge.host_binding_ipv4" => {
                let address: Ipv4Addr = value.parse().map_err(|_| wrong(key, value))?;
                wishes.host_ip = Some(address).filter(|address| !address.is_unspecified());
            }
            "com.docker.network.container_iface_prefix" => {
                let sound = (1..=12).contains(&value.len())
                    && value.chars().all(|c| c.is_ascii_alphanumeric());
                wishes.interface = Some(value.clone()).filter(|_| sound);
                if !sound {
                    return Err(wrong(key, value));
                }
            }
            key if means_something(key) => {
                return Err(Error::bad_parameter(format!(
                    "unknown option {key} of the bridge driver"
                )));
            }
            _ => {}
        }
    }
    wanted.wishes.options = options.into_iter().collect();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(json: serde_json::Value) -> String {
        match wanted(serde_json::from_value(json).unwrap()) {
            Ok(wanted) => format!(
                "{} {:?} {:?} range {:?} mtu {:?} apart {}",
                wanted.name,
                wanted.subnet.map(|s| s.to_string()),
                wanted.gateway,
                wanted.wishes.range.map(|s| s.to_string()),
                wanted.wishes.mtu,
                wanted.wishes.apart
            ),
            Err(error) => format!("{:?}: {error}", error.kind),
        }
    }

    #[test]
    fn a_request_is_understood_or_refused_in_a_sentence() {
        let ipam = |config: serde_json::Value| serde_json::json!({ "Config": [config] });
        let option = |key: &str, value: &str| serde_json::json!({ key: value });
        let asked = [
            serde_json::json!({ "Name": "a" }),
            serde_json::json!({ "Name": "a", "IPAM": ipam(serde_json::json!({
                "Subnet": "10.9.0.0/16", "IPRange": "10.9.1.0/24", "Gateway": "10.9.0.7" })) }),
            serde_json::json!({ "Name": "a", "Options": {
                "com.docker.network.driver.mtu": "1400",
                "com.docker.network.bridge.enable_icc": "false" } }),
            serde_json::json!({ "Name": "host" }),
            serde_json::json!({ "Name": "a b" }),
            serde_json::json!({ "Name": "" }),
            serde_json::json!({ "Name": "a/b" }),
            serde_json::json!({ "Name": "a", "Driver": "overlay" }),
            serde_json::json!({ "Name": "a", "EnableIPv6": true }),
            serde_json::json!({ "Name": "a", "IPAM": ipam(serde_json::json!({ "Subnet": "10.9.0.5/16" })) }),
            serde_json::json!({ "Name": "a", "IPAM": ipam(serde_json::json!({ "Subnet": "fd00::/64" })) }),
            serde_json::json!({ "Name": "a", "IPAM": ipam(serde_json::json!({ "Gateway": "10.9.0.1" })) }),
            serde_json::json!({ "Name": "a", "Options": option("com.docker.network.driver.mtu", "9") }),
            serde_json::json!({ "Name": "a", "Options": option("foo", "bar") }),
            serde_json::json!({ "Name": "a", "Options": option("com.docker.network.foo", "bar") }),
        ];
        insta::assert_snapshot!(asked.map(ask).join("\n"), @r#"
        a None None range None mtu None apart false
        a Some("10.9.0.0/16") Some(10.9.0.7) range Some("10.9.1.0/24") mtu None apart false
        a None None range None mtu Some(1400) apart true
        Forbidden: operation is not permitted on predefined host network
        a b None None range None mtu None apart false
        BadParameter: invalid network name "": it is empty, or has a slash
        BadParameter: invalid network name "a/b": it is empty, or has a slash
        NotFound: plugin "overlay" not found
        BadParameter: IPv6 in networks (--ipv6) is not supported by this engine
        BadParameter: invalid subnet 10.9.0.5/16: it should be 10.9.0.0/16
        BadParameter: invalid subnet fd00::/64: this engine's networks speak IPv4
        BadParameter: every ip-range or gateway must have a corresponding subnet
        BadParameter: failed to parse com.docker.network.driver.mtu value: 9
        a None None range None mtu None apart false
        BadParameter: unknown option com.docker.network.foo of the bridge driver
        "#);
    }
}
