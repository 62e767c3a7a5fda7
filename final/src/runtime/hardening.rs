//! The last mechanism: from a process that could do all to the one that may do what
//! the container may. After it nothing is set up any more, only run.
//!
//! The order is forced by the kernel:
//!
//! ```text
//!   no_new_privs            from here on, execve gains nothing
//!   seccomp, without it     needs CAP_SYS_ADMIN, so before the capabilities go
//!   bounding set            needs CAP_SETPCAP
//!   setgroups, setresgid, setresuid   keeping the capabilities, which setresuid drops
//!   capset, ambient set
//!   seccomp, with it        as late as can be: the list need not allow the above
//! ```

use std::str::FromStr;

use caps::{CapSet, Capability, CapsHashSet};
use namespaces::explain::step;
use namespaces::{Context, Error, Mechanism, Result, User};
use nix::sys::prctl;
use oci_spec::runtime::{Capabilities, LinuxCapabilities};

use super::CHAPTER_SECURITY as CHAPTER;
use super::seccomp::Filter;

/// Who the program is, and what that may do.
pub struct Hardening {
    user: User,
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
    /// A process of this user without capabilities.
    pub fn new(user: User) -> Self {
        Self { user, capabilities: Sets::default(), no_new_privileges: false, seccomp: None }
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

// ANCHOR: in_child
impl Mechanism for Hardening {
    fn in_child(&self) -> Result<()> {
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
        self.user.in_child()?;
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
// ANCHOR_END: in_child

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
