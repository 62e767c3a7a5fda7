//! Lesson 5: a container that is reachable by address, name and port.
//!
//! A new network namespace is an empty room. This crate lays a cable into it
//! ([`netlink`]), plugs the other end into a bridge ([`Bridge`]), gives the
//! container an address of its own ([`Networks`]), tells the kernel's firewall
//! which port of the host leads where ([`firewall`]), and writes the files
//! through which programs find names ([`files`]).

mod bridge;
mod bridges;
pub mod cli;
mod conntrack;
pub mod doctor;
mod endpoint;
mod etc;
pub mod files;
pub mod firewall;
mod lease;
mod listen;
mod modes;
mod neighbours;
pub mod netlink;
mod network;
mod nfnetlink;
mod pasta;
mod port;
mod proxy;
mod subnet;
mod sys;
mod tcp;
mod tool;
mod udp;
mod wishes;

pub use bridge::Bridge;
pub use bridges::{Bridges, Inside, Place};
pub use endpoint::{Endpoint, Files};
pub use etc::Etc;
pub use lease::{Lease, Owner};
pub use modes::{HostNetwork, Isolated, Mode, Shared};
pub use network::{DEFAULT, Network, Networks, mac};
pub use pasta::Pasta;
pub use port::{Port, Protocol, Published, parse_expose, parse_publish, publish_all};
pub use subnet::Subnet;
pub use wishes::{Wanted, Wishes};

/// FNV-1a: names from longer names. Stable for ever, and no secret.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
