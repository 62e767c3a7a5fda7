//! The last mechanism: from a process that could do all to the one that may do what
//! the container may. After it nothing is set up any more, only run.
//!
//! The order is forced by the kernel:
//!
//! ```text
//!   standard streams        their owner is the user, while we may still give them away
//!   no_new_privs            from here on, execve gains nothing
//!   seccomp, without it     needs CAP_SYS_ADMIN, so before the capabilities go
//!   bounding set            needs CAP_SETPCAP
//!   setgroups, setresgid, setresuid   keeping the capabilities, which setresuid drops
//!   capset, ambient set
//!   seccomp, with it        as late as can be: the list need not allow the above
//! ```

use std::os::fd::{AsFd, BorrowedFd};
use std::str::FromStr;

use caps::{CapSet, Capability, CapsHashSet};
use namespaces::explain::step;
use namespaces::{Context, Error, Mechanism, Result};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::stat::{SFlag, fstat, major, minor};
use nix::unistd::{Gid, Uid, fchown, setgroups, setresgid, setresuid};
use oci_spec::runtime::{Capabilities, LinuxCapabilities};

use super::CHAPTER_SECURITY as CHAPTER;
use super::seccomp::Filter;

/// Who the program runs as, in the container's numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// All other groups.
    pub groups: Vec<u32>,
}

/// Who the program is, and what that may do.
pub struct Hardening {
    user: Box<dyn Fn() -> Result<Identity>>,
    capabilities: Sets,
    no_new_privileges: bool,
    seccomp: Option<Filter>,
}

/// The five sets of capabilities(7).
#[derive(Debug, Default)]
struct Sets {
    bounding: CapsHashSet,
    effective: CapsHashSet,
    permitted: CapsHashSet,
    inheritable: CapsHashSet,
    ambient: CapsHashSet,
}

impl Hardening {
    /// A process of user 0 without capabilities.
    pub fn new() -> Self {
        Self {
            user: Box::new(|| Ok(Identity::default())),
            capabilities: Sets::default(),
            no_new_privileges: false,
            seccomp: None,
        }
    }

    /// Runs as the user that `look_up` names. It is asked inside of the container,
    /// whose own `/etc/passwd` counts.
    pub fn user(mut self, look_up: impl Fn() -> Result<Identity> + 'static) -> Self {
        self.user = Box::new(look_up);
        self
    }

    /// With these capabilities, as far as the engine has them itself.
    pub fn capabilities(mut self, sets: &LinuxCapabilities) -> Self {
        self.capabilities = Sets {
            bounding: translate(sets.bounding()),
            effective: translate(sets.effective()),
            permitted: translate(sets.permitted()),
            inheritable: translate(sets.inheritable()),
            ambient: translate(sets.ambient()),
        };
        self
    }

    /// No program of the container ever gains rights by execve(2), setuid bit or not.
    pub fn no_new_privileges(mut self, yes: bool) -> Self {
        self.no_new_privileges = yes;
        self
    }

    /// Only these system calls.
    pub fn seccomp(mut self, filter: Option<Filter>) -> Self {
        self.seccomp = filter;
        self
    }

    fn install_filter(&self) -> Result<()> {
        let Some(filter) = &self.seccomp else { return Ok(()) };
        let call = || format!("seccomp(SECCOMP_SET_MODE_FILTER)  {} instructions", filter.len());
        step(CHAPTER, call, || filter.install())
    }
}

impl Mechanism for Hardening {
    fn in_child(&self) -> Result<()> {
        let user = (self.user)()?;
        own_standard_streams(user.uid)?;

        // Nothing may be gained any more. Or the filter comes first, with our own rights.
        if self.no_new_privileges {
            step(
                CHAPTER,
                || "prctl(PR_SET_NO_NEW_PRIVS, 1)".into(),
                || prctl::set_no_new_privs().doing(|| "prctl(PR_SET_NO_NEW_PRIVS)"),
            )?;
        } else {
            self.install_filter()?;
        }

        // What no program of the container can ever get back.
        let bounding = &self.capabilities.bounding;
        step(
            CHAPTER,
            || format!("prctl(PR_CAPBSET_DROP)  all but {}", bounding.len()),
            || drop_bounding(bounding),
        )?;

        // Become the user, without losing by that what is kept below.
        prctl::set_keepcaps(true).doing(|| "prctl(PR_SET_KEEPCAPS)")?;
        step(
            CHAPTER,
            || format!("setresgid({0}), setresuid({1})", user.gid, user.uid),
            || become_user(&user),
        )?;
        prctl::set_keepcaps(false).doing(|| "prctl(PR_SET_KEEPCAPS)")?;

        // What this process itself may do.
        let held = self.capabilities.permitted.len();
        step(CHAPTER, || format!("capset()  {held} capabilities"), || self.capabilities.apply())?;

        if self.no_new_privileges {
            self.install_filter()?;
        }
        Ok(())
    }
}

