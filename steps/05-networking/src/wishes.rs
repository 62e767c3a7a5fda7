//! Networks that somebody asks for by name: made, and removed.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;

use namespaces::{Context, Error, Result};
use serde::{Deserialize, Serialize};

use crate::netlink;
use crate::network::{Network, Networks, random_id};
use crate::subnet::{self, Subnet};

/// What somebody may wish of a network, beside what every network has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wishes {
    /// The subnet was chosen by somebody: it is never moved.
    pub subnet: bool,
    /// Addresses are leased from this part of the subnet only.
    pub range: Option<Subnet>,
    /// The largest packet in bytes, instead of that of the host's way out.
    pub mtu: Option<u32>,
    /// Containers do not reach each other, but for published ports.
    pub apart: bool,
    /// Packets that go out keep the container's address.
    pub no_masquerade: bool,
    /// The host's address that ports are published on, where none is named.
    pub host_ip: Option<Ipv4Addr>,
    /// What the container's interfaces are called, before the number: `eth`.
    pub interface: Option<String>,
    /// When it was made, for people.
    pub created: String,
    /// Containers may be put on it by hand, which they always may; for people.
    pub attachable: bool,
    /// For people and programs; nothing here looks at them.
    pub labels: BTreeMap<String, String>,
    /// The options as they were given, for people.
    pub options: BTreeMap<String, String>,
}

/// A network that is to be made.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// The bridge's interface name; one from the id if it does not matter.
    pub bridge: Option<String>,
    /// The addresses; a free subnet of ours if it does not matter.
    pub subnet: Option<Subnet>,
    /// The bridge's own address; the first one if it does not matter.
    pub gateway: Option<Ipv4Addr>,
    /// No way out.
    pub internal: bool,
    /// The rest.
    pub wishes: Wishes,
}

impl Networks {
    /// Makes a network: its record, its bridge, its table.
    ///
    /// # Errors
    ///
    /// The name, the bridge or the addresses are somebody's already, or make no
    /// sense. Nothing is left then.
    pub fn create(&self, wanted: Wanted) -> Result<Network> {
        let network = {
            let _lock = self.lock_records()?;
            self.sweep_folders()?;
            let network = self.decide(wanted)?;
            self.write(&network)?;
            network
        };
        let made = self.lock(&network.id).and_then(|mut locked| {
            locked.bring_up()?;
            // The largest packet is known now.
            Ok(locked.network)
        });
        if made.is_err() {
            let _ = self.remove(&network.id);
        }
        made
    }

    /// From what is wanted to what will be. The records are locked.
    fn decide(&self, wanted: Wanted) -> Result<Network> {
        let Wanted { name, bridge, subnet, gateway, internal, wishes } = wanted;
        let others = self.list()?;
        if others.iter().any(|other| other.name == name) {
            return Err(Error::new(format!("network with name {name} already exists")));
        }
        let id = random_id()?;
        let bridge = bridge.unwrap_or_else(|| format!("cor-{}", &id[..10]));
        check_interface(&bridge)?;
        if netlink::index_of(&bridge).is_some() || others.iter().any(|o| o.bridge == bridge) {
            return Err(Error::new(format!("bridge name {bridge}: there is such an interface")));
        }
        let taken = self.taken_subnets(None)?;
        if let Some(subnet) = subnet
            && let Some(other) = taken.iter().find(|other| other.overlaps(&subnet))
        {
            return Err(Error::new(
                "invalid pool request: Pool overlaps with other one on this address space",
            )
            .hint(format!("{other} is in use")));
        }
        let chosen = subnet.is_some();
        let subnet = subnet.map_or_else(|| subnet::first_free(1, &taken), Ok)?;
        if let Some(range) = wishes.range.filter(|range| !subnet.holds(range)) {
            return Err(Error::new(format!("no matching subnet for ip-range {range}")));
        }
        let gateway = gateway.unwrap_or_else(|| first_address(subnet, wishes.range));
        let inside = |ip| subnet.contains(ip) && ip != subnet.base && ip != subnet.broadcast();
        if !inside(gateway) {
            return Err(Error::new(format!("no matching subnet for gateway {gateway}")));
        }
        let wishes = Wishes { subnet: chosen, ..wishes };
        Ok(Network { gateway, internal, wishes, ..Network::new(id, &name, bridge, subnet) })
    }

