//! The engine's side of a shim's birth.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use namespaces::{Context, Error, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::client::Shim;
use super::protocol::{Answer, Request};
use crate::runtime::sys;
use crate::store::ContainerDir;

/// This program, wherever it is.
const OURSELVES: &str = "/proc/self/exe";

/// What the shim may need of the environment: for pasta and newuidmap.
const INHERITED: [&str; 4] = ["PATH", "HOME", "USER", "XDG_RUNTIME_DIR"];

/// Shims that were launched and not yet reaped.
static CHILDREN: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// How many requests a shim can be born with.
pub const MOST_REQUESTS: usize = 64;

/// How far a new shim goes before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// To the brink of exec.
    Created,
    /// Until the program runs.
    Started,
}

/// Starts the shim of a container, whose folder holds config.json and shim.json, and
/// waits until it is created, or runs. Each of `requests` has a connection of its own,
/// which is what comes back: the shim has answered it before the program could write
/// anything, and the answer is still to be heard.
///
/// All this could be asked for afterwards too, over the shim's socket. But every request
/// is one more connection then, and wakes two processes up.
///
/// # Errors
/// Why it could not be made; then nothing of it is left but the folder. Why the program
/// could not be started; then the container is over. More requests than
/// [`MOST_REQUESTS`].
pub fn launch(dir: &ContainerDir, until: Until, requests: &[Request]) -> Result<Vec<Shim>> {
    reap();
    let (ours, theirs) = connections(dir, requests)?;
    let ahead = lock(&AHEAD).take();
    let Called { child, control } = match ahead {
        Some(called) => called,
        None => Called::call(dir.path())?,
    };
    // A shim that has died already is heard of as one that says nothing.
    let _ = sys::send_fds(control.as_fd(), &until.message(dir.path()), &theirs);
    drop(theirs);
    let answer = hear(control);
    lock(&CHILDREN).push(child);
    match answer? {
        Answer::Error(error) => Err(error),
        _ => Ok(ours),
    }
}

/// A shim that runs, and is to be told what for.
struct Called {
    child: Child,
    control: UnixStream,
}

/// One that was called ahead.
static AHEAD: Mutex<Option<Called>> = Mutex::new(None);

/// Calls the shim of a container that will be made below this folder: while the
/// container is written down, the shim comes to life on another processor, and
/// [`launch`] finds it there. Not being needed, it goes with the [`Ahead`].
pub fn call_ahead(containers: &Path) -> Ahead {
    // What goes wrong here, goes wrong again where it is told.
    if let Ok(called) = Called::call(&unknown(containers)) {
        *lock(&AHEAD) = Some(called);
    }
    Ahead(())
}

/// As long as this is there, a shim may be waiting that was called ahead.
pub struct Ahead(());

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Some(Called { mut child, control }) = lock(&AHEAD).take() {
            drop(control);
            let _ = child.wait();
        }
    }
}

/// The folder of a container that has no id yet, as long as it will be: the shim puts
/// the real one in its place, for everyone who looks at its command line.
fn unknown(containers: &Path) -> PathBuf {
    containers.join("-".repeat(ID_LENGTH))
}

/// Whether this is such a folder.
pub(super) fn is_unknown(dir: &Path) -> bool {
    dir.parent().is_some_and(|containers| unknown(containers) == dir)
}

/// How long a container's id is.
const ID_LENGTH: usize = 64;

impl Called {
    fn call(dir: &Path) -> Result<Self> {
        let (control, its_end) = UnixStream::pair().doing(|| "create a socket pair to the shim")?;
        // The shim has the program open too, and keeps it: whoever closes it last waits for
        // the kernel to unmount it, and that need not be us.
        let (program, _open) = program();
        let mut command = Command::new(program);
        command.arg0("coracle").arg(super::COMMAND).arg(dir);
        let is_inherited = |name: &OsStr| INHERITED.iter().any(|inherited| name == *inherited);
        let inherited = std::env::vars_os().filter(|(name, _)| is_inherited(name));
        command.env_clear().envs(inherited);
        command.stdin(OwnedFd::from(its_end)).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { child: command.spawn().doing(|| "start the shim")?, control })
    }
}

/// A connection for each request, which is on its way already: our ends, and the shim's.
fn connections(dir: &ContainerDir, requests: &[Request]) -> Result<(Vec<Shim>, Vec<OwnedFd>)> {
    if requests.len() > MOST_REQUESTS {
        return Err(Error::new(format!("start the shim with {} requests", requests.len()))
            .hint(format!("it can be born with {MOST_REQUESTS}")));
    }
    let connection = |request: &Request| {
        let (ours, theirs) = UnixStream::pair().doing(|| "create a socket pair to the shim")?;
        let mut shim = Shim::over(dir, ours);
        shim.ask(request)?;
        Ok((shim, theirs.into()))
    };
    requests.iter().map(connection).collect()
}

impl Until {
    /// What a shim is told: how far to go, and which container is its.
    fn message(self, dir: &Path) -> Vec<u8> {
        let word = match self {
            Self::Created => b'c',
            Self::Started => b's',
        };
        [&[word], dir.as_os_str().as_bytes()].concat()
    }

    /// What this message says; nothing, if nobody says it.
    pub(super) fn understand(message: &[u8]) -> Option<(Self, &Path)> {
        let (word, dir) = message.split_first()?;
        let until = match word {
            b'c' => Self::Created,
            b's' => Self::Started,
            _ => return None,
        };
        Some((until, Path::new(OsStr::from_bytes(dir))))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes note of shims that have ended, for an engine that lives long.
pub fn reap() {
    lock(&CHILDREN).retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

/// The one line that a new shim says. Not up to the end of the file: the container's
/// first process holds the other end too, until it execs.
fn hear(control: UnixStream) -> Result<Answer> {
    let mut line = String::new();
    BufReader::new(control).read_line(&mut line).doing(|| "listen to the shim")?;
    serde_json::from_str(&line).map_err(|_| Error::new("start the shim: it died without a word"))
}

// ANCHOR: program
/// Our own program, in a way that nobody can write through. A container's process
/// can reach the file of the program that it was before its execve, by
/// `/proc/PID/exe`, and root in a container could write to it (CVE-2019-5736).
/// Root of the machine starts the shim from a mount of its own that is read-only; an
/// ordinary user's container is that user, who cannot write to what root installed.
fn program() -> (PathBuf, Option<OwnedFd>) {
    let path = CString::new(OURSELVES).expect("there is no zero in it");
    match sys::read_only_clone(&path).ok().and_then(open_inside) {
        Some(fd) if keep_through_exec(&fd).is_ok() => {
            (format!("/proc/self/fd/{}", fd.as_raw_fd()).into(), Some(fd))
        }
        _ => (OURSELVES.into(), None),
    }
}
// ANCHOR_END: program

fn keep_through_exec(fd: &OwnedFd) -> nix::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).map(drop)
}

/// A clone is only of use where it can be opened.
fn open_inside(tree: OwnedFd) -> Option<OwnedFd> {
    File::open(format!("/proc/self/fd/{}", tree.as_raw_fd())).ok().map(|_| tree)
}
