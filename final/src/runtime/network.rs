//! A container's place in networks, as its shim holds it.
//!
//! On bridges it may change while the container lives: then the shim and the
//! container's list of mechanisms share it, in the shim's one thread.

use std::cell::RefCell;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::rc::Rc;

use namespaces::{Child, CloneArgs, Context, Error, Mechanism, Result};
use networking::files::{self, ExtraHost, Names, Reach, host_resolv_conf};
use networking::{
    Bridges, DEFAULT, Endpoint, Files, Inside, Mode, Network, Networks, Place, Published,
};
use nix::unistd::Pid;

use super::dns;
use super::instructions::{Instructions, Link, NetworkPlan};
use crate::store::{self, ContainerDir};

/// Where a container is, whichever way.
pub enum Connection {
    /// On any number of bridges, which may change.
    Bridges(Attachment),
    /// In a place that stays as it is.
    Fixed(Endpoint),
}

impl Connection {
    /// Takes what must be taken before there is a child: addresses, ports.
    pub fn reserve(plan: &NetworkPlan, dir: &ContainerDir) -> Result<Self> {
        let networks = Networks::open(&plan.root)?;
        let id = dir.id();
        if let Mode::Bridge(name) = &plan.mode
            && nix::unistd::geteuid().is_root()
        {
            let default = || vec![Place { network: name.clone(), ..Place::default() }];
            let places = plan.places.clone().unwrap_or_else(default);
            let bridges = Bridges::reserve(&networks, &id, &plan.ports, &places)?;
            return Ok(Self::Bridges(Attachment::new(networks, bridges, plan, dir)));
        }
        let find_pid = |name: &str| {
            plan.join
                .ok_or_else(|| Error::new(format!("join the network of {name}: it is not running")))
        };
        Endpoint::reserve(&networks, &plan.mode, &id, &plan.ports, find_pid).map(Self::Fixed)
    }

    /// The texts of `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`, if they are
    /// not another container's.
    pub fn files(&self, plan: &NetworkPlan) -> Result<Option<Files>> {
        match self {
            Self::Bridges(attachment) => attachment.files().map(Some),
            Self::Fixed(endpoint) => endpoint.files(&plan.hostname, &plan.names),
        }
    }

    /// The container's own address, where it has one: that of its way out.
    pub fn address(&self) -> Option<Ipv4Addr> {
        match self {
            Self::Bridges(attachment) => attachment.address(),
            Self::Fixed(endpoint) => endpoint.address(),
        }
    }

    /// The ports as they were published.
    pub fn published(&self) -> Vec<Published> {
        match self {
            Self::Bridges(attachment) => attachment.published(),
            Self::Fixed(endpoint) => endpoint.published().to_vec(),
        }
    }

    /// What the shim keeps of it.
    pub fn attachment(&self) -> Option<Attachment> {
        match self {
            Self::Bridges(attachment) => Some(attachment.clone()),
            Self::Fixed(_) => None,
        }
    }
}

impl Mechanism for Connection {
    fn before_clone(&mut self, args: &mut CloneArgs) -> Result<()> {
        match self {
            Self::Bridges(attachment) => attachment.0.borrow_mut().bridges.before_clone(args),
            Self::Fixed(endpoint) => endpoint.before_clone(args),
        }
    }

    fn in_parent(&mut self, child: &Child) -> Result<()> {
        match self {
            Self::Bridges(attachment) => attachment.0.borrow_mut().in_parent(child),
            Self::Fixed(endpoint) => endpoint.in_parent(child),
        }
    }

    fn in_child(&self) -> Result<()> {
        match self {
            Self::Bridges(attachment) => attachment.0.borrow().bridges.in_child(),
            Self::Fixed(endpoint) => endpoint.in_child(),
        }
    }

    fn teardown(&mut self) -> Result<()> {
        match self {
            Self::Bridges(attachment) => attachment.0.borrow_mut().bridges.teardown(),
            Self::Fixed(endpoint) => endpoint.teardown(),
        }
    }
}

/// A container's bridges, its name server, and the files that tell of them.
#[derive(Clone)]
pub struct Attachment(Rc<RefCell<Attached>>);

struct Attached {
    networks: Networks,
    bridges: Bridges,
    /// Where there is one and the shim has not taken it yet.
    dns: Option<dns::Server>,
    hostname: String,
    names: Names,
    links: Vec<Link>,
    linked: Vec<Link>,
    folder: PathBuf,
    /// What the engine writes anew when something changes.
    instructions: PathBuf,
}

impl Attachment {
    fn new(networks: Networks, bridges: Bridges, plan: &NetworkPlan, dir: &ContainerDir) -> Self {
        Self(Rc::new(RefCell::new(Attached {
            networks,
            bridges,
            dns: None,
            hostname: plan.hostname.clone(),
            names: plan.names.clone(),
            links: plan.links.clone(),
            linked: plan.linked.clone(),
            folder: dir.path().to_owned(),
            instructions: dir.instructions(),
        })))
    }

    /// The address on the way out, or else the first one.
    pub fn address(&self) -> Option<Ipv4Addr> {
        let bridges = &self.0.borrow().bridges;
        bridges.way_out().map(|(_, address)| address).or_else(|| bridges.addresses().next())
    }

    /// The ports as they are published now.
    pub fn published(&self) -> Vec<Published> {
        self.0.borrow().bridges.published().to_vec()
    }

    /// The name server, once its port is open.
    pub fn take_dns(&self) -> Result<Option<dns::Server>> {
        let mut dns = self.0.borrow_mut().dns.take();
        dns.as_mut().map_or(Ok(()), dns::Server::finish_opening)?;
        Ok(dns)
    }

