//! Who has which address: one file per lease.
//!
//! A lease is written before anything is made for it, so whatever a killed
//! process leaves behind, the lease tells of it.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use namespaces::{Context, Error, Result};
use serde::{Deserialize, Serialize};

use crate::firewall;
use crate::netlink;
use crate::network::Locked;
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
        (0..count)
            .map(|n| subnet.address(first + (last + n) % count))
            .find(|address| {
                *address != self.network.gateway
                    && !taken.iter().any(|lease| lease.address == *address)
            })
            .ok_or_else(|| {
                Error::new(format!("network {}: all addresses are taken", self.network.name))
                    .hint(format!("{} has {} of them", subnet, count - 1))
            })
    }
    // ANCHOR_END: free_address

    // ANCHOR: begin
    /// Writes a lease. The file must not be there: `O_EXCL`.
    pub fn begin(&self, lease: &Lease) -> Result<()> {
        let path = self.path(lease.address);
        let write = || -> std::io::Result<()> {
            File::create_new(&path)?.write_all(&serde_json::to_vec(lease)?)?;
            fs::write(self.dir.join("last"), lease.address.to_string())
        };
        write().doing(|| format!("lease {}: write {}", lease.address, path.display()))
    }
    // ANCHOR_END: begin
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{DEFAULT, Networks};

    fn lease(address: Ipv4Addr, owner: Owner) -> Lease {
        Lease { container: "c".into(), address, veth: "no-such-veth".into(), ports: vec![], owner }
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
