//! IPv4 subnets, and the choice of one that nobody uses yet.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use namespaces::{Error, Result};
use serde::{Deserialize, Serialize};

/// A range of addresses in CIDR notation, `10.80.0.0/20`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    /// The first address, whose host bits are all zero.
    pub base: Ipv4Addr,
    /// How many leading bits name the subnet, at most 30: a gateway and a
    /// container must fit beside the subnet's own and its broadcast address.
    pub prefix: u8,
}

impl Subnet {
    /// The subnet of `prefix` bits that `address` lies in.
    pub fn around(address: Ipv4Addr, prefix: u8) -> Self {
        let base = address.to_bits() & mask(prefix);
        Self { base: Ipv4Addr::from_bits(base), prefix }
    }

    /// True if `address` lies in the subnet.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        Self::around(address, self.prefix) == *self
    }

    /// True if all of `other` lies in it.
    pub fn holds(&self, other: &Subnet) -> bool {
        self.prefix <= other.prefix && self.contains(other.base)
    }

    /// True if the two have an address in common.
    pub fn overlaps(&self, other: &Subnet) -> bool {
        let prefix = self.prefix.min(other.prefix);
        Self::around(self.base, prefix) == Self::around(other.base, prefix)
    }

    /// The last address, which speaks to all of them.
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base.to_bits() | !mask(self.prefix))
    }

    /// The address number `n`: 0 is the subnet's own, 1 the gateway's.
    pub fn address(&self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base.to_bits() + n)
    }

    /// How many addresses there are, with the first and the last.
    pub fn size(&self) -> u32 {
        1 << (32 - self.prefix)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.split_once('/').and_then(|(address, prefix)| {
            let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 30)?;
            Some(Self::around(address.parse().ok()?, prefix))
        });
        parsed.ok_or_else(|| {
            Error::new(format!("invalid subnet: {text}")).hint("write it like 10.80.0.0/20")
        })
    }
}

impl TryFrom<String> for Subnet {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

/// Networks take their subnets from 10.80.0.0/12, cut into pieces of this size:
/// 256 networks of 4093 containers.
const PREFIX: u8 = 20;
const POOL: Subnet = Subnet { base: Ipv4Addr::new(10, 80, 0, 0), prefix: 12 };

// ANCHOR: first_free
/// The first subnet of the pool, from number `start` on, that overlaps none of
/// those that this machine already has a route to.
pub fn first_free(start: u32, taken: &[Subnet]) -> Result<Subnet> {
    let pieces = 1 << (PREFIX - POOL.prefix);
    (0..pieces)
        .map(|n| (start + n) % pieces)
        .map(|n| Subnet { base: POOL.address(n << (32 - PREFIX)), prefix: PREFIX })
        .find(|subnet| !taken.iter().any(|other| subnet.overlaps(other)))
        .ok_or_else(|| {
            Error::new(format!("no free subnet in {POOL}"))
                .hint("this machine has routes to all of it: see `ip route`")
        })
}
// ANCHOR_END: first_free

/// The subnets that this machine has a route to, from the text of `/proc/net/route`.
/// The default route is left out: it overlaps everything and claims nothing.
pub fn routed(proc_net_route: &str) -> Vec<Subnet> {
    let parse = |line: &str| {
        let field: Vec<&str> = line.split_whitespace().collect();
        // The kernel prints addresses as the host's integers in hexadecimal.
        let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::from_be);
        let (base, mask) = (number(field.get(1)?)?, number(field.get(7)?)?);
        Some(Subnet { base: Ipv4Addr::from_bits(base), prefix: mask.leading_ones() as u8 })
    };
    let routes = proc_net_route.lines().skip(1).filter_map(parse);
    routes.filter(|subnet| subnet.prefix > 0).collect()
}

/// The interface of the default route, from the text of `/proc/net/route`.
pub fn default_interface(proc_net_route: &str) -> Option<&str> {
    default_route(proc_net_route).map(|field| field[0])
}

fn default_route(proc_net_route: &str) -> Option<Vec<&str>> {
    let fields = proc_net_route.lines().skip(1).map(|line| line.split_whitespace().collect());
    fields.into_iter().find(|field: &Vec<&str>| {
        field.len() > 7 && field[1] == "00000000" && field[7] == "00000000"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
vpn0\t0000500A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
";

    #[test]
    fn the_kernels_route_table_is_read() {
        let routed: Vec<String> = routed(ROUTES).iter().map(Subnet::to_string).collect();
        assert_eq!(routed, ["192.0.2.0/24", "10.80.0.0/16"]);
        assert_eq!(default_interface(ROUTES), Some("eth0"));
    }

    #[test]
    fn a_new_network_keeps_clear_of_existing_routes() {
        assert_eq!(first_free(0, &[]).unwrap().to_string(), "10.80.0.0/20");
        assert_eq!(first_free(0, &routed(ROUTES)).unwrap().to_string(), "10.81.0.0/20");
        assert_eq!(first_free(255, &[]).unwrap().to_string(), "10.95.240.0/20");
        let all = "10.0.0.0/8".parse().unwrap();
        assert!(first_free(3, &[all]).unwrap_err().to_string().starts_with("no free subnet"));
    }

    #[test]
    fn a_subnet_knows_its_edges() {
        let subnet: Subnet = "10.80.16.7/20".parse().unwrap();
        assert_eq!(subnet.to_string(), "10.80.16.0/20");
        assert_eq!(subnet.address(1).to_string(), "10.80.16.1");
        assert_eq!(subnet.broadcast().to_string(), "10.80.31.255");
        assert_eq!(subnet.size(), 4096);
        assert!(subnet.contains("10.80.31.255".parse().unwrap()));
        assert!(!subnet.contains("10.80.32.0".parse().unwrap()));
        assert!("10.80.0.0/31".parse::<Subnet>().is_err());
    }
}
