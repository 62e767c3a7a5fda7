//! Trees of files as tar streams: read from a tree that may change under our hands,
//! and written into one whose owner may be hostile.
//!
//! A container's processes can replace any directory by a symbolic link while it is
//! copied (CVE-2018-15664). So no path is ever walked by us: the kernel resolves it
//! below the container's root, with openat2(2), and what comes back is a descriptor.
//! From there on every call has a descriptor and one plain name that is not followed.
//! And nothing is ever loaded or executed from the tree (CVE-2019-14271): this is all
//! done by one static program that never makes the tree its root.

mod header;
mod pack;
mod stat;
mod unpack;

pub use pack::{Everything, Guard, pack};
pub use stat::{PathStat, follow};
pub use unpack::{Options, unpack};
