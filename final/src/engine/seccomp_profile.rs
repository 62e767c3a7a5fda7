//! `--security-opt seccomp=FILE`: Docker's own format of system call lists.
//!
//! It is OCI's `linux.seccomp` with conditions in it: rules that count only with (or
//! without) a capability, on an architecture, or from a kernel on. They are settled
//! here, once it is known what container the list is for; see "Seccomp security profiles
//! for Docker" in Docker's documentation.

use oci_spec::runtime::{Capabilities, Capability, LinuxSeccomp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{Error, Result};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<Architecture>>,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
}

/// A 64-bit architecture, and the older ones that its kernels run too.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: usize,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// Reads a list for a container that has these capabilities in its bounding set.
///
/// # Errors
/// What is no such list.
pub fn parse(text: &str, capabilities: &Capabilities) -> Result<LinuxSeccomp> {
    let wrong = |why: String| Error::bad_parameter(format!("decode the seccomp profile: {why}"));
    let profile: Profile = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let architectures = profile.architectures().map_err(wrong)?;
    let facts = Facts { capabilities, kernel: kernel() };
    let mut syscalls = Vec::new();
    for rule in profile.syscalls.iter().flatten() {
        if facts.admit(rule).map_err(wrong)? {
            syscalls.push(rule.to_oci().map_err(wrong)?);
        }
    }
    let list = json!({
        "defaultAction": profile.default_action,
        "defaultErrnoRet": profile.default_errno_ret,
        "architectures": architectures,
        "syscalls": syscalls,
    });
    serde_json::from_value(list).map_err(|error| wrong(error.to_string()))
}

impl Profile {
    fn architectures(&self) -> Result<Option<Vec<String>>, String> {
        let named = self.architectures.clone().filter(|all| !all.is_empty());
        let Some(map) = self.arch_map.as_ref().filter(|map| !map.is_empty()) else {
            return Ok(named);
        };
        if named.is_some() {
            return Err("it has both architectures and archMap; use one of them".into());
        }
        let ours = map.iter().find(|one| one.architecture == format!("SCMP_ARCH_{}", native().1));
        Ok(ours.map(|one| {
            let more = one.sub_architectures.iter().flatten();
            std::iter::once(&one.architecture).chain(more).cloned().collect()
        }))
    }
}

impl Rule {
    fn to_oci(&self) -> Result<Value, String> {
        let names = match (&self.name, &self.names) {
            (Some(name), None) => vec![name.clone()],
            (None, Some(names)) => names.clone(),
            (Some(name), Some(names)) if names.is_empty() => vec![name.clone()],
            (Some(_), Some(_)) => return Err("a rule has both name and names; use one".into()),
            (None, None) => return Err("a rule names no system call".into()),
        };
        let argument = |argument: &Argument| {
            let Argument { index, value, value_two, op } = argument;
            json!({ "index": index, "value": value, "valueTwo": value_two, "op": op })
        };
        let args: Vec<_> = self.args.iter().flatten().map(argument).collect();
        Ok(json!({
            "names": names,
            "action": self.action,
            "errnoRet": self.errno_ret,
            "args": args,
        }))
    }
}

/// What conditions ask about.
struct Facts<'a> {
    capabilities: &'a Capabilities,
    kernel: (u32, u32),
}

impl Facts<'_> {
    fn admit(&self, rule: &Rule) -> Result<bool, String> {
        let one = |condition: &Option<Condition>, all: bool| -> Result<Option<bool>, String> {
            condition.as_ref().map(|condition| self.holds(condition, all)).transpose()
        };
        Ok(one(&rule.includes, true)?.unwrap_or(true)
            && !one(&rule.excludes, false)?.unwrap_or(false))
    }

    /// Whether everything that is named is so (`all`), or anything.
    fn holds(&self, condition: &Condition, all: bool) -> Result<bool, String> {
        let mut answers = Vec::new();
        for name in condition.caps.iter().flatten() {
            answers.push(self.has(name));
        }
        if let Some(arches) = condition.arches.as_ref().filter(|arches| !arches.is_empty()) {
            answers.push(arches.iter().any(|arch| arch == native().0));
        }
        if let Some(minimum) = condition.min_kernel.as_ref().filter(|text| !text.is_empty()) {
            let minimum = version(minimum).ok_or(format!("{minimum:?} is no kernel version"))?;
            answers.push(self.kernel >= minimum);
        }
        Ok(if all { answers.iter().all(|so| *so) } else { answers.contains(&true) })
    }

    fn has(&self, name: &str) -> bool {
        let capability: Option<Capability> = serde_json::from_value(json!(name)).ok();
        capability.is_some_and(|capability| self.capabilities.contains(&capability))
    }
}

/// This machine's architecture, as Docker's conditions and as libseccomp have it.
fn native() -> (&'static str, &'static str) {
    match std::env::consts::ARCH {
        "aarch64" => ("arm64", "AARCH64"),
        _ => ("amd64", "X86_64"),
    }
}

fn kernel() -> (u32, u32) {
    let name = nix::sys::utsname::uname();
    let release = name.as_ref().ok().and_then(|name| name.release().to_str());
    release.and_then(version).unwrap_or_default()
}

/// `4.8`, and the beginning of `6.1.0-13-amd64`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, capabilities: &[Capability]) -> Vec<String> {
        let list = parse(text, &capabilities.iter().copied().collect()).expect("a list");
        let rules = list.syscalls().clone().unwrap_or_default();
        rules.iter().flat_map(|rule| rule.names().clone()).collect()
    }

    #[test]
    fn a_rule_counts_where_its_conditions_hold() {
        let text = r#"{"defaultAction": "SCMP_ACT_ERRNO", "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": null}], "syscalls": [
            {"names": ["always"], "action": "SCMP_ACT_ALLOW", "args": [], "comment": "", "includes": {}, "excludes": {}},
            {"names": ["admin"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["other"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["new"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["future"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "999.0"}},
            {"name": "here", "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "arm64"]}},
            {"names": ["s390"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}}]}"#;
        assert_eq!(names(text, &[]), ["always", "other", "new", "here"]);
        assert_eq!(names(text, &[Capability::SysAdmin]), ["always", "admin", "new", "here"]);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for bad in [
            "",
            "{}",
            r#"{"defaultAction":"SCMP_ACT_WISH"}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_ALLOW"}]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}"#,
        ] {
            assert!(parse(bad, &Capabilities::new()).is_err(), "{bad}");
        }
    }
}
