//! The compiler: verdicts in, a BPF program out. See bpf(4) for the machine and
//! seccomp(2) for what it may read.
//!
//! The usual compiler writes one comparison per system call, in a row. The kernel
//! runs the filter over every number once, when it is installed, to learn which
//! are always allowed, so a row costs twice: 0.7 ms at the start, and a walk for
//! every call that depends on its arguments. A balanced tree over stretches of
//! numbers costs 0.2 ms and eight comparisons:
//!
//! ```text
//!        ld  arch                          ld  number
//!        jeq X86_64  ── no ─▶ next         jge 186 ── yes ─▶ right half
//!        ld  number                        left half …
//!        tree of X86_64                    leaf: ret ALLOW
//!  next: jeq X86 …                         leaf: ld argument 0, compare, ret …
//!        ret KILL_PROCESS
//! ```

use oci_spec::runtime::LinuxSeccompOperator as Op;

use super::rules::{Answer, Condition, Rule, Stretch, Stretches, Verdict};

/// One instruction of the BPF machine.
pub(super) type Instruction = libc::sock_filter;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS: A = word at k
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K: A = A & k
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA: over k instructions
const IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const IF_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const IF_NOT_LESS: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Offsets in `struct seccomp_data`.
const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

/// A jump to the end of the rule, to be filled in when it is known how far that is.
const TO_NEXT_RULE: u8 = u8::MAX;

fn instruction(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// The whole program: `(seccomp_data.arch, its stretches)`, and an answer for every
/// other architecture.
pub(super) fn program(archs: &[(u32, Stretches)], otherwise: Answer) -> Vec<Instruction> {
    let mut program = vec![instruction(LOAD, ARCH_AT)];
    for (audit, stretches) in archs {
        let tree = tree(stretches);
        program.push(branch(IF_EQUAL, *audit, 1, 0));
        program.push(instruction(JUMP, tree.len() as u32 + 1));
        program.push(instruction(LOAD, NUMBER_AT));
        program.extend(tree);
    }
    program.push(instruction(RETURN, otherwise));
    program
}

// ANCHOR: tree
/// Finds the stretch by halving: left are the smaller numbers.
fn tree(stretches: &[Stretch]) -> Vec<Instruction> {
    if let [(_, verdict)] = stretches {
        return leaf(verdict);
    }
    if let Some(code) = Block::default().tree(stretches) {
        return code;
    }
    let (pivot, smaller, greater) = halve(stretches);
    let (left, right) = (tree(smaller), tree(greater));
    let mut code = Vec::with_capacity(left.len() + right.len() + 2);
    // A conditional jump reaches 255 instructions, an unconditional one all.
    match u8::try_from(left.len()) {
        Ok(over) => code.push(branch(IF_NOT_LESS, pivot, over, 0)),
        Err(_) => {
            code.extend([branch(IF_NOT_LESS, pivot, 0, 1), instruction(JUMP, left.len() as u32)])
        }
    }
    code.extend(left);
    code.extend(right);
    code
}
// ANCHOR_END: tree

/// The first number of the upper half, and both halves.
fn halve(stretches: &[Stretch]) -> (u32, &[Stretch], &[Stretch]) {
    let (smaller, greater) = stretches.split_at(stretches.len() / 2);
    (greater[0].0, smaller, greater)
}

/// A tree that is small enough for its leaves to share their answers, which stand
/// behind it: what the kernel has to check and to translate is half as long.
#[derive(Default)]
struct Block {
    code: Vec<Instruction>,
    /// Which branch leads to which answer, and whether it does so when it holds.
    exits: Vec<(usize, bool, Answer)>,
}

impl Block {
    /// `None` if a branch would have to lead farther than it can.
    fn tree(mut self, stretches: &[Stretch]) -> Option<Vec<Instruction>> {
        self.node(stretches)?;
        let mut answers: Vec<_> = self.exits.iter().map(|(.., answer)| *answer).collect();
        answers.sort_unstable();
        answers.dedup();
        let end = self.code.len();
        for (at, holds, answer) in self.exits {
            let place = end + answers.iter().position(|other| *other == answer)?;
            let over = u8::try_from(place - at - 1).ok()?;
            let branch = &mut self.code[at];
            *if holds { &mut branch.jt } else { &mut branch.jf } = over;
        }
        self.code.extend(answers.into_iter().map(|answer| instruction(RETURN, answer)));
        Some(self.code)
    }

    fn node(&mut self, stretches: &[Stretch]) -> Option<()> {
        if let [(_, verdict)] = stretches {
            self.code.extend(leaf(verdict));
            return Some(());
        }
        let (pivot, smaller, greater) = halve(stretches);
        let at = self.code.len();
        self.code.push(branch(IF_NOT_LESS, pivot, 0, 0));
        for (holds, half) in [(false, smaller), (true, greater)] {
            match half {
                [(_, Verdict::Always(answer))] => self.exits.push((at, holds, *answer)),
                half => {
                    if holds {
                        self.code[at].jt = u8::try_from(self.code.len() - at - 1).ok()?;
                    }
                    self.node(half)?;
                }
            }
        }
        Some(())
    }
}

fn leaf(verdict: &Verdict) -> Vec<Instruction> {
    let (rules, otherwise) = match verdict {
        Verdict::Always(answer) => (&[][..], *answer),
        Verdict::Depends(rules, answer) => (rules.as_slice(), *answer),
    };
    let mut code: Vec<_> = rules.iter().flat_map(rule).collect();
    code.push(instruction(RETURN, otherwise));
    code
}

/// All conditions in a row; the first that fails jumps behind the rule.
fn rule(rule: &Rule) -> Vec<Instruction> {
    let mut code: Vec<_> = rule.conditions.iter().flat_map(condition).collect();
    code.push(instruction(RETURN, rule.answer));
    let end = code.len();
    for (at, instruction) in code.iter_mut().enumerate() {
        let rest = (end - at - 1) as u8;
        if instruction.jt == TO_NEXT_RULE {
            instruction.jt = rest;
        }
        if instruction.jf == TO_NEXT_RULE {
            instruction.jf = rest;
        }
    }
    code
}

/// Falls through where the condition holds. The machine has 32 bits, an argument
/// has 64: the upper half decides unless it is equal.
fn condition(condition: &Condition) -> Vec<Instruction> {
    let lower_at = ARGUMENTS_AT + 8 * condition.index as u32 + if BIG_ENDIAN { 4 } else { 0 };
    let upper_at = lower_at ^ 4;
    let (upper, lower) = halves(condition.value);
    match condition.op {
        Op::ScmpCmpEq => equal(upper_at, lower_at, u64::MAX, condition.value),
        Op::ScmpCmpMaskedEq => equal(upper_at, lower_at, condition.value, condition.remains),
        Op::ScmpCmpNe => vec![
            instruction(LOAD, upper_at),
            branch(IF_EQUAL, upper, 0, 2),
            instruction(LOAD, lower_at),
            branch(IF_EQUAL, lower, TO_NEXT_RULE, 0),
        ],
        Op::ScmpCmpGt => above(upper_at, lower_at, upper, IF_GREATER, lower),
        Op::ScmpCmpGe => above(upper_at, lower_at, upper, IF_NOT_LESS, lower),
        Op::ScmpCmpLt => below(upper_at, lower_at, upper, IF_NOT_LESS, lower),
        Op::ScmpCmpLe => below(upper_at, lower_at, upper, IF_GREATER, lower),
    }
}

const BIG_ENDIAN: bool = cfg!(target_endian = "big");

fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}

