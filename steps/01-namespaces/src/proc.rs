//! A private `/proc`. See proc(5).

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use crate::error::{Context, Result};
use crate::explain::step;
use crate::mechanism::Mechanism;

/// Mounts the container's own view of processes over the host's `/proc`.
///
/// A pid namespace alone hides nothing from `ps`: it reads `/proc`, and that still
/// shows the namespace that it was mounted in. Needs a pid and a mount namespace.
#[derive(Debug, Clone, Copy)]
pub struct Proc;

// ANCHOR: proc
impl Mechanism for Proc {
    fn in_child(&self) -> Result<()> {
        step(
            1,
            || "mount(\"proc\", \"/proc\", \"proc\")".into(),
            || {
                let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
                let mounted = mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>);
                mounted.doing(|| "mount proc on /proc").map_err(|error| {
                    match error.is(Errno::EPERM) {
                    // Otherwise a user namespace would be a way to see what was covered.
                    true => error.hint(
                        "the kernel gives a new /proc only to who sees the old one whole, and here \
                         parts of it are covered, as inside Docker; run it there with \
                         --security-opt systempaths=unconfined",
                    ),
                    false => error,
                }
                })
            },
        )
    }
}
// ANCHOR_END: proc
