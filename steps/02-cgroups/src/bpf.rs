//! The device rules as a program for the kernel, by an assembler of one screen.
//!
//! cgroup v2 has no device files. Instead the kernel runs a program of ours at every
//! open(2) and mknod(2) of a device, and the answer is in register 0: 1 is yes, 0 is
//! EPERM. It is a list of comparisons, one block per rule:
//!
// ANCHOR: shape
//! ```text
//!   r2 = type   r3 = access   r4 = major   r5 = minor
//! rule 1:   if r2 != char   goto rule 2
//!           r0 = r3; r0 &= rw; if r0 != r3 goto rule 2     asked for more than that
//!           if r4 != 1      goto rule 2
//!           if r5 != 3      goto rule 2
//!           r0 = 1; exit
//! rule 2:   …
//! the end:  r0 = 0; exit
//! ```
// ANCHOR_END: shape

use crate::devices::{Access, DeviceKind, DeviceRule};

/// One instruction, as the kernel's `struct bpf_insn` lays it out.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    code: u8,
    /// Destination register in the low four bits, source register in the high four.
    registers: u8,
    /// Instructions to skip if a jump is taken; or bytes into what is read.
    offset: i16,
    immediate: i32,
}

// The operations that are needed, from the kernel's bpf_common.h and bpf.h.
const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const SET: u8 = 0xb7; //       BPF_ALU64 | BPF_MOV | BPF_K
const COPY: u8 = 0xbf; //      BPF_ALU64 | BPF_MOV | BPF_X
const AND: u8 = 0x57; //       BPF_ALU64 | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x77; // BPF_ALU64 | BPF_RSH | BPF_K
const JUMP_NOT_EQUAL: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
const JUMP_REGISTERS_DIFFER: u8 = 0x5d; // BPF_JMP | BPF_JNE | BPF_X
const EXIT: u8 = 0x95; //      BPF_JMP | BPF_EXIT

const ANSWER: u8 = 0;
/// Where the kernel puts the address of `struct bpf_cgroup_dev_ctx`.
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

fn immediate(code: u8, register: u8, immediate: i32) -> Instruction {
    Instruction { code, registers: register, offset: 0, immediate }
}

fn registers(code: u8, to: u8, from: u8) -> Instruction {
    Instruction { code, registers: to | from << 4, offset: 0, immediate: 0 }
}

fn load(to: u8, offset: i16) -> Instruction {
    Instruction { offset, ..registers(LOAD_WORD, to, CONTEXT) }
}

/// The program that allows what a rule allows, and nothing else.
pub(crate) fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    // struct bpf_cgroup_dev_ctx { u32 access_type; u32 major; u32 minor; }, where the
    // type is in the lower half of access_type and the access in the upper.
    let mut program = vec![
        load(TYPE, 0),
        immediate(AND, TYPE, 0xffff),
        load(ACCESS, 0),
        immediate(SHIFT_RIGHT, ACCESS, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    for rule in rules {
        program.extend(block(rule));
    }
    program.extend(answer(0));
    program
}

// ANCHOR: block
/// One rule: jumps over its own end unless everything fits.
fn block(rule: &DeviceRule) -> Vec<Instruction> {
    let mut block = Vec::new();
    match rule.kind {
        DeviceKind::All => {}
        DeviceKind::Block => block.push(immediate(JUMP_NOT_EQUAL, TYPE, 1)),
        DeviceKind::Char => block.push(immediate(JUMP_NOT_EQUAL, TYPE, 2)),
    }
    if rule.access != Access::ALL {
        block.push(registers(COPY, ANSWER, ACCESS));
        block.push(immediate(AND, ANSWER, access_bits(rule.access)));
        block.push(registers(JUMP_REGISTERS_DIFFER, ANSWER, ACCESS));
    }
    for (register, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        if let Some(number) = number {
            block.push(immediate(JUMP_NOT_EQUAL, register, number as i32));
        }
    }
    block.extend(answer(1));
    // Now that its length is known, let every jump lead to the next block.
    let length = block.len();
    for (index, instruction) in block.iter_mut().enumerate() {
        if matches!(instruction.code, JUMP_NOT_EQUAL | JUMP_REGISTERS_DIFFER) {
            instruction.offset = (length - index - 1) as i16;
        }
    }
    block
}
// ANCHOR_END: block

fn answer(value: i32) -> [Instruction; 2] {
    [immediate(SET, ANSWER, value), immediate(EXIT, 0, 0)]
}

/// `BPF_DEVCG_ACC_*`.
fn access_bits(access: Access) -> i32 {
    i32::from(access.mknod) | i32::from(access.read) << 1 | i32::from(access.write) << 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would, which proves that every jump leads
    /// to where it should.
    fn run(program: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [kind | access << 16, major, minor];
        let mut registers = [0u64; 11];
        let mut at = 0usize;
        loop {
            let Instruction { code, registers: both, offset, immediate } = program[at];
            let (to, from) = ((both & 15) as usize, (both >> 4) as usize);
            let value = immediate as i64 as u64;
            at += 1;
            let mut jump = |taken: bool| at += if taken { offset as usize } else { 0 };
            match code {
                LOAD_WORD => registers[to] = context[offset as usize / 4].into(),
                SET => registers[to] = value,
                COPY => registers[to] = registers[from],
                AND => registers[to] &= value,
                SHIFT_RIGHT => registers[to] >>= value,
                JUMP_NOT_EQUAL => jump(registers[to] != value),
                JUMP_REGISTERS_DIFFER => jump(registers[to] != registers[from]),
                EXIT => return registers[ANSWER as usize] == 1,
                other => panic!("no instruction of ours: {other:#x}"),
            }
        }
    }

    const BLOCK: u32 = 1;
    const CHAR: u32 = 2;
    const MKNOD: u32 = 1;
    const READ: u32 = 2;
    const WRITE: u32 = 4;

    #[test]
    fn the_program_allows_what_the_rules_allow() {
        let rules = ["c *:* m", "c 1:3 rwm", "b 8:* r", "c 136:* rwm"]
            .map(|rule| rule.parse().expect("a rule"));
        let program = program(&rules);
        let may = |kind, access, major, minor| run(&program, kind, access, major, minor);
        assert!(may(CHAR, READ | WRITE, 1, 3), "null is read and written");
        assert!(may(CHAR, MKNOD, 10, 229), "a node of any kind is made");
        assert!(!may(CHAR, MKNOD | READ, 10, 229), "but not opened");
        assert!(!may(BLOCK, MKNOD, 1, 3), "the kind counts");
        assert!(may(BLOCK, READ, 8, 17) && !may(BLOCK, READ | WRITE, 8, 17), "the access counts");
        assert!(!may(CHAR, READ, 1, 1), "the minor counts");
        assert!(may(CHAR, READ, 136, 77), "a star is every number");
    }

    #[test]
    fn no_rules_allow_nothing_and_one_for_all_allows_everything() {
        assert!(!run(&program(&[]), CHAR, READ, 1, 3));
        let all = "a *:* rwm".parse().expect("a rule");
        assert!(run(&program(&[all]), BLOCK, READ | WRITE | MKNOD, 8, 0));
    }
}
