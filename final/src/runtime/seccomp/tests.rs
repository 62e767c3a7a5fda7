//! The compiled program, run in a small BPF machine, against the list itself, read
//! rule by rule.

use oci_spec::runtime::{
    Capability, LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator as Op, LinuxSyscall,
};

use super::arch::{Arch, X32_BIT};
use super::{Filter, bpf, docker_default, syscalls};

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;

/// `struct seccomp_data`.
#[derive(Debug, Clone, Copy)]
struct Call {
    number: u32,
    arch: u32,
    args: [u64; 6],
}

impl Call {
    fn new(arch: Arch, name: &str, args: &[u64]) -> Self {
        let number = arch.number(name).unwrap_or_else(|| panic!("no {name} on {arch:?}"));
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        Self { number, arch: arch.audit(), args: all }
    }

    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.arch,
            _ => {
                let arg = self.args[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { arg as u32 } else { (arg >> 32) as u32 }
            }
        }
    }
}

/// The BPF machine, as far as a filter uses it.
fn run(program: &[bpf::Instruction], call: &Call) -> u32 {
    let (mut at, mut a) = (0, 0);
    loop {
        let i = program[at];
        at += 1;
        let jump = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
        match i.code {
            0x20 => a = call.word(i.k),
            0x54 => a &= i.k,
            0x05 => at += i.k as usize,
            0x15 => at += jump(a == i.k),
            0x25 => at += jump(a > i.k),
            0x35 => at += jump(a >= i.k),
            0x06 => return i.k,
            code => panic!("no such instruction: {code:#x}"),
        }
    }
}

/// What the list says of a call, found by reading it from top to bottom.
fn naive(list: &LinuxSeccomp, arch: Arch, name: &str, args: &[u64; 6]) -> u32 {
    let rules: Vec<_> = list
        .syscalls()
        .iter()
        .flatten()
        .filter(|rule| rule.names().iter().any(|named| named == name))
        .collect();
    if rules.is_empty() {
        let newest =
            all_names(list).filter_map(|name| arch.number(name)).filter(|nr| nr & 0xf_0000 == 0);
        let unknown = newest.max() < arch.number(name) && arch != Arch::Arm;
        return ERRNO | if unknown { libc::ENOSYS as u32 } else { libc::EPERM as u32 };
    }
    let answer = |rule: &LinuxSyscall| rule.action().as_u32(rule.errno_ret());
    let holding =
        rules.iter().find(|rule| rule.args().iter().flatten().all(|arg| holds(arg, args)));
    holding.map_or(ERRNO | libc::EPERM as u32, |rule| answer(rule))
}

fn all_names(list: &LinuxSeccomp) -> impl Iterator<Item = &String> {
    list.syscalls().iter().flatten().flat_map(|rule| rule.names())
}

fn holds(arg: &LinuxSeccompArg, args: &[u64; 6]) -> bool {
    let (is, value) = (args[arg.index()], arg.value());
    match arg.op() {
        Op::ScmpCmpEq => is == value,
        Op::ScmpCmpNe => is != value,
        Op::ScmpCmpLt => is < value,
        Op::ScmpCmpLe => is <= value,
        Op::ScmpCmpGe => is >= value,
        Op::ScmpCmpGt => is > value,
        Op::ScmpCmpMaskedEq => is & value == arg.value_two().unwrap_or(0),
    }
}

fn capabilities(all: &[Capability]) -> oci_spec::runtime::Capabilities {
    all.iter().copied().collect()
}

const FIRST_ARGUMENTS: [u64; 12] =
    [0, 1, 8, 37, 38, 39, 40, 41, 0x1000_0000, 0x2_0008, 0xffff_ffff, 0x1_0000_0000];

#[test]
fn the_program_says_what_the_list_says_for_every_call() {
    use Capability::*;
    for caps in [&[][..], &[SysAdmin], &[SysAdmin, Bpf, SysPtrace, SysNice], &[Perfmon, Syslog]] {
        let list = docker_default(&capabilities(caps));
        let filter = Filter::compile(&list).unwrap();
        for arch in super::rules::architectures(&list) {
            let names = syscalls::SYSCALLS.iter().map(|(name, _)| *name);
            for name in names.filter(|name| arch.number(name).is_some()) {
                for first in FIRST_ARGUMENTS {
                    let call = Call::new(arch, name, &[first]);
                    let expected = naive(&list, arch, name, &call.args);
                    assert_eq!(run(&filter.0, &call), expected, "{arch:?} {name}({first:#x})");
                }
            }
        }
    }
}

#[test]
fn a_call_younger_than_the_list_does_not_exist() {
    let filter = Filter::compile(&docker_default(&capabilities(&[]))).unwrap();
    for number in [500, 1000, X32_BIT - 1] {
        let call = Call { number, arch: Arch::NATIVE.audit(), args: [0; 6] };
        assert_eq!(run(&filter.0, &call), ERRNO | libc::ENOSYS as u32, "{number}");
    }
}

#[test]
fn a_foreign_architecture_is_killed() {
    let filter = Filter::compile(&docker_default(&capabilities(&[]))).unwrap();
    let call = Call { number: 0, arch: 0x8000_0016, args: [0; 6] };
    assert_eq!(run(&filter.0, &call), 0x8000_0000);
}

#[test]
fn every_comparison_holds_on_both_halves_of_an_argument() {
    use Op::*;
    let ops = [ScmpCmpEq, ScmpCmpNe, ScmpCmpLt, ScmpCmpLe, ScmpCmpGe, ScmpCmpGt, ScmpCmpMaskedEq];
    let values = [0, 1, 5, 0xffff_ffff, 1 << 32, (1 << 32) + 5, (7 << 32) + 1, u64::MAX];
    for op in ops {
        for value in values {
            for is in values {
                let json = serde_json::json!({
                    "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
                    "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW",
                        "args": [{"index": 3, "op": op, "value": value, "valueTwo": 5}]}],
                });
                let list: LinuxSeccomp = serde_json::from_value(json).unwrap();
                let filter = Filter::compile(&list).unwrap();
                let call = Call::new(Arch::NATIVE, "read", &[9, 9, 9, is]);
                let arg = list.syscalls().as_ref().unwrap()[0].args().as_ref().unwrap()[0];
                let expected = if holds(&arg, &call.args) { ALLOW } else { ERRNO | 1 };
                assert_eq!(run(&filter.0, &call), expected, "{is:#x} {op:?} {value:#x}");
            }
        }
    }
}

#[test]
fn the_default_list_is_short_enough_to_be_quick() {
    let filter = Filter::compile(&docker_default(&capabilities(&[]))).unwrap();
    assert!(filter.len() < 900, "{} instructions", filter.len());
    let start = std::time::Instant::now();
    Filter::compile(&docker_default(&capabilities(&[]))).unwrap();
    println!("{} instructions in {:?}", filter.len(), start.elapsed());
}

#[test]
fn the_table_of_numbers_is_sorted_and_agrees_with_the_c_library() {
    assert!(syscalls::SYSCALLS.is_sorted_by(|a, b| a.0 < b.0));
    for (name, number) in [
        ("read", libc::SYS_read),
        ("clone3", libc::SYS_clone3),
        ("openat2", libc::SYS_openat2),
        ("seccomp", libc::SYS_seccomp),
        ("pidfd_open", libc::SYS_pidfd_open),
        ("mount_setattr", libc::SYS_mount_setattr),
    ] {
        assert_eq!(Arch::NATIVE.number(name).map(i64::from), Some(number), "{name}");
    }
}
