//! The kernel's memory of conversations.
//!
//! Where a datagram goes is decided at the first one of a conversation; the others
//! follow it, whatever nftables says by then, for as long as the client goes on. A
//! client that talks to a published port while its container is replaced would talk
//! to the old address for ever. (TCP asks anew with every connection.)

use std::net::Ipv4Addr;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use crate::network::is_ours;
use crate::nfnetlink::{ACK, DUMP, attributes, message};
use crate::port::{Protocol, Published};

const SUBSYS_CTNETLINK: u16 = 1 << 8;
const GET: u16 = SUBSYS_CTNETLINK | 1;
const DELETE: u16 = SUBSYS_CTNETLINK | 2;
const TUPLE_ORIG: u16 = 1;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const IP_V4_DST: u16 = 2;
const PROTO_NUM: u16 = 1;
const PROTO_DST_PORT: u16 = 3;

/// Forgets the UDP conversations with these ports, so that the next datagram is led
/// to where the port leads now.
pub(crate) fn forget(ports: &[Published]) {
    let udp: Vec<_> = ports.iter().filter(|port| port.protocol == Protocol::Udp).collect();
    if udp.is_empty() {
        return;
    }
    // A kernel that does not tell remembers nothing, or we cannot help it.
    let is_old = |(to, port): (Ipv4Addr, u16)| {
        udp.iter().any(|published| {
            let address = published.address();
            published.host == port && (address == to || address.is_unspecified())
        }) && is_ours(to)
    };
    let _ = forget_where(is_old);
}

fn forget_where(is_old: impl Fn((Ipv4Addr, u16)) -> bool) -> std::io::Result<()> {
    let socket = Socket::new(NETLINK_NETFILTER)?;
    let kernel = SocketAddr::new(0, 0);
    socket.send_to(&message(GET, DUMP, &[]), &kernel, 0)?;
    let mut old = Vec::new();
    'dump: loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while let Some(head) = rest.first_chunk::<6>() {
            let [a, b, c, d, e, f] = *head;
            let length = u32::from_ne_bytes([a, b, c, d]) as usize;
            let kind = u16::from_ne_bytes([e, f]);
            if kind == libc::NLMSG_DONE as u16 || kind == libc::NLMSG_ERROR as u16 {
                break 'dump;
            }
            // nlmsghdr and nfgenmsg come before the attributes.
            let body = rest.get(20..length).unwrap_or_default();
            let tuple = attributes(body).find(|(kind, _)| *kind == TUPLE_ORIG);
            if let Some((_, tuple)) =
                tuple.filter(|(_, tuple)| udp_target(tuple).is_some_and(&is_old))
            {
                old.push(tuple.to_vec());
            }
            rest = rest.get(length.next_multiple_of(4).max(4)..).unwrap_or_default();
        }
    }
    for tuple in old {
        // It may be over by now.
        socket.send_to(&message(DELETE, ACK, &[(TUPLE_ORIG | NESTED, &tuple)]), &kernel, 0)?;
        socket.recv_from_full()?;
    }
    Ok(())
}

const NESTED: u16 = libc::NLA_F_NESTED as u16;

/// Where the first datagram of a conversation went to.
fn udp_target(tuple: &[u8]) -> Option<(Ipv4Addr, u16)> {
    let find = |within: &'_ [u8], wanted| {
        attributes(within).find(|(kind, _)| *kind == wanted).map(|(_, value)| value.to_vec())
    };
    let protocol = find(tuple, TUPLE_PROTO)?;
    if find(&protocol, PROTO_NUM)? != [libc::IPPROTO_UDP as u8] {
        return None;
    }
    let address: [u8; 4] = find(&find(tuple, TUPLE_IP)?, IP_V4_DST)?.try_into().ok()?;
    let port: [u8; 2] = find(&protocol, PROTO_DST_PORT)?.try_into().ok()?;
    Some((address.into(), u16::from_be_bytes(port)))
}
