//! Who has which address: one file per lease.
//!
//! A lease is written before anything is made for it, so whatever a killed
//! process leaves behind, the lease tells of it.

use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use namespaces::{Context, Error, Result};
use serde::{Deserialize, Serialize};

use crate::firewall;
use crate::netlink::{self, Mac};
use crate::network::{Locked, Network, Networks, mac};
use crate::port::Published;

/// An address that a container has, and what hangs on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The container's id.
    pub container: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// The name of its cable's end on the host.
    pub veth: String,
    /// Its published ports.
    pub ports: Vec<Published>,
    /// The process that answers for it.
    pub owner: Owner,
    /// Its hardware address, if it is not the one that goes with the address.
    #[serde(default)]
    pub mac: Option<Mac>,
    /// What its neighbours on this network may call it, for whoever answers them.
    #[serde(default)]
    pub names: Vec<String>,
}

// ANCHOR: owner
/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its pid.
    pub pid: u32,
    /// When it started, in clock ticks since boot: field 22 of proc_pid_stat(5).
    pub started: u64,
}
// ANCHOR_END: owner

impl Owner {
    /// This process.
    pub fn this() -> Self {
        let pid = std::process::id();
        Self { pid, started: started(pid).unwrap_or(0) }
    }

    /// True if the process is still there.
    pub fn is_alive(&self) -> bool {
        started(self.pid) == Some(self.started)
    }
}

fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program may hold anything, blanks and parentheses too.
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut field = after_name.split_whitespace();
    let state = field.next()?;
    (state != "Z" && state != "X").then(|| field.nth(18)?.parse().ok()).flatten()
}

impl Lease {
    // ANCHOR: live
    /// False if nobody is left who needs it: its owner is gone, and so is the
    /// cable, which lives as long as the container's network namespace.
    pub fn is_live(&self) -> bool {
        self.owner.is_alive() || netlink::index_of(&self.veth).is_some()
    }
    // ANCHOR_END: live

    /// The hardware address of the container's end.
    pub fn hardware_address(&self) -> Mac {
        self.mac.unwrap_or_else(|| mac(self.address))
    }
}

impl Networks {
    /// The folder of a network's leases: whoever watches it sees them come and go.
    pub fn lease_folder(&self, network: &str) -> PathBuf {
        self.dir().join(network).join("leases")
    }

    /// The leases of a network at this moment, by address, without waiting for
    /// anybody's lock: each of them is whole, but the next may come or go meanwhile.
    pub fn glance(&self, network: &str) -> Vec<Lease> {
        let files = fs::read_dir(self.lease_folder(network)).into_iter().flatten().flatten();
        let read = |file: fs::DirEntry| {
            let text = fs::read(file.path()).ok()?;
            serde_json::from_slice(&text).ok()
        };
        let mut leases: Vec<Lease> = files.filter_map(read).collect();
        leases.sort_by_key(|lease| lease.address);
        leases
    }

    /// Tells a container's neighbours on a network other names of it.
    pub fn rename(&self, network: &str, container: &str, names: &[String]) -> Result<()> {
        let locked = self.lock(network)?;
        for mut lease in locked.leases()?.into_iter().filter(|l| l.container == container) {
            lease.names = names.to_vec();
            locked.replace(&lease)?;
        }
        Ok(())
    }
}

impl Locked {
    fn path(&self, address: Ipv4Addr) -> PathBuf {
        self.dir.join("leases").join(address.to_string())
    }

    /// All leases, by address. A file that cannot be read was being written by
    /// somebody who died in the act: it is removed.
    pub fn leases(&self) -> Result<Vec<Lease>> {
        let dir = self.dir.join("leases");
        let mut leases = Vec::new();
        for entry in fs::read_dir(&dir).doing(|| format!("read {}", dir.display()))? {
            let path = entry.doing(|| format!("read {}", dir.display()))?.path();
            let text = fs::read(&path).doing(|| format!("read {}", path.display()))?;
            match serde_json::from_slice::<Lease>(&text) {
                Ok(lease) => leases.push(lease),
                Err(_) => fs::remove_file(&path).doing(|| format!("remove {}", path.display()))?,
            }
        }
        leases.sort_by_key(|lease| lease.address);
        Ok(leases)
    }

