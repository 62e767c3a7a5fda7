//! A process that waits for its parent to be killed, and then tidies up.
//!
//! SIGKILL cannot be caught. What the kernel does not take back by itself (a
//! cgroup, a lease, the mode of a terminal) would stay. So the sentinel sits on the
//! other end of a socket:
//!
//! ```text
//!   parent → sentinel    CONTAINER, with a pidfd: whom to kill first
//!                        DISMISSED: all was torn down, you may go
//!                        end of file instead: the parent was killed
//! ```

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::wait::waitpid;
use nix::unistd::{self, Pid};

use crate::container::without_unwinding;
use crate::error::{Context, Result};
use crate::explain;
use crate::mechanism::Mechanism;
use crate::running::teardown;
use crate::sys::{self, Cloned};

const CONTAINER: &[u8] = b"c";
const DISMISSED: &[u8] = b".";

/// How long a killed container may take to end, in milliseconds. One that is frozen on
/// cgroup v1 does not, until the teardown of its cgroup lets it go on.
const PATIENCE: u16 = 2000;

/// The parent's hold on the sentinel. Dropped without [`dismiss`](Self::dismiss), it
/// makes the sentinel do its work, and waits for that.
pub(crate) struct Sentinel {
    pid: Pid,
    socket: Option<UnixStream>,
}

impl Sentinel {
    /// Starts the sentinel, which knows what the mechanisms know now.
    pub fn watch(mechanisms: &mut [Box<dyn Mechanism>]) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair().doing(|| "create the sentinel's socket")?;
        // Born with all signals blocked: between its birth and its first own step it
        // is still in our session, and would die of what we die of.
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK);
        let mask = mask.doing(|| "block the signals")?;
        let sentinel = match sys::clone3(0, None, false).doing(|| "clone the sentinel") {
            Ok(Cloned::Child) => {
                let _ = without_unwinding("tear down", || stand_guard(mechanisms, &theirs));
                sys::exit_now(0)
            }
            Ok(Cloned::Parent(pid, _)) => Ok(Self { pid, socket: Some(ours) }),
            Err(error) => Err(error),
        };
        mask.thread_set_mask().doing(|| "unblock the signals")?;
        sentinel
    }

    /// Tells the sentinel whom to kill before it tears down.
    pub fn guard(&self, container: BorrowedFd) {
        if let Some(socket) = &self.socket {
            let _ = sys::send_fd(socket.as_fd(), container, CONTAINER);
        }
    }

    /// Everything was torn down: the sentinel may go.
    pub fn dismiss(mut self) {
        if let Some(socket) = &mut self.socket {
            let _ = socket.write_all(DISMISSED);
        }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.socket = None;
        let _ = waitpid(self.pid, None);
    }
}

/// The sentinel's life.
fn stand_guard(mechanisms: &mut [Box<dyn Mechanism>], socket: &UnixStream) -> Result<()> {
    explain::stop_listening();
    retire(socket)?;
    match is_dismissed(socket) {
        true => Ok(()),
        false => teardown(mechanisms),
    }
}

/// Leaves everything that the sentinel was born with: the session, so that Ctrl-C
/// is not for it, the name, and the descriptors: whoever reads our output must see its
/// end when the container ends, not when the sentinel does. Each number stays taken, by
/// `/dev/null`: some mechanism still holds it.
fn retire(socket: &UnixStream) -> Result<()> {
    unistd::setsid().doing(|| "setsid()")?;
    prctl::set_name(c"sentinel").doing(|| "prctl(PR_SET_NAME)")?;
    let null = std::fs::File::options().read(true).write(true).open("/dev/null");
    let null = OwnedFd::from(null.doing(|| "open /dev/null")?);
    let keep = [null.as_raw_fd(), socket.as_raw_fd()];
    // All of the list first: the folder it is read from is a descriptor too.
    let open = std::fs::read_dir("/proc/self/fd").doing(|| "read /proc/self/fd")?;
    let open = open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for fd in open.collect::<Vec<_>>() {
        if !keep.contains(&fd) {
            sys::replace_fd(fd, null.as_fd());
        }
    }
    Ok(())
}

/// Waits; if the parent is killed, ends the container first, so that nothing that is
/// torn down is still in use.
fn is_dismissed(socket: &UnixStream) -> bool {
    let mut container = None;
    loop {
        let mut word = [0];
        match sys::receive_fd(socket.as_fd(), &mut word) {
            Ok((1, Some(pidfd))) => container = Some(pidfd),
            Ok((1, None)) => return true,
            _ => break,
        }
    }
    if let Some(container) = container {
        let _ = sys::pidfd_send_signal(&container, libc::SIGKILL);
        let mut end = [PollFd::new(container.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut end, PollTimeout::from(PATIENCE));
    }
    false
}
