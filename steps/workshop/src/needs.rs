//! What an exercise cannot do without, and how one gets it.

use std::fmt;
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Result, bail};
use nix::unistd::geteuid;

/// Something that the machine, or whoever sits at it, must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Need {
    /// Effective uid 0.
    Root,
    /// Root, or user namespaces for whoever asks.
    Namespaces,
    /// The overlay filesystem, mounted in a namespace of one's own.
    Overlay,
    /// A program in PATH.
    Program(String),
}

impl FromStr for Need {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text.trim() {
            "root" => Need::Root,
            "namespaces" => Need::Namespaces,
            "overlay" => Need::Overlay,
            text => match text.strip_prefix("program ") {
                Some(name) => Need::Program(name.to_owned()),
                None => bail!("Needs knows root, namespaces, overlay, program NAME; not {text:?}"),
            },
        })
    }
}

/// What is missing, and the way out, after "This exercise needs".
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Root => f.write_str(
                "root: run `sudo -E env \"PATH=$PATH\" \"HOME=$HOME\" cargo workshop check NAME`",
            ),
            Need::Namespaces => f.write_str(
                "user namespaces, which this kernel refuses you: `cargo run -p namespaces -- doctor` says why, and the way out",
            ),
            Need::Overlay => f.write_str(
                "the overlay filesystem: `cargo run -p rootfs -- doctor` says what is in the way",
            ),
            Need::Program(name) => write!(f, "the program {name}: install it"),
        }
    }
}

impl Need {
    pub(crate) fn is_met(&self) -> bool {
        match self {
            Need::Root => geteuid().is_root(),
            Need::Namespaces => unshare("true"),
            Need::Overlay => unshare(
                "d=$(mktemp -d) && mount -t tmpfs none $d && cd $d && mkdir l u w m && \
                 mount -t overlay -o lowerdir=l,upperdir=u,workdir=w none m",
            ),
            Need::Program(name) => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                let sbin = ["/usr/sbin", "/sbin"].map(Into::into);
                std::env::split_paths(&path).chain(sbin).any(|folder| folder.join(name).is_file())
            }
        }
    }
}

/// Tried for real, for sysctls, AppArmor and seccomp all have a say.
fn unshare(script: &str) -> bool {
    let mut unshare = Command::new("unshare");
    if !geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["--mount", "sh", "-c", script]);
    let quiet = unshare.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
