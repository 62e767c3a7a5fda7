//! UDP flows that the proxy carries.
//!
//! UDP has no connections, so the proxy makes them up: whoever has sent a
//! datagram gets a socket of its own towards the container, and what comes back
//! on that socket is theirs. A flow that is silent for a while is forgotten.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use crate::listen::{Bound, Listener};

/// The kernel's own patience with a UDP conversation: see nf_conntrack_udp_timeout_stream.
const PATIENCE: Duration = Duration::from_secs(120);
const MOST: usize = 400;
/// The largest datagram.
const LARGEST: usize = 65_535;

/// The flows of a proxy.
#[derive(Default)]
pub(crate) struct Flows {
    flows: Vec<Flow>,
    buffer: Vec<u8>,
}

struct Flow {
    client: SocketAddr,
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
        while let Ok((length, client)) = listener.recv_from(&mut self.buffer) {
            let known = |flow: &Flow| flow.client == client && flow.listener == number;
            let at = match self.flows.iter().position(known) {
                Some(at) => at,
                None => match self.open(client, number, inside) {
                    Ok(at) => at,
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

    fn open(
        &mut self,
        client: SocketAddr,
        listener: usize,
        inside: SocketAddr,
    ) -> std::io::Result<usize> {
        if self.flows.len() >= MOST {
            // Forget who was silent the longest.
            let oldest = (0..self.flows.len()).min_by_key(|at| self.flows[*at].last);
            self.flows.swap_remove(oldest.unwrap_or(0));
        }
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect(inside)?;
        self.flows.push(Flow { client, listener, inside: socket, last: Instant::now() });
        Ok(self.flows.len() - 1)
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
                    let _ = socket.send_to(&buffer[..length], flow.client);
                }
            }
        }
        self.flows.retain(|flow| flow.last.elapsed() < PATIENCE);
    }
}
