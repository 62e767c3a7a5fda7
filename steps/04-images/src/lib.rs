//! Lesson 4: a root that came, verified, from a registry.
//!
//! ```text
//! reference ─▶ registry ─▶ manifest ─▶ config, layers ─▶ store ─▶ folders for overlayfs
//! "busybox"    GET /v2/…   digests     digests           images/  layers/<diff-id>/
//! ```
//!
//! [`pull`] walks from left to right; [`Store`] is what remains. Everything on the way
//! is named by its digest, so the registry, the network and the disk need no trust.

mod address;
mod auth;
mod bars;
pub mod cli;
mod config;
mod digest;
pub mod doctor;
mod download;
pub mod elf;
mod error;
pub mod host;
mod layers;
mod layout;
mod manifest;
mod pipeline;
mod platform;
mod progress;
mod pull;
mod reference;
mod registry;
mod remove;
mod retry;
pub mod run;
mod store;
mod sys;
mod tls;
pub mod unpack;
mod unsynced;

pub use auth::{Credentials, DockerConfig, Login, percent_encoded};
pub use bars::Bars;
pub use config::{Healthcheck, History, ImageConfig, RootFs, RunConfig};
pub use digest::{Digest, Hasher, VerifyingReader};
pub use error::{Error, Result};
pub use layout::BlobWriter;
pub use manifest::{Descriptor, Document, Index, Manifest};
pub use manifest::{OCI_LAYER, OCI_LAYER_GZIP};
pub use platform::Platform;
pub use progress::{Event, Progress, Silent};
pub use pull::{PullOptions, pull};
pub use reference::Reference;
pub use registry::Registry;
pub use remove::{InUse, RemoveOptions, Removed};
pub use store::{Image, Store};