    /// Ends the leases that are `over`, and takes their port rules away.
    /// Returns those that stay.
    pub fn sweep(&self, over: impl Fn(&Lease) -> bool) -> Result<Vec<Lease>> {
        let (ended, live): (Vec<_>, Vec<_>) = self.leases()?.into_iter().partition(over);
        for lease in ended {
            self.end(&lease)?;
        }
        Ok(live)
    }

    /// Ends one lease: first its rules, then the file that tells of them.
    pub fn end(&self, lease: &Lease) -> Result<()> {
        let text = firewall::unpublish(&self.network.bridge, lease.address, &lease.ports);
        if !text.is_empty() {
            // Refused means that there is no table, or no nft: no rules, then.
            let _ = firewall::apply(text);
        }
        match fs::remove_file(self.path(lease.address)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result.doing(|| format!("give back {}", lease.address)),
        }
    }

    // ANCHOR: free_address
    /// An address that is not among `taken`: the first one after the address that
    /// was leased last, so that a late answer to an old container does not reach
    /// a new one.
    pub fn free_address(&self, taken: &[Lease]) -> Result<Ipv4Addr> {
        let subnet = self.network.subnet;
        let last = fs::read_to_string(self.dir.join("last")).unwrap_or_default();
        let last = last.trim().parse().ok().filter(|last| subnet.contains(*last));
        let last = last.map_or(0, |last: Ipv4Addr| last.to_bits() - subnet.base.to_bits());
        // Neither the subnet's own address nor its broadcast address.
        let (first, count) = (1, subnet.size() - 2);
        let range = self.network.wishes.range.unwrap_or(subnet);
        (0..count)
            .map(|n| subnet.address(first + (last + n) % count))
            .find(|address| {
                *address != self.network.gateway
                    && range.contains(*address)
                    && !taken.iter().any(|lease| lease.address == *address)
            })
            .ok_or_else(|| {
                Error::new(format!("network {}: all addresses are taken", self.network.name))
                    .hint(format!("{} has {} of them", subnet, count - 1))
            })
    }
    // ANCHOR_END: free_address

    /// The address that somebody wishes for, if the network has it and it is free.
    pub fn this_address(&self, wanted: Ipv4Addr, taken: &[Lease]) -> Result<Ipv4Addr> {
        let Network { subnet, gateway, .. } = &self.network;
        if !subnet.contains(wanted) || wanted == subnet.base || wanted == subnet.broadcast() {
            return Err(Error::new(format!(
                "invalid address {wanted}: it does not belong to any of this network's subnets"
            )));
        }
        let holder = taken.iter().find(|lease| lease.address == wanted);
        match holder {
            None if wanted != *gateway => Ok(wanted),
            None => Err(Error::new("Address already in use").hint("it is the gateway's")),
            Some(lease) => Err(Error::new("Address already in use")
                .hint(format!("container {} has {wanted}", lease.container))),
        }
    }

    // ANCHOR: begin
    /// Writes a lease. It appears whole, by link(2), which refuses an existing target.
    pub fn begin(&self, lease: &Lease) -> Result<()> {
        let path = self.path(lease.address);
        let write = || -> std::io::Result<()> {
            let beside = self.write_beside(lease)?;
            fs::hard_link(&beside, &path)?;
            fs::remove_file(&beside)?;
            fs::write(self.dir.join("last"), lease.address.to_string())
        };
        write().doing(|| format!("lease {}: write {}", lease.address, path.display()))
    }
    // ANCHOR_END: begin

    /// Writes a lease again, with other ports or names.
    pub fn replace(&self, lease: &Lease) -> Result<()> {
        let path = self.path(lease.address);
        let write = || fs::rename(self.write_beside(lease)?, &path);
        write().doing(|| format!("lease {}: write {}", lease.address, path.display()))
    }

