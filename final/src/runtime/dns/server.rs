//! The sockets, and the loop of everything that can happen to them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use namespaces::{Context, Result};
use networking::files::Names;
use networking::firewall::Nft;
use networking::netlink::Batch;
use networking::{DEFAULT, Inside, Network, Networks};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::answer::{self, Verdict};
use super::book::Zone;
use super::forward::{self, Asker, Forwarded, Progress, framed, is_later, unframe};
use super::{ADDRESS, Upstream, upstreams};
use crate::runtime::Link;

/// Questions that may be with other name servers at once; more are a failure.
const PENDING: usize = 256;

/// Connections that may be open at once; more are closed.
const CLIENTS: usize = 32;

/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(10);

/// What a client may leave unread before it is cut off.
const BACKLOG: usize = 256 * 1024;

/// How much is done before the container has its turn again.
const TURN: usize = 64;

/// The first interface of every network namespace.
const LOOPBACK: u32 = 1;

/// What an event is about. Others are numbers of connections and questions.
const UDP: u64 = 0;
const TCP: u64 = 1;
const TIMER: u64 = 2;
const FIRST: u64 = 3;

/// The name server of one container.
pub struct Server {
    epoll: Epoll,
    timer: TimerFd,
    udp: UdpSocket,
    tcp: TcpListener,
    clients: HashMap<u64, Client>,
    forwarded: HashMap<u64, Forwarded>,
    next: u64,
    turn: usize,
    zone: Zone,
    upstreams: Vec<Upstream>,
    /// Somebody else may be asked: the container has a way out.
    forwards: bool,
    inside: Inside,
    /// Until it has redirected port 53 to us.
    nft: Option<Nft>,
}

/// A connection from the container.
struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    unsent: Vec<u8>,
    silent_since: Instant,
}

