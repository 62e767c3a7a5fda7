//! `--mount`: the long way to write a mount, as `key=value` pairs with commas between.

use std::collections::BTreeMap;
use std::path::Path;

use rootfs::Propagation;

use crate::error::{Result, input};
use crate::short::tmpfs;
use crate::spec::{Bind, Recursive, Source, Spec, Volume, check};

/// What was written, before it is known what it means together.
#[derive(Debug, Default)]
struct Raw {
    kind: String,
    source: String,
    target: String,
    read_only: bool,
    bind: Option<RawBind>,
    volume: Option<Volume>,
    tmpfs: Option<Vec<String>>,
}

#[derive(Debug, Default)]
struct RawBind {
    bind: Bind,
    propagation: Option<Propagation>,
    /// `bind-recursive=` as it was written.
    recursive: String,
}

/// Reads the value of `--mount`. A source that begins with `.` is sought from `base`.
///
/// # Errors
/// Docker's: an unknown option, a bad value, options of one type with another type.
pub fn parse_mount(text: &str, base: &Path) -> Result<Spec> {
    let text = text.trim();
    if text.is_empty() {
        return input("value is empty");
    }
    let mut raw = Raw { kind: "volume".into(), ..Raw::default() };
    for field in fields(text)? {
        raw.take(&field)?;
    }
    raw.decide(base)
}

impl Raw {
    /// One `key=value`, or a key that is enough by itself.
    fn take(&mut self, field: &str) -> Result<()> {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        if key.trim() != key {
            let key = key.trim();
            return input(format!(
                "invalid option '{key}' in '{field}': option should not have whitespace"
            ));
        }
        match value {
            Some(value) if value.trim().is_empty() => {
                return input(format!("invalid value for '{key}': value is empty"));
            }
            Some(value) if value.trim() != value => {
                return input(format!(
                    "invalid value for '{key}' in '{field}': value should not have whitespace"
                ));
            }
            _ => {}
        }
        let key = key.to_lowercase();
        let alone = ["readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src"];
        if value.is_none() && !alone.contains(&key.as_str()) {
            return input(format!("invalid field '{field}' must be a key=value pair"));
        }
        self.set(&key, value, field)
    }

    fn set(&mut self, key: &str, value: Option<&str>, field: &str) -> Result<()> {
        let text = value.unwrap_or_default();
        let wrong = || input(format!("invalid value for {key}: {text}"));
        match key {
            "type" => self.kind = text.to_lowercase(),
            "source" | "src" => self.source = text.into(),
            "target" | "dst" | "destination" => self.target = text.into(),
            "readonly" | "ro" => self.read_only = switch(key, value)?,
            // Between host and virtual machine; there is none.
            "consistency" => {}
            "bind-propagation" => match Propagation::parse(&text.to_lowercase()) {
                None => {
                    return input(format!(
                        "invalid mount config for type \"bind\": invalid propagation mode: {text}"
                    ));
                }
                found => self.bind().propagation = found,
            },
            "bind-nonrecursive" => {
                return input(
                    "bind-nonrecursive is deprecated, use bind-recursive=disabled instead",
                );
            }
            "bind-recursive" => self.bind().recursive = recursive(text)?,
            "bind-create-src" => self.bind().bind.create = switch(key, value)?,
            "volume-subpath" => self.volume().subpath = Some(text.into()),
            "volume-nocopy" => self.volume().nocopy = switch(key, value)?,
            "volume-label" => pair(&mut self.volume().labels, text),
            "volume-driver" => self.volume().driver = Some(text.into()),
            "volume-opt" => pair(&mut self.volume().options, text),
            "tmpfs-size" => match cgroups::size::bytes(text) {
                Ok(bytes) => self.tmpfs().push(format!("size={bytes}")),
                Err(_) => return wrong(),
            },
            "tmpfs-mode" => match u32::from_str_radix(text, 8) {
                Ok(mode) => self.tmpfs().push(format!("mode={mode:o}")),
                Err(_) => return wrong(),
            },
            _ => return input(format!("unknown option '{key}' in '{field}'")),
        }
        Ok(())
    }

    fn bind(&mut self) -> &mut RawBind {
        self.bind.get_or_insert_default()
    }

