//! A container on a bridge: an address, a cable, a way out, and ports.

use std::fs;
use std::net::Ipv4Addr;

use namespaces::explain::step;
use namespaces::{Child, CloneArgs, Context, Mechanism, Result};
use nix::errno::Errno;
use nix::unistd::Pid;

use crate::conntrack;
use crate::firewall::{self, Nft};
use crate::lease::{Lease, Owner};
use crate::listen::{self, Listener};
use crate::netlink::{self, Batch, Veth};
use crate::network::{Network, Networks};
use crate::port::{Port, Published};
use crate::proxy::Proxy;

const CHAPTER: u8 = 5;

mod live;
pub(crate) use live::Wish;

/// What the container's interface is called inside.
const INSIDE: &str = "eth0";

// ANCHOR: moments
/// A place on a bridge network, for one container.
///
/// | moment         | what happens                                             |
/// |----------------|----------------------------------------------------------|
/// | `reserve`      | ports held, bridge and table made, the address leased    |
/// | `before_clone` | the ports' nft is started                                |
/// | `in_parent`    | the cable, one end inside; the proxy                     |
/// | `in_child`     | lo and eth0 up, the address, the default route           |
/// | `teardown`     | proxy, rules, lease; the cable goes with its namespace   |
pub struct Bridge {
    networks: Networks,
    network: Network,
    lease: Lease,
    /// Until the proxy has them.
    listeners: Vec<Listener>,
    publishing: Option<Nft>,
    proxy: Option<Proxy>,
    /// What the interface is called inside.
    inside: String,
    way_out: bool,
    over: bool,
}
// ANCHOR_END: moments

impl Bridge {
    /// Leases an address and opens the ports. Dropping the value gives all back.
    ///
    /// The lease also frees what killed containers have left on this network.
    ///
    /// # Errors
    ///
    /// The network is unknown or full, or a port is in use; then nothing is taken.
    pub fn reserve(
        networks: &Networks,
        name: &str,
        container: &str,
        ports: &[Port],
    ) -> Result<Self> {
        let wish = Wish { network: name, container, ports, way_out: true, ..Wish::default() };
        Self::reserve_as(networks, &wish)
    }

    /// The same with all that can be wished for.
    pub(crate) fn reserve_as(networks: &Networks, wish: &Wish) -> Result<Self> {
        let Wish { container, ports, .. } = *wish;
        let mut locked = networks.lock(wish.network)?;
        let others = locked.sweep(|lease| !lease.is_live())?;
        let listeners =
            listen::open_all(ports).map_err(|error| name_the_holder(error, ports, &others))?;
        // Now, because a bridge that is made anew may have to take another subnet.
        locked.bring_up()?;
        let address = match wish.address {
            Some(wanted) => locked.this_address(wanted, &others)?,
            None => locked.free_address(&others)?,
        };
        let lease = Lease {
            container: container.into(),
            address,
            veth: veth_name(container, address),
            ports: listeners.iter().map(|listener| listener.published.clone()).collect(),
            owner: Owner::this(),
            mac: wish.mac,
            names: wish.names.to_vec(),
        };
        let name = &locked.network.name;
        step(CHAPTER, || format!("lease {address} on network {name}"), || locked.begin(&lease))?;
        Ok(Self {
            networks: networks.clone(),
            network: locked.network.clone(),
            lease,
            listeners,
            publishing: None,
            proxy: None,
            inside: match &locked.network.wishes.interface {
                Some(prefix) => format!("{prefix}{}", wish.number),
                None if wish.number == 0 => INSIDE.into(),
                None => format!("eth{}", wish.number),
            },
            way_out: wish.way_out && !locked.network.internal,
            over: false,
        })
    }

    /// The container's address.
    pub fn address(&self) -> Ipv4Addr {
        self.lease.address
    }

    /// The network that the container is on.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The container's ports, with the host ports that were chosen.
    pub fn published(&self) -> &[Published] {
        &self.lease.ports
    }

    // ANCHOR: cable
    /// One end on the bridge, the other in the network of the process `pid`.
    fn lay_cable(&self, pid: Pid) -> Result<()> {
        let veth = &self.lease.veth;
        let bridge = netlink::index_of(&self.network.bridge).unwrap_or(0);
        let cable = Veth {
            host: veth,
            bridge,
            peer_pid: pid.as_raw() as u32,
            peer: &self.inside,
            peer_mac: self.lease.hardware_address(),
            mtu: self.network.mtu,
        };
        let mut batch = Batch::new().add_veth(&cable);
        if !self.lease.ports.is_empty() {
            batch = batch.hairpin(veth);
        }
        if self.network.wishes.apart { batch.isolate(veth).send() } else { batch.send() }
    }

