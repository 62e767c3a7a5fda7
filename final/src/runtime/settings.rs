//! Small mechanisms that have no lesson: what the kernel is told about the process
//! and its namespaces by writing numbers somewhere.

use std::fs;
use std::path::PathBuf;

use namespaces::explain::step;
use namespaces::{Context, Error, Mechanism, Result};
use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use oci_spec::runtime::{PosixRlimit, PosixRlimitType as Kind};

use super::CHAPTER_SECURITY as CHAPTER;

/// `--sysctl`: settings of the container's own namespaces. Before the root is
/// changed, while `/proc/sys` can still be written to; the kernel shows each process
/// the settings of its own namespaces there.
pub(super) struct Sysctls(pub Vec<(String, String)>);

impl Mechanism for Sysctls {
    fn in_child(&self) -> Result<()> {
        for (name, value) in &self.0 {
            let path = PathBuf::from("/proc/sys").join(name.replace('.', "/"));
            let what = || format!("write {value} to {}", path.display());
            step(CHAPTER, what, || fs::write(&path, value).doing(|| format!("set sysctl {name}")))?;
        }
        Ok(())
    }
}

/// The working directory, made if the image does not have it.
pub(super) struct WorkingDirectory(pub PathBuf);

impl Mechanism for WorkingDirectory {
    fn in_child(&self) -> Result<()> {
        match self.0.is_dir() {
            true => Ok(()),
            false => fs::create_dir_all(&self.0)
                .doing(|| format!("create the working directory {}", self.0.display())),
        }
    }
}

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
        if let Some(score) = self.oom_score_adj {
            let path = "/proc/self/oom_score_adj";
            let what = || format!("write {score} to {path}");
            step(CHAPTER, what, || fs::write(path, score.to_string()).doing(what))?;
        }
        Ok(())
    }
}

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