    fn volume(&mut self) -> &mut Volume {
        self.volume.get_or_insert_default()
    }

    fn tmpfs(&mut self) -> &mut Vec<String> {
        self.tmpfs.get_or_insert_default()
    }

    /// What it means together.
    fn decide(self, base: &Path) -> Result<Spec> {
        let kind = self.kind.clone();
        let others = [
            ("bind", self.bind.is_some()),
            ("volume", self.volume.is_some()),
            ("tmpfs", self.tmpfs.is_some()),
        ];
        if let Some((other, _)) = others.iter().find(|(name, given)| *given && *name != kind) {
            return input(format!("cannot mix '{other}-*' options with mount type '{kind}'"));
        }
        let source = match kind.as_str() {
            "bind" => Source::Bind(self.decide_bind(base)?),
            "volume" => {
                let name = (!self.source.is_empty()).then_some(self.source);
                Source::Volume(Volume { name, ..self.volume.unwrap_or_default() })
            }
            "tmpfs" if self.source.is_empty() => {
                let mut options = self.tmpfs.unwrap_or_default();
                options.extend(self.read_only.then(|| "ro".to_owned()));
                let options: Vec<&str> = options.iter().map(String::as_str).collect();
                return tmpfs(self.target.into(), &options);
            }
            "tmpfs" => {
                return input(
                    "invalid mount config for type \"tmpfs\": field Source must not be specified",
                );
            }
            _ => {
                return input(format!(
                    "invalid mount config for type {kind:?}: mount type unknown"
                ));
            }
        };
        let (target, read_only) = (self.target.into(), self.read_only);
        check(Spec { target, read_only, relabel: false, source })
    }

    fn decide_bind(&self, base: &Path) -> Result<Bind> {
        let empty = RawBind::default();
        let raw = self.bind.as_ref().unwrap_or(&empty);
        let needs = |recursive: &str, other: &str| {
            input(format!(
                "option 'bind-recursive={recursive}' requires '{other}' to be specified in conjunction"
            ))
        };
        let recursive = match raw.recursive.as_str() {
            "writable" if !self.read_only => return needs("writable", "readonly"),
            "readonly" if !self.read_only => return needs("readonly", "readonly"),
            "readonly" if raw.propagation != Some(Propagation::RPrivate) => {
                return needs("readonly", "bind-propagation=rprivate");
            }
            "disabled" => Recursive::Disabled,
            "writable" => Recursive::Writable,
            _ => Recursive::Enabled,
        };
        let path = match self.source.starts_with('.') {
            true => base.join(&self.source),
            false => (&self.source).into(),
        };
        let propagation = raw.propagation.unwrap_or_default();
        Ok(Bind { path, propagation, recursive, create: raw.bind.create })
    }
}

fn recursive(text: &str) -> Result<String> {
    match ["enabled", "disabled", "writable", "readonly"].contains(&text) {
        true => Ok(text.into()),
        false => input(format!(
            "invalid value for bind-recursive: {text} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
        )),
    }
}

fn switch(key: &str, value: Option<&str>) -> Result<bool> {
    match value {
        None | Some("1" | "true") => Ok(true),
        Some("0" | "false") => Ok(false),
        Some(value) => input(format!(
            "invalid value for '{key}': invalid boolean value ({value:?}): \
             must be one of \"true\", \"1\", \"false\", or \"0\" (default \"true\")"
        )),
    }
}

fn pair(map: &mut BTreeMap<String, String>, text: &str) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if !key.is_empty() {
        map.insert(key.into(), value.into());
    }
}

/// One line of comma separated values, RFC 4180: a field in double quotes may hold
/// commas, and doubled quotes.
fn fields(line: &str) -> Result<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                if rest[..end].contains('"') {
                    return input(format!("parse error in {line:?}: bare \" in non-quoted field"));
                }
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(after) => rest = after,
            None if after.is_empty() => return Ok(fields),
            None => {
                return input(format!(
                    "parse error in {line:?}: extraneous or missing \" in quoted field"
                ));
            }
        }
    }
}

