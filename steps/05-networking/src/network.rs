//! Networks as records on disk, and their bridge as a thing of the kernel.
//!
//! ```text
//! <root>/networks/lock              held while a record is made
//! <root>/networks/<id>.json         the record, a Network
//! <root>/networks/<id>/lock         held while leases or the bridge change
//! <root>/networks/<id>/leases/<ip>  who has this address, a Lease
//! <root>/networks/<id>/last         the address leased last: the next is after it
//! <root>/networks/<id>/firewall     what other people's firewall looked like
//! ```
//!
//! The record lasts. The bridge and its table are made when the first container
//! needs them and stay, as docker0 does, until [`Networks::down`] or a reboot.

use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use namespaces::explain::step;
use namespaces::{Context, Error, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::bridge::disable_ipv6;
use crate::firewall;
use crate::lease::Lease;
use crate::neighbours;
use crate::netlink::{self, Batch, Mac};
use crate::nfnetlink;
use crate::pasta;
use crate::subnet::{self, Subnet};
use crate::wishes::Wishes;

const CHAPTER: u8 = 5;

/// The network of every container that asks for none.
pub const DEFAULT: &str = "bridge";

/// A network: a bridge on this host, a subnet, and a way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// 64 hexadecimal digits, for ever.
    pub id: String,
    /// What `--network` calls it.
    pub name: String,
    /// The bridge's interface name, and the name of its nft table.
    pub bridge: String,
    /// The addresses of the network.
    pub subnet: Subnet,
    /// The bridge's own address: the containers' default route.
    pub gateway: Ipv4Addr,
    /// The largest packet in bytes: that of the host's way out.
    pub mtu: u32,
    /// No way out, and no way in but from the host.
    #[serde(default)]
    pub internal: bool,
    /// What somebody has wished for it, beside the above.
    #[serde(default)]
    pub wishes: Wishes,
}

