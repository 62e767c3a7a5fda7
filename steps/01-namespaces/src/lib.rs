//! Lesson 1: a process that sees its own world, and the life of a container.
//!
//! A [`Container`] is a [`Process`] and the [`Mechanism`]s around it. This crate
//! brings the life itself ([`Container::create`], [`Created::start`],
//! [`Running::wait`]) and the first mechanisms.

mod accounts;
mod channel;
pub mod cli;
mod container;
pub mod doctor;
mod error;
pub mod explain;
mod flags;
mod id_map;
mod init;
mod join;
mod mechanism;
mod namespaces;
mod proc;
mod process;
mod running;
mod sentinel;
mod sys;
mod terminal;
mod user;
pub mod userns;

pub use container::{Container, Created};
pub use error::{Answer, Context, Error, Result};
pub use id_map::{IdMap, IdMaps, IdRange};
pub use join::Join;
pub use mechanism::{Child, CloneArgs, Mechanism};
pub use namespaces::Namespaces;
pub use proc::Proc;
pub use process::{DEFAULT_PATH, Process};
pub use running::{Exit, Running};
pub use terminal::{ConsoleSocket, Size, Terminal};
pub use user::User;
