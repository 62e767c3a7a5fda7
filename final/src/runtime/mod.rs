//! OCI runtime-spec in, mechanisms out, and the process that owns the container.

mod assemble;
mod container;
mod dns;
mod hardening;
mod instructions;
mod limits;
mod mounts;
mod network;
mod partners;
mod reconcile;
pub mod seccomp;
mod settings;
pub mod shim;
pub mod signal;
mod spec;
pub(crate) mod sys;
mod sysctls;

pub use assemble::assemble;
pub use instructions::{
    AutoRemove, ExecInstructions, Instructions, Link, NetworkPlan, Partner, Session,
};
pub use limits::{check as check_limits, update as update_limits};
pub use reconcile::{Found, reconcile};
pub use spec::{DEFAULT_CAPABILITIES, default_spec, device_rule, docker_capabilities};
pub use sys::unread_by_peer;
pub use sysctls::check as check_sysctls;

/// The chapter of the book on the engine's own rooms: capabilities, seccomp and the rest
/// of the hardening are a page of it.
const CHAPTER_SECURITY: u8 = 7;