impl Server {
    /// Opens its sockets inside.
    ///
    /// # Errors
    /// They cannot be opened, or nft(8) cannot be started.
    pub fn open(networks: Networks, names: &Names, inside: Inside) -> Result<Self> {
        let (udp, tcp, nft) = inside.run(|| {
            // While the loopback is down, a socket on it is bound, but does not answer
            // from where it was asked.
            Batch::new().up(LOOPBACK, "lo").send()?;
            let (udp, tcp) = bind(0)?;
            let text = redirection(port_of(udp.local_addr())?, port_of(tcp.local_addr())?);
            match Nft::start(text) {
                // Without nft the container cannot have port 53 for itself.
                Err(error) if error.is(Errno::ENOENT) => {
                    let (udp, tcp) = bind(53)?;
                    Ok((udp, tcp, None))
                }
                nft => Ok((udp, tcp, nft?)),
            }
        })?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).doing(|| "epoll_create1()")?;
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).doing(|| "timerfd_create()")?;
        let watch =
            |fd: BorrowedFd, word| epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, word));
        watch(udp.as_fd(), UDP)
            .and_then(|()| watch(tcp.as_fd(), TCP))
            .and_then(|()| watch(timer.as_fd(), TIMER))
            .doing(|| "epoll_ctl()")?;
        Ok(Self {
            epoll,
            timer,
            udp,
            tcp,
            clients: HashMap::new(),
            forwarded: HashMap::new(),
            next: FIRST,
            turn: 0,
            zone: Zone::new(networks),
            upstreams: upstreams(names),
            forwards: false,
            inside,
            nft,
        })
    }

    /// Waits until port 53 leads here.
    pub fn finish_opening(&mut self) -> Result<()> {
        self.nft.take().map_or(Ok(()), Nft::finish)
    }

    /// Answers for these networks from now on, and asks others if there is a way out.
    /// On the default network nobody has a name.
    pub fn cover<'a>(
        &mut self,
        networks: impl Iterator<Item = &'a Network>,
        links: &[Link],
        forwards: bool,
    ) {
        self.zone.cover(networks.filter(|network| network.name != DEFAULT), links);
        self.forwards = forwards;
    }

    /// Does what there is to do.
    pub fn serve(&mut self) {
        let mut buffer = vec![0; usize::from(u16::MAX)];
        let mut events = [EpollEvent::empty(); TURN];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        for event in &events[..count] {
            match event.data() {
                UDP => self.take_datagrams(&mut buffer),
                TCP => self.accept(),
                TIMER => drop(self.timer.wait()),
                number if self.clients.contains_key(&number) => {
                    self.serve_client(number, &mut buffer);
                }
                number => self.hear(number, &mut buffer),
            }
        }
        self.give_up_late();
        self.set_timer();
    }

    fn take_datagrams(&mut self, buffer: &mut [u8]) {
        for _ in 0..TURN {
            let Ok((length, from)) = self.udp.recv_from(buffer) else { return };
            self.judge(&buffer[..length], Asker::Udp(from));
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.tcp.accept() {
            if self.clients.len() >= CLIENTS || stream.set_nonblocking(true).is_err() {
                continue;
            }
            let _ = stream.set_nodelay(true);
            let number = self.number();
            let event = EpollEvent::new(EpollFlags::EPOLLIN, number);
            if self.epoll.add(&stream, event).is_ok() {
                let silent_since = Instant::now();
                let client =
                    Client { stream, received: Vec::new(), unsent: Vec::new(), silent_since };
                self.clients.insert(number, client);
            }
        }
    }

    fn serve_client(&mut self, number: u64, buffer: &mut [u8]) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        client.silent_since = Instant::now();
        client.flush();
        let ended = match client.stream.read(buffer) {
            Ok(0) => true,
            Ok(length) => {
                client.received.extend_from_slice(&buffer[..length]);
                false
            }
            Err(error) => !is_later(&error),
        };
        if ended || client.unsent.len() > BACKLOG {
            return self.part_with(number);
        }
        while let Some(message) =
            self.clients.get_mut(&number).and_then(|c| unframe(&mut c.received))
        {
            self.judge(&message, Asker::Tcp(number as u32));
        }
        self.watch_client(number);
    }

    /// Waits for room, too, while there is something unsent.
    fn watch_client(&mut self, number: u64) {
        let Some(client) = self.clients.get(&number) else { return };
        let mut flags = EpollFlags::EPOLLIN;
        flags.set(EpollFlags::EPOLLOUT, !client.unsent.is_empty());
        let _ = self.epoll.modify(&client.stream, &mut EpollEvent::new(flags, number));
    }

    fn part_with(&mut self, number: u64) {
        if let Some(client) = self.clients.remove(&number) {
            let _ = self.epoll.delete(&client.stream);
        }
    }

    fn judge(&mut self, message: &[u8], asker: Asker) {
        self.turn = self.turn.wrapping_add(1);
        match answer::judge(message, self.zone.book(), self.turn, asker.way()) {
            Verdict::Answer(answer) => self.answer(asker, &answer),
            Verdict::Ignore => {}
            Verdict::Forward if !self.forwards || self.forwarded.len() >= PENDING => {
                self.answer(asker, &answer::failure(message));
            }
            Verdict::Forward => self.forward(asker, message.to_vec(), 0, None),
        }
    }

    /// Asks the first of the upstreams from `first` on that can be asked at all.
    /// `worse`: an answer that we have, and that nobody likes.
    fn forward(&mut self, asker: Asker, message: Vec<u8>, first: usize, worse: Option<Vec<u8>>) {
        for number in first..self.upstreams.len() {
            let server = self.upstreams[number];
            let ask = || Ok(Forwarded::ask(asker, message.clone(), number, &server));
            let asked = if server.inside { self.inside.run(ask) } else { ask() };
            let Ok(Ok(forwarded)) = asked else { continue };
            let place = self.number();
            let event = EpollEvent::new(forwarded.interest(), place);
            if self.epoll.add(&forwarded, event).is_ok() {
                self.forwarded.insert(place, forwarded);
                return;
            }
        }
        self.answer(asker, &worse.unwrap_or_else(|| answer::failure(&message)));
    }

    /// Something has come from a name server.
    fn hear(&mut self, place: u64, buffer: &mut [u8]) {
        let Some(forwarded) = self.forwarded.get_mut(&place) else { return };
        match forwarded.go_on(buffer) {
            Progress::Waiting => {
                let mut event = EpollEvent::new(forwarded.interest(), place);
                let _ = self.epoll.modify(&*forwarded, &mut event);
            }
            Progress::Answer(answer) if forward::is_failure(&answer) => {
                self.try_next(place, Some(answer));
            }
            Progress::Answer(answer) => {
                let asker = forwarded.asker;
                self.forget(place);
                self.answer(asker, &answer);
            }
            Progress::Failed => self.try_next(place, None),
        }
    }

    fn try_next(&mut self, place: u64, worse: Option<Vec<u8>>) {
        if let Some(Forwarded { asker, message, upstream, .. }) = self.forget(place) {
            self.forward(asker, message, upstream + 1, worse);
        }
    }

    fn forget(&mut self, place: u64) -> Option<Forwarded> {
        let forwarded = self.forwarded.remove(&place)?;
        let _ = self.epoll.delete(&forwarded);
        Some(forwarded)
    }

    fn answer(&mut self, asker: Asker, answer: &[u8]) {
        match asker {
            // Who has no room for it will ask again.
            Asker::Udp(to) => drop(self.udp.send_to(answer, to)),
            Asker::Tcp(number) => {
                let number = u64::from(number);
                if let Some(client) = self.clients.get_mut(&number) {
                    client.unsent.extend(framed(answer));
                    client.flush();
                    self.watch_client(number);
                }
            }
        }
    }

    fn give_up_late(&mut self) {
        let now = Instant::now();
        let late = self.forwarded.iter().filter(|(_, forwarded)| forwarded.deadline <= now);
        for place in late.map(|(place, _)| *place).collect::<Vec<_>>() {
            self.try_next(place, None);
        }
        let silent = |client: &Client| client.silent_since + SILENCE <= now;
        let silent = self.clients.iter().filter(|(_, client)| silent(client));
        for number in silent.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.part_with(number);
        }
    }

    /// Wakes us when the next one is late.
    fn set_timer(&self) {
        let deadlines = self.forwarded.values().map(|forwarded| forwarded.deadline);
        let silences = self.clients.values().map(|client| client.silent_since + SILENCE);
        let _ = match deadlines.chain(silences).min() {
            None => self.timer.unset(),
            Some(next) => {
                let wait = next.saturating_duration_since(Instant::now());
                let wait = wait.max(Duration::from_millis(1));
                let expiration = Expiration::OneShot(TimeSpec::from_duration(wait));
                self.timer.set(expiration, TimerSetTimeFlags::empty())
            }
        };
    }

    /// Never one that is in use: in 32 bits, and with as few at once, it comes round
    /// long after.
    fn number(&mut self) -> u64 {
        self.next = if self.next >= u64::from(u32::MAX) { FIRST } else { self.next + 1 };
        self.next
    }
}

