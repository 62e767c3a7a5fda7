//! Which devices a container may use: rules, decided here.
//!
//! A device node is only a name for a pair of numbers, and root in a container can
//! make any node. So the kernel is told which numbers count: v1 by files, v2 by a
//! small program that it asks at every open(2) and mknod(2) (see [`crate::bpf`]).

use std::fmt;
use std::str::FromStr;

use namespaces::{Error, Result};
use serde::{Deserialize, Serialize};

/// Character or block device: the same numbers mean different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// Both.
    #[serde(rename = "a")]
    All,
    /// Block device.
    #[serde(rename = "b")]
    Block,
    /// Character device.
    #[serde(rename = "c")]
    Char,
}

/// What may be done with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Open it for reading.
    pub read: bool,
    /// Open it for writing.
    pub write: bool,
    /// Make a node for it.
    pub mknod: bool,
}

impl Access {
    /// Everything.
    pub const ALL: Self = Self { read: true, write: true, mknod: true };
    /// Make the node, not open it.
    pub const MKNOD: Self = Self { read: false, write: false, mknod: true };
}

/// `rwm`, without what is not allowed.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [(self.read, 'r'), (self.write, 'w'), (self.mknod, 'm')];
        letters.iter().filter(|(on, _)| *on).try_for_each(|(_, letter)| write!(f, "{letter}"))
    }
}

/// One permission: these devices, for this use.
///
/// Written as Docker's `--device-cgroup-rule` and the kernel's v1 files have it:
/// `c 1:3 rwm`, `b 8:* r`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Character, block, or both.
    pub kind: DeviceKind,
    /// The major number; `None` for every one.
    pub major: Option<u32>,
    /// The minor number; `None` for every one.
    pub minor: Option<u32>,
    /// What is allowed.
    pub access: Access,
}

impl DeviceRule {
    const fn char(major: u32, minor: Option<u32>) -> Self {
        Self { kind: DeviceKind::Char, major: Some(major), minor, access: Access::ALL }
    }

    const fn nodes(kind: DeviceKind) -> Self {
        Self { kind, major: None, minor: None, access: Access::MKNOD }
    }
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or("*".into(), |number| number.to_string());
        let kind = match self.kind {
            DeviceKind::All => 'a',
            DeviceKind::Block => 'b',
            DeviceKind::Char => 'c',
        };
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        let Access { read, write, mknod } = self.access;
        let letters = [(read, "r"), (write, "w"), (mknod, "m")];
        letters.into_iter().filter(|(has, _)| *has).try_for_each(|(_, letter)| f.write_str(letter))
    }
}

impl FromStr for DeviceRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse_rule(text).ok_or_else(|| {
            Error::new(format!("{text:?} is not a device rule")).hint(
                "write it like \"c 1:3 rwm\": kind a, b or c; major:minor, * for all; r, w, m",
            )
        })
    }
}

fn parse_rule(text: &str) -> Option<DeviceRule> {
    let mut words = text.split(' ');
    let kind = match words.next()? {
        "a" => DeviceKind::All,
        "b" => DeviceKind::Block,
        "c" => DeviceKind::Char,
        _ => return None,
    };
    let number = |text: &str| match text {
        "*" => Some(None),
        text => text.parse().ok().map(Some),
    };
    let (major, minor) = words.next()?.split_once(':')?;
    let letters = words.next()?;
    if words.next().is_some() || letters.is_empty() || letters.contains(|c| !"rwm".contains(c)) {
        return None;
    }
    let access = Access {
        read: letters.contains('r'),
        write: letters.contains('w'),
        mknod: letters.contains('m'),
    };
    Some(DeviceRule { kind, major: number(major)?, minor: number(minor)?, access })
}

// ANCHOR: default_rules
/// What every container may use, as Docker has it: any node may be made, and a few
/// harmless ones opened.
pub const DEFAULT_RULES: [DeviceRule; 11] = [
    DeviceRule::nodes(DeviceKind::Char),
    DeviceRule::nodes(DeviceKind::Block),
    DeviceRule::char(1, Some(3)), // null
    DeviceRule::char(1, Some(5)), // zero
    DeviceRule::char(1, Some(7)), // full
    DeviceRule::char(1, Some(8)), // random
    DeviceRule::char(1, Some(9)), // urandom
    DeviceRule::char(5, Some(0)), // tty
    DeviceRule::char(5, Some(1)), // console
    DeviceRule::char(5, Some(2)), // ptmx
    DeviceRule::char(136, None),  // pts/*
];
// ANCHOR_END: default_rules

/// Which devices a container may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DevicePolicy {
    /// All of them: a privileged container.
    All,
    /// [`DEFAULT_RULES`], and these.
    Default(Vec<DeviceRule>),
}

impl Default for DevicePolicy {
    fn default() -> Self {
        Self::Default(Vec::new())
    }
}

impl DevicePolicy {
    /// Everything that is allowed; `None` for no restriction.
    pub fn rules(&self) -> Option<Vec<DeviceRule>> {
        match self {
            Self::All => None,
            Self::Default(more) => Some(DEFAULT_RULES.iter().chain(more).copied().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_written_alike() {
        for text in ["c 1:3 rwm", "b 8:* r", "a *:* rwm", "c *:* m"] {
            assert_eq!(text.parse::<DeviceRule>().map(|rule| rule.to_string()), Ok(text.into()));
        }
        for text in ["", "c", "c 1:3", "d 1:3 r", "c 1 r", "c 1:3 x", "c 1:3 ", "c 1:3 r w"] {
            assert!(text.parse::<DeviceRule>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_privileged_container_has_no_rules() {
        assert_eq!(DevicePolicy::All.rules(), None);
        assert_eq!(DevicePolicy::default().rules().map(|rules| rules.len()), Some(11));
    }
}
