//! `-v` and `--tmpfs`: the short ways to write a mount.
//!
//! ```text
//! -v /in/container                   a new volume
//! -v NAME:/in/container[:OPTIONS]    a volume
//! -v /on/host:/in/container[:OPTIONS]  a bind
//! --tmpfs /in/container[:OPTIONS]
//! ```

use std::path::{Path, PathBuf};

use rootfs::Propagation;

use crate::error::{Error, Result, input};
use crate::spec::{Bind, Source, Spec, Tmpfs, Volume, check, wrong};

/// What may follow the last colon.
#[derive(Debug, Default)]
struct Mode {
    access: Option<bool>,
    relabel: bool,
    propagation: Option<Propagation>,
    nocopy: bool,
    consistency: bool,
}

impl Mode {
    /// `None` if a word is unknown, or if two are of one sort.
    fn parse(text: &str) -> Option<Mode> {
        let mut mode = Mode::default();
        if text.is_empty() {
            return Some(mode);
        }
        let mut copy = false;
        for word in text.split(',') {
            let is_first = match word {
                "ro" | "rw" => mode.access.replace(word == "ro").is_none(),
                "z" | "Z" => !std::mem::replace(&mut mode.relabel, true),
                "nocopy" => {
                    mode.nocopy = true;
                    !std::mem::replace(&mut copy, true)
                }
                // For machines that share files with a virtual one; here all are the same.
                "consistent" | "cached" | "delegated" => {
                    !std::mem::replace(&mut mode.consistency, true)
                }
                word => mode.propagation.replace(Propagation::parse(word)?).is_none(),
            };
            if !is_first {
                return None;
            }
        }
        Some(mode)
    }
}

// ANCHOR: parse_volume
/// Reads the value of `-v`. A source that begins with `.` is sought from `base`.
///
/// # Errors
/// Docker's: a part too many or too few, an unknown option, a path that is not absolute.
pub fn parse_volume(text: &str, base: &Path) -> Result<Spec> {
    let invalid = || Error::Input(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.splitn(4, ':').collect();
    let (source, target, mode) = match *parts.as_slice() {
        [target] if !target.is_empty() => (None, target, ""),
        // A mode alone, as in `/data:ro`, does not say of what.
        [source, target] if !source.is_empty() && Mode::parse(target).is_none() => {
            (Some(source), target, "")
        }
        [source, target, mode] if !source.is_empty() => (Some(source), target, mode),
        _ => return Err(invalid()),
    };
    let Some(mode) = Mode::parse(mode) else {
        return input(format!("invalid mode: {mode}"));
    };
    let spec = Spec {
        target: target.into(),
        read_only: mode.access == Some(true),
        relabel: mode.relabel,
        source: find_source(source, &mode, base),
    };
    // What only the other type has is no mere word too many.
    let extra = match &spec.source {
        Source::Volume(_) if mode.propagation.is_some() => Some("BindOptions"),
        Source::Bind(_) if mode.nocopy => Some("VolumeOptions"),
        _ => None,
    };
    let checked = match extra {
        Some(field) => wrong(&spec, format!("field {field} must not be specified")),
        None => check(spec),
    };
    checked.map_err(|error| Error::Input(format!("{}: {error}", invalid())))
}

fn find_source(source: Option<&str>, mode: &Mode, base: &Path) -> Source {
    match source {
        Some(path) if path.starts_with('/') || path.starts_with('.') => Source::Bind(Bind {
            path: base.join(path),
            create: true,
            propagation: mode.propagation.unwrap_or_default(),
            ..Bind::default()
        }),
        name => Source::Volume(Volume {
            name: name.map(str::to_owned),
            nocopy: mode.nocopy,
            ..Volume::default()
        }),
    }
}
// ANCHOR_END: parse_volume

/// Reads the value of `--tmpfs`.
pub fn parse_tmpfs(text: &str) -> Result<Spec> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let options: Vec<_> = options.split(',').filter(|word| !word.is_empty()).collect();
    tmpfs(target.into(), &options)
}

