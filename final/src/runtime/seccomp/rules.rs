//! From OCI's list of rules to a verdict for every system call number.
//!
//! The numbers fall into a few dozen stretches with one verdict each, because most
//! neighbours are allowed alike. So that is the form in which the compiler wants
//! them: `(first number, verdict)`, ascending, each valid up to the next.

use std::collections::BTreeMap;

use namespaces::{Error, Result};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

use super::arch::{Arch, X32_BIT};

/// What the kernel does with a call: `SECCOMP_RET_*` with its data.
pub(super) type Answer = u32;

/// For an architecture that the list does not name.
pub(super) const KILL_PROCESS: Answer = 0x8000_0000;
const ENOSYS: Answer = 0x0005_0000 | libc::ENOSYS as u32;

/// ARM's private calls stand far above all others.
const ARM_PRIVATE: u32 = 0xf_0000;

/// `argument <op> value`, as unsigned 64-bit numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    /// Which argument, from 0.
    pub index: usize,
    /// How to compare.
    pub op: LinuxSeccompOperator,
    /// What to compare with; for `MASKED_EQ` the mask.
    pub value: u64,
    /// For `MASKED_EQ`: what must remain of the argument.
    pub remains: u64,
}

/// An answer if all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub conditions: Vec<Condition>,
    pub answer: Answer,
}

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The same, whatever its arguments.
    Always(Answer),
    /// The first rule that holds, or else the answer.
    Depends(Vec<Rule>, Answer),
}

/// Neighbours with one verdict: the first number, and what happens to it and to all that
/// follow, up to the next stretch.
pub(super) type Stretch = (u32, Verdict);

/// The verdicts of one architecture, by ascending first number; the first is 0.
pub(super) type Stretches = Vec<Stretch>;

/// The architectures of a list that can occur on this machine.
pub(super) fn architectures(list: &LinuxSeccomp) -> Vec<Arch> {
    let named = list.architectures().as_deref().unwrap_or_default();
    let mut archs: Vec<_> = named.iter().filter_map(|arch| Arch::from_oci(*arch)).collect();
    archs.push(Arch::NATIVE);
    archs.sort();
    archs.dedup();
    archs
}

/// The stretches of one `seccomp_data.arch`; x32 and x86_64 share theirs.
pub(super) fn stretches(list: &LinuxSeccomp, archs: &[Arch]) -> Result<Stretches> {
    let mut stretches = Vec::new();
    for arch in archs {
        add_stretches(list, *arch, &mut stretches)?;
    }
    if archs == [Arch::X86_64] {
        stretches.push((X32_BIT, Verdict::Always(KILL_PROCESS)));
    }
    stretches.dedup_by(|next, previous| next.1 == previous.1);
    Ok(stretches)
}

fn add_stretches(list: &LinuxSeccomp, arch: Arch, stretches: &mut Stretches) -> Result<()> {
    let default = answer(list.default_action(), list.default_errno_ret())?;
    let base = if arch == Arch::X32 { X32_BIT } else { 0 };
    let verdicts = verdicts(list, arch, default)?;
    let newest = verdicts.keys().copied().rfind(|nr| *nr < ARM_PRIVATE || base != 0);

    stretches.push((base, Verdict::Always(default)));
    for (number, verdict) in verdicts {
        // The default that stands between two numbers begins where this one does.
        if stretches.last().is_some_and(|(first, _)| *first == number) {
            stretches.pop();
        }
        stretches.push((number, verdict));
        // A call that is younger than the list gets "no such call": a program then
        // takes the older way, where "not permitted" would make it give up.
        let unknown = Some(number) == newest && !allows(list.default_action());
        let after = if unknown { ENOSYS } else { default };
        stretches.push((number + 1, Verdict::Always(after)));
    }
    Ok(())
}

fn allows(action: Action) -> bool {
    matches!(action, Action::ScmpActAllow | Action::ScmpActLog)
}

/// The verdict for every call that the list names and the architecture has.
fn verdicts(list: &LinuxSeccomp, arch: Arch, default: Answer) -> Result<BTreeMap<u32, Verdict>> {
    let mut verdicts = BTreeMap::new();
    for syscall in list.syscalls().iter().flatten() {
        let rules = rules(syscall)?;
        for number in syscall.names().iter().filter_map(|name| arch.number(name)) {
            let verdict =
                verdicts.entry(number).or_insert_with(|| Verdict::Depends(Vec::new(), default));
            match (verdict, &rules) {
                // A rule without conditions is the last word, wherever it stands.
                (Verdict::Always(_), _) => {}
                (verdict @ Verdict::Depends(..), Rules::Always(answer)) => {
                    let Verdict::Depends(rules, _) = verdict else { unreachable!() };
                    rules.retain(|rule| rule.answer != *answer);
                    *verdict = match rules.is_empty() {
                        true => Verdict::Always(*answer),
                        false => Verdict::Depends(std::mem::take(rules), *answer),
                    };
                }
                (Verdict::Depends(rules, _), Rules::Some(more)) => rules.extend(more.clone()),
            }
        }
    }
    Ok(verdicts)
}

enum Rules {
    Always(Answer),
    Some(Vec<Rule>),
}

/// The rules of one entry. Conditions on different arguments must all hold; where
/// one argument appears twice, each condition is a rule of its own, as runc has it.
fn rules(syscall: &LinuxSyscall) -> Result<Rules> {
    let answer = answer(syscall.action(), syscall.errno_ret())?;
    let conditions =
        syscall.args().iter().flatten().map(condition).collect::<Result<Vec<Condition>>>()?;
    if conditions.is_empty() {
        return Ok(Rules::Always(answer));
    }
    let mut indexes: Vec<_> = conditions.iter().map(|condition| condition.index).collect();
    indexes.sort_unstable();
    let twice = indexes.windows(2).any(|pair| pair[0] == pair[1]);
    let alone = |condition| Rule { conditions: vec![condition], answer };
    Ok(Rules::Some(match twice {
        true => conditions.into_iter().map(alone).collect(),
        false => vec![Rule { conditions, answer }],
    }))
}

fn condition(arg: &LinuxSeccompArg) -> Result<Condition> {
    match arg.index() {
        index @ 0..6 => Ok(Condition {
            index,
            op: arg.op(),
            value: arg.value(),
            remains: arg.value_two().unwrap_or(0),
        }),
        index => Err(Error::new(format!(
            "read the seccomp list: a system call has no argument {index}; they count from 0 to 5"
        ))),
    }
}

fn answer(action: Action, errno: Option<u32>) -> Result<Answer> {
    match action {
        Action::ScmpActNotify => Err(Error::new(
            "read the seccomp list: SCMP_ACT_NOTIFY needs an agent to notify, and there is none",
        )),
        action => Ok(action.as_u32(errno.map(|errno| errno & 0xffff))),
    }
}
