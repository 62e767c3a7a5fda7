//! Small mechanisms that have no lesson: what the kernel is told about the process
//! and its namespaces by writing numbers somewhere.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use namespaces::explain::step;
use namespaces::{Context, Error, Mechanism, Result};
use nix::errno::Errno;
use nix::fcntl::{self, OFlag, OpenHow, ResolveFlag};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use oci_spec::runtime::{PosixRlimit, PosixRlimitType as Kind};

use super::CHAPTER_SECURITY as CHAPTER;

/// rlimits and the inclination of the kernel to choose this process when memory is out.
pub(super) struct ProcessLimits {
    pub rlimits: Vec<PosixRlimit>,
    pub oom_score_adj: Option<i32>,
}

impl Mechanism for ProcessLimits {
    fn in_child(&self) -> Result<()> {
        for limit in &self.rlimits {
            let (kind, soft, hard) = (limit.typ(), limit.soft(), limit.hard());
            step(
                CHAPTER,
                || format!("setrlimit({kind}, {soft}, {hard})"),
                || set(limit).doing(|| format!("set {kind} to {soft}:{hard}")).map_err(explain),
            )?;
        }
        match self.oom_score_adj {
            Some(score) if !is_inherited(score) => {
                let what = || format!("write {score} to /proc/{OOM_SCORE}");
                step(CHAPTER, what, || write_proc(OOM_SCORE, &score.to_string()).doing(what))
            }
            _ => Ok(()),
        }
    }
}

/// Where a process says how readily it may be killed when memory is out.
const OOM_SCORE: &str = "self/oom_score_adj";

/// Whether it is so already. An exec of an ordinary user must not ask for more: it is not
/// dumpable, so its files in /proc are root's: it can read them, and not write.
fn is_inherited(score: i32) -> bool {
    let mut text = String::new();
    let file = open_proc(OOM_SCORE, OFlag::O_RDONLY).map(File::from);
    file.is_ok_and(|mut file| file.read_to_string(&mut text).is_ok())
        && text.trim() == score.to_string()
}

// ANCHOR: write_proc
/// Writes to a file of /proc, which is the container's own by now. What looks like it
/// could be a mount or a link that somebody else has put there, and lead to a file that
/// does something else with the text (CVE-2025-52881): it is only /proc if the kernel
/// says so, and no mount and no link out of it lies on the way.
fn write_proc(file: &str, text: &str) -> nix::Result<()> {
    let file = open_proc(file, OFlag::O_WRONLY)?;
    nix::unistd::write(&file, text.as_bytes()).map(drop)
}

fn open_proc(file: &str, access: OFlag) -> nix::Result<OwnedFd> {
    const ROOT: u64 = 1;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let proc = fcntl::open("/proc", flags, Mode::empty())?;
    let kind = fstatfs(&proc)?.filesystem_type();
    if kind != PROC_SUPER_MAGIC || fstat(&proc)?.st_ino != ROOT {
        return Err(Errno::EXDEV);
    }
    let inside = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_XDEV
        | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(access | OFlag::O_CLOEXEC).resolve(inside);
    fcntl::openat2(&proc, file, how)
}
// ANCHOR_END: write_proc

fn set(limit: &PosixRlimit) -> nix::Result<()> {
    setrlimit(resource(limit.typ()), limit.soft(), limit.hard())
}

fn explain(error: Error) -> Error {
    match error.is(Errno::EPERM) {
        true => error.hint("to raise a hard limit, the engine itself needs CAP_SYS_RESOURCE"),
        false => error,
    }
}

fn resource(kind: Kind) -> Resource {
    match kind {
        Kind::RlimitCpu => Resource::RLIMIT_CPU,
        Kind::RlimitFsize => Resource::RLIMIT_FSIZE,
        Kind::RlimitData => Resource::RLIMIT_DATA,
        Kind::RlimitStack => Resource::RLIMIT_STACK,
        Kind::RlimitCore => Resource::RLIMIT_CORE,
        Kind::RlimitRss => Resource::RLIMIT_RSS,
        Kind::RlimitNproc => Resource::RLIMIT_NPROC,
        Kind::RlimitNofile => Resource::RLIMIT_NOFILE,
        Kind::RlimitMemlock => Resource::RLIMIT_MEMLOCK,
        Kind::RlimitAs => Resource::RLIMIT_AS,
        Kind::RlimitLocks => Resource::RLIMIT_LOCKS,
        Kind::RlimitSigpending => Resource::RLIMIT_SIGPENDING,
        Kind::RlimitMsgqueue => Resource::RLIMIT_MSGQUEUE,
        Kind::RlimitNice => Resource::RLIMIT_NICE,
        Kind::RlimitRtprio => Resource::RLIMIT_RTPRIO,
        Kind::RlimitRttime => Resource::RLIMIT_RTTIME,
    }
}
