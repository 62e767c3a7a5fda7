//! Links, addresses and routes, asked of the kernel over one socket.
//!
//! rtnetlink(7) takes several requests in one `send` and works through them in
//! order; each answers with an ack of its own. So a whole interface is one
//! [`Batch`]: one system call to ask, one or two to hear the answers.

use std::net::Ipv4Addr;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;

use crate::subnet::Subnet;
use namespaces::explain::step;
use namespaces::{Context, Error, Result};

const CHAPTER: u8 = 5;

/// A hardware address.
pub type Mac = [u8; 6];

/// Requests that go to the kernel together, each with its words for people.
#[derive(Default)]
pub struct Batch {
    requests: Vec<(String, NetlinkMessage<RouteNetlinkMessage>)>,
}

/// What [`Batch::add_veth`] makes: one end here, the other inside another namespace.
pub struct Veth<'a> {
    /// The name of the end that stays, at most 15 bytes.
    pub host: &'a str,
    /// The bridge that the staying end is plugged into, as an interface index.
    pub bridge: u32,
    /// A process in the namespace of the other end.
    pub peer_pid: u32,
    /// The name of the other end there.
    pub peer: &'a str,
    /// Its hardware address.
    pub peer_mac: Mac,
    /// The largest packet of both ends, in bytes.
    pub mtu: u32,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a bridge that is up. Its hardware address is set, because a bridge
    /// without one takes its ports' lowest: the gateway would change its address
    /// under its neighbours whenever a container comes or goes.
    pub fn add_bridge(self, name: &str, mac: Mac, mtu: u32) -> Self {
        let mut link = LinkMessage::default();
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        link.attributes = vec![
            LinkAttribute::IfName(name.into()),
            LinkAttribute::Address(mac.to_vec()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
        ];
        self.create(
            format!("RTM_NEWLINK bridge {name} mtu {mtu} up"),
            RouteNetlinkMessage::NewLink(link),
        )
    }

    // ANCHOR: add_veth
    /// Creates a cable: one end in this namespace, plugged into the bridge and up,
    /// the other born inside the namespace of `peer_pid`, so that it never exists
    /// under its final name out here.
    pub fn add_veth(self, veth: &Veth) -> Self {
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(veth.peer.into()),
            LinkAttribute::Address(veth.peer_mac.to_vec()),
            LinkAttribute::Mtu(veth.mtu),
            LinkAttribute::NetNsPid(veth.peer_pid),
        ];
        let mut link = LinkMessage::default();
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        link.attributes = vec![
            LinkAttribute::IfName(veth.host.into()),
            LinkAttribute::Mtu(veth.mtu),
            LinkAttribute::Controller(veth.bridge),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        self.create(
            format!(
                "RTM_NEWLINK veth {} up, peer {} in /proc/{}/ns/net",
                veth.host, veth.peer, veth.peer_pid
            ),
            RouteNetlinkMessage::NewLink(link),
        )
    }
    // ANCHOR_END: add_veth

    /// Lets a port of a bridge send a packet back to where it came from: a container
    /// that asks for its own published port is its own client.
    pub fn hairpin(self, port: &str) -> Self {
        self.set_port(port, InfoBridgePort::HairpinMode(true), "hairpin")
    }

    /// Keeps what a port of a bridge sends from the other isolated ones: it reaches
    /// only the bridge itself, and through it the host.
    pub fn isolate(self, port: &str) -> Self {
        self.set_port(port, InfoBridgePort::Isolated(true), "isolated")
    }

    fn set_port(mut self, port: &str, setting: InfoBridgePort, words: &str) -> Self {
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName(port.into()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::PortKind(InfoPortKind::Bridge),
                LinkInfo::PortData(InfoPortData::BridgePort(vec![setting])),
            ]),
        ];
        self.push(format!("RTM_NEWLINK {port} {words} on"), 0, RouteNetlinkMessage::NewLink(link));
        self
    }

    /// Gives an interface an address, and with it the route to the subnet.
    pub fn add_address(self, index: u32, name: &str, address: Ipv4Addr, subnet: Subnet) -> Self {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = subnet.prefix;
        message.header.scope = AddressScope::Universe;
        message.header.index = index;
        message.attributes = vec![
            AddressAttribute::Local(address.into()),
            AddressAttribute::Address(address.into()),
            AddressAttribute::Broadcast(subnet.broadcast()),
        ];
        self.create(
            format!("RTM_NEWADDR {address}/{} dev {name}", subnet.prefix),
            RouteNetlinkMessage::NewAddress(message),
        )
    }

    /// Switches an interface on.
    pub fn up(mut self, index: u32, name: &str) -> Self {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        self.push(format!("RTM_SETLINK {name} up"), 0, RouteNetlinkMessage::SetLink(link));
        self
    }

    // ANCHOR: add_default_route
    /// Sends whatever has no better route to `gateway`, which must already be
    /// reachable: the interface is up and has its address.
    pub fn add_default_route(self, index: u32, name: &str, gateway: Ipv4Addr) -> Self {
        let mut route = RouteMessage::default();
        route.header.address_family = AddressFamily::Inet;
        route.header.table = 254; // RT_TABLE_MAIN
        route.header.protocol = RouteProtocol::Boot;
        route.header.scope = RouteScope::Universe;
        route.header.kind = RouteType::Unicast;
        route.attributes =
            vec![RouteAttribute::Gateway(RouteAddress::Inet(gateway)), RouteAttribute::Oif(index)];
        self.create(
            format!("RTM_NEWROUTE default via {gateway} dev {name}"),
            RouteNetlinkMessage::NewRoute(route),
        )
    }
    // ANCHOR_END: add_default_route

    /// Takes the default route away that leads through an interface.
    pub fn delete_default_route(mut self, index: u32, name: &str) -> Self {
        let mut route = RouteMessage::default();
        route.header.address_family = AddressFamily::Inet;
        route.header.table = 254; // RT_TABLE_MAIN
        route.header.scope = RouteScope::NoWhere; // any
        route.attributes = vec![RouteAttribute::Oif(index)];
        let words = format!("RTM_DELROUTE default dev {name}");
        self.push(words, 0, RouteNetlinkMessage::DelRoute(route));
        self
    }

    /// Deletes an interface; a veth takes its other end with it.
    pub fn delete_link(mut self, name: &str) -> Self {
        let mut link = LinkMessage::default();
        link.attributes = vec![LinkAttribute::IfName(name.into())];
        self.push(format!("RTM_DELLINK {name}"), 0, RouteNetlinkMessage::DelLink(link));
        self
    }

    /// Asks for all of it, and waits for every answer.
    ///
    /// # Errors
    ///
    /// The first request that the kernel refused. Those after it were tried too:
    /// the kernel does not stop at an error.
    pub fn send(self) -> Result<()> {
        let words: Vec<String> = self.requests.iter().map(|(words, _)| words.clone()).collect();
        step(CHAPTER, || words.join("; "), || self.exchange(&words))
    }

    // ANCHOR: exchange
    fn exchange(self, words: &[String]) -> Result<()> {
        let socket = Socket::new(NETLINK_ROUTE).doing(|| "open a NETLINK_ROUTE socket")?;
        let mut buffer = Vec::new();
        for (number, (_, mut message)) in self.requests.into_iter().enumerate() {
            message.header.sequence_number = number as u32;
            message.finalize();
            let start = buffer.len();
            buffer.resize(start + message.buffer_len(), 0);
            message.serialize(&mut buffer[start..]);
        }
        socket
            .send_to(&buffer, &SocketAddr::new(0, 0), 0)
            .doing(|| format!("send {}", words.join("; ")))?;
        read_acks(&socket, words)
    }
    // ANCHOR_END: exchange

    fn create(mut self, words: String, request: RouteNetlinkMessage) -> Self {
        self.push(words, NLM_F_CREATE | NLM_F_EXCL, request);
        self
    }

    fn push(&mut self, words: String, flags: u16, request: RouteNetlinkMessage) {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let payload = NetlinkPayload::InnerMessage(request);
        self.requests.push((words, NetlinkMessage::new(header, payload)));
    }
}

