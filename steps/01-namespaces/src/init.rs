//! A small init: pid 1 has duties that most programs do not know of.
//!
//! The kernel hands every orphan of a pid namespace to its pid 1, and drops
//! signals to pid 1 for which it has no handler. So the init reaps whatever
//! ends, and forwards whatever is sent, to the one program it is there for.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{self, Pid};

use crate::container::Exit;
use crate::error::{Context, Result};
use crate::explain::step;
use crate::sys::{self, Cloned};

/// Splits in two: the caller goes on in the child, and execs the program; the
/// parent stays as init, and ends as the program ends.
pub(crate) fn become_init() -> Result<()> {
    let all = SigSet::all();
    all.thread_block().doing(|| "block the signals for init")?;
    let cloned = step(
        1,
        || "clone3(0)  pid 1 stays as init".into(),
        || sys::clone3(0, None, false).doing(|| "clone the program from init"),
    );
    match cloned? {
        Cloned::Child => {
            // A session of its own, as a shell would give it, with the terminal if there is one.
            unistd::setsid().doing(|| "setsid()")?;
            sys::take_controlling_terminal();
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
                .doing(|| "unblock the signals")
        }
        Cloned::Parent(program, _) => {
            // What the container can see of this process is the engine's own binary.
            let _ = nix::sys::prctl::set_dumpable(false);
            sys::close_from(3);
            sys::exit_now(serve(program, &all).code().into())
        }
    }
}

/// Forwards and reaps until the program has ended.
fn serve(program: Pid, signals: &SigSet) -> Exit {
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(exit) = reap_all(program) {
                    return exit;
                }
            }
            // These are about init's own terminal use, of which it makes none.
            Ok(Signal::SIGTTIN | Signal::SIGTTOU) | Err(_) => {}
            Ok(signal) => {
                let _ = kill(program, signal);
            }
        }
    }
}

/// Reaps everything that has ended; the program's end, if it is among them.
fn reap_all(program: Pid) -> Option<Exit> {
    let mut exit = None;
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == program => {
                exit = Some(Exit::Code(code as u8))
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == program => {
                exit = Some(Exit::Signal(signal as i32));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return exit,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return exit,
        }
    }
}
