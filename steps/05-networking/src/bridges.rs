//! A container on several networks, which come and go while it lives.
//!
//! Every network is a [`Bridge`] of its own, with an interface of its own inside.
//! Of all of them one is the way out: it has the default route, and the published
//! ports lead to its address. Which one that is may change with every network that
//! comes or goes; the order is Docker's.

use std::cmp::Reverse;
use std::fs::File;
use std::net::Ipv4Addr;

use namespaces::explain::step;
use namespaces::{Child, CloneArgs, Context, Error, Mechanism, Result};
use nix::sched::{CloneFlags, setns};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::bridge::{Bridge, LOOPBACK, Wish};
use crate::netlink::{Batch, Mac};
use crate::network::{Network, Networks};
use crate::port::{Port, Published};

const CHAPTER: u8 = 5;

/// A container's place on one network, as it is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// The network's id; the default network's name will do.
    pub network: String,
    /// This very address; any one that is free if it does not matter.
    pub address: Option<Ipv4Addr>,
    /// This very hardware address.
    pub mac: Option<Mac>,
    /// What the neighbours may call the container.
    pub names: Vec<String>,
    /// The highest is the way out.
    pub priority: i64,
}

/// All places of one container. The one of [`Bridge`], several times.
pub struct Bridges {
    networks: Networks,
    container: String,
    /// What is to be published, wherever the way out is.
    ports: Vec<Port>,
    /// In the order of their arrival, each with its priority.
    bridges: Vec<(Bridge, i64)>,
}

impl Bridges {
    /// Leases all addresses and opens the ports. Dropping the value gives all back.
    ///
    /// # Errors
    ///
    /// See [`Bridge::reserve`]; then nothing is taken.
    pub fn reserve(
        networks: &Networks,
        container: &str,
        ports: &[Port],
        places: &[Place],
    ) -> Result<Self> {
        let mut all = Self {
            networks: networks.clone(),
            container: container.into(),
            ports: ports.to_vec(),
            bridges: Vec::new(),
        };
        let found = places.iter().map(|place| networks.find(&place.network));
        let found = found.collect::<Result<Vec<_>>>()?;
        let way_out = way_out(found.iter().zip(places.iter().map(|place| place.priority)));
        for (number, (place, network)) in places.iter().zip(&found).enumerate() {
            let is_way_out = way_out == Some(number);
            let ports = on_address(ports, network);
            let ports = if is_way_out { &ports[..] } else { &[] };
            all.add(place, number, ports, is_way_out)?;
        }
        Ok(all)
    }

    fn add(&mut self, place: &Place, number: usize, ports: &[Port], way_out: bool) -> Result<()> {
        let wish = Wish {
            network: &place.network,
            container: &self.container,
            ports,
            address: place.address,
            mac: place.mac,
            names: &place.names,
            number,
            way_out,
        };
        let bridge = Bridge::reserve_as(&self.networks, &wish)?;
        self.bridges.push((bridge, place.priority));
        Ok(())
    }

    /// The networks that the container is on.
    pub fn networks(&self) -> impl Iterator<Item = &Network> {
        self.bridges.iter().map(|(bridge, _)| bridge.network())
    }

    /// The container's address on a network.
    pub fn address_on(&self, network: &str) -> Option<Ipv4Addr> {
        self.on(network).map(|place| self.bridges[place].0.address())
    }

    /// All addresses, in the order of the interfaces.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.bridges.iter().map(|(bridge, _)| bridge.address())
    }

    /// The network that is the way out, and the container's address there.
    pub fn way_out(&self) -> Option<(&Network, Ipv4Addr)> {
        let bridge = &self.bridges[self.which_way()?].0;
        Some((bridge.network(), bridge.address()))
    }

    /// The container's ports, with the host ports that were chosen.
    pub fn published(&self) -> &[Published] {
        let all = self.bridges.iter().map(|(bridge, _)| bridge.published());
        all.into_iter().find(|ports| !ports.is_empty()).unwrap_or_default()
    }

    /// Puts a running container on one more network.
    ///
    /// # Errors
    ///
    /// It is there already, or see [`Bridge::reserve`]; then nothing has changed.
    pub fn connect(&mut self, place: &Place, inside: &Inside) -> Result<()> {
        let network = self.networks.find(&place.network)?;
        if self.on(&network.id).is_some() {
            return Err(Error::new(format!(
                "the container is on network {} already",
                network.name
            )));
        }
        let prefix = network.wishes.interface.as_deref().unwrap_or("eth");
        let taken = |n: &usize| {
            let name = format!("{prefix}{n}");
            self.bridges.iter().any(|(bridge, _)| bridge.inside() == name)
        };
        let number = (0..).find(|n| !taken(n)).unwrap_or_default();
        self.add(place, number, &[], false)?;
        let (bridge, _) = self.bridges.last().expect("it was just added");
        let plugged = bridge
            .plug_in(inside.pid)
            .and_then(|()| inside.run(|| bridge.set_up(Batch::new())))
            .and_then(|()| self.settle(inside));
        if plugged.is_err()
            && let Some((mut bridge, _)) = self.bridges.pop()
        {
            let _ = bridge.cut_cable();
            let _ = bridge.teardown();
            let _ = self.settle(inside);
        }
        plugged
    }

    /// Takes a running container off a network.
    pub fn disconnect(&mut self, network: &str, inside: &Inside) -> Result<()> {
        let missing = || Error::new(format!("the container is not on network {network}"));
        let place = self.on(network).ok_or_else(missing)?;
        let ports = self.bridges[place].0.unpublish()?;
        let (mut bridge, _) = self.bridges.remove(place);
        self.keep(&ports);
        bridge.cut_cable()?;
        bridge.teardown()?;
        self.settle(inside)
    }

    /// Moves the default route and the ports to where they belong now.
    fn settle(&mut self, inside: &Inside) -> Result<()> {
        let right = self.which_way();
        for place in 0..self.bridges.len() {
            let bridge = &mut self.bridges[place].0;
            if Some(place) != right && bridge.is_way_out() {
                let ports = bridge.unpublish()?;
                inside.run(|| bridge.leave_way_out())?;
                self.keep(&ports);
            }
        }
        let Some(place) = right else { return Ok(()) };
        let bridge = &mut self.bridges[place].0;
        if !bridge.is_way_out() {
            inside.run(|| bridge.become_way_out())?;
            let ports = on_address(&self.ports, bridge.network());
            bridge.publish(&ports)?;
        }
        Ok(())
    }

    /// A host port that was chosen once stays as long as the container lives.
    fn keep(&mut self, published: &[Published]) {
        for (port, chosen) in self.ports.iter_mut().zip(published) {
            port.host = (chosen.host, chosen.host);
        }
    }

    fn on(&self, network: &str) -> Option<usize> {
        let is_it = |network_of: &Network| network_of.id == network || network_of.name == network;
        self.networks().position(is_it)
    }

    fn which_way(&self) -> Option<usize> {
        way_out(self.bridges.iter().map(|(bridge, priority)| (bridge.network(), *priority)))
    }
}

