//! The way into a published port that nftables does not see.
//!
//! A packet to 127.0.0.1 must not leave the loopback, and a container has no
//! IPv6 address. So a small process holds the port's sockets, takes what the
//! kernel brings to them, and carries it to the container by IPv4. Whatever
//! nftables redirects on its way in never gets here; where there is no nft, the
//! proxy serves everyone.
//!
//! The process is a fork of the container's owner, and dies with it.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, RawFd};

use namespaces::explain::step;
use namespaces::{Context, Result};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::waitpid;
use nix::unistd::{self, Pid};

use crate::listen::{Bound, Listener};
use crate::sys;
use crate::tcp::Streams;
use crate::udp::{self, Flows};

const CHAPTER: u8 = 5;

/// What a proxy opens at most, though it might open more: each is looked at in turn.
const DESCRIPTORS: u64 = 20_000;
/// The standard streams, /dev/null, and one to spare.
const STANDARD: usize = 5;

/// The proxy of one container.
pub(crate) struct Proxy(Pid);

impl Proxy {
    /// Starts a process that carries what arrives at `listeners` to `target`.
    pub fn start(listeners: Vec<Listener>, target: Ipv4Addr) -> Result<Self> {
        let owner = unistd::getpid();
        let forked = step(
            CHAPTER,
            || format!("fork  a proxy for {} ports to {target}", listeners.len()),
            || sys::fork().doing(|| "fork the port proxy"),
        )?;
        match forked {
            Some(pid) => Ok(Self(pid)),
            None => {
                let code = match become_proxy(owner, &listeners) {
                    Ok(limit) => serve(listeners, target, limit).map_or(1, |never| match never {}),
                    Err(_) => 1,
                };
                sys::exit_now(code)
            }
        }
    }

    /// Ends it, and with it every connection that it carries.
    pub fn stop(self) {
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}

// ANCHOR: become_proxy
/// Cuts what the fork has inherited from the owner, except for the sockets. Returns
/// how many descriptors it may have.
fn become_proxy(owner: Pid, listeners: &[Listener]) -> nix::Result<usize> {
    // Die when the owner dies. It may have died just before we asked.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if unistd::getppid() != owner {
        return Err(Errno::ESRCH);
    }
    // Hold no pipe, socket or folder of the owner's: somebody waits for their end.
    let null = std::fs::File::options().read(true).write(true).open("/dev/null");
    let mut keep: Vec<RawFd> = listeners.iter().map(|l| l.socket.as_raw_fd()).collect();
    if let Ok(null) = &null {
        unistd::dup2_stdin(null)?;
        unistd::dup2_stdout(null)?;
        unistd::dup2_stderr(null)?;
        keep.extend([0, 1, 2, null.as_raw_fd()]);
    }
    sys::close_all_but(&keep);
    unistd::chdir("/")?;
    // The terminal's Ctrl-C is for the container.
    unistd::setsid()?;
    for number in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGCHLD] {
        sys::default_action(number)?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    let _ = prctl::set_name(c"coracle-proxy");
    // Every connection takes two. The customary limit is meant for select(2).
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    Ok(raised.map_or(soft, |()| hard).min(DESCRIPTORS) as usize)
}
// ANCHOR_END: become_proxy

// ANCHOR: serve
/// Waits for whichever socket has something to do, and does it; for ever.
fn serve(listeners: Vec<Listener>, target: Ipv4Addr, descriptors: usize) -> io::Result<Infallible> {
    let others = listeners.len() + udp::MOST + STANDARD;
    let mut streams = Streams::within(descriptors.saturating_sub(others));
    let mut flows = Flows::default();
    loop {
        // Ask for everything that we can do something about.
        let mut waiting: Vec<(RawFd, PollFlags)> = Vec::new();
        for listener in &listeners {
            let full = matches!(listener.socket, Bound::Tcp(_)) && streams.is_full();
            let wanted = if full { PollFlags::empty() } else { PollFlags::POLLIN };
            waiting.push((listener.socket.as_raw_fd(), wanted));
        }
        streams.wants(&mut waiting);
        flows.wants(&mut waiting);
        let ready = wait(&waiting, flows.patience())?;

        // The answers are in the order of the questions.
        let (at_listeners, rest) = ready.split_at(listeners.len());
        let (at_streams, at_flows) = rest.split_at(2 * streams.len());
        flows.carry_back(at_flows, &listeners);
        streams.carry(at_streams);
        for (number, listener) in listeners.iter().enumerate() {
            if at_listeners[number].is_empty() {
                continue;
            }
            let inside = (target, listener.published.container).into();
            match &listener.socket {
                Bound::Tcp(socket) => streams.accept(socket, inside),
                Bound::Udp(socket) => flows.carry_in(number, socket, inside),
            }
        }
    }
}
// ANCHOR_END: serve

/// poll(2): what is ready, for each descriptor in order. One of which nothing is
/// wanted is left out, or its hang-up would wake us again and again.
fn wait(waiting: &[(RawFd, PollFlags)], patience: Option<i32>) -> io::Result<Vec<PollFlags>> {
    let question = |&(fd, wanted): &(RawFd, PollFlags)| libc::pollfd {
        fd: if wanted.is_empty() { -1 } else { fd },
        events: wanted.bits(),
        revents: 0,
    };
    let mut fds: Vec<libc::pollfd> = waiting.iter().map(question).collect();
    match sys::poll(&mut fds, patience.unwrap_or(-1)) {
        Ok(()) => {}
        Err(Errno::EINTR) => fds.iter_mut().for_each(|fd| fd.revents = 0),
        Err(errno) => return Err(errno.into()),
    }
    Ok(fds.iter().map(|fd| PollFlags::from_bits_truncate(fd.revents)).collect())
}
