//! Holding the host's side of published ports.
//!
//! The sockets are opened before there is a child, so a port in use costs no
//! process and leaves nothing; and as long as they are open, nobody else can
//! take the port, not even where nftables would have been faster than them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use namespaces::explain::step;
use namespaces::{Error, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, listen,
    setsockopt, socket, sockopt,
};

use crate::port::{Port, Protocol, Published};

const CHAPTER: u8 = 5;

/// A published port and the socket that holds it.
pub(crate) struct Listener {
    pub published: Published,
    pub socket: Bound,
}

/// A socket of either protocol, non-blocking.
pub(crate) enum Bound {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl AsRawFd for Bound {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Bound::Tcp(socket) => socket.as_raw_fd(),
            Bound::Udp(socket) => socket.as_raw_fd(),
        }
    }
}

/// Opens every port, or none. A range is tried from its first port on.
///
/// # Errors
///
/// One sentence that names the port, its protocol and the address.
pub(crate) fn open_all(ports: &[Port]) -> Result<Vec<Listener>> {
    ports.iter().map(open).collect()
}

fn open(port: &Port) -> Result<Listener> {
    let (first, last) = port.host;
    let mut refused = None;
    for host in first..=last {
        match open_at(port, host) {
            Ok(socket) => {
                let host = local_port(&socket).unwrap_or(host);
                let Port { host_ip, container, protocol, .. } = *port;
                let published = Published { host_ip, host, container, protocol };
                return Ok(Listener { published, socket });
            }
            Err(errno) => refused = Some((host, errno)),
        }
    }
    let (host, errno) = refused.unwrap_or((first, Errno::EINVAL));
    Err(refusal(port, host, errno))
}

// ANCHOR: open_at
fn open_at(port: &Port, host: u16) -> nix::Result<Bound> {
    // Without an address one socket serves IPv6 and, by mapped addresses, IPv4.
    let any = port.host_ip.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let protocol = port.protocol;
    let bound = step(
        CHAPTER,
        || format!("bind {} {protocol}", SocketAddr::new(any, host)),
        || Ok(bind_socket(any, host, protocol, port.host_ip.is_none())),
    );
    match bound.unwrap_or(Err(Errno::EINVAL)) {
        // A kernel without IPv6.
        Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) if port.host_ip.is_none() => {
            bind_socket([0, 0, 0, 0].into(), host, protocol, false)
        }
        bound => bound,
    }
}
// ANCHOR_END: open_at

fn bind_socket(ip: IpAddr, port: u16, protocol: Protocol, both: bool) -> nix::Result<Bound> {
    let family = if ip.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let kind = match protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd: OwnedFd = socket(family, kind, flags, None::<SockProtocol>)?;
    if ip.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &!both)?;
    }
    if protocol == Protocol::Tcp {
        // Connections of an earlier container in TIME_WAIT do not hold the port.
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    }
    if protocol == Protocol::Udp {
        // With each datagram, tell which of our addresses it was sent to.
        match ip.is_ipv6() {
            true => setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?,
            false => setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?,
        }
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(ip, port)))?;
    Ok(match protocol {
        Protocol::Tcp => {
            listen(&fd, Backlog::MAXCONN)?;
            Bound::Tcp(fd.into())
        }
        Protocol::Udp => Bound::Udp(fd.into()),
    })
}

fn local_port(socket: &Bound) -> Option<u16> {
    let address = match socket {
        Bound::Tcp(socket) => socket.local_addr(),
        Bound::Udp(socket) => socket.local_addr(),
    };
    Some(address.ok()?.port())
}

fn refusal(port: &Port, host: u16, errno: Errno) -> Error {
    let Port { protocol, host: (first, last), .. } = *port;
    let ip = port.host_ip.unwrap_or([0, 0, 0, 0].into());
    match errno {
        Errno::EADDRINUSE if first != last => {
            Error::new(format!("every port of {first}-{last}/{protocol} is already in use on {ip}"))
        }
        Errno::EADDRINUSE => {
            let option = if protocol == Protocol::Tcp { 't' } else { 'u' };
            Error::new(format!("port {host}/{protocol} is already in use on {ip}"))
                .hint(format!("`ss -ln{option}p sport = :{host}` shows by whom"))
        }
        Errno::EADDRNOTAVAIL => {
            Error::new(format!("publish port {host}/{protocol}: this host has no address {ip}"))
        }
        Errno::EACCES => Error::os(format!("publish port {host}/{protocol} on {ip}"), errno).hint(
            "ordinary users get ports from the number in \
             /proc/sys/net/ipv4/ip_unprivileged_port_start on",
        ),
        _ => Error::os(format!("publish port {host}/{protocol} on {ip}"), errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::parse_publish;

    fn open(spec: &str) -> Result<Vec<Listener>> {
        open_all(&parse_publish(spec).unwrap())
    }

    #[test]
    fn a_port_in_use_is_one_sentence() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        let error = open(&format!("127.0.0.1:{port}:80")).err().unwrap().to_string();
        let sentence = format!("port {port}/tcp is already in use on 127.0.0.1");
        assert!(error.starts_with(&sentence), "{error}");
        let error = open(&format!("{port}:80")).err().unwrap().to_string();
        assert!(
            error.starts_with(&format!("port {port}/tcp is already in use on 0.0.0.0")),
            "{error}"
        );
        // The next one of a range is taken instead.
        if port < u16::MAX {
            let range = format!("127.0.0.1:{port}-{}:80", port + 1);
            if let Ok(listeners) = open(&range) {
                assert_eq!(listeners[0].published.host, port + 1);
            }
        }
    }

    #[test]
    fn the_kernel_chooses_a_port_where_none_is_given() {
        let listeners = open("127.0.0.1::80/udp").unwrap();
        assert_ne!(listeners[0].published.host, 0);
        let error = open("203.0.113.77:80:80").err().unwrap().to_string();
        assert_eq!(error, "publish port 80/tcp: this host has no address 203.0.113.77");
    }
}