/// Which of several networks is the way out: the highest priority, and among equals
/// the first by name. An internal network is none.
fn way_out<'a>(places: impl Iterator<Item = (&'a Network, i64)>) -> Option<usize> {
    let outward = places.enumerate().filter(|(_, (network, _))| !network.internal);
    let rank = |network: &Network, priority| (Reverse(priority), network.name.clone());
    outward.min_by_key(|(_, (network, priority))| rank(network, *priority)).map(|(at, _)| at)
}

/// The ports, on the network's own address of the host where none is named.
fn on_address(ports: &[Port], network: &Network) -> Vec<Port> {
    let host_ip = network.wishes.host_ip.map(Into::into);
    ports.iter().map(|port| Port { host_ip: port.host_ip.or(host_ip), ..port.clone() }).collect()
}

impl Mechanism for Bridges {
    fn before_clone(&mut self, args: &mut CloneArgs) -> Result<()> {
        // Also where there is no network at all.
        args.flags |= libc::CLONE_NEWNET as u64;
        self.bridges.iter_mut().try_for_each(|(bridge, _)| bridge.before_clone(args))
    }

    fn in_parent(&mut self, child: &Child) -> Result<()> {
        self.bridges.iter_mut().try_for_each(|(bridge, _)| bridge.in_parent(child))
    }

    fn in_child(&self) -> Result<()> {
        // One request brings up the loopback and the first interface.
        let mut batch = Batch::new().up(LOOPBACK, "lo");
        for (bridge, _) in &self.bridges {
            bridge.set_up(std::mem::take(&mut batch))?;
        }
        if self.bridges.is_empty() { batch.send() } else { Ok(()) }
    }

    fn teardown(&mut self) -> Result<()> {
        let all = self.bridges.iter_mut().rev().map(|(bridge, _)| bridge.teardown());
        all.fold(Ok(()), Result::and)
    }
}

/// The network namespace of a container that runs.
pub struct Inside {
    pid: Pid,
    theirs: File,
    ours: File,
}

impl Inside {
    /// That of the process `pid`, which must not have been waited for yet.
    pub fn of(pid: Pid) -> Result<Self> {
        let open = |pid: &str| {
            let path = format!("/proc/{pid}/ns/net");
            File::open(&path).doing(|| format!("open {path}"))
        };
        Ok(Self { pid, theirs: open(&pid.to_string())?, ours: open("thread-self")? })
    }

    // ANCHOR: run
    /// Does something inside: sockets that are made there stay there, and so do
    /// programs that are started. The caller must be its process's only thread.
    ///
    /// # Errors
    ///
    /// setns(2) refuses, or what the act itself says.
    pub fn run<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let Self { pid, theirs, ours } = self;
        let enter = || setns(theirs, CloneFlags::CLONE_NEWNET);
        step(
            CHAPTER,
            || format!("setns(/proc/{pid}/ns/net, CLONE_NEWNET)"),
            || enter().doing(|| format!("enter the network of process {pid}")),
        )?;
        let result = act();
        // Where this fails nothing that follows would be right.
        setns(ours, CloneFlags::CLONE_NEWNET).doing(|| "come back from a container's network")?;
        result
    }
    // ANCHOR_END: run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_out_has_the_highest_priority_or_the_first_name() {
        let network =
            |name: &str, internal| Network { name: name.into(), internal, ..Network::example() };
        let networks = [network("b", false), network("a", false), network("0", true)];
        let which = |priorities: &[i64]| way_out(networks.iter().zip(priorities.iter().copied()));
        assert_eq!(which(&[0, 0, 0]), Some(1));
        assert_eq!(which(&[1, 0, 9]), Some(0));
        assert_eq!(which(&[-1, -2, 0]), Some(0));
        assert_eq!(way_out([(&networks[2], 5)].into_iter()), None);
    }
}
