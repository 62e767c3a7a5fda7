//! The shim: the process that owns a container.
//!
//! There is one for every container and one for every exec: single-threaded, because
//! only such a process may clone; its own, because a container must outlive whoever
//! asked for it, and must not outlive whoever knows how to clean up behind it. That of
//! an exec is a fork of its container's: what it must know, that one knows already.
//!
//! ```text
//!   engine                shim                             container
//!     ├─ coracle shim ─────▶ lets go of the caller's world
//!     ├─ DIR; those who ───▶ reads config.json, shim.json
//!     │  attach and wait     clone3 ───────────────────────▶ set up
//!     │                      listens on shim.sock
//!     │                      "no need to stop" ────────────▶ execve
//!     ◀─ it runs ──────────┤ state.json: running
//!     ◀─ output ───────────┤ reads, logs, passes on ◀────── writes
//!                          │ state.json: exited ◀────────── ends
//!     ◀─ exit code ────────┤ unmounts, removes cgroup, …
//!     ◀─ end of file ──────┘
//! ```
//!
//! It holds `shim.lock` as long as it lives. Killed, it takes the container with it
//! (the kernel sees to that), and leaves a state that says "running" and a lock that
//! is free: then [`super::reconcile()`] does what is left to do.

mod backlog;
mod client;
mod exec;
mod health;
mod launch;
mod life;
mod log;
mod network;
mod owner;
mod peer;
mod protocol;
mod remove;
mod restart;
mod serve;
mod streams;
mod told;

pub use client::Shim;
pub use launch::{Ahead, MOST_REQUESTS, Until, call_ahead, launch, reap};
pub use log::LogOptions;
pub use owner::main;
pub use protocol::{Answer, Attach, Exec, Request, Stream};
pub use remove::{auto_remove, remove};
pub use restart::pause_before;
pub(super) use streams::Streams;

/// The socket's name in the shim's folder.
pub(super) const SOCKET: &str = "shim.sock";

/// The command that this program is started with to be a shim.
pub const COMMAND: &str = "shim";