    /// Removes a network: bridge, rules, leases, record.
    ///
    /// # Errors
    ///
    /// A container is still attached.
    pub fn remove(&self, name: &str) -> Result<()> {
        let locked = self.lock(name)?;
        locked.take_down(name)?;
        // The record goes when there is nothing left that it tells of.
        let record = self.record(&locked.network.id);
        fs::remove_file(&record).doing(|| format!("remove {}", record.display()))?;
        fs::remove_dir_all(&locked.dir).doing(|| format!("remove {}", locked.dir.display()))
    }

    /// Folders of networks that were removed half-way, or just when somebody came.
    fn sweep_folders(&self) -> Result<()> {
        let dir = self.dir();
        for entry in fs::read_dir(dir).doing(|| format!("read {}", dir.display()))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.len() == 64 && !self.record(&name).exists() {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(())
    }
}

/// The gateway's address where nobody names one, as Docker chooses it: the first of
/// the range, if that is not the subnet's own.
fn first_address(subnet: Subnet, range: Option<Subnet>) -> Ipv4Addr {
    match range {
        Some(range) if range.base != subnet.base => range.base,
        _ => subnet.address(1),
    }
}

/// What is the name of an interface, of a table of nft(8) and a word in its rules.
fn check_interface(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let sound = name.len() <= 15
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(plain);
    match sound {
        true => Ok(()),
        false => Err(Error::new(format!("invalid bridge name: {name:?}"))
            .hint("a letter, then letters, digits, dots and dashes, at most 15 in all")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DEFAULT;

    fn wanted(name: &str, subnet: &str) -> Wanted {
        let subnet = Some(subnet.parse().unwrap());
        Wanted { name: name.into(), subnet, ..Wanted::default() }
    }

    #[test]
    fn a_network_takes_what_is_asked_for_or_what_is_free() {
        let root = tempfile::tempdir().unwrap();
        let networks = Networks::open(root.path()).unwrap();
        let default = networks.find(DEFAULT).unwrap();
        let range = Some("203.0.113.128/25".parse().unwrap());
        let wishes = Wishes { range, ..Wishes::default() };
        let mine = Wanted { wishes, ..wanted("mine", "203.0.113.0/24") };
        let mine = networks.decide(mine).unwrap();
        assert_eq!(mine.gateway, Ipv4Addr::new(203, 0, 113, 128));
        assert!(mine.wishes.subnet && mine.bridge.len() <= 15);
        let any = networks.decide(Wanted { name: "any".into(), ..Wanted::default() }).unwrap();
        assert!(!any.subnet.overlaps(&default.subnet) && !any.wishes.subnet);
    }

    #[test]
    fn what_is_taken_or_makes_no_sense_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let networks = Networks::open(root.path()).unwrap();
        networks.find(DEFAULT).unwrap();
        let mine = networks.decide(wanted("mine", "203.0.113.0/24")).unwrap();
        networks.write(&mine).unwrap();
        let refuse = |wanted| networks.decide(wanted).unwrap_err().to_string();
        let gateway = Some([192, 0, 2, 1].into());
        let bridge = Some("no good".into());
        let refused = [
            refuse(wanted("mine", "198.51.100.0/24")),
            refuse(wanted("other", "203.0.113.64/26")),
            refuse(Wanted { gateway, ..wanted("other", "198.51.100.0/24") }),
            refuse(Wanted { bridge, ..wanted("other", "198.51.100.0/24") }),
            refuse(Wanted { bridge: Some(mine.bridge), ..wanted("o", "198.51.100.0/24") })
                .replace(&mine.id[..10], "ID"),
        ];
        insta::assert_snapshot!(refused.join("\n"), @r#"
        network with name mine already exists
        invalid pool request: Pool overlaps with other one on this address space: 203.0.113.0/24 is in use
        no matching subnet for gateway 192.0.2.1
        invalid bridge name: "no good": a letter, then letters, digits, dots and dashes, at most 15 in all
        bridge name cor-ID: there is such an interface
        "#);
    }
}
