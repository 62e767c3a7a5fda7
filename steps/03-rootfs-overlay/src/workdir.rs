//! The directory that the program starts in.

use std::path::PathBuf;

use namespaces::explain::step;
use namespaces::{Context, Mechanism, Result};
use nix::errno::Errno;

use crate::{CHAPTER, Root};

/// Makes the working directory where the image does not have it, as Docker does.
///
/// After [`Rootfs`](crate::Rootfs), and before the user, who may not be allowed to. It
/// is resolved inside the root, and never by way of what is open in this process, which
/// `/proc/self/fd/7` would be (CVE-2024-21626).
#[derive(Debug)]
pub struct WorkingDirectory(pub PathBuf);

impl Mechanism for WorkingDirectory {
    fn in_child(&self) -> Result<()> {
        let doing = || format!("make the working directory {}", self.0.display());
        let root = Root::open("/").doing(doing)?;
        match root.resolve(&self.0) {
            Err(Errno::ENOENT) => {
                let make = || root.mkdir_all(&self.0, 0o755).doing(doing);
                step(CHAPTER, || format!("mkdir {}", self.0.display()), make).map(drop)
            }
            // It is there; or whoever goes there will say why not.
            _ => Ok(()),
        }
    }
}
