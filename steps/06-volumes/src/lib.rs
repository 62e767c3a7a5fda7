//! Lesson 6: a container that keeps what must outlive it.
//!
//! A volume is a directory with a name and a record ([`Volumes`]). What a container
//! wants mounted is written in one of three ways ([`parse_volume`], [`parse_mount`],
//! [`parse_tmpfs`]), which all become one form, [`Spec`]; and that becomes
//! [`rootfs::Mount`]s, which lesson 3 mounts. So this lesson has no mechanism of its
//! own: a volume is data for an earlier one.

pub mod cli;
pub mod doctor;
mod error;
mod long;
mod options;
mod record;
mod resolve;
mod short;
mod spec;
mod store;
mod taken;

pub use error::{Error, Result};
pub use long::parse_mount;
pub use options::{Backing, backing};
pub use record::{ANONYMOUS, NewVolume, Record, check_name};
pub use resolve::{Point, merge, resolve};
pub use short::{parse_tmpfs, parse_volume};
pub use spec::{Bind, Recursive, Source, Spec, Tmpfs, Volume};
pub use store::Volumes;
pub use taken::Taken;
