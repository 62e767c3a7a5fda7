//! Being root for a moment: work done inside a user namespace of one's own.
//!
//! An ordinary user cannot give a file to another user, nor delete what a
//! container's users own. Inside a user namespace with the [standard
//! map](IdMaps::standard) the same user can: the files of all mapped ids are theirs.

use std::io::Write;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Gid, Uid, geteuid, getppid, setresgid, setresuid};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::channel::{self, ChildEnd, Message, ParentEnd};
use crate::container::{record_to, refuse_threads, without_unwinding};
use crate::error::{Context, Error, Result};
use crate::explain::step;
use crate::flags;
use crate::id_map::IdMaps;
use crate::namespaces::make_mounts_private;
use crate::sys::{self, Cloned};
use crate::user::set_groups;

const CHAPTER: u8 = 1;

/// True if the caller has no rights over other users' files without a user namespace.
pub fn needed() -> bool {
    !geteuid().is_root()
}

/// Does `work` in a child, as root of a new user namespace (the standard map) and
/// a new mount namespace, and hands back what it answers.
///
/// The child is a copy of this process: `work` sees all that it captures, and
/// what it changes in memory is lost. It may start threads.
///
/// # Errors
/// Those of `work`. A panic and a violent end of the child are errors too.
/// Refused in a process with more than one thread.
pub fn run_in<T>(work: impl FnOnce() -> Result<T>) -> Result<T>
where
    T: Serialize + DeserializeOwned,
{
    refuse_threads()?;
    sys::expect_children();
    // What is buffered here must not be written twice.
    let _ = std::io::stdout().flush();
    let maps = IdMaps::standard();
    let (mut parent_end, child_end) = channel::pair()?;
    let flags = (libc::CLONE_NEWUSER | libc::CLONE_NEWNS) as u64;
    let call = || format!("clone3({})", flags::names(flags));
    let cloned = step(CHAPTER, call, || {
        let refused = |errno| flags::explain_refusal(Error::os(call(), errno), flags);
        sys::clone3(flags, None, false).map_err(refused)
    });
    match cloned? {
        Cloned::Child => {
            drop(parent_end);
            in_new_process(work, child_end)
        }
        Cloned::Parent(pid, _) => {
            drop(child_end);
            let answer = maps.write(pid).and_then(|()| listen(&mut parent_end));
            // After an error the child sees the end of the socket, and goes.
            drop(parent_end);
            let status = waitpid(pid, None).doing(|| format!("waitpid({pid})"))?;
            match answer? {
                Some(value) => serde_json::from_value(value)
                    .map_err(|error| Error::new(format!("read the child's answer: {error}"))),
                None => Err(silent_end(status)),
            }
        }
    }
}

/// Lets the child go, and hears its answer; `None` if it never gave one.
fn listen(channel: &mut ParentEnd) -> Result<Option<serde_json::Value>> {
    channel.go()?;
    match channel.hear()? {
        Some(Message::Done(value)) => Ok(Some(value)),
        Some(Message::Error(error)) => Err(error),
        _ => Ok(None),
    }
}

fn silent_end(status: WaitStatus) -> Error {
    let how = match status {
        WaitStatus::Signaled(_, signal, _) => format!("it was killed by {signal}"),
        WaitStatus::Exited(_, code) => format!("it ended with code {code}"),
        other => format!("{other:?}"),
    };
    Error::new(format!("work in a user namespace: the child gave no answer: {how}"))
}

fn in_new_process<T: Serialize>(work: impl FnOnce() -> Result<T>, channel: ChildEnd) -> ! {
    let result = without_unwinding("work in a user namespace", || {
        record_to(&channel)?;
        prepare(&channel)?;
        work()
    });
    let message = result.and_then(|value| {
        let value = serde_json::to_value(value);
        value.map_err(|error| Error::new(format!("tell the child's answer: {error}")))
    });
    channel.say(&message.map_or_else(Message::Error, Message::Done));
    let _ = std::io::stdout().flush();
    sys::exit_now(0)
}

fn prepare(channel: &ChildEnd) -> Result<()> {
    let parent = getppid();
    channel.wait_for_go()?;
    become_root()?;
    prctl::set_pdeathsig(Signal::SIGKILL).doing(|| "prctl(PR_SET_PDEATHSIG)")?;
    if getppid() != parent {
        return Err(Error::new("work in a user namespace: the parent is gone"));
    }
    make_mounts_private()
}

// ANCHOR: become_root
/// In a new user namespace with its maps written: become the root that they name.
/// Until then the process is whoever it was, seen from inside: perhaps nobody.
pub(crate) fn become_root() -> Result<()> {
    step(CHAPTER, || "setgroups([])".into(), || set_groups(&[]))?;
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    step(
        CHAPTER,
        || "setresgid(0), setresuid(0)".into(),
        || {
            setresgid(gid, gid, gid).doing(|| "become group 0 of the user namespace")?;
            setresuid(uid, uid, uid).doing(|| "become user 0 of the user namespace")
        },
    )
}
// ANCHOR_END: become_root