/// The field, and what follows its closing quote.
fn quoted_field(mut rest: &str) -> Result<(String, &str)> {
    let mut field = String::new();
    loop {
        let Some((text, after)) = rest.split_once('"') else {
            return input("parse error: missing \" at the end of a quoted field");
        };
        field += text;
        match after.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Ok((field, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        match parse_mount(text, Path::new("/here")) {
            Ok(spec) => spec.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_mount_is_read() {
        insta::assert_snapshot!(told("type=bind,source=/a,target=/b"), @"bind /a on /b rw");
        insta::assert_snapshot!(told("type=bind,src=./a,dst=/b,ro"), @"bind /here/a on /b ro");
        insta::assert_snapshot!(told("type=volume,src=data,destination=/data,readonly=true"), @"volume data on /data ro");
        insta::assert_snapshot!(told("target=/data"), @"volume (new) on /data rw");
        insta::assert_snapshot!(told("type=tmpfs,target=/run,tmpfs-size=1m,tmpfs-mode=1770"), @"tmpfs size=1048576,mode=1770 on /run rw");
        insta::assert_snapshot!(told(r#"type=volume,src=d,dst=/d,"volume-label=a=1,2""#), @"volume d on /d rw");
    }

    #[test]
    fn errors_are_dockers() {
        insta::assert_snapshot!(told(""), @"value is empty");
        insta::assert_snapshot!(told("type=bind"), @r#"invalid mount config for type "bind": field Target must not be empty"#);
        insta::assert_snapshot!(told("type=bind,target=/b"), @r#"invalid mount config for type "bind": field Source must not be empty"#);
        insta::assert_snapshot!(told("type=bind,source=a,target=/b"), @r#"invalid mount config for type "bind": invalid mount path: 'a' mount path must be absolute"#);
        insta::assert_snapshot!(told("type=bind,source=/a,target=b"), @r#"invalid mount config for type "bind": invalid mount path: 'b' mount path must be absolute"#);
        insta::assert_snapshot!(told("type=bind,source=/a,target=/"), @r#"invalid mount config for type "bind": invalid specification: destination can't be '/'"#);
        insta::assert_snapshot!(told("type=volume,target=/b,bind-propagation=shared"), @"cannot mix 'bind-*' options with mount type 'volume'");
        insta::assert_snapshot!(told("type=tmpfs,source=x,target=/b"), @r#"invalid mount config for type "tmpfs": field Source must not be specified"#);
        insta::assert_snapshot!(told("type=bind,source=/a,target=/b,wrong=1"), @"unknown option 'wrong' in 'wrong=1'");
        insta::assert_snapshot!(told("type=bind,source=/a,target"), @"invalid field 'target' must be a key=value pair");
        insta::assert_snapshot!(told("type=bind,source=/a,target=/b,readonly=maybe"), @r#"invalid value for 'readonly': invalid boolean value ("maybe"): must be one of "true", "1", "false", or "0" (default "true")"#);
        insta::assert_snapshot!(told("type=cloud,target=/b"), @r#"invalid mount config for type "cloud": mount type unknown"#);
        insta::assert_snapshot!(told("type=bind,source=/a, target=/b"), @"invalid option 'target' in ' target=/b': option should not have whitespace");
        insta::assert_snapshot!(told("type=bind,source=/a,target=/b,bind-recursive=readonly,ro"), @"option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction");
        insta::assert_snapshot!(told("type=volume,target=/b,readonly"), @r#"invalid mount config for type "volume": must not set ReadOnly mode when using anonymous volumes"#);
        insta::assert_snapshot!(told("type=volume,target=/b,volume-subpath=x"), @r#"invalid mount config for type "volume": must not set Subpath when using anonymous volumes"#);
        insta::assert_snapshot!(told("type=volume,src=v,target=/b,volume-subpath=../x"), @r#"invalid mount config for type "volume": subpath must be a relative path within the volume"#);
        insta::assert_snapshot!(told("type=tmpfs,target=/b,tmpfs-size=much"), @"invalid value for tmpfs-size: much");
        insta::assert_snapshot!(told("type=volume,volume-opt,target=/b"), @"invalid field 'volume-opt' must be a key=value pair");
        insta::assert_snapshot!(told(r#"type=volume,"target=/b"#), @r#"parse error: missing " at the end of a quoted field"#);
    }
}