/// A tmpfs with mount(8)'s options, which are checked here and sorted out later.
pub(crate) fn tmpfs(target: PathBuf, options: &[&str]) -> Result<Spec> {
    const FLAGS: [&str; 16] = [
        "defaults",
        "ro",
        "rw",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "exec",
        "noexec",
        "sync",
        "async",
        "atime",
        "noatime",
        "relatime",
        "strictatime",
        "norelatime",
    ];
    const KEYS: [&str; 7] = ["mode", "uid", "gid", "size", "nr_inodes", "nr_blocks", "mpol"];
    let is_known = |option: &str| match option.split_once('=') {
        Some((key, value)) => KEYS.contains(&key) && !value.is_empty(),
        None => FLAGS.contains(&option),
    };
    if let Some(unknown) = options.iter().find(|option| !is_known(option)) {
        return input(format!("invalid tmpfs option [{unknown:?}]"));
    }
    let read_only = options.iter().rfind(|option| matches!(**option, "ro" | "rw")) == Some(&"ro");
    let options = options.iter().map(|option| option.to_string()).collect();
    check(Spec { target, read_only, relabel: false, source: Source::Tmpfs(Tmpfs { options }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        match parse_volume(text, Path::new("/here")) {
            Ok(spec) => spec.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Docker's own list of what must be taken.
    #[test]
    fn what_docker_takes_is_taken() {
        let valid = [
            "/home",
            "/home:/home",
            "/home:/something/else",
            "/with space",
            "/home:/with space",
            "relative:/absolute-path",
            "hostPath:/containerPath:ro",
            "/hostPath:/containerPath:rw",
            "/rw:/ro",
            "/a:/b:shared",
            "/a:/b:rshared",
            "/a:/b:slave",
            "/a:/b:rslave",
            "/a:/b:private",
            "/a:/b:rprivate",
            "/a:/b:ro,shared",
            "/a:/b:ro,z,shared",
            "/a:/b:Z,slave,ro",
            "/a:/b:ro,Z,rprivate",
            "name:/b:nocopy",
            "/a:/b:cached",
        ];
        for text in valid {
            parse_volume(text, Path::new("/here"))
                .unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }

    /// Docker's own list of what must be refused, and the words for it.
    #[test]
    fn what_docker_refuses_is_refused_with_its_words() {
        let absolute = ["./", "../", "/:../", "/:path"];
        let specification = [
            "",
            ":",
            "/tmp:",
            ":test",
            ":/test",
            "tmp:",
            ":test:",
            "::",
            ":::",
            "/tmp:::",
            ":/tmp::",
            "/path:rw",
            "/path:ro",
            "/rw:rw",
            "path:ro",
            "/path:shared",
            "/path:slave",
            "name:/absolute-path:shared:x",
            "name:/absolute-path:shared",
            "name:/absolute-path:rshared",
            "name:/absolute-path:slave",
            "name:/absolute-path:rslave",
            "name:/absolute-path:private",
            "name:/absolute-path:rprivate",
            "/path:/absolute-path:nocopy",
        ];
        let mode = [
            "/p:/p:sw",
            "/p:/p:rwz",
            "/p:/p:ro,rshared,rslave",
            "/p:/p:ro,z,rshared,rslave",
            "/p:/p:ro,ro",
            "/p:/p:default",
        ];
        let all = [
            (&absolute[..], "mount path must be absolute"),
            (&specification[..], "invalid volume specification"),
            (&mode[..], "invalid mode"),
        ];
        for (texts, words) in all {
            for text in texts {
                assert!(told(text).contains(words), "{text}: {}", told(text));
            }
        }
    }

    #[test]
    fn a_specification_is_read() {
        insta::assert_snapshot!(told("/data"), @"volume (new) on /data rw");
        insta::assert_snapshot!(told("data:/var/./lib//data:ro"), @"volume data on /var/lib/data ro");
        insta::assert_snapshot!(told("./src:/src"), @"bind /here/src on /src rw");
        insta::assert_snapshot!(told("..:/src"), @"bind / on /src rw");
        insta::assert_snapshot!(told("/a/../b:/c"), @"bind /b on /c rw");
        insta::assert_snapshot!(told("data:/"), @r#"invalid volume specification: 'data:/': invalid mount config for type "volume": invalid specification: destination can't be '/'"#);
        insta::assert_snapshot!(told("data:/b:shared"), @r#"invalid volume specification: 'data:/b:shared': invalid mount config for type "volume": field BindOptions must not be specified"#);
        insta::assert_snapshot!(told("/a:/b:wrong"), @"invalid mode: wrong");
        insta::assert_snapshot!(told("/:path"), @r#"invalid volume specification: '/:path': invalid mount config for type "bind": invalid mount path: 'path' mount path must be absolute"#);
    }

    #[test]
    fn a_tmpfs_is_read() {
        let told = |text: &str| {
            parse_tmpfs(text).map_or_else(|error| error.to_string(), |spec| spec.to_string())
        };
        insta::assert_snapshot!(told("/run"), @"tmpfs  on /run rw");
        insta::assert_snapshot!(told("/run:rw,size=64m,exec"), @"tmpfs rw,size=64m,exec on /run rw");
        insta::assert_snapshot!(told("/run:ro"), @"tmpfs ro on /run ro");
        insta::assert_snapshot!(told("/run:sized=3"), @r#"invalid tmpfs option ["sized=3"]"#);
        insta::assert_snapshot!(told("run"), @r#"invalid mount config for type "tmpfs": invalid mount path: 'run' mount path must be absolute"#);
        insta::assert_snapshot!(told("/"), @r#"invalid mount config for type "tmpfs": invalid specification: destination can't be '/'"#);
    }
}
