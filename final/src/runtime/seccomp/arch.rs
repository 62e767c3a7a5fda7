//! Architectures: a 64-bit kernel also serves programs of its older siblings, each
//! with system call numbers of its own.

use oci_spec::runtime::Arch as OciArch;

use super::syscalls;

/// The bit that marks a call of the x32 ABI, which shares x86_64's `arch` word.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// Calls that x32 numbers on its own, from 512 on; all others are x86_64's.
const X32_OWN: [&str; 36] = [
    "rt_sigaction",
    "rt_sigreturn",
    "ioctl",
    "readv",
    "writev",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "execve",
    "ptrace",
    "rt_sigpending",
    "rt_sigtimedwait",
    "rt_sigqueueinfo",
    "sigaltstack",
    "timer_create",
    "mq_notify",
    "kexec_load",
    "waitid",
    "set_robust_list",
    "get_robust_list",
    "vmsplice",
    "move_pages",
    "preadv",
    "pwritev",
    "rt_tgsigqueueinfo",
    "recvmmsg",
    "sendmmsg",
    "process_vm_readv",
    "process_vm_writev",
    "setsockopt",
    "getsockopt",
    "io_setup",
    "io_submit",
    "execveat",
    "preadv2",
    "pwritev2",
];

/// A set of system call numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit x86 with 32-bit pointers; told apart by [`X32_BIT`] in the number.
    X32,
    /// 32-bit x86.
    X86,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM.
    Arm,
}

impl Arch {
    /// That of this program, and so of the kernel.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Arch = Arch::X86_64;
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Arch = Arch::Aarch64;

    /// The OCI name's architecture; `None` for one that this kernel cannot run.
    pub fn from_oci(arch: OciArch) -> Option<Self> {
        let arch = match arch {
            OciArch::ScmpArchNative => Arch::NATIVE,
            OciArch::ScmpArchX86_64 => Arch::X86_64,
            OciArch::ScmpArchX32 => Arch::X32,
            OciArch::ScmpArchX86 => Arch::X86,
            OciArch::ScmpArchAarch64 => Arch::Aarch64,
            OciArch::ScmpArchArm => Arch::Arm,
            _ => return None,
        };
        let family = |arch| matches!(arch, Arch::Aarch64 | Arch::Arm);
        (family(arch) == family(Arch::NATIVE)).then_some(arch)
    }

    /// `AUDIT_ARCH_*`: what the kernel puts into `seccomp_data.arch`.
    pub fn audit(self) -> u32 {
        match self {
            Arch::X86_64 | Arch::X32 => 0xc000_003e,
            Arch::X86 => 0x4000_0003,
            Arch::Aarch64 => 0xc000_00b7,
            Arch::Arm => 0x4000_0028,
        }
    }

    /// The column of the table of numbers.
    pub(super) fn column(self) -> usize {
        match self {
            Arch::X86_64 | Arch::X32 => 0,
            Arch::X86 => 1,
            Arch::Aarch64 => 2,
            Arch::Arm => 3,
        }
    }

    /// The number of a system call, as `seccomp_data.nr` has it.
    pub fn number(self, name: &str) -> Option<u32> {
        if self != Arch::X32 {
            return syscalls::number(name, self);
        }
        let own = X32_OWN.iter().position(|own| *own == name).map(|place| 512 + place as u32);
        own.or_else(|| syscalls::number(name, self)).map(|number| number | X32_BIT)
    }
}
