//! What else a place on a network can be asked for, and what may change of it while
//! the container lives: for [`crate::Bridges`].

use std::net::Ipv4Addr;

use namespaces::{Context, Result};
use nix::errno::Errno;
use nix::unistd::Pid;

use super::Bridge;
use crate::conntrack;
use crate::firewall;
use crate::lease::Lease;
use crate::listen;
use crate::netlink::{self, Batch, Mac};
use crate::port::{Port, Published};
use crate::proxy::Proxy;

/// What is asked of a network for one container.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish<'a> {
    /// The network's name or id.
    pub network: &'a str,
    /// The container's id.
    pub container: &'a str,
    /// The ports to publish.
    pub ports: &'a [Port],
    /// This very address.
    pub address: Option<Ipv4Addr>,
    /// This very hardware address.
    pub mac: Option<Mac>,
    /// What its neighbours may call it.
    pub names: &'a [String],
    /// The interface's number inside.
    pub number: usize,
    /// Whatever has no better route goes this way.
    pub way_out: bool,
}

impl Bridge {
    /// What the interface is called inside.
    pub(crate) fn inside(&self) -> &str {
        &self.inside
    }

    /// Lays the cable into a container that runs.
    pub(crate) fn plug_in(&self, pid: Pid) -> Result<()> {
        self.lay_cable(pid)
    }

    /// Inside: sets the cable's end up, after whatever is in the batch.
    pub(crate) fn set_up(&self, batch: Batch) -> Result<()> {
        self.set_up_inside(batch)
    }

    /// Pulls the cable out of a container that goes on; its route goes with it.
    pub(crate) fn cut_cable(&self) -> Result<()> {
        match netlink::index_of(&self.lease.veth) {
            Some(_) => Batch::new().delete_link(&self.lease.veth).send(),
            None => Ok(()),
        }
    }

    /// Publishes ports of a container that runs already.
    ///
    /// # Errors
    ///
    /// A port is in use; then none is published.
    pub(crate) fn publish(&mut self, ports: &[Port]) -> Result<()> {
        if ports.is_empty() {
            return Ok(());
        }
        let listeners = listen::open_all(ports)?;
        let mut lease = self.lease.clone();
        lease.ports = listeners.iter().map(|listener| listener.published.clone()).collect();
        self.networks.lock(&self.network.id)?.replace(&lease)?;
        self.lease = lease;
        let Lease { container, address, ports, veth, .. } = &self.lease;
        Batch::new().hairpin(veth).send()?;
        match firewall::apply(firewall::publish(&self.network.bridge, container, *address, ports)) {
            Err(error) if !error.is(Errno::ENOENT) => return Err(error),
            _ => conntrack::forget(ports),
        }
        self.proxy = Some(Proxy::start(listeners, *address)?);
        Ok(())
    }

    /// Takes the ports back from a container that goes on.
    pub(crate) fn unpublish(&mut self) -> Result<Vec<Published>> {
        if let Some(proxy) = self.proxy.take() {
            proxy.stop();
        }
        let ports = std::mem::take(&mut self.lease.ports);
        if !ports.is_empty() {
            let text = firewall::unpublish(&self.network.bridge, self.lease.address, &ports);
            // Refused means that there is no table, or no nft: no rules, then.
            let _ = firewall::apply(text);
            self.networks.lock(&self.network.id)?.replace(&self.lease)?;
        }
        Ok(ports)
    }

    /// Whether whatever has no better route goes this way.
    pub(crate) fn is_way_out(&self) -> bool {
        self.way_out
    }

    /// Inside: takes the default route.
    pub(crate) fn become_way_out(&mut self) -> Result<()> {
        let index = self.index_inside()?;
        Batch::new().add_default_route(index, &self.inside, self.network.gateway).send()?;
        self.way_out = true;
        Ok(())
    }

    /// Inside: gives the default route up.
    pub(crate) fn leave_way_out(&mut self) -> Result<()> {
        let index = self.index_inside()?;
        self.way_out = false;
        Batch::new().delete_default_route(index, &self.inside).send()
    }

    fn index_inside(&self) -> Result<u32> {
        let name = &self.inside;
        netlink::index_of(name).ok_or(Errno::ENODEV).doing(|| format!("find {name}"))
    }
}