    /// Under the lock there is only one writer: one name will do.
    fn write_beside(&self, lease: &Lease) -> std::io::Result<PathBuf> {
        let beside = self.dir.join("lease.new");
        fs::write(&beside, serde_json::to_vec(lease)?)?;
        Ok(beside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Subnet;
    use crate::network::DEFAULT;

    fn lease(address: Ipv4Addr, owner: Owner) -> Lease {
        Lease {
            container: "c".into(),
            address,
            veth: "no-such-veth".into(),
            ports: vec![],
            owner,
            mac: None,
            names: vec![],
        }
    }

    #[test]
    fn addresses_go_round_and_are_never_given_twice() {
        let root = tempfile::tempdir().unwrap();
        let networks = Networks::open(root.path()).unwrap();
        let locked = networks.lock(DEFAULT).unwrap();
        let mut given = Vec::new();
        for _ in 0..3 {
            let address = locked.free_address(&given).unwrap();
            locked.begin(&lease(address, Owner::this())).unwrap();
            given.push(lease(address, Owner::this()));
        }
        let subnet = locked.network.subnet;
        let addresses: Vec<_> = given.iter().map(|lease| lease.address).collect();
        assert_eq!(addresses, [subnet.address(2), subnet.address(3), subnet.address(4)]);
        assert!(locked.begin(&given[0]).is_err(), "an address was leased twice");

        // The first one is free again, but the next in the round comes first.
        locked.end(&given.remove(0)).unwrap();
        assert_eq!(locked.free_address(&given).unwrap(), subnet.address(5));
        fs::write(locked.dir.join("last"), subnet.address(subnet.size() - 2).to_string()).unwrap();
        assert_eq!(locked.free_address(&given).unwrap(), subnet.address(2));
    }

    #[test]
    fn an_address_of_choice_is_given_once_and_a_range_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let networks = Networks::open(root.path()).unwrap();
        let mut locked = networks.lock(DEFAULT).unwrap();
        let subnet = locked.network.subnet;
        locked.network.wishes.range = Some(Subnet::around(subnet.address(64), 30));
        let mut given = Vec::new();
        for n in 64..68 {
            assert_eq!(locked.free_address(&given).unwrap(), subnet.address(n));
            given.push(lease(subnet.address(n), Owner::this()));
        }
        let full = locked.free_address(&given).unwrap_err().to_string();
        assert!(full.contains("all addresses are taken"), "{full}");
        let refusal = |address| locked.this_address(address, &given).unwrap_err().to_string();
        assert!(refusal(subnet.address(64)).starts_with("Address already in use: container c"));
        assert!(refusal(subnet.address(1)).contains("gateway"));
        assert!(refusal(subnet.broadcast()).starts_with("invalid address"));
        assert!(refusal([192, 0, 2, 1].into()).starts_with("invalid address"));
        assert_eq!(locked.this_address(subnet.address(9), &given), Ok(subnet.address(9)));
    }

    #[test]
    fn the_lease_of_a_dead_owner_is_swept() {
        let root = tempfile::tempdir().unwrap();
        let networks = Networks::open(root.path()).unwrap();
        let locked = networks.lock(DEFAULT).unwrap();
        let (mine, dead) = (Owner::this(), Owner { started: 1, ..Owner::this() });
        assert!(mine.is_alive() && !dead.is_alive());
        locked.begin(&lease(locked.network.subnet.address(2), mine)).unwrap();
        locked.begin(&lease(locked.network.subnet.address(3), dead)).unwrap();
        fs::write(locked.path(locked.network.subnet.address(4)), "{").unwrap();
        drop(locked);
        networks.reconcile().unwrap();
        let network = networks.find(DEFAULT).unwrap();
        assert_eq!(networks.leases(&network).unwrap(), [lease(network.subnet.address(2), mine)]);
    }
}
