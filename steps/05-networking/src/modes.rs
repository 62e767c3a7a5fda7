//! `--network`: whose network a container sees, and the simpler mechanisms.

use std::fmt;
use std::os::fd::OwnedFd;
use std::str::FromStr;

use namespaces::explain::step;
use namespaces::{CloneArgs, Context, Error, Mechanism, Result};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use serde::{Deserialize, Serialize};

use crate::bridge::LOOPBACK;
use crate::netlink::Batch;
use crate::network::DEFAULT;
use crate::sys;

const CHAPTER: u8 = 5;

const NEW_NETWORK: u64 = libc::CLONE_NEWNET as u64;

/// What `--network` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Mode {
    /// A place on a bridge network, by the network's name or id.
    Bridge(String),
    /// The host's own network: nothing is new.
    Host,
    /// A network of its own in which there is nothing but the loopback.
    None,
    /// The network of another container, as the user has named that one.
    Container(String),
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "" | "default" => Mode::Bridge(DEFAULT.into()),
            "host" => Mode::Host,
            "none" => Mode::None,
            _ => match text.strip_prefix("container:") {
                Some("") => {
                    return Err(Error::new("invalid network: container: without a container")
                        .hint("write --network container:NAME"));
                }
                Some(name) => Mode::Container(name.into()),
                None => Mode::Bridge(text.into()),
            },
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mode::Bridge(name) => f.write_str(name),
            Mode::Host => f.write_str("host"),
            Mode::None => f.write_str("none"),
            Mode::Container(name) => write!(f, "container:{name}"),
        }
    }
}

impl TryFrom<String> for Mode {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        mode.to_string()
    }
}

/// `--network host`: takes the new network namespace out of the clone.
pub struct HostNetwork;

impl Mechanism for HostNetwork {
    fn before_clone(&mut self, args: &mut CloneArgs) -> Result<()> {
        args.flags &= !NEW_NETWORK;
        Ok(())
    }
}

/// `--network none`: a namespace with the loopback, up.
pub struct Isolated;

impl Mechanism for Isolated {
    fn before_clone(&mut self, args: &mut CloneArgs) -> Result<()> {
        args.flags |= NEW_NETWORK;
        Ok(())
    }

    fn in_child(&self) -> Result<()> {
        Batch::new().up(LOOPBACK, "lo").send()
    }
}

/// `--network container:NAME`: moves into the network of a process that is there.
pub struct Shared {
    pid: u32,
    process: OwnedFd,
}

impl Shared {
    /// The network of the process `pid`.
    ///
    /// # Errors
    ///
    /// There is no such process.
    pub fn with(pid: u32) -> Result<Self> {
        let process = sys::pidfd_open(pid).doing(|| format!("find process {pid}"))?;
        Ok(Self { pid, process })
    }
}

impl Mechanism for Shared {
    fn before_clone(&mut self, args: &mut CloneArgs) -> Result<()> {
        args.flags &= !NEW_NETWORK;
        Ok(())
    }

    // ANCHOR: shared
    /// setns(2) with the flag of one namespace moves the caller into that of the
    /// process that the descriptor means.
    fn in_child(&self) -> Result<()> {
        let Self { pid, process } = self;
        let join = || setns(process, CloneFlags::CLONE_NEWNET);
        step(
            CHAPTER,
            || format!("setns(pidfd of {pid}, CLONE_NEWNET)"),
            || join().doing(|| format!("join the network of process {pid}")),
        )
        .map_err(|error| match error.is(Errno::EPERM) {
            true => error.hint("it belongs to another user namespace; root may join it"),
            false => error,
        })
    }
    // ANCHOR_END: shared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_written_as_docker_writes_them() {
        for text in ["bridge", "host", "none", "container:web", "mine"] {
            assert_eq!(text.parse::<Mode>().unwrap().to_string(), text);
        }
        assert_eq!("default".parse::<Mode>().unwrap(), Mode::Bridge("bridge".into()));
        assert!("container:".parse::<Mode>().is_err());
    }
}
