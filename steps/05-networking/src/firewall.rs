//! What nftables must know: one table per network, written as the text that
//! nft(8) reads, and the elements that publish a container's ports.
//!
//! A published port is one element of a map in that table, so a container comes
//! and goes with one `add element` and one `delete element`; no rule is touched,
//! and a thousand ports are found by one hash lookup.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command, Stdio};

use namespaces::explain::step;
use namespaces::{Context, Error, Result};

use crate::network::Network;
use crate::port::Published;
use crate::tool::{first_line, search_path};

const CHAPTER: u8 = 5;

// ANCHOR: table
/// The table of a network, named after its bridge: two engines side by side have
/// two bridges, and so never touch each other's rules.
///
/// `add table` then `delete table` first: the text replaces whatever an earlier
/// version left there, in one transaction.
pub fn table(network: &Network) -> String {
    let Network { bridge, subnet, wishes, .. } = network;
    let verdict = |accept: bool| if accept { "accept" } else { "drop" };
    let outward =
        format!("iifname \"{bridge}\" oifname != \"{bridge}\" {}", verdict(!network.internal));
    let among = verdict(!wishes.apart);
    let masquerade = match wishes.no_masquerade {
        true => "# Whoever is outside knows the way to these addresses.".into(),
        false => format!("ip saddr {subnet} oifname != \"{bridge}\" masquerade"),
    };
    format!(
        r#"add table ip {bridge}
delete table ip {bridge}
table ip {bridge} {{
    # protocol . host port : container . port
    map published {{
        type inet_proto . inet_service : ipv4_addr . inet_service
    }}
    # the same for ports that were published on one address only
    map published_at {{
        type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        dnat ip to ip daddr . meta l4proto . th dport map @published_at
        fib daddr type local dnat ip to meta l4proto . th dport map @published
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        {masquerade}
        # A neighbour that came by the host's address must be answered through the host.
        ip saddr {subnet} oifname "{bridge}" ct status dnat masquerade
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        oifname "{bridge}" ct state established,related accept
        oifname "{bridge}" ct status dnat accept
        oifname "{bridge}" iifname "{bridge}" {among}
        # Nobody else gets in: no other network, and no neighbour of this machine.
        oifname "{bridge}" drop
        {outward}
    }}
}}
"#
    )
}
// ANCHOR_END: table

/// Removes a network's table.
pub fn drop_table(bridge: &str) -> String {
    format!("add table ip {bridge}\ndelete table ip {bridge}\n")
}

// ANCHOR: publish
/// Publishes ports of the container at `address`.
pub fn publish(bridge: &str, id: &str, address: Ipv4Addr, ports: &[Published]) -> String {
    let mut text = String::new();
    for (port, (map, key)) in ports.iter().filter_map(|port| Some((port, element(port)?))) {
        let _ = writeln!(
            text,
            "add element ip {bridge} {map} {{ {key} comment \"{id}\" : {address} . {} }}",
            port.container
        );
    }
    text
}
// ANCHOR_END: publish

/// Takes them back. An element that is not there is added first: in one
/// transaction that makes the deletion succeed whatever was there.
pub fn unpublish(bridge: &str, address: Ipv4Addr, ports: &[Published]) -> String {
    let mut text = String::new();
    for (port, (map, key)) in ports.iter().filter_map(|port| Some((port, element(port)?))) {
        let _ = writeln!(
            text,
            "add element ip {bridge} {map} {{ {key} : {address} . {} }}\n\
             delete element ip {bridge} {map} {{ {key} }}",
            port.container
        );
    }
    text
}

/// The map and the key of a port. `None` for what never arrives from outside by
/// IPv4: the loopback and IPv6 addresses are the proxy's.
fn element(port: &Published) -> Option<(&'static str, String)> {
    let key = format!("{} . {}", port.protocol, port.host);
    match port.host_ip {
        None => Some(("published", key)),
        Some(IpAddr::V4(ip)) if ip.is_unspecified() => Some(("published", key)),
        Some(IpAddr::V4(ip)) if !ip.is_loopback() => {
            Some(("published_at", format!("{ip} . {key}")))
        }
        Some(_) => None,
    }
}

/// An nft(8) that works on a text. It is started early and asked late, so that
/// it runs beside the clone.
pub struct Nft {
    child: Child,
    text: String,
}

