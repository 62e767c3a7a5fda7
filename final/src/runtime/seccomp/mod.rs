//! seccomp(2): which system calls the container may make at all.
//!
//! [`docker_default`] is Docker's list, as data; [`Filter::compile`] takes any OCI
//! `linux.seccomp` object and makes a BPF program of it:
//!
//! ```text
//!   list ──rules──▶ verdict per stretch of numbers ──bpf──▶ program ──▶ kernel
//! ```
//!
//! The crate `seccompiler` would be the usual choice. It knows one architecture per
//! filter and no `ENOSYS` for what is younger than the list, and compiles to a row
//! of comparisons; what it would save is the hundred lines of [`bpf`].

mod arch;
mod bpf;
mod default;
mod rules;
mod syscalls;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::rc::Rc;

use namespaces::{Context, Result};
use oci_spec::runtime::LinuxSeccomp;

use self::arch::Arch;
pub use self::default::docker_default;
use super::spec::DEFAULT_CAPABILITIES;
use super::sys;

/// A compiled list. A clone shares the program.
#[derive(Debug, Clone)]
pub struct Filter(Rc<[bpf::Instruction]>);

impl Filter {
    /// Compiles a list. Calls that no architecture of this kernel knows are passed
    /// over, as in every runtime: a list is written for more kernels than this one.
    ///
    /// # Errors
    /// An argument that does not exist, or an action that needs an agent.
    pub fn compile(list: &LinuxSeccomp) -> Result<Self> {
        if let Some((_, filter)) = AHEAD.take().filter(|(known, _)| known == list) {
            return Ok(filter);
        }
        let archs = rules::architectures(list);
        let sections = archs
            .chunk_by(|one, other| one.audit() == other.audit())
            .map(|same| Ok((same[0].audit(), rules::stretches(list, same)?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self(bpf::program(&sections, rules::KILL_PROCESS).into()))
    }

    /// Installs the filter in this process, for good. Needs `CAP_SYS_ADMIN` or
    /// `no_new_privs`.
    ///
    /// # Errors
    /// What seccomp(2) answers.
    pub fn install(&self) -> Result<()> {
        sys::seccomp(&self.0).doing(|| "seccomp(SECCOMP_SET_MODE_FILTER)")
    }

    /// How many instructions the program has.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

thread_local! {
    /// A list that was compiled before it was asked for.
    static AHEAD: Cell<Option<(LinuxSeccomp, Filter)>> = const { Cell::new(None) };
}

/// Compiles the list that nearly every container has, for a process that has nothing else
/// to do yet: [`Filter::compile`] finds it then.
pub fn compile_ahead() {
    let list = docker_default(&DEFAULT_CAPABILITIES.into_iter().collect());
    if let Ok(filter) = Filter::compile(&list) {
        AHEAD.set(Some((list, filter)));
    }
}

/// The OCI names of the architectures that a container of this machine may use.
fn native_family() -> Vec<oci_spec::runtime::Arch> {
    use oci_spec::runtime::Arch as Oci;
    match Arch::NATIVE {
        Arch::Aarch64 | Arch::Arm => vec![Oci::ScmpArchAarch64, Oci::ScmpArchArm],
        _ => vec![Oci::ScmpArchX86_64, Oci::ScmpArchX86, Oci::ScmpArchX32],
    }
}