/// `argument & mask == value`, half by half.
fn equal(upper_at: u32, lower_at: u32, mask: u64, value: u64) -> Vec<Instruction> {
    let ((upper_mask, lower_mask), (upper, lower)) = (halves(mask), halves(value));
    let mut code = Vec::new();
    for (at, mask, value) in [(upper_at, upper_mask, upper), (lower_at, lower_mask, lower)] {
        code.push(instruction(LOAD, at));
        if mask != u32::MAX {
            code.push(instruction(AND, mask));
        }
        code.push(branch(IF_EQUAL, value, 0, TO_NEXT_RULE));
    }
    code
}

/// Holds where the upper half is greater, or equal and the lower half passes `test`.
fn above(upper_at: u32, lower_at: u32, upper: u32, test: u16, lower: u32) -> Vec<Instruction> {
    vec![
        instruction(LOAD, upper_at),
        branch(IF_GREATER, upper, 3, 0),
        branch(IF_EQUAL, upper, 0, TO_NEXT_RULE),
        instruction(LOAD, lower_at),
        branch(test, lower, 0, TO_NEXT_RULE),
    ]
}

/// The opposite of [`above`].
fn below(upper_at: u32, lower_at: u32, upper: u32, test: u16, lower: u32) -> Vec<Instruction> {
    vec![
        instruction(LOAD, upper_at),
        branch(IF_GREATER, upper, TO_NEXT_RULE, 0),
        branch(IF_EQUAL, upper, 0, 2),
        instruction(LOAD, lower_at),
        branch(test, lower, TO_NEXT_RULE, 0),
    ]
}
