//! UDP flows that the proxy carries.
//!
//! UDP has no connections, so the proxy makes them up: whoever has sent a
//! datagram gets a socket of its own towards the container, and what comes back
//! on that socket is theirs. A flow that is silent for a while is forgotten.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::poll::PollFlags;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg,
};

use crate::listen::{Bound, Listener};

/// The kernel's own patience with a UDP conversation: see nf_conntrack_udp_timeout_stream.
const PATIENCE: Duration = Duration::from_secs(120);
/// Flows at once; each has a descriptor.
pub(crate) const MOST: usize = 400;
/// The largest datagram.
const LARGEST: usize = 65_535;

/// The flows of a proxy.
#[derive(Default)]
pub(crate) struct Flows {
    flows: Vec<Flow>,
    buffer: Vec<u8>,
}

struct Flow {
    client: SockaddrStorage,
    /// The address that the client spoke to: the answers must come from there.
    spoken_to: SpokenTo,
    /// Which listener the client spoke to: the answers leave from there.
    listener: usize,
    inside: UdpSocket,
    last: Instant,
}

impl Flows {
    /// One question for each flow: is there an answer from inside?
    pub fn wants(&self, waiting: &mut Vec<(RawFd, PollFlags)>) {
        waiting.extend(self.flows.iter().map(|flow| (flow.inside.as_raw_fd(), PollFlags::POLLIN)));
    }

    /// How long to wait at most, in milliseconds.
    pub fn patience(&self) -> Option<i32> {
        (!self.flows.is_empty()).then_some(10_000)
    }

    /// Datagrams from outside, each into its flow.
    pub fn carry_in(&mut self, number: usize, listener: &UdpSocket, inside: SocketAddr) {
        self.buffer.resize(LARGEST, 0);
        while let Some((length, client, spoken_to)) = receive(listener, &mut self.buffer) {
            let known = |flow: &Flow| {
                flow.client == client && flow.spoken_to == spoken_to && flow.listener == number
            };
            let at = match self.flows.iter().position(known) {
                Some(at) => at,
                None => match open(inside) {
                    Ok(inside) => {
                        let last = Instant::now();
                        self.keep(Flow { client, spoken_to, listener: number, inside, last })
                    }
                    Err(_) => continue,
                },
            };
            let flow = &mut self.flows[at];
            flow.last = Instant::now();
            // A datagram may be lost on any way, and so on this one.
            let _ = flow.inside.send(&self.buffer[..length]);
        }
        self.buffer = Vec::new();
    }

    fn keep(&mut self, flow: Flow) -> usize {
        if self.flows.len() >= MOST {
            // Forget who was silent the longest.
            let oldest = (0..self.flows.len()).min_by_key(|at| self.flows[*at].last);
            self.flows.swap_remove(oldest.unwrap_or(0));
        }
        self.flows.push(flow);
        self.flows.len() - 1
    }

    /// Answers from inside, each to its client.
    pub fn carry_back(&mut self, ready: &[PollFlags], listeners: &[Listener]) {
        let mut buffer = Vec::new();
        for (flow, ready) in self.flows.iter_mut().zip(ready) {
            if ready.is_empty() {
                continue;
            }
            buffer.resize(LARGEST, 0);
            while let Ok(length) = flow.inside.recv(&mut buffer) {
                flow.last = Instant::now();
                if let Some(Listener { socket: Bound::Udp(socket), .. }) =
                    listeners.get(flow.listener)
                {
                    answer(socket, &buffer[..length], flow);
                }
            }
        }
        self.flows.retain(|flow| flow.last.elapsed() < PATIENCE);
    }
}

/// The local address of a datagram, as the socket's family has it; `None` where
/// the socket is bound to one address and the question does not arise.
#[derive(Clone, Copy, PartialEq)]
enum SpokenTo {
    V4([u8; 4]),
    V6([u8; 16], u32),
    Bound,
}

/// One datagram: its length, who sent it, and to which of our addresses.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, SockaddrStorage, SpokenTo)> {
    let mut space = cmsg_space!(libc::in6_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags).ok()?;
    let spoken_to = message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(SpokenTo::V4(info.ipi_addr.s_addr.to_ne_bytes()))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            // Only a link-local address is not the same on every link.
            let [a, b, ..] = info.ipi6_addr.s6_addr;
            let link_local = a == 0xfe && b & 0xc0 == 0x80;
            let link = if link_local { info.ipi6_ifindex } else { 0 };
            Some(SpokenTo::V6(info.ipi6_addr.s6_addr, link))
        }
        _ => None,
    });
    Some((message.bytes, message.address?, spoken_to.unwrap_or(SpokenTo::Bound)))
}

/// Sends an answer from the address that was spoken to.
fn answer(socket: &UdpSocket, bytes: &[u8], flow: &Flow) {
    let (v4, v6);
    let control = match flow.spoken_to {
        SpokenTo::V4(address) => {
            let s_addr = u32::from_ne_bytes(address);
            let ipi_spec_dst = libc::in_addr { s_addr };
            v4 = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst, ipi_addr: ipi_spec_dst };
            Some(ControlMessage::Ipv4PacketInfo(&v4))
        }
        SpokenTo::V6(s6_addr, ipi6_ifindex) => {
            v6 = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr }, ipi6_ifindex };
            Some(ControlMessage::Ipv6PacketInfo(&v6))
        }
        SpokenTo::Bound => None,
    };
    let parts = [IoSlice::new(bytes)];
    let control: Vec<_> = control.into_iter().collect();
    let flags = MsgFlags::MSG_DONTWAIT;
    // A datagram may be lost on any way, and so on this one.
    let _ = sendmsg(socket.as_raw_fd(), &parts, &control, flags, Some(&flow.client));
}

/// A socket towards the container, for one client.
fn open(inside: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_nonblocking(true)?;
    socket.connect(inside)?;
    Ok(socket)
}
