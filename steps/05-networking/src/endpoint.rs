//! From what the user asks for to the one mechanism that does it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use namespaces::{Child, CloneArgs, Error, Mechanism, Result};

use crate::bridge::Bridge;
use crate::files::{self, Names, Reach};
use crate::modes::{HostNetwork, Isolated, Mode, Shared};
use crate::network::Networks;
use crate::pasta::Pasta;
use crate::port::{Port, Published};

/// A container's place in a network, whichever way it comes about.
pub enum Endpoint {
    /// On a bridge.
    Bridge(Box<Bridge>),
    /// On a bridge's stand-in for an ordinary user.
    Pasta(Pasta),
    /// In the host's network.
    Host(HostNetwork),
    /// Nowhere.
    None(Isolated),
    /// In another container's network.
    Shared(Shared),
}

/// The texts of the three files, ready to be mounted over the image's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// `/etc/hosts`
    pub hosts: String,
    /// `/etc/hostname`
    pub hostname: String,
    /// `/etc/resolv.conf`
    pub resolv_conf: String,
}

impl Endpoint {
    /// Takes what must be taken before there is a child: an address, ports.
    ///
    /// `find_pid` finds the first process of the container that `container:NAME`
    /// means. Ordinary users cannot make interfaces on the host, so for them
    /// pasta stands in for the bridge.
    ///
    /// # Errors
    ///
    /// See [`Bridge::reserve`]; or ports are asked for where there can be none.
    pub fn reserve(
        networks: &Networks,
        mode: &Mode,
        container: &str,
        ports: &[Port],
        find_pid: impl FnOnce(&str) -> Result<u32>,
    ) -> Result<Self> {
        Ok(match mode {
            Mode::Bridge(_) if !nix::unistd::geteuid().is_root() => {
                Self::Pasta(Pasta::reserve(networks, container, ports)?)
            }
            Mode::Bridge(name) => {
                Self::Bridge(Box::new(Bridge::reserve(networks, name, container, ports)?))
            }
            // Docker warns and goes on: in the host's network every port is public.
            Mode::Host => Self::Host(HostNetwork),
            Mode::None => Self::None(Isolated),
            Mode::Container(_) if !ports.is_empty() => {
                return Err(Error::new(
                    "conflicting options: port publishing and the container type network mode",
                ));
            }
            Mode::Container(name) => Self::Shared(Shared::with(find_pid(name)?)?),
        })
    }

    /// The container's own address, where it has one.
    pub fn address(&self) -> Option<Ipv4Addr> {
        match self {
            Self::Bridge(bridge) => Some(bridge.address()),
            _ => None,
        }
    }

    /// The ports as they were published.
    pub fn published(&self) -> &[Published] {
        match self {
            Self::Bridge(bridge) => bridge.published(),
            Self::Pasta(pasta) => pasta.published(),
            _ => &[],
        }
    }

    /// The texts of `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`.
    ///
    /// `None` for a container in another one's network, which takes that one's.
    pub fn files(&self, hostname: &str, names: &Names) -> Result<Option<Files>> {
        let (hosts, reach) = match self {
            Self::Shared(_) => return Ok(None),
            Self::Host(_) => {
                let host = fs::read_to_string("/etc/hosts").unwrap_or_default();
                (files::hosts_of_host(&host, &names.hosts)?, Reach::Host)
            }
            Self::Bridge(bridge) => {
                let gateway = Some(IpAddr::from(bridge.network().gateway));
                let address = Some(bridge.address());
                (files::hosts(hostname, address, &names.hosts, gateway)?, Reach::OWN)
            }
            Self::Pasta(pasta) => {
                // With the host's own address inside, no address means the host.
                (files::hosts(hostname, None, &names.hosts, None)?, pasta.reach())
            }
            Self::None(_) => (files::hosts(hostname, None, &names.hosts, None)?, Reach::OWN),
        };
        let resolv_conf = files::resolv_conf(&files::host_resolv_conf()?, names, reach);
        Ok(Some(Files { hosts, hostname: files::hostname(hostname), resolv_conf }))
    }

    fn mechanism(&self) -> &dyn Mechanism {
        match self {
            Self::Bridge(bridge) => bridge.as_ref(),
            Self::Pasta(pasta) => pasta,
            Self::Host(host) => host,
            Self::None(none) => none,
            Self::Shared(shared) => shared,
        }
    }

    fn mechanism_mut(&mut self) -> &mut dyn Mechanism {
        match self {
            Self::Bridge(bridge) => bridge.as_mut(),
            Self::Pasta(pasta) => pasta,
            Self::Host(host) => host,
            Self::None(none) => none,
            Self::Shared(shared) => shared,
        }
    }
}

impl Mechanism for Endpoint {
    fn before_clone(&mut self, args: &mut CloneArgs) -> Result<()> {
        self.mechanism_mut().before_clone(args)
    }

    fn in_parent(&mut self, child: &Child) -> Result<()> {
        self.mechanism_mut().in_parent(child)
    }

    fn in_child(&self) -> Result<()> {
        self.mechanism().in_child()
    }

    fn teardown(&mut self) -> Result<()> {
        self.mechanism_mut().teardown()
    }
}