impl Client {
    fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(_) => return,
            }
        }
    }
}

/// One descriptor for all: readable when there is something to do.
impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

fn bind(port: u16) -> Result<(UdpSocket, TcpListener)> {
    let what = || format!("bind {ADDRESS}:{port} for the container's name server");
    let udp = UdpSocket::bind((ADDRESS, port)).doing(what)?;
    let tcp = TcpListener::bind((ADDRESS, port)).doing(what)?;
    udp.set_nonblocking(true).and(tcp.set_nonblocking(true)).doing(what)?;
    Ok((udp, tcp))
}

fn port_of(address: std::io::Result<std::net::SocketAddr>) -> Result<u16> {
    Ok(address.doing(|| "getsockname()")?.port())
}

/// The table inside: port 53 of our address leads to the ports that we have.
fn redirection(udp: u16, tcp: u16) -> String {
    let mut text = String::from(
        "add table ip coracle-dns\ndelete table ip coracle-dns\ntable ip coracle-dns {\n    \
         chain output {\n        type nat hook output priority -100; policy accept;\n",
    );
    for (protocol, port) in [("udp", udp), ("tcp", tcp)] {
        let _ = writeln!(
            text,
            "        ip daddr {ADDRESS} {protocol} dport 53 dnat to {ADDRESS}:{port}"
        );
    }
    text + "    }\n}\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_53_leads_to_us() {
        insta::assert_snapshot!(redirection(1053, 2053), @r"
        add table ip coracle-dns
        delete table ip coracle-dns
        table ip coracle-dns {
            chain output {
                type nat hook output priority -100; policy accept;
                ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:1053
                ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.11:2053
            }
        }
        ");
    }
}
