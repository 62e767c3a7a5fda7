//! The name server of a container on networks that somebody has made: it answers
//! for the container's neighbours, and asks the host's name servers for the rest.
//!
//! ```text
//!   container                     shim                          host
//!     resolver ── 127.0.0.11:53 ─▶ (nft: to a high port)
//!                                  names in networks/*/leases ◀─ other shims
//!              ◀───────── answer ──┤
//!                                  └── what it does not know ──▶ upstream :53
//! ```
//!
//! It is served by the container's own shim, from its one loop, and dies with it.
//! Its two sockets were made in the container's network namespace, where the high
//! port is theirs and port 53 is left to the container; what it asks others, it asks
//! from the host's side. Nothing here waits: every socket is in one epoll(7), which
//! is one descriptor for the shim's loop.

mod answer;
mod book;
mod forward;
mod server;

use std::net::{IpAddr, Ipv4Addr};

use networking::files::{Names, Reach, Resolv, host_resolv_conf};

pub use server::Server;

/// Where a container finds it, as Docker has it.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// A name server that is asked for what we do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Upstream {
    address: IpAddr,
    /// It is on the container's own loopback: asked from there.
    inside: bool,
}

/// Whom to ask: those of the command line, or else the host's, or else Google's.
fn upstreams(names: &Names) -> Vec<Upstream> {
    if !names.servers.is_empty() {
        let given = names.servers.iter();
        return given.map(|ip| Upstream { address: *ip, inside: ip.is_loopback() }).collect();
    }
    let host = Resolv::parse(&host_resolv_conf().unwrap_or_default());
    let hosts = host.servers.iter().filter_map(|server| server.parse().ok());
    let mut servers: Vec<_> = hosts.map(|address| Upstream { address, inside: false }).collect();
    if let (true, Reach::Own { fallback }) = (servers.is_empty(), Reach::OWN) {
        let fallback = fallback.into_iter().flatten();
        servers.extend(fallback.map(|ip| Upstream { address: ip.into(), inside: false }));
    }
    servers
}

/// The text of the container's resolv.conf: us, and the search domains and options
/// of the command line or the host. With `ndots:0`, a name without a dot is looked up
/// as it is: it may be a neighbour's.
pub fn resolv_conf(names: &Names) -> String {
    let host = host_resolv_conf().unwrap_or_default();
    resolv_conf_from(&host, names)
}

fn resolv_conf_from(host: &str, names: &Names) -> String {
    let ours = Names { servers: vec![ADDRESS.into()], ..names.clone() };
    let mut text = networking::files::resolv_conf(host, &ours, Reach::Host);
    if text.split_whitespace().any(|word| word.starts_with("ndots:")) {
        return text;
    }
    match text.lines().any(|line| line.starts_with("options ")) {
        true => text.insert_str(text.len() - 1, " ndots:0"),
        false => text.push_str("options ndots:0\n"),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_asks_us_and_keeps_the_rest() {
        let host = "nameserver 192.0.2.53\nsearch corp.example\noptions edns0\n";
        insta::assert_snapshot!(resolv_conf_from(host, &Names::default()), @r"
        nameserver 127.0.0.11
        search corp.example
        options edns0 ndots:0
        ");
        insta::assert_snapshot!(resolv_conf_from("", &Names::default()), @r"
        nameserver 127.0.0.11
        options ndots:0
        ");
        let names = Names { options: vec!["ndots:2".into()], ..Names::default() };
        assert_eq!(resolv_conf_from(host, &names).lines().last(), Some("options ndots:2"));
    }
}
