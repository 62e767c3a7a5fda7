//! The engine: one service for each thing that it keeps.
//!
//! There is no god object. [`Engine`] has fields and no methods of its own but
//! `open`; what crosses services is a free function with explicit arguments.

pub mod archive;
pub mod attach;
pub mod changes;
pub mod containers;
pub mod create;
pub mod devices;
pub mod distribution;
pub mod error;
pub mod events;
pub mod exec;
pub mod filters;
pub mod group;
pub mod guard;
pub mod health;
pub mod hidden;
pub mod image_listing;
pub mod image_removal;
pub mod images;
pub mod info;
pub mod instructions;
pub mod lifecycle;
pub mod listing;
pub mod log_options;
pub mod logs;
pub mod modes;
pub mod names;
pub mod network;
pub mod networks;
pub mod prune;
pub mod record;
pub mod refusals;
pub mod remove;
pub mod rename;
pub mod restart;
pub mod revive;
pub mod seccomp_profile;
pub mod security;
pub mod shown;
pub mod spec;
pub mod stats;
pub mod status;
pub mod sweep;
pub mod time;
pub mod top;
pub mod update;
pub mod volumes;
pub mod volumes_from;
pub mod wait;
pub mod worker;

use crate::store::{Events, Root};
use error::Result;

/// Everything that an engine has, by service.
pub struct Engine {
    /// Where it is kept.
    pub root: Root,
    /// Containers and their records.
    pub containers: containers::Containers,
    /// What happens, for everyone who listens.
    pub events: Events,
    /// Additional processes in running containers.
    pub execs: exec::Execs,
    /// Images.
    pub images: images::Images,
    /// Networks.
    pub networks: network::Networks,
    /// Volumes.
    pub volumes: volumes::Volumes,
}

impl Engine {
    /// The engine that is kept at `root`.
    ///
    /// # Errors
    /// Where its folders cannot be made.
    pub fn open(root: Root) -> Result<Self> {
        Ok(Self {
            containers: containers::Containers::new(root.clone()),
            events: Events::of(root.data()),
            execs: exec::Execs::new(root.clone()),
            images: images::Images::new(root.clone()),
            networks: network::Networks::new(&root),
            volumes: volumes::Volumes::new(&root),
            root,
        })
    }
}
