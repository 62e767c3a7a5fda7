//! A container that runs: signals for it, its end, and what is given back after that.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::error::{Error, Result};
use crate::mechanism::{Child, Mechanism};
use crate::sentinel::Sentinel;
use crate::sys;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It called exit(2).
    Code(u8),
    /// A signal killed it.
    Signal(i32),
}

impl Exit {
    /// The code that a shell would report: 128 + n for signal n.
    pub fn code(self) -> u8 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal as u8,
        }
    }
}

/// A container whose program runs, or has run.
///
/// Dropping it kills the container, waits for it and tears everything down.
pub struct Running {
    pub(crate) child: Child,
    pub(crate) mechanisms: Vec<Box<dyn Mechanism>>,
    pub(crate) sentinel: Option<Sentinel>,
    pub(crate) exit: Option<Exit>,
}

impl Running {
    /// The container's first process, as the caller's pid namespace counts.
    pub fn pid(&self) -> Pid {
        self.child.pid
    }

    /// The same, as a descriptor: readable when the process has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.child.pidfd()
    }

    /// Sends a signal to the container's first process. Content if it has ended.
    pub fn kill(&self, signal: i32) -> Result<()> {
        match sys::pidfd_send_signal(self.child.pidfd(), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(Error::os(format!("send signal {signal} to the container"), errno)),
        }
    }

    /// Waits for the end. May be called again.
    pub fn wait(&mut self) -> Result<Exit> {
        while self.exit.is_none() {
            self.reap(WaitPidFlag::empty())?;
        }
        Ok(self.exit.expect("the loop ends with an exit"))
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> Result<Option<Exit>> {
        if self.exit.is_none() {
            self.reap(WaitPidFlag::WNOHANG)?;
        }
        Ok(self.exit)
    }

    fn reap(&mut self, flags: WaitPidFlag) -> Result<()> {
        match waitpid(self.child.pid, Some(flags)) {
            Ok(WaitStatus::Exited(_, code)) => self.exit = Some(Exit::Code(code as u8)),
            Ok(WaitStatus::Signaled(_, signal, _)) => self.exit = Some(Exit::Signal(signal as i32)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::os(format!("waitpid({})", self.child.pid), errno)),
        }
        Ok(())
    }

    /// Gives back what the kernel does not take back by itself. Idempotent.
    ///
    /// # Errors
    /// The first error of any mechanism, after all had their turn.
    pub fn teardown(&mut self) -> Result<()> {
        teardown(&mut self.mechanisms)?;
        if let Some(sentinel) = self.sentinel.take() {
            sentinel.dismiss();
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.exit.is_none() {
            let _ = self.kill(Signal::SIGKILL as i32);
            let _ = self.wait();
        }
        let _ = self.teardown();
    }
}

// ANCHOR: teardown
/// Last moment, in reverse order. Everyone gets a turn; the first error is told.
pub(crate) fn teardown(mechanisms: &mut [Box<dyn Mechanism>]) -> Result<()> {
    let mut result = Ok(());
    for mechanism in mechanisms.iter_mut().rev() {
        result = result.and(mechanism.teardown());
    }
    result
}
// ANCHOR_END: teardown