/// A pipe or a terminal belongs to whoever made it: us. The user must be able to
/// open `/dev/stdout` again.
fn own_standard_streams(uid: u32) -> Result<()> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for fd in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
        if !is_ours_alone(fd, uid) {
            continue;
        }
        match fchown(fd, Some(Uid::from_raw(uid)), None) {
            // It is not ours to give, or the user does not exist in our user namespace.
            Ok(()) | Err(Errno::EPERM | Errno::EINVAL | Errno::EROFS) => {}
            Err(errno) => return Err(Error::os("give the standard streams to the user", errno)),
        }
    }
    Ok(())
}

/// A pipe or a terminal that the user does not own yet. Not `/dev/null`, which is
/// everybody's, nor a file of the caller's.
fn is_ours_alone(fd: BorrowedFd, uid: u32) -> bool {
    let Ok(stat) = fstat(fd) else { return false };
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    let null = (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3);
    stat.st_uid != uid && (kind == SFlag::S_IFIFO || kind == SFlag::S_IFCHR && !null)
}

fn drop_bounding(keep: &CapsHashSet) -> Result<()> {
    for capability in caps::all().difference(keep) {
        // A capability that this kernel does not know is not there to be dropped.
        if caps::has_cap(None, CapSet::Bounding, *capability).unwrap_or(false) {
            caps::drop(None, CapSet::Bounding, *capability)
                .map_err(|error| Error::new(format!("drop {capability}: {error}")))?;
        }
    }
    Ok(())
}

fn become_user(user: &Identity) -> Result<()> {
    let groups: Vec<_> = user.groups.iter().copied().map(Gid::from_raw).collect();
    match setgroups(&groups) {
        // A user namespace with a single id has no other groups, and may not drop any.
        Err(Errno::EPERM) if groups.is_empty() => {}
        done => done.doing(|| "set the user's groups")?,
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    setresgid(gid, gid, gid).map_err(|errno| unmapped("group", user.gid, errno))?;
    setresuid(uid, uid, uid).map_err(|errno| unmapped("user", user.uid, errno))
}

fn unmapped(what: &str, id: u32, errno: Errno) -> Error {
    let error = Error::os(format!("become {what} {id}"), errno);
    match errno {
        Errno::EINVAL => error.hint(format!("the container's user namespace has no {what} {id}")),
        _ => error,
    }
}

impl Sets {
    /// Effective first: it must stay within permitted. Ambient last: it must be
    /// permitted and inheritable.
    fn apply(&self) -> Result<()> {
        let ours = caps::read(None, CapSet::Permitted).map_err(refused)?;
        let have = |set: &CapsHashSet| set.intersection(&ours).copied().collect::<CapsHashSet>();
        caps::set(None, CapSet::Effective, &have(&self.effective)).map_err(refused)?;
        caps::set(None, CapSet::Inheritable, &have(&self.inheritable)).map_err(refused)?;
        caps::set(None, CapSet::Permitted, &have(&self.permitted)).map_err(refused)?;
        for capability in have(&self.ambient) {
            caps::raise(None, CapSet::Ambient, capability).map_err(refused)?;
        }
        Ok(())
    }
}

fn refused(error: caps::errors::CapsError) -> Error {
    Error::new(format!("set the capabilities: {error}"))
}

/// From the names of one crate to those of the other; both have the kernel's.
fn translate(set: &Option<Capabilities>) -> CapsHashSet {
    let set = set.iter().flatten();
    set.filter_map(|capability| Capability::from_str(&format!("CAP_{capability}")).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_of_the_spec_is_one_of_the_kernel() {
        let names = caps::all().into_iter().map(|capability| capability.to_string());
        let json = serde_json::to_string(&names.collect::<Vec<_>>()).unwrap();
        let set: Capabilities = serde_json::from_str(&json).unwrap();
        assert_eq!(translate(&Some(set)), caps::all());
    }
}
