//! `--sysctl`: kernel parameters that belong to a namespace.
//!
//! Most of /proc/sys is the machine's. Only what the kernel keeps for each namespace
//! may be set, and only where that namespace is the container's: everything else would
//! change the host, `kernel.core_pattern` so far that it runs a program there.

use std::fs;
use std::path::{Path, PathBuf};

use namespaces::explain::step;
use namespaces::{Context, Error, Mechanism, Result};
use oci_spec::runtime::{LinuxNamespaceType as Kind, Spec};

use super::CHAPTER_SECURITY as CHAPTER;

/// What belongs to the ipc namespace: ipc_namespaces(7).
const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// Settings of the container's own namespaces. Before the root is changed, while
/// `/proc/sys` can still be written to; the kernel shows each process the settings of
/// its own namespaces there.
pub(super) struct Sysctls(Vec<(PathBuf, String)>);

impl Sysctls {
    /// Those of a configuration.
    ///
    /// # Errors
    /// One that would change the host.
    pub fn of(spec: &Spec) -> Result<Self> {
        let linux = spec.linux().as_ref();
        let asked = linux.and_then(|linux| linux.sysctl().as_ref());
        let own = |kind| {
            let all = linux.and_then(|linux| linux.namespaces().as_ref());
            all.is_some_and(|all| all.iter().any(|namespace| namespace.typ() == kind))
        };
        let one = |(name, value): (&String, &String)| Ok((file(name, &own)?, value.clone()));
        let mut all = asked.into_iter().flatten().map(one).collect::<Result<Vec<_>>>()?;
        all.sort();
        Ok(Self(all))
    }
}

/// Refuses what [`Sysctls::of`] refuses.
pub fn check(spec: &Spec) -> Result<()> {
    Sysctls::of(spec).map(drop)
}

/// The file below /proc/sys that a parameter is, if it is the container's own.
fn file(name: &str, own: &dyn Fn(Kind) -> bool) -> Result<PathBuf> {
    let refuse = |why: &str| Error::new(format!("set the sysctl {name}: {why}"));
    let path = path(name).ok_or_else(|| refuse("this is no name of one"))?;
    let text = path.to_string_lossy();
    let needed = match &*text {
        "kernel/domainname" => Kind::Uts,
        "kernel/hostname" => return Err(refuse("use --hostname")),
        text if IPC.contains(&text) || text.starts_with("fs/mqueue/") => Kind::Ipc,
        text if text.starts_with("net/") => Kind::Network,
        text if text.starts_with("user/") => Kind::User,
        _ => {
            return Err(refuse(
                "it is not in a separate kernel namespace, and would change the host",
            ));
        }
    };
    match own(needed) {
        true => Ok(Path::new("/proc/sys").join(path)),
        false => Err(refuse(&format!("it is not allowed in the host's {needed} namespace"))),
    }
}

/// The names of sysctl.d(5): `net.ipv4.ip_forward` or `net/ipv4/ip_forward`. The
/// separator is the one that comes first; the other one stands for a dot in a name.
fn path(name: &str) -> Option<PathBuf> {
    let dots = match name.find(['.', '/']) {
        Some(first) => name.as_bytes()[first] == b'.',
        None => return None,
    };
    let parts = name.split(if dots { '.' } else { '/' }).map(|part| part.replace('/', "."));
    let parts: Vec<_> = parts.collect();
    let harmless = |part: &String| !matches!(part.as_str(), "" | "." | "..");
    parts.iter().all(harmless).then(|| parts.iter().collect())
}

impl Mechanism for Sysctls {
    fn in_child(&self) -> Result<()> {
        for (path, value) in &self.0 {
            let what = || format!("write {value} to {}", path.display());
            step(CHAPTER, what, || fs::write(path, value).doing(what))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_namespace_of_the_containers_holds_may_be_set() {
        let all = |_| true;
        let set = |name: &str| file(name, &all).ok().map(|path| path.display().to_string());
        let below = |path: &str| Some(format!("/proc/sys/{path}"));
        assert_eq!(set("net.ipv4.ip_forward"), below("net/ipv4/ip_forward"));
        assert_eq!(
            set("net/ipv4/conf/eth0.1/forwarding"),
            below("net/ipv4/conf/eth0.1/forwarding")
        );
        assert_eq!(
            set("net.ipv4.conf.eth0/1.forwarding"),
            below("net/ipv4/conf/eth0.1/forwarding")
        );
        assert_eq!(set("kernel.shmmax"), below("kernel/shmmax"));
        assert_eq!(set("fs.mqueue.msg_max"), below("fs/mqueue/msg_max"));
        for bad in [
            "kernel.core_pattern",
            "kernel.hostname",
            "vm.swappiness",
            "fs.file-max",
            "net",
            "net/../kernel/core_pattern",
            "net.//.kernel.core_pattern",
            "net..kernel",
            "/kernel/core_pattern",
            "",
        ] {
            assert_eq!(set(bad), None, "{bad}");
        }
        assert!(file("net.ipv4.ip_forward", &|_| false).is_err());
    }
}