    // ANCHOR_END: cable

    // ANCHOR: in_child
    /// Inside: the address, and the way out if this is it.
    fn set_up_inside(&self, batch: Batch) -> Result<()> {
        let name = &self.inside;
        disable_ipv6(name)?;
        let index =
            netlink::index_of(name).ok_or(Errno::ENODEV).doing(|| format!("find {name}"))?;
        let batch =
            batch.add_address(index, name, self.lease.address, self.network.subnet).up(index, name);
        match self.way_out {
            true => batch.add_default_route(index, name, self.network.gateway).send(),
            false => batch.send(),
        }
    }
    // ANCHOR_END: in_child
}

impl Mechanism for Bridge {
    fn before_clone(&mut self, args: &mut CloneArgs) -> Result<()> {
        args.flags |= libc::CLONE_NEWNET as u64;
        let Lease { container, address, ports, .. } = &self.lease;
        let text = firewall::publish(&self.network.bridge, container, *address, ports);
        match Nft::start(text) {
            Ok(nft) => self.publishing = nft,
            // Without nft the proxy serves everyone.
            Err(error) if error.is(Errno::ENOENT) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    // ANCHOR: in_parent
    fn in_parent(&mut self, child: &Child) -> Result<()> {
        self.lay_cable(child.pid)?;
        if let Some(nft) = self.publishing.take() {
            nft.finish()?;
            conntrack::forget(&self.lease.ports);
        }
        if !self.listeners.is_empty() {
            let listeners = std::mem::take(&mut self.listeners);
            self.proxy = Some(Proxy::start(listeners, self.lease.address)?);
        }
        Ok(())
    }
    // ANCHOR_END: in_parent

    fn in_child(&self) -> Result<()> {
        self.set_up_inside(Batch::new().up(LOOPBACK, "lo"))
    }

    fn teardown(&mut self) -> Result<()> {
        // The rules first: whoever gets the port next must not find them.
        let ended = match std::mem::replace(&mut self.over, true) {
            true => Ok(()),
            false => self.networks.lock(&self.network.id).and_then(|l| l.end(&self.lease)),
        };
        if let Some(proxy) = self.proxy.take() {
            proxy.stop();
        }
        self.listeners.clear();
        self.publishing = None;
        ended
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // A forked copy of this value is not the owner.
        if self.lease.owner.pid == std::process::id() {
            let _ = self.teardown();
        }
    }
}

/// The loopback interface is the first one of every namespace.
pub(crate) const LOOPBACK: u32 = 1;

// ANCHOR: disable_ipv6
/// An interface gives itself an IPv6 address as soon as it is up, and believes
/// every router that advertises itself. This network speaks IPv4.
pub(crate) fn disable_ipv6(interface: &str) -> Result<()> {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
    step(
        CHAPTER,
        || format!("write {path}  1"),
        || match fs::write(&path, "1") {
            // A kernel without IPv6, or a /proc that is read-only or not there.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EROFS)) => {
                Ok(())
            }
            result => result.doing(|| format!("write {path}")),
        },
    )
}
// ANCHOR_END: disable_ipv6

/// At most 15 bytes, and new for every start: the namespace of a container that
/// restarts may still be about to go, with a cable of the former name.
fn veth_name(container: &str, address: Ipv4Addr) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = format!("{container} {address} {now:?}");
    format!("veth{:010x}", crate::hash(seed.as_bytes()) & 0xff_ffff_ffff)
}

/// If it is one of our own containers that has the port, says which.
fn name_the_holder(
    error: namespaces::Error,
    ports: &[Port],
    others: &[Lease],
) -> namespaces::Error {
    let holder = others.iter().find(|lease| {
        let held = |port: &Port| {
            let same =
                |held: &&Published| held.host == port.host.0 && held.protocol == port.protocol;
            lease.ports.iter().find(same).map(|held| (held.host, held.protocol))
        };
        let mut held = ports.iter().filter_map(held);
        held.any(|(port, protocol)| error.doing.starts_with(&format!("port {port}/{protocol} ")))
    });
    match holder {
        Some(lease) => error.hint(format!("container {} has it", lease.container)),
        None => error,
    }
}
