//! The volumes that a container holds.

use namespaces::{Mechanism, Result};
use rootfs::Mount;

use crate::resolve::{Point, resolve};
use crate::spec::Spec;
use crate::store::Volumes;

/// Keeps a container's volumes from being removed for as long as it runs. What it got
/// without a name goes with it.
///
/// Add it before all that uses the volumes: what comes first is torn down last.
pub struct Taken {
    volumes: Volumes,
    container: String,
    over: bool,
}

impl Taken {
    /// Takes the volumes among `specs` for `container`, and says what is to be mounted.
    pub fn take(
        volumes: &Volumes,
        specs: &[Spec],
        container: &str,
    ) -> crate::Result<(Taken, Vec<(Mount, Point)>)> {
        let mounts = resolve(volumes, specs, container)?;
        let taken = Taken { volumes: volumes.clone(), container: container.into(), over: false };
        Ok((taken, mounts))
    }
}

// ANCHOR: mechanism
impl Mechanism for Taken {
    fn teardown(&mut self) -> Result<()> {
        if !self.over {
            self.volumes.release(&self.container, true)?;
            self.over = true;
        }
        Ok(())
    }
}
// ANCHOR_END: mechanism

/// For a container that never came to be.
impl Drop for Taken {
    fn drop(&mut self) {
        let _ = self.teardown();
    }
}
