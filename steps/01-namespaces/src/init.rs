//! A small init: pid 1 has duties that most programs do not know of.
//!
//! The kernel hands every orphan of a pid namespace to its pid 1, and drops
//! signals to pid 1 for which it has no handler. So the init reaps whatever
//! ends, and forwards whatever is sent, to the one program it is there for.

use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{self, Pid};

use crate::error::{Context, Error, Result};
use crate::explain::step;
use crate::running::Exit;
use crate::sys;

// ANCHOR: become_init
/// Splits in two: the caller goes on in the child, and execs the program; the
/// parent stays as init, and ends as the program ends.
pub(crate) fn become_init(title: Option<Title>, program: &[OsString]) -> Result<()> {
    let all = SigSet::all();
    all.thread_block().doing(|| "block the signals for init")?;
    // Where the pid namespace is shared, init is not pid 1, and orphans need to be told.
    prctl::set_child_subreaper(true).doing(|| "prctl(PR_SET_CHILD_SUBREAPER)")?;
    // Told before, once: after it there are two to tell, and the other may be the quicker.
    step(1, || "fork()  pid 1 stays as init".into(), || Ok(()))?;
    // Not clone3: Docker's system call filter, under which this may run, refuses it.
    match sys::fork().doing(|| "fork the program from init").map_err(no_more)? {
        None => {
            prctl::set_pdeathsig(Signal::SIGKILL).doing(|| "prctl(PR_SET_PDEATHSIG)")?;
            take_foreground();
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
                .doing(|| "unblock the signals")
        }
        Some(child) => {
            // What the container can see of this process is the engine's own binary.
            let _ = prctl::set_dumpable(false);
            let _ = prctl::set_name(c"docker-init");
            if let Some(title) = title {
                title.show(program);
            }
            // The socket to the parent must end with the exec, not with init.
            sys::close_from(3);
            sys::exit_now(serve(child, &all).code().into())
        }
    }
}
// ANCHOR_END: become_init

fn no_more(error: Error) -> Error {
    match error.is(Errno::EAGAIN) {
        true => {
            error.hint("the limit of processes is reached; init takes one beside the program's")
        }
        false => error,
    }
}

/// What `ps` shows of a process: its arguments, which lie on its stack, and behind them
/// its environment. The init's are the engine's own, and nobody else's business.
pub(crate) struct Title {
    arguments: Range<usize>,
    environment: Range<usize>,
}

impl Title {
    /// Where they lie. Asked on the host: in the container /proc is not to be trusted.
    pub fn find() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // What follows the name in parentheses begins with field 3; see proc_pid_stat(5).
        let fields: Vec<_> = stat.rsplit_once(") ")?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<usize>().ok();
        let title = Self { arguments: field(48)?..field(49)?, environment: field(50)?..field(51)? };
        (title.arguments.end == title.environment.start).then_some(title)
    }

    /// Shows what Docker's init does: its name, and the program.
    fn show(self, program: &[OsString]) {
        let init = [OsStr::new("/sbin/docker-init"), OsStr::new("--")];
        let words: Vec<_> =
            init.into_iter().chain(program.iter().map(OsString::as_os_str)).collect();
        let separated = |separator: &[u8]| -> Vec<u8> {
            words.iter().flat_map(|word| [word.as_bytes(), separator].concat()).collect()
        };
        let mut text = separated(b"\0");
        // What is longer than the arguments were, the kernel reads as one string, up to
        // its first zero; it knows by their last byte, which is none then.
        if text.len() > self.arguments.len() {
            text = separated(b" ");
            text.truncate(self.environment.end - self.arguments.start - 1);
        }
        sys::overwrite_arguments(self.arguments.start, self.environment.end, &text);
    }
}

/// Ctrl-C and Ctrl-Z are for the program, and init must not stop with it: it gets
/// a process group of its own, in the foreground of the terminal, if there is one.
fn take_foreground() {
    let group = Pid::from_raw(0);
    if unistd::setpgid(group, group).is_ok() {
        // SIGTTOU, which this earns, is blocked at this moment.
        let _ = unistd::tcsetpgrp(std::io::stdin(), unistd::getpid());
    }
}

// ANCHOR: serve
/// Forwards and reaps until the program has ended.
fn serve(program: Pid, signals: &SigSet) -> Exit {
    loop {
        match sys::wait_for_signal(signals) {
            Ok(libc::SIGCHLD) => {
                if let Some(exit) = reap_all(program) {
                    return exit;
                }
            }
            // These are about init's own use of the terminal, of which it makes none.
            Ok(libc::SIGTTIN | libc::SIGTTOU) | Err(_) => {}
            Ok(signal) => sys::kill(program, signal),
        }
    }
}
// ANCHOR_END: serve

// ANCHOR: reap_all
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
// ANCHOR_END: reap_all
