//! What is asked for: a mount, as data, whichever way it was written.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use rootfs::Propagation;
use serde::{Deserialize, Serialize};

use crate::error::{Result, input};

// ANCHOR: spec
/// One mount that someone asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Where, in the container: absolute, clean, not `/`.
    pub target: PathBuf,
    /// Writing is forbidden.
    pub read_only: bool,
    /// What.
    pub source: Source,
    /// `z` or `Z`: SELinux labels were asked for, which this engine does not set.
    #[serde(default)]
    pub relabel: bool,
}
// ANCHOR_END: spec

// ANCHOR: source
/// What is to be mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A file or directory of the host.
    Bind(Bind),
    /// A volume: storage that has a name and outlives its containers.
    Volume(Volume),
    /// Files in memory.
    Tmpfs(Tmpfs),
}
// ANCHOR_END: source

/// A file or directory of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Absolute.
    pub path: PathBuf,
    /// Make a directory there if there is nothing.
    pub create: bool,
    /// How later mounts travel.
    pub propagation: Propagation,
    /// What becomes of mounts below it.
    pub recursive: Recursive,
}

/// What becomes of the mounts below a bind: `bind-recursive`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recursive {
    /// They are shown, and are as read-only as the bind.
    #[default]
    Enabled,
    /// They are not shown.
    Disabled,
    /// They are shown, and stay writable.
    Writable,
}

/// A volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// `None`: a new one, with a name that nobody has to know.
    pub name: Option<String>,
    /// Do not copy what the image has at the target into an empty volume.
    pub nocopy: bool,
    /// Show only this part of it: relative, without `..`.
    pub subpath: Option<PathBuf>,
    /// For a new volume.
    pub labels: BTreeMap<String, String>,
    /// For a new volume: what keeps it. There is only `local`.
    pub driver: Option<String>,
    /// For a new volume: the driver's options.
    pub options: BTreeMap<String, String>,
}

/// Files in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Options of mount(8): `size=64m`, `exec`, `mode=1777`.
    pub options: Vec<String>,
}

impl Source {
    /// Docker's word for the type.
    pub fn kind(&self) -> &'static str {
        match self {
            Source::Bind(_) => "bind",
            Source::Volume(_) => "volume",
            Source::Tmpfs(_) => "tmpfs",
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.source {
            Source::Bind(bind) => bind.path.display().to_string(),
            Source::Volume(volume) => volume.name.clone().unwrap_or("(new)".into()),
            Source::Tmpfs(tmpfs) => tmpfs.options.join(","),
        };
        let access = if self.read_only { "ro" } else { "rw" };
        write!(f, "{} {source} on {} {access}", self.source.kind(), self.target.display())
    }
}

/// Checks what holds for every mount, in Docker's order, and cleans the target's path.
pub(crate) fn check(mut spec: Spec) -> Result<Spec> {
    let kind = spec.source.kind();
    let wrong = |why: String| wrong_for(kind, why);
    if spec.target.as_os_str().is_empty() {
        return wrong("field Target must not be empty".into());
    }
    let target = clean(&spec.target);
    if target == Path::new("/") {
        return wrong("invalid specification: destination can't be '/'".into());
    }
    let relative = |path: &Path| {
        format!("invalid mount path: '{}' mount path must be absolute", path.display())
    };
    if !spec.target.is_absolute() {
        return wrong(relative(&spec.target));
    }
    match &mut spec.source {
        Source::Bind(bind) => {
            if bind.path.as_os_str().is_empty() {
                return wrong("field Source must not be empty".into());
            }
            if !bind.path.is_absolute() {
                return wrong(relative(&bind.path));
            }
            bind.path = clean(&bind.path);
        }
        Source::Volume(Volume { name, subpath: Some(subpath), .. }) => {
            if name.is_none() {
                return wrong("must not set Subpath when using anonymous volumes".into());
            }
            if !is_local(subpath) {
                return wrong("subpath must be a relative path within the volume".into());
            }
        }
        Source::Volume(Volume { name: None, .. }) if spec.read_only => {
            return wrong("must not set ReadOnly mode when using anonymous volumes".into());
        }
        _ => {}
    }
    spec.target = target;
    Ok(spec)
}

/// Docker's frame for what is wrong with a mount.
pub(crate) fn wrong(spec: &Spec, why: String) -> Result<Spec> {
    wrong_for(spec.source.kind(), why)
}

fn wrong_for(kind: &str, why: String) -> Result<Spec> {
    input(format!("invalid mount config for type {kind:?}: {why}"))
}

/// Without `.`, `..` and doubled slashes, as text.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(cleaned.pop()),
            Component::CurDir => {}
            other => cleaned.push(other),
        }
    }
    cleaned
}

/// Stays below where it starts, as text. Links are the kernel's business, later.
fn is_local(path: &Path) -> bool {
    let mut depth = 0i32;
    !path.as_os_str().is_empty()
        && path.components().all(|component| {
            depth += match component {
                Component::Normal(_) => 1,
                Component::ParentDir => -1,
                Component::CurDir => 0,
                _ => i32::MIN / 2,
            };
            depth >= 0
        })
}
