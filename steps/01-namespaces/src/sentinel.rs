//! A process that waits for its parent to be killed, and then tidies up.
//!
//! SIGKILL cannot be caught. What the kernel does not take back by itself (a
//! cgroup, a lease) would stay. So the sentinel sits on the other end of a pipe:
//! a byte means that all was done properly; the end of file, that it was not.

use std::io::{PipeWriter, Read, Write, pipe};
use std::os::fd::AsRawFd;

use nix::sys::wait::waitpid;
use nix::unistd::{self, Pid};

use crate::error::{Context, Result};
use crate::explain;
use crate::mechanism::Mechanism;
use crate::sys::{self, Cloned};

/// The parent's hold on the sentinel.
pub(crate) struct Sentinel {
    pid: Pid,
    pipe: PipeWriter,
}

impl Sentinel {
    /// Starts the sentinel, which knows what the mechanisms know now.
    pub fn watch(mechanisms: &mut [Box<dyn Mechanism>]) -> Result<Self> {
        let (mut reader, writer) = pipe().doing(|| "create the sentinel's pipe")?;
        match sys::clone3(0, None, false).doing(|| "clone the sentinel")? {
            Cloned::Parent(pid, _) => Ok(Self { pid, pipe: writer }),
            Cloned::Child => {
                drop(writer);
                explain::stop_listening();
                let quiet = unistd::setsid().is_ok() && let_go_of_stdio().is_ok();
                let dismissed = matches!(reader.read(&mut [0]), Ok(1));
                if quiet && !dismissed {
                    for mechanism in mechanisms.iter_mut().rev() {
                        let _ = mechanism.teardown();
                    }
                }
                sys::exit_now(0)
            }
        }
    }

    /// Everything was torn down: the sentinel may go.
    pub fn dismiss(mut self) {
        let _ = self.pipe.write_all(b".");
        let _ = waitpid(self.pid, None);
    }
}

/// Whoever reads our output must see its end when the container ends, not when
/// the sentinel does.
fn let_go_of_stdio() -> std::io::Result<()> {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    unistd::dup2_stdin(&null)?;
    unistd::dup2_stdout(&null)?;
    unistd::dup2_stderr(&null)?;
    debug_assert!(null.as_raw_fd() > 2);
    Ok(())
}
