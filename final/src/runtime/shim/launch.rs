//! The engine's side of a shim's birth.

use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use namespaces::{Context, Error, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::client::Shim;
use super::protocol::Answer;
use crate::runtime::sys;
use crate::store::ContainerDir;

/// This program, wherever it is.
const OURSELVES: &str = "/proc/self/exe";

/// What the shim may need of the environment: for pasta and newuidmap.
const INHERITED: [&str; 4] = ["PATH", "HOME", "USER", "XDG_RUNTIME_DIR"];

/// Shims that were launched and not yet reaped.
static CHILDREN: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Starts the shim of a container, whose folder holds config.json and shim.json, and
/// waits until the container is at the brink of exec.
///
/// # Errors
/// Why it could not be made; then nothing of it is left but the folder.
pub fn launch(dir: &ContainerDir) -> Result<Shim> {
    reap();
    let (program, open) = program();
    let mut command = Command::new(program);
    command.arg0("coracle").arg(super::COMMAND).arg(dir.path());
    command.env_clear().envs(
        std::env::vars_os().filter(|(name, _)| INHERITED.iter().any(|inherited| name == inherited)),
    );
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().doing(|| "start the shim")?;
    // The shim has it too, and keeps it: whoever closes it last waits for the kernel
    // to unmount it, and that need not be us.
    drop(open);
    let answer = hear(&mut child);
    CHILDREN.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(child);
    match answer? {
        Answer::Error(error) => Err(error),
        _ => Shim::connect(dir),
    }
}

/// Takes note of shims that have ended, for an engine that lives long.
pub fn reap() {
    let mut children = CHILDREN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

/// The one line that a shim says on its standard output. Not up to the end of the
/// file: the container's first process holds the other end too, until it execs.
fn hear(child: &mut Child) -> Result<Answer> {
    let mut line = String::new();
    let status = child.stdout.take().expect("standard output is piped");
    BufReader::new(status).read_line(&mut line).doing(|| "listen to the shim")?;
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
