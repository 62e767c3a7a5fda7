//! Records on disk: atomic, locked, versioned.
//!
//! ```text
//!   ROOT/version                    which store this is
//!   ROOT/names/<name>               a container's id; a name is taken by making this file
//!   ROOT/containers/<id>/           everything about one container
//!     config.json                   an OCI bundle: any runtime can run it
//!     container.json                the engine's record: what was asked for
//!     shim.json                     what the shim needs beside config.json
//!     state.json                    the shim's record: what became of it
//!     birth.jsonl                   how it was made, step by step
//!     log, log.1, …                 what it wrote, in Docker's json-file format
//!     shim.lock, shim.sock          held, and listened on, while the shim lives
//!     upper/ work/ rootfs/          the overlay's writable parts, and where it is mounted
//!     execs/<id>/                   exec.json, state.json, shim.lock, shim.sock
//!   ROOT/events/                  what has happened, a line each
//!   ROOT/images, layers, networks, volumes      the lessons' own
//! ```

mod asked;
mod container;
pub mod events;
mod health;
mod lock;
mod names;
mod record;
mod root;
pub mod socket;
mod state;

pub use asked::{Asked, AskedMount, Healthcheck};
pub use container::{ContainerDir, ExecDir, ShimDir};
pub use events::Events;
pub use health::{Checked, Health, HealthStatus};
pub use lock::Lock;
pub use names::{Held, Names};
pub use record::{Record, read, write, write_atomic};
pub use root::Root;
pub use state::{State, Status, now};
