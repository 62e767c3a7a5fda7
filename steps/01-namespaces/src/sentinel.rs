//! A process that waits for its parent to be killed, and then tidies up.
//!
//! SIGKILL cannot be caught. What the kernel does not take back by itself (a
//! cgroup, a lease, the mode of a terminal) would stay. So the sentinel sits on the
//! other end of a pipe:
//!
//! ```text
//!   parent → sentinel    4 bytes: the pid of the container's first process
//!                        1 byte: all was torn down, you may go
//!                        end of file instead: the parent was killed
//! ```

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
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
        let (reader, writer) = pipe().doing(|| "create the sentinel's pipe")?;
        match sys::clone3(0, None, false).doing(|| "clone the sentinel")? {
            Cloned::Parent(pid, _) => Ok(Self { pid, pipe: writer }),
            Cloned::Child => {
                drop(writer);
                explain::stop_listening();
                let alone = retire(&reader);
                if alone.is_ok() && !is_dismissed(reader) {
                    for mechanism in mechanisms.iter_mut().rev() {
                        let _ = mechanism.teardown();
                    }
                }
                sys::exit_now(0)
            }
        }
    }

    /// Tells the sentinel whom to kill. There may be none yet, or none any more.
    pub fn guard(&mut self, container: Pid) {
        let _ = self.pipe.write_all(&container.as_raw().to_ne_bytes());
    }

    /// Everything was torn down: the sentinel may go.
    pub fn dismiss(mut self) {
        let _ = self.pipe.write_all(b".");
        let _ = waitpid(self.pid, None);
    }
}

/// Leaves everything that the sentinel was born with: the session, so that Ctrl-C
/// is not for it, the signals of whoever stops us all, and the descriptors. Whoever
/// reads our output must see its end when the container ends, not when the sentinel
/// does. Each number stays taken, by `/dev/null`: some mechanism still holds it.
fn retire(pipe: &PipeReader) -> Result<()> {
    SigSet::all().thread_block().doing(|| "block the signals")?;
    unistd::setsid().doing(|| "setsid()")?;
    let null = std::fs::File::options().read(true).write(true).open("/dev/null");
    let null = OwnedFd::from(null.doing(|| "open /dev/null")?);
    let keep = [null.as_raw_fd(), pipe.as_raw_fd()];
    for entry in std::fs::read_dir("/proc/self/fd").doing(|| "read /proc/self/fd")?.flatten() {
        let fd = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(fd) = fd.filter(|fd| !keep.contains(fd)) {
            sys::replace_fd(fd, null.as_fd());
        }
    }
    Ok(())
}

/// Waits; if the parent is killed, ends the container first, so that nothing that is
/// torn down is still in use.
fn is_dismissed(mut pipe: PipeReader) -> bool {
    let mut pid = [0; 4];
    if pipe.read_exact(&mut pid).is_err() {
        return false;
    }
    // Nobody but the parent could have reaped it, so the number still means it, or nobody.
    let container = sys::pidfd_open(Pid::from_raw(i32::from_ne_bytes(pid)));
    if matches!(pipe.read(&mut [0]), Ok(1)) {
        return true;
    }
    if let Ok(container) = container {
        let _ = sys::pidfd_send_signal(&container, libc::SIGKILL);
        let mut fds = [PollFd::new(container.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::NONE);
    }
    false
}