impl Nft {
    /// Starts `nft -f -`. `None` if there is nothing to say.
    ///
    /// # Errors
    ///
    /// nft is not installed (`ENOENT`), or it cannot be started.
    pub fn start(text: String) -> Result<Option<Self>> {
        if text.is_empty() {
            return Ok(None);
        }
        let mut child = Command::new("nft")
            .args(["-f", "-"])
            .env("PATH", search_path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .doing(|| "start nft")
            .map_err(|error| error.hint("install nftables"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // If nft dies early, its exit status says more than our EPIPE.
            let _ = stdin.write_all(text.as_bytes());
        }
        Ok(Some(Self { child, text }))
    }

    /// Waits for it.
    ///
    /// # Errors
    ///
    /// nft's own words, if it refuses the text. The kernel took all of the text
    /// or nothing of it.
    pub fn finish(self) -> Result<()> {
        let Self { child, text } = self;
        let summary = summary(&text);
        step(
            CHAPTER,
            || format!("nft -f -  {summary}"),
            || {
                let output = child.wait_with_output().doing(|| "wait for nft")?;
                match output.status.success() {
                    true => Ok(()),
                    false => {
                        Err(Error::new(format!("nft {summary}: {}", first_line(&output.stderr))))
                    }
                }
            },
        )
    }
}

/// Hands a text to nft and waits for it.
pub fn apply(text: String) -> Result<()> {
    Nft::start(text)?.map_or(Ok(()), Nft::finish)
}

fn summary(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    match text.lines().count() {
        1 => first.to_string(),
        lines => format!("{first} … ({lines} lines)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Wishes;
    use crate::port::Protocol;

    fn port(host_ip: Option<&str>, host: u16, protocol: Protocol) -> Published {
        let host_ip = host_ip.map(|ip| ip.parse().unwrap());
        Published { host_ip, host, container: 80, protocol }
    }

    #[test]
    fn the_table_of_a_network() {
        insta::assert_snapshot!(table(&Network::example()), @r#"
            add table ip coracle0
            delete table ip coracle0
            table ip coracle0 {
                # protocol . host port : container . port
                map published {
                    type inet_proto . inet_service : ipv4_addr . inet_service
                }
                # the same for ports that were published on one address only
                map published_at {
                    type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
                }
                chain prerouting {
                    type nat hook prerouting priority dstnat; policy accept;
                    dnat ip to ip daddr . meta l4proto . th dport map @published_at
                    fib daddr type local dnat ip to meta l4proto . th dport map @published
                }
                chain postrouting {
                    type nat hook postrouting priority srcnat; policy accept;
                    ip saddr 10.80.0.0/20 oifname != "coracle0" masquerade
                    # A neighbour that came by the host's address must be answered through the host.
                    ip saddr 10.80.0.0/20 oifname "coracle0" ct status dnat masquerade
                }
                chain forward {
                    type filter hook forward priority filter; policy accept;
                    oifname "coracle0" ct state established,related accept
                    oifname "coracle0" ct status dnat accept
                    oifname "coracle0" iifname "coracle0" accept
                    # Nobody else gets in: no other network, and no neighbour of this machine.
                    oifname "coracle0" drop
                    iifname "coracle0" oifname != "coracle0" accept
                }
            }
        "#);
    }

    #[test]
    fn an_internal_network_has_no_way_out() {
        let network = Network { internal: true, ..Network::example() };
        assert!(table(&network).contains("iifname \"coracle0\" oifname != \"coracle0\" drop"));
    }

    #[test]
    fn containers_that_are_kept_apart_and_addresses_that_are_known_outside() {
        let wishes = Wishes { apart: true, no_masquerade: true, ..Wishes::default() };
        let text = table(&Network { wishes, ..Network::example() });
        assert!(text.contains("oifname \"coracle0\" iifname \"coracle0\" drop"), "{text}");
        assert!(!text.contains("oifname != \"coracle0\" masquerade"), "{text}");
        assert!(text.contains("oifname \"coracle0\" ct status dnat masquerade"), "{text}");
    }

    #[test]
    fn a_port_is_one_element_of_a_map() {
        let ports = [
            port(None, 8080, Protocol::Tcp),
            port(Some("0.0.0.0"), 53, Protocol::Udp),
            port(Some("192.0.2.2"), 8081, Protocol::Tcp),
            port(Some("127.0.0.1"), 8082, Protocol::Tcp),
            port(Some("::1"), 8083, Protocol::Tcp),
        ];
        let address = Ipv4Addr::new(10, 80, 0, 2);
        insta::assert_snapshot!(publish("coracle0", "web", address, &ports), @r#"
            add element ip coracle0 published { tcp . 8080 comment "web" : 10.80.0.2 . 80 }
            add element ip coracle0 published { udp . 53 comment "web" : 10.80.0.2 . 80 }
            add element ip coracle0 published_at { 192.0.2.2 . tcp . 8081 comment "web" : 10.80.0.2 . 80 }
        "#);
        insta::assert_snapshot!(unpublish("coracle0", address, &ports[..1]), @r"
            add element ip coracle0 published { tcp . 8080 : 10.80.0.2 . 80 }
            delete element ip coracle0 published { tcp . 8080 }
        ");
    }
}