    /// Puts the running container, whose first process is `pid`, on one more network.
    pub fn connect(&self, place: &Place, pid: Pid, dns: &mut Option<dns::Server>) -> Result<()> {
        let mut attached = self.0.borrow_mut();
        attached.bridges.connect(place, &Inside::of(pid)?)?;
        attached.read_links()?;
        if dns.is_none() && attached.has_neighbours() {
            let mut server = attached.open_dns(pid)?;
            server.finish_opening()?;
            *dns = Some(server);
            attached.point_to_dns()?;
        }
        attached.tell(dns);
        let address = attached.bridges.address_on(&place.network);
        address.map_or(Ok(()), |address| attached.add_host(address))
    }

    /// Takes it off a network.
    pub fn disconnect(&self, network: &str, pid: Pid, dns: &mut Option<dns::Server>) -> Result<()> {
        let mut attached = self.0.borrow_mut();
        let address = attached.bridges.address_on(network);
        attached.bridges.disconnect(network, &Inside::of(pid)?)?;
        attached.tell(dns);
        address.map_or(Ok(()), |address| attached.remove_host(address))
    }

    fn files(&self) -> Result<Files> {
        let attached = self.0.borrow();
        let Attached { bridges, hostname, names, .. } = &*attached;
        let mut addresses = bridges.addresses();
        let way_out = bridges.way_out().map(|(network, _)| network);
        let gateway = way_out.or_else(|| bridges.networks().next()).map(|network| network.gateway);
        let extra = [&names.hosts[..], &attached.linked_hosts()?].concat();
        let mut hosts =
            files::hosts(hostname, addresses.next(), &extra, gateway.map(IpAddr::from))?;
        addresses.for_each(|address| hosts.push_str(&host_line(address, hostname)));
        let resolv_conf = match attached.has_neighbours() {
            true => dns::resolv_conf(names),
            false => attached.plain_resolv_conf()?,
        };
        Ok(Files { hosts, hostname: files::hostname(hostname), resolv_conf })
    }
}

impl Attached {
    fn in_parent(&mut self, child: &Child) -> Result<()> {
        self.bridges.in_parent(child)?;
        if self.has_neighbours() {
            self.dns = Some(self.open_dns(child.pid)?);
        }
        Ok(())
    }

    /// On the default network nobody has a name, as Docker has it.
    fn has_neighbours(&self) -> bool {
        self.bridges.networks().any(|network| network.name != DEFAULT)
    }

    fn open_dns(&self, pid: Pid) -> Result<dns::Server> {
        let networks = self.networks.clone();
        let mut server = dns::Server::open(networks, &self.names, Inside::of(pid)?)?;
        self.cover(&mut server);
        Ok(server)
    }

    fn cover(&self, dns: &mut dns::Server) {
        dns.cover(self.bridges.networks(), &self.links, self.bridges.way_out().is_some());
    }

    /// Where those who are linked to on the default network are at this moment: since
    /// the last start they may have got other addresses, or be gone.
    fn linked_hosts(&self) -> Result<Vec<ExtraHost>> {
        if self.linked.is_empty() {
            return Ok(Vec::new());
        }
        let leases = self.networks.glance(&self.networks.find(DEFAULT)?.id);
        let line = |Link { container, name }: &Link| {
            let lease = leases.iter().find(|lease| lease.container == *container)?;
            Some(ExtraHost { name: name.clone(), address: Some(lease.address.into()) })
        };
        Ok(self.linked.iter().filter_map(line).collect())
    }

    /// A new place may come with new links.
    fn read_links(&mut self) -> Result<()> {
        let instructions = store::read::<Instructions>(&self.instructions)?;
        if let Some(plan) = instructions.and_then(|instructions| instructions.network) {
            self.links = plan.links;
        }
        Ok(())
    }

    fn tell(&self, dns: &mut Option<dns::Server>) {
        if let Some(dns) = dns {
            self.cover(dns);
        }
    }

    fn plain_resolv_conf(&self) -> Result<String> {
        Ok(files::resolv_conf(&host_resolv_conf()?, &self.names, Reach::OWN))
    }

    /// Now there is a name server. What the container itself has written stays.
    fn point_to_dns(&self) -> Result<()> {
        let path = self.folder.join("resolv.conf");
        let ours = self.plain_resolv_conf()?;
        match fs::read_to_string(&path) {
            Ok(text) if text == ours => write(&path, &dns::resolv_conf(&self.names)),
            _ => Ok(()),
        }
    }

    fn add_host(&self, address: Ipv4Addr) -> Result<()> {
        let path = self.folder.join("hosts");
        let mut text = fs::read_to_string(&path).unwrap_or_default();
        text.push_str(&host_line(address, &self.hostname));
        write(&path, &text)
    }

    fn remove_host(&self, address: Ipv4Addr) -> Result<()> {
        let path = self.folder.join("hosts");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let gone = host_line(address, &self.hostname);
        let rest: String = text.split_inclusive('\n').filter(|line| *line != gone).collect();
        write(&path, &rest)
    }
}

/// The same file as before: the container has it mounted.
fn write(path: &std::path::Path, text: &str) -> Result<()> {
    fs::write(path, text).doing(|| format!("write {}", path.display()))
}

/// The container's own line of `/etc/hosts`, as [`files::hosts`] writes it.
fn host_line(address: Ipv4Addr, hostname: &str) -> String {
    let short = hostname.split_once('.').map(|(label, _)| format!(" {label}"));
    format!("{address}\t{hostname}{}\n", short.unwrap_or_default())
}

/// For whoever lists them: the networks' names, in order.
impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let attached = self.0.borrow();
        let names = attached.bridges.networks().map(|network: &Network| &network.name);
        f.debug_list().entries(names).finish()
    }
}