/// Reads one ack for each request, and keeps the first refusal.
fn read_acks(socket: &Socket, words: &[String]) -> Result<()> {
    let mut refused: Option<(u32, i32)> = None;
    let mut seen = 0;
    while seen < words.len() {
        let (datagram, _) = socket.recv_from_full().doing(|| "read the kernel's answer")?;
        let mut rest = &datagram[..];
        while rest.len() >= 16 && seen < words.len() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| Error::new(format!("read the kernel's answer: {error}")))?;
            if let NetlinkPayload::Error(answer) = &message.payload {
                seen += 1;
                if let Some(code) = answer.code {
                    refused.get_or_insert((message.header.sequence_number, -code.get()));
                }
            }
            // Each message is padded to four bytes.
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = &rest[length.min(rest.len())..];
        }
    }
    match refused {
        None => Ok(()),
        Some((number, errno)) => {
            let doing = words.get(number as usize).cloned().unwrap_or_default();
            Err(Error::os(doing, Errno::from_raw(errno)))
        }
    }
}

/// The index of an interface of this namespace, if it is there.
pub fn index_of(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

/// True if there is this interface in this namespace, and it is switched on.
pub fn is_up(name: &str) -> bool {
    get_link(name).is_some_and(|link| link.header.flags.contains(LinkFlags::Up))
}

/// The largest packet of an interface of this namespace, in bytes.
pub fn mtu_of(name: &str) -> Option<u32> {
    get_link(name)?.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

fn get_link(name: &str) -> Option<LinkMessage> {
    let mut link = LinkMessage::default();
    link.attributes = vec![LinkAttribute::IfName(name.into())];
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let payload = NetlinkPayload::InnerMessage(RouteNetlinkMessage::GetLink(link));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut buffer = vec![0; message.buffer_len()];
    message.serialize(&mut buffer);

    let socket = Socket::new(NETLINK_ROUTE).ok()?;
    socket.send_to(&buffer, &SocketAddr::new(0, 0), 0).ok()?;
    let (answer, _) = socket.recv_from_full().ok()?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).ok()?;
    match answer.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Some(link),
        _ => None,
    }
}