impl Network {
    /// A network without any wishes, whose gateway is the subnet's first address.
    pub(crate) fn new(id: String, name: &str, bridge: String, subnet: Subnet) -> Self {
        Network {
            id,
            name: name.into(),
            bridge,
            subnet,
            gateway: subnet.address(1),
            mtu: 1500,
            internal: false,
            wishes: Wishes::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn example() -> Self {
        let subnet = "10.80.0.0/20".parse().unwrap();
        Network::new("0".repeat(64), DEFAULT, "coracle0".into(), subnet)
    }
}

// ANCHOR: mac
/// The hardware address that goes with an address, as Docker derives it: whoever
/// gets the address again gets the hardware address too, so no neighbour's ARP
/// cache is ever wrong.
pub fn mac(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}
// ANCHOR_END: mac

/// The networks of one engine.
#[derive(Debug, Clone)]
pub struct Networks {
    root: PathBuf,
    dir: PathBuf,
}

/// A network whose lock is held: nobody else leases or builds meanwhile.
pub(crate) struct Locked {
    networks: Networks,
    pub network: Network,
    pub dir: PathBuf,
    record: PathBuf,
    _lock: Flock<File>,
}

impl Networks {
    /// The networks under an engine's root folder, which is made if it is missing.
    pub fn open(root: &Path) -> Result<Self> {
        let dir = root.join("networks");
        fs::create_dir_all(&dir).doing(|| format!("create {}", dir.display()))?;
        let root = fs::canonicalize(root).doing(|| format!("find {}", root.display()))?;
        Ok(Self { dir: root.join("networks"), root })
    }

    /// All networks that have a record, by name.
    pub fn list(&self) -> Result<Vec<Network>> {
        let mut networks = Vec::new();
        for entry in fs::read_dir(&self.dir).doing(|| format!("read {}", self.dir.display()))? {
            let path = entry.doing(|| format!("read {}", self.dir.display()))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                networks.push(read_record(&path)?);
            }
        }
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(networks)
    }

    /// The network with this name or id. The default one is made on first use.
    pub fn find(&self, name: &str) -> Result<Network> {
        let found = |network: &Network| network.name == name || network.id == name;
        if let Some(network) = self.list()?.into_iter().find(found) {
            return Ok(network);
        }
        if name != DEFAULT {
            return Err(Error::new(format!("network {name} not found")));
        }
        let _lock = self.lock_records()?;
        // Somebody else may have made it while we waited for the lock.
        match self.list()?.into_iter().find(found) {
            Some(network) => Ok(network),
            None => self.create_default(),
        }
    }

    fn create_default(&self) -> Result<Network> {
        let (bridge, start) = bridge_of(&self.root);
        let subnet = subnet::first_free(start, &self.taken_subnets(None)?)?;
        let network = Network::new(random_id()?, DEFAULT, bridge, subnet);
        write_record(&self.record(&network.id), &network)?;
        Ok(network)
    }

    /// Takes the network's lock, and reads its record again under it.
    pub(crate) fn lock(&self, name: &str) -> Result<Locked> {
        let id = self.find(name)?.id;
        let dir = self.dir.join(&id);
        let leases = dir.join("leases");
        fs::create_dir_all(&leases).doing(|| format!("create {}", leases.display()))?;
        let _lock = lock(&dir.join("lock"))?;
        let record = self.record(&id);
        if !record.exists() {
            // Removed while we waited for the lock.
            return Err(Error::new(format!("network {name} not found")));
        }
        Ok(Locked { networks: self.clone(), network: read_record(&record)?, dir, record, _lock })
    }

    /// The subnets that are spoken for: by a route of this machine, or by another
    /// network than `own`, whose bridge may not be up at the moment.
    pub(crate) fn taken_subnets(&self, own: Option<&str>) -> Result<Vec<Subnet>> {
        let others = self.list()?.into_iter().filter(|network| Some(&*network.id) != own);
        let mut taken = routed_subnets();
        taken.extend(others.map(|network| network.subnet));
        Ok(taken)
    }

    /// Held while records are made.
    pub(crate) fn lock_records(&self) -> Result<Flock<File>> {
        lock(&self.dir.join("lock"))
    }

    pub(crate) fn write(&self, network: &Network) -> Result<()> {
        write_record(&self.record(&network.id), network)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn record(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }

    /// Frees what the killed have left: addresses, port rules.
    pub fn reconcile(&self) -> Result<()> {
        for network in self.list()? {
            if let Some(locked) = self.lock_if_there(&network)? {
                locked.sweep(|lease| !lease.is_live())?;
            }
        }
        pasta::sweep(&self.pasta_dir())
    }

    /// Frees whatever `container` holds, on any network; for an engine that finds
    /// the container's owner dead.
    pub fn release(&self, container: &str) -> Result<()> {
        for network in self.list()? {
            if let Some(locked) = self.lock_if_there(&network)? {
                locked.sweep(|lease| lease.container == container)?;
            }
        }
        pasta::end(&self.pasta_dir(), container);
        Ok(())
    }

    /// The lock of a network that somebody may have removed since it was listed.
    fn lock_if_there(&self, network: &Network) -> Result<Option<Locked>> {
        match self.lock(&network.id) {
            Err(_) if !self.record(&network.id).exists() => Ok(None),
            locked => locked.map(Some),
        }
    }

    /// The leases of a network, by address.
    pub fn leases(&self, network: &Network) -> Result<Vec<Lease>> {
        self.lock(&network.id)?.leases()
    }

    /// Takes a network's bridge and rules off this host. The record stays: the
    /// next container brings them back.
    ///
    /// # Errors
    ///
    /// A container is still attached.
    pub fn down(&self, name: &str) -> Result<()> {
        self.lock(name)?.take_down(name)
    }
}

impl Locked {
    /// The bridge, the table, and the rules among other people's.
    ///
    /// # Errors
    ///
    /// A container is still attached.
    pub fn take_down(&self, name: &str) -> Result<()> {
        if let Some(lease) = self.sweep(|lease| !lease.is_live())?.first() {
            return Err(Error::new(format!("network {name} has active endpoints"))
                .hint(format!("container {} has {}", lease.container, lease.address)));
        }
        let bridge = &self.network.bridge;
        neighbours::close_way(bridge)?;
        if nfnetlink::table_exists(bridge)? {
            firewall::apply(firewall::drop_table(bridge))?;
        }
        if netlink::index_of(bridge).is_some() {
            Batch::new().delete_link(bridge).send()?;
        }
        let _ = fs::remove_file(self.dir.join("firewall"));
        Ok(())
    }

    /// Makes sure that the bridge stands, its table, and the way past other people's
    /// firewalls. Costs five questions if all is well.
    pub fn bring_up(&mut self) -> Result<()> {
        let bridge = self.network.bridge.clone();
        if !netlink::is_up(&bridge) || !is_ours(self.network.gateway) {
            self.create_bridge()?;
        }
        if !self.network.internal {
            enable_forwarding()?;
        }
        match nfnetlink::table_exists(&bridge) {
            Ok(true) => {}
            Ok(false) => self.create_table()?,
            // A kernel without nftables: the proxy alone serves the ports.
            Err(_) => return Ok(()),
        }
        neighbours::open_way(&bridge, &self.dir.join("firewall"))
    }

    /// Makes the bridge; or the rest of it, where somebody was killed half-way or has
    /// switched it off.
    fn create_bridge(&mut self) -> Result<()> {
        // Two engines that look at once would both find the same subnet free.
        let _turn = take_turn();
        match netlink::index_of(&self.network.bridge) {
            Some(index) => Batch::new().up(index, &self.network.bridge).send()?,
            None => {
                self.settle()?;
                let Network { bridge, gateway, mtu, .. } = &self.network;
                Batch::new().add_bridge(bridge, mac(*gateway), *mtu).send()?;
            }
        }
        let Network { bridge, gateway, subnet, .. } = &self.network;
        // Before anybody is plugged in: a container may send whatever it likes.
        disable_ipv6(bridge)?;
        if is_ours(*gateway) {
            return Ok(());
        }
        let index = netlink::index_of(bridge).unwrap_or(0);
        Batch::new().add_address(index, bridge, *gateway, *subnet).send()
    }

    /// Decides on the subnet and the largest packet, now that the bridge is to be made:
    /// since the record was written, the host may have got a route to this subnet.
    fn settle(&mut self) -> Result<()> {
        let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
        let network = &mut self.network;
        if let Some(route) = routed_subnets().iter().find(|other| other.overlaps(&network.subnet)) {
            if network.wishes.subnet {
                return Err(Error::new(format!(
                    "network {}: this machine has a route to {route} already, which overlaps {}",
                    network.name, network.subnet
                )));
            }
            let taken = self.networks.taken_subnets(Some(&network.id))?;
            network.subnet = subnet::first_free(0, &taken)?;
            network.gateway = network.subnet.address(1);
        }
        let outward = subnet::default_interface(&routes);
        let outward = outward.and_then(netlink::mtu_of).unwrap_or(1500).min(1500);
        network.mtu = network.wishes.mtu.unwrap_or(outward);
        write_record(&self.record, network)
    }

    /// The table, with the ports of whoever is attached: somebody may have flushed
    /// the ruleset under running containers.
    fn create_table(&self) -> Result<()> {
        let mut text = firewall::table(&self.network);
        for lease in self.leases()? {
            text += &firewall::publish(
                &self.network.bridge,
                &lease.container,
                lease.address,
                &lease.ports,
            );
        }
        match firewall::apply(text) {
            // Without nft the proxy alone serves the ports; `doctor` tells.
            Err(error) if error.is(Errno::ENOENT) => Ok(()),
            result => result,
        }
    }
}

// ANCHOR: forwarding
/// The kernel drops what is not for itself, unless it is told to be a router.
fn enable_forwarding() -> Result<()> {
    const PATH: &str = "/proc/sys/net/ipv4/ip_forward";
    if fs::read_to_string(PATH).is_ok_and(|text| text.trim() == "1") {
        return Ok(());
    }
    step(
        CHAPTER,
        || format!("write {PATH}  1"),
        || fs::write(PATH, "1").doing(|| format!("write {PATH}")),
    )
}
// ANCHOR_END: forwarding

/// True if some interface of this host has the address.
pub(crate) fn is_ours(address: Ipv4Addr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// Held by one engine at a time on this host's network, whichever root it has; the
/// network namespace itself is the lock. An engine that hangs does not stop the others:
/// after a while they go on without it.
fn take_turn() -> Option<Flock<File>> {
    let mut namespace = File::open("/proc/thread-self/ns/net").ok()?;
    for _ in 0..2000 {
        match Flock::lock(namespace, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Some(lock),
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => namespace = file,
            Err(_) => return None,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

/// The bridge of an engine, and where it begins to look for a subnet. Another
/// root is another engine: its bridge must have another name.
fn bridge_of(root: &Path) -> (String, u32) {
    if root == Path::new("/var/lib/coracle") {
        return ("coracle0".into(), 0);
    }
    let hash = crate::hash(root.as_os_str().as_encoded_bytes());
    // The last letter of the path changes the lowest byte, and hardly those above it.
    (format!("cor{:08x}", hash as u32), u32::from(hash as u8))
}

pub(crate) fn routed_subnets() -> Vec<Subnet> {
    subnet::routed(&fs::read_to_string("/proc/net/route").unwrap_or_default())
}

pub(crate) fn random_id() -> Result<String> {
    let mut bytes = [0; 32];
    let read = File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    read.doing(|| "read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn lock(path: &Path) -> Result<Flock<File>> {
    let file = File::options().create(true).append(true).open(path);
    let file = file.doing(|| format!("open {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| Error::os(format!("lock {}", path.display()), errno))
}

fn read_record(path: &Path) -> Result<Network> {
    let text = fs::read(path).doing(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&text)
        .map_err(|error| Error::new(format!("read {}: {error}", path.display())))
}

/// Whole or not at all: written beside, flushed, renamed over, the folder flushed.
fn write_record(path: &Path, network: &Network) -> Result<()> {
    let beside = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(network)?)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    write().doing(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_root_has_a_bridge_of_its_own() {
        assert_eq!(bridge_of(Path::new("/var/lib/coracle")), ("coracle0".into(), 0));
        let (one, two) = (bridge_of(Path::new("/tmp/a")), bridge_of(Path::new("/tmp/b")));
        assert_ne!(one.0, two.0);
        assert!(one.0.len() <= 15, "{} is too long for an interface", one.0);
    }

    #[test]
    fn the_default_network_is_made_once_and_found_again() {
        let root = tempfile::tempdir().unwrap();
        let networks = Networks::open(root.path()).unwrap();
        let network = networks.find(DEFAULT).unwrap();
        assert_eq!(networks.find(&network.id).unwrap(), network);
        assert_eq!(networks.list().unwrap(), [network]);
        let error = networks.find("other").unwrap_err();
        assert_eq!(error.to_string(), "network other not found");
    }
}
