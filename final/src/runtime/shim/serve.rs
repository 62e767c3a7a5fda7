//! The loop: one process, one poll(2), everything that can happen to a container.
//!
//! Nothing here blocks for long, and nobody is waited for: what a client does not take
//! in time is kept for it in a file (see [`super::backlog`]); a client that is gone is
//! forgotten at once.

mod requests;

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use namespaces::{Context, Error, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;

use super::backlog;
use super::exec::Execs;
use super::life::Life;
use super::log::Log;
use super::network::Network;
use super::peer::{Peer, Role};
use super::protocol::Answer;
use super::streams::{Output, Streams};
use crate::runtime::container::Inherited;
use crate::runtime::sys;

/// What is read at once, where there is much to read.
const CHUNK: usize = 64 * 1024;

/// What is read at first: most programs say little, and memory that was never touched
/// costs nothing.
const SIP: usize = 4 * 1024;

/// How many chunks of one stream before the others get their turn.
const TURN: usize = 16;

/// How often a stream is read after the end: enough for all that a pipe can hold.
const LAST_TURNS: usize = 64;

/// How long a container at the brink waits for somebody to start it.
const LONELY: Duration = Duration::from_secs(5);

/// How long an attached client may take nothing of what is left after the end.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it must have been quiet before it is worth to forget.
const QUIET: Duration = Duration::from_millis(200);

/// Everything that the loop looks after.
pub struct Server {
    /// Where new connections come in.
    pub listener: UnixListener,
    /// SIGTERM and its like, which are the program's.
    pub signals: SignalFd,
    /// What is owned.
    pub life: Life,
    /// Its streams.
    pub streams: Streams,
    /// Where its output is kept.
    pub log: Option<Log>,
    /// What else runs in the container; an exec has none.
    pub execs: Option<Execs>,
    /// Its networks, where they may change.
    pub network: Option<Network>,
    /// Close the program's input when an attached client ends its own.
    pub stdin_once: bool,
    peers: Vec<Peer>,
    /// Since when there is nobody who could start it.
    lonely_since: Instant,
    buffer: Vec<u8>,
}

/// What a descriptor in the poll belongs to.
#[derive(Debug, Clone, Copy)]
enum Source {
    Listener,
    Signals,
    Process,
    Stdin,
    Output(usize),
    Exec,
    Check,
    Question,
    Peer(usize),
}

impl Server {
    /// A loop without clients yet.
    pub fn new(
        listener: UnixListener,
        signals: SignalFd,
        life: Life,
        streams: Streams,
        log: Option<Log>,
    ) -> Self {
        Self {
            listener,
            signals,
            life,
            streams,
            log,
            execs: None,
            network: None,
            stdin_once: false,
            peers: Vec::new(),
            lonely_since: Instant::now(),
            buffer: Vec::new(),
        }
    }

    /// Serves until the container is over and everything that it wrote is read.
    /// Those who wait have been told then, and are still connected.
    pub fn run(&mut self) -> Result<()> {
        // It may run already.
        self.life.tell_start();
        while !self.life.is_over() {
            let ready = match self.poll(|fds| poll(fds, self.quiet()))? {
                ready if ready.is_empty() && self.may_rest() => self.rest(self.until_due())?,
                ready => ready,
            };
            self.serve_all(ready)?;
            self.peers.iter_mut().for_each(|peer| peer.lose_patience(self.life.folder()));
            if let Some(execs) = &mut self.execs {
                self.life.tick(execs);
            }
            self.life.tell_start();
            self.end_if_forgotten()?;
        }
        self.take_buffer();
        self.drain();
        self.execs.iter_mut().for_each(Execs::rest);
        // Its name server holds the network namespace, and with it the cables.
        self.network = None;
        self.life.record_end();
        self.tell_the_end();
        Ok(())
    }

    fn may_rest(&self) -> bool {
        !self.life.is_at_the_brink() && !self.peers.iter().any(Peer::is_full)
    }

    /// Whoever wanted to start it may have been killed, and will not come, or come back.
    fn end_if_forgotten(&mut self) -> Result<()> {
        if !self.peers.is_empty() || !self.life.is_at_the_brink() {
            self.lonely_since = Instant::now();
        }
        match self.lonely_since.elapsed() > LONELY {
            true => self.life.kill(libc::SIGKILL),
            false => Ok(()),
        }
    }

    /// How long until something is to be done by itself.
    fn until_due(&self) -> Option<Duration> {
        let due = self.life.health()?.deadline()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    fn quiet(&self) -> PollTimeout {
        let quiet = match self.peers.iter().any(Peer::is_full) {
            true => backlog::PATIENCE,
            false => QUIET,
        };
        let quiet = self.until_due().map_or(quiet, |due| due.min(quiet));
        PollTimeout::try_from(quiet).unwrap_or(PollTimeout::ZERO)
    }

    fn take_buffer(&mut self) {
        self.buffer.resize(self.buffer.len().max(SIP), 0);
    }

    fn serve_all(&mut self, ready: Vec<(Source, PollFlags)>) -> Result<()> {
        self.take_buffer();
        // Backwards, so that what is removed does not move what is still to come.
        for (source, flags) in ready.into_iter().rev() {
            self.serve(source, flags)?;
        }
        self.peers.retain(|peer| !peer.is_gone());
        self.close_where(|peer| peer.role == Role::Leaving && peer.is_flushed());
        Ok(())
    }

    /// Between an end and the next start: serves for so long, or until somebody wants
    /// no next start; then false.
    pub fn pause(&mut self, pause: Duration) -> Result<bool> {
        // What they were attached to is over, even if they have not taken all of it.
        for peer in self.peers.iter_mut().filter(|peer| peer.attached().is_some()) {
            peer.role = Role::Leaving;
        }
        let end = Instant::now() + pause;
        while !self.life.is_stopped() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.life.is_hurried() {
                return Ok(true);
            }
            let ready = self.rest(Some(left))?;
            self.serve_all(ready)?;
        }
        Ok(false)
    }

    /// Goes on with the container's next life.
    pub fn go_on_with(&mut self, mut life: Life, streams: Streams, inherited: Inherited) {
        life.follow(&mut self.life);
        self.life = life;
        self.streams = streams;
        if let Some(execs) = &mut self.execs {
            execs.inherit(inherited);
        }
    }

    /// There is no next life: this end is the last one, and those who wait hear of it.
    pub fn give_up(&mut self, why: Option<&Error>) {
        self.life.give_up(why);
        self.life.record_end();
        self.tell_the_end();
    }

    /// Lets everyone go who waits for the tidying up, and stays for those who have
    /// not taken all output yet.
    pub fn part(mut self) {
        let (streams, others): (Vec<_>, Vec<_>) = self.peers.drain(..).partition(is_stream);
        others.into_iter().for_each(|peer| peer.close(&mut self.buffer));
        self.peers = streams;
        while !self.peers.is_empty() && self.flush_some() {
            self.close_finished();
        }
    }

    /// Waits until a client takes some of what is left; false if none does.
    fn flush_some(&mut self) -> bool {
        let mut fds: Vec<_> =
            self.peers.iter().map(|peer| PollFd::new(peer.as_fd(), PollFlags::POLLOUT)).collect();
        let patience = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
        let some = matches!(poll(&mut fds, patience), Ok(1..));
        self.peers.iter_mut().for_each(Peer::flush);
        some
    }

    /// Waits until something happens, and says what.
    fn poll(
        &self,
        wait: impl FnOnce(&mut [PollFd]) -> nix::Result<i32>,
    ) -> Result<Vec<(Source, PollFlags)>> {
        let sources = self.sources();
        let mut fds: Vec<_> =
            sources.iter().map(|(_, fd, interest)| PollFd::new(*fd, *interest)).collect();
        match wait(&mut fds) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::os("poll()", errno)),
        }
        let happened = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        let happened = sources.iter().zip(happened).filter(|(_, flags)| !flags.is_empty());
        Ok(happened.map(|((source, ..), flags)| (*source, flags)).collect())
    }

    /// Everything that can happen now. While a client is full, no output is read.
    fn sources(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let readable = PollFlags::POLLIN;
        let mut sources = vec![
            (Source::Listener, self.listener.as_fd(), readable),
            (Source::Signals, self.signals.as_fd(), readable),
        ];
        if let Some(running) = self.life.running() {
            sources.push((Source::Process, running.pidfd(), readable));
        }
        if let Some(stdin) = self.streams.hungry_stdin() {
            sources.push((Source::Stdin, stdin, PollFlags::POLLOUT));
        }
        // Before the start a terminal has no other side, and says so again and again.
        if self.life.running().is_some() && !self.peers.iter().any(Peer::is_full) {
            let outputs = self.streams.outputs();
            sources.extend(outputs.map(|(place, fd)| (Source::Output(place), fd, readable)));
        }
        let execs = self.execs.iter().flat_map(Execs::shims);
        sources.extend(execs.map(|shim| (Source::Exec, shim, readable)));
        let check = self.life.health().and_then(|health| health.stream());
        sources.extend(check.map(|check| (Source::Check, check, readable)));
        let questions = self.network.as_ref().and_then(Network::questions);
        sources.extend(questions.map(|fd| (Source::Question, fd, readable)));
        let takes_input = self.streams.takes_input();
        sources.extend(
            self.peers.iter().enumerate().map(|(place, peer)| {
                (Source::Peer(place), peer.as_fd(), peer.interest(takes_input))
            }),
        );
        sources
    }

    fn serve(&mut self, source: Source, flags: PollFlags) -> Result<()> {
        match source {
            Source::Listener => self.accept(),
            Source::Signals => self.forward_signal()?,
            Source::Process => self.life.reap()?,
            Source::Stdin => self.streams.flush_input(),
            Source::Question => self.network.iter_mut().for_each(Network::answer),
            Source::Output(place) => self.pump(place, TURN),
            Source::Check => self.life.read_check(),
            Source::Exec => {
                let pid = self.life.running().map(|running| running.pid());
                self.execs.iter_mut().for_each(|execs| execs.reap(pid));
            }
            Source::Peer(place) => self.serve_peer(place, flags),
        }
        Ok(())
    }

    fn accept(&mut self) {
        if let Ok((stream, _)) = self.listener.accept() {
            self.peers.extend(Peer::new(stream).ok());
        }
    }

    fn forward_signal(&mut self) -> Result<()> {
        match self.signals.read_signal().doing(|| "read the signal descriptor")? {
            Some(info) => self.life.kill(info.ssi_signo as i32),
            None => Ok(()),
        }
    }

    /// Carries output to the log and to everyone who is attached. True at its end.
    fn pump(&mut self, place: usize, turns: usize) {
        let framed = !self.streams.has_terminal();
        for _ in 0..turns {
            let (stream, output) = self.streams.read(place, &mut self.buffer);
            let bytes = match output {
                Output::Bytes(length) => &self.buffer[..length],
                Output::Nothing => return,
                Output::End => return self.streams.close_output(place),
            };
            if let Some(log) = &mut self.log {
                log.take(stream, bytes);
            }
            for peer in &mut self.peers {
                let wanted = peer.attached().is_some_and(|attach| attach.wants(stream));
                if wanted {
                    peer.pass_on(stream, bytes, framed);
                }
            }
            if bytes.len() == self.buffer.len() {
                self.buffer.resize(CHUNK, 0);
            }
            if self.peers.iter().any(Peer::is_full) {
                return;
            }
        }
    }

    /// After the end: what is left in the pipes goes to everyone, however slow. A
    /// process that still holds a pipe, in a shared pid namespace, is not waited for.
    fn drain(&mut self) {
        for place in (0..self.streams.outputs().count()).rev() {
            self.pump_all(place);
        }
        if let Some(log) = &mut self.log {
            log.finish_all();
        }
    }

    fn pump_all(&mut self, place: usize) {
        let open = |server: &Self| server.streams.outputs().count();
        let before = open(self);
        for _ in 0..LAST_TURNS {
            if open(self) != before || !self.has_output(place) {
                return;
            }
            self.pump(place, TURN);
        }
    }

    fn has_output(&self, place: usize) -> bool {
        let Some((_, fd)) = self.streams.outputs().nth(place) else { return false };
        matches!(poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::ZERO), Ok(1..))
    }

    fn serve_peer(&mut self, place: usize, flags: PollFlags) {
        let peer = &mut self.peers[place];
        if flags.contains(PollFlags::POLLOUT) {
            peer.flush();
        }
        if flags.contains(PollFlags::POLLIN) {
            match peer.role {
                Role::Talking | Role::Waiting => {
                    peer.read_line_part(&mut self.buffer);
                    self.answer_requests(place);
                }
                Role::Attached(_) | Role::Leaving => self.take_input(place),
            }
        } else if flags.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
            peer.vanished();
        }
        let peer = &self.peers[place];
        if self.stdin_once && peer.feeds_stdin() && peer.has_input_ended() {
            self.streams.end_input();
        }
    }

    fn take_input(&mut self, place: usize) {
        let peer = &mut self.peers[place];
        if let Some(length) = peer.read(&mut self.buffer)
            && peer.feeds_stdin()
        {
            self.streams.input(&self.buffer[..length]);
            if length == self.buffer.len() {
                self.buffer.resize(CHUNK, 0);
            }
        }
    }

    /// Looks after a connection that did not come in by the listener.
    pub fn adopt(&mut self, peer: Peer) {
        self.peers.push(peer);
    }

    /// The exit code to those who wait; the end of file to those who have it all.
    fn tell_the_end(&mut self) {
        let end = Answer::State(self.life.state().clone());
        for peer in self.peers.iter_mut().filter(|peer| peer.role == Role::Waiting) {
            peer.answer(&end);
        }
        self.close_finished();
    }

    fn close_finished(&mut self) {
        self.close_where(|peer| peer.is_gone() || is_stream(peer) && peer.is_flushed());
    }

    fn close_where(&mut self, is_over: impl Fn(&Peer) -> bool) {
        let (finished, rest): (Vec<_>, Vec<_>) = self.peers.drain(..).partition(is_over);
        finished.into_iter().for_each(|peer| peer.close(&mut self.buffer));
        self.peers = rest;
    }

    /// Sleeps until something happens, as small as can be: a shim does that for nearly
    /// all of its life, and there is one for every container.
    fn rest(&mut self, at_most: Option<Duration>) -> Result<Vec<(Source, PollFlags)>> {
        self.buffer = Vec::new();
        self.execs.iter_mut().for_each(Execs::rest);
        if let Some(log) = &mut self.log {
            log.rest();
        }
        self.poll(|fds| sys::poll_with_little_memory(fds, at_most))
    }
}

/// Whether it is, or was, joined to the program's streams.
fn is_stream(peer: &Peer) -> bool {
    peer.attached().is_some() || peer.role == Role::Leaving
}
