//! Which of an index's images this machine can run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// An operating system, an architecture and its variant, by Go's names:
/// `linux/amd64`, `linux/arm/v7`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`, `arm`, `riscv64`…
    #[serde(default)]
    pub architecture: String,
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// `v7` of `arm`, `v8` of `arm64`, `v3` of `amd64`; none is the lowest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// What this machine runs.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", None),
            other => (other, None),
        };
        Self {
            architecture: architecture.into(),
            os: "linux".into(),
            variant: variant.map(String::from),
        }
    }

    /// How well an image for `offered` fits: none if it cannot run, otherwise the
    /// greater the better. A processor runs its own variant and every lower one.
    pub fn fit(&self, offered: &Platform) -> Option<u32> {
        if (&self.os, &self.architecture) != (&offered.os, &offered.architecture) {
            return None;
        }
        let (wanted, offered) = (self.level(), offered.level());
        (offered <= wanted).then_some(offered)
    }

    /// The variant as a number; what an image without one means depends on the architecture.
    fn level(&self) -> u32 {
        let default = match self.architecture.as_str() {
            "arm64" => 8,
            "arm" => 7,
            _ => 1,
        };
        let number = self.variant.as_deref().and_then(|v| v.strip_prefix('v')?.parse().ok());
        number.unwrap_or(default)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// Reads `os/architecture[/variant]`; the names of `uname -m` are understood.
    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(bad(text)),
        };
        let word = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if !parts.iter().copied().all(word) {
            return Err(bad(text));
        }
        let (architecture, default) = match architecture {
            "x86_64" | "x86-64" => ("amd64", None),
            "aarch64" => ("arm64", None),
            "armhf" => ("arm", Some("v7")),
            "armel" => ("arm", Some("v6")),
            other => (other, None),
        };
        let variant = variant.or(default).map(String::from);
        Ok(Self { os: os.into(), architecture: architecture.into(), variant })
    }
}

fn bad(text: &str) -> Error {
    Error::Input(format!(
        "invalid platform {text:?}: write it as os/architecture[/variant], linux/arm64"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    fn best<'a>(wanted: &str, offered: &[&'a str]) -> Option<&'a str> {
        let wanted = platform(wanted);
        let fit = |text: &&&str| wanted.fit(&platform(text));
        offered.iter().filter(|t| fit(t).is_some()).max_by_key(fit).copied()
    }

    #[test]
    fn the_highest_variant_that_runs_is_chosen() {
        let arms = ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6", "linux/arm64/v8"];
        assert_eq!(best("linux/arm/v7", &arms), Some("linux/arm/v7"));
        assert_eq!(best("linux/arm/v6", &arms), Some("linux/arm/v6"));
        assert_eq!(best("linux/arm64", &arms), Some("linux/arm64/v8"));
        assert_eq!(best("linux/amd64", &arms), None);
        assert_eq!(best("linux/amd64", &["linux/amd64/v3", "linux/amd64"]), Some("linux/amd64"));
        assert_eq!(best("windows/amd64", &["linux/amd64"]), None);
    }

    #[test]
    fn the_names_of_uname_are_understood() {
        assert_eq!(platform("linux/x86_64").to_string(), "linux/amd64");
        assert_eq!(platform("linux/aarch64").to_string(), "linux/arm64");
        assert!("linux".parse::<Platform>().is_err());
        assert!("linux/".parse::<Platform>().is_err());
    }
}
