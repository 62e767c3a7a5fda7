//! The names of images: `[domain/]path[:tag][@digest]`.
//!
//! ```text
//! registry.example:5000 / team/app : 1.2 @ sha256:9f86d0…
//! └─────── domain ─────┘ └─ path ─┘ tag   └── digest ───┘
//! ```
//!
//! The first component is a domain only if it could not be a path: it has a dot
//! or a colon, or is `localhost`. Everything else is on Docker Hub, and a path
//! of one component there is in `library`. `busybox` is short for
//! `docker.io/library/busybox:latest`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result};

const HUB: &str = "docker.io";
const OFFICIAL: &str = "library/";
/// The limit of a whole repository name, domain included.
const LONGEST_NAME: usize = 255;

/// A name of an image, complete: a domain, a path, and a tag or a digest or both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry: `docker.io`, `127.0.0.1:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository on its registry: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag; `None` only where there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of a manifest or an index.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The repository with its registry: `docker.io/library/busybox`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The whole reference as people write it: `busybox:latest`.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), self.suffix())
    }

    /// The repository as people write it: `busybox`, `127.0.0.1:5000/busybox`.
    pub fn familiar_name(&self) -> String {
        if self.domain == HUB {
            let short = self.path.strip_prefix(OFFICIAL).filter(|rest| !rest.contains('/'));
            short.unwrap_or(&self.path).to_owned()
        } else {
            self.repository()
        }
    }

    /// The same repository, by digest alone.
    pub fn by_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    fn suffix(&self) -> String {
        let tag = self.tag.iter().map(|tag| format!(":{tag}"));
        tag.chain(self.digest.iter().map(|digest| format!("@{digest}"))).collect()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.path, self.suffix())
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl TryFrom<String> for Reference {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for Reference {
    type Err = Error;

    /// Reads a reference and completes it: Docker Hub, `library/`, `latest`.
    fn from_str(text: &str) -> Result<Self> {
        parse(text).map_err(|why| Error::Input(format!("invalid reference format {text:?}: {why}")))
    }
}

// ANCHOR: parse
fn parse(text: &str) -> Result<Reference, String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if Digest::from_hex(text).is_some() {
        return Err("64 hexadecimal digits are an id, not a name".into());
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => {
            (rest, Some(digest.parse::<Digest>().map_err(|error| error.to_string())?))
        }
        None => (text, None),
    };
    let (name, tag) = split_tag(rest);
    let (domain, path) = split_domain(name);
    check_domain(domain)?;
    check_path(&path)?;
    if domain.len() + 1 + path.len() > LONGEST_NAME {
        return Err(format!("a name has at most {LONGEST_NAME} characters"));
    }
    let tag = match (tag, digest) {
        (Some(tag), _) => Some(check_tag(tag)?),
        (None, None) => Some("latest".to_owned()),
        (None, Some(_)) => None,
    };
    Ok(Reference { domain: domain.to_owned(), path, tag, digest })
}
// ANCHOR_END: parse

// ANCHOR: split
/// The last colon starts a tag, unless a slash follows: then it starts a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

fn split_domain(name: &str) -> (&str, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest)) if is_domain(first) => (first, rest),
        _ => (HUB, name),
    };
    let domain = if domain == "index.docker.io" { HUB } else { domain };
    if domain == HUB && !path.contains('/') {
        (domain, format!("{OFFICIAL}{path}"))
    } else {
        (domain, path.to_owned())
    }
}

/// A capital can only be in a domain too, as paths are lower-case.
fn is_domain(first: &str) -> bool {
    first.contains(['.', ':', '[']) || first == "localhost" || first != first.to_lowercase()
}
// ANCHOR_END: split

fn check_domain(domain: &str) -> Result<(), String> {
    let bad = || Err(format!("{domain:?} is not a host name with an optional port"));
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (domain, None),
    };
    // Rust reads a port with a sign, too, and an IPv6 address that ends as an IPv4 one.
    let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    if port.is_some_and(|port| !digits(port) || port.parse::<u16>().is_err()) {
        return bad();
    }
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let good = address.parse::<std::net::Ipv6Addr>().is_ok() && !address.contains('.');
        return if good { Ok(()) } else { bad() };
    }
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if host.split('.').all(label) { Ok(()) } else { bad() }
}

fn check_path(path: &str) -> Result<(), String> {
    if path.is_empty() || path == OFFICIAL {
        return Err("it names no repository".into());
    }
    if path != path.to_lowercase() {
        return Err(format!("the repository name {path:?} must be lower-case"));
    }
    match path.split('/').find(|component| !is_component(component)) {
        None => Ok(()),
        Some("") => Err("two slashes, or one at an end".into()),
        Some(component) => Err(format!(
            "{component:?}: letters and digits, separated by one dot, one or two underscores, or dashes"
        )),
    }
}

/// `alphanumeric (separator alphanumeric)*`, the separators being `.`, `_`, `__`
/// and any number of `-`.
fn is_component(component: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ends = component.starts_with(alphanumeric) && component.ends_with(alphanumeric);
    ends && component
        .split(alphanumeric)
        .all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|b| b == b'-'))
}

fn check_tag(tag: &str) -> Result<String, String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let good = tag.starts_with(word)
        && tag.len() <= 128
        && tag.chars().all(|c| word(c) || c == '.' || c == '-');
    good.then(|| tag.to_owned()).ok_or_else(|| {
        format!(
            "the tag {tag:?} is not 1 to 128 letters, digits, '_', '.' and '-', the first no '.' or '-'"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str) -> String {
        match text.parse::<Reference>() {
            Ok(reference) => {
                let again: Reference = reference.to_string().parse().unwrap();
                assert_eq!(again, reference, "the full form reads back");
                let familiar: Reference = reference.familiar().parse().unwrap();
                assert_eq!(familiar, reference, "the familiar form reads back");
                format!("{reference}  ({})", reference.familiar())
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn references_are_completed_as_docker_completes_them() {
        let digest = Digest::of(b"");
        let lines: Vec<_> = [
            "busybox",
            "busybox:1.36",
            "library/busybox",
            "docker.io/busybox",
            "index.docker.io/team/app",
            "team/app",
            "team/sub/app",
            "localhost/app",
            "localhost:5000/app:v1",
            "127.0.0.1:5000/a/b_c/d__e/f---g.h",
            "[::1]:5000/app",
            "[2001:db8::1]/app",
            "UPPER/app",
            "ghcr.io/team/app:sha-1a2b",
            "a:5000",
        ]
        .iter()
        .map(|text| full(text))
        .chain([full(&format!("app@{digest}")), full(&format!("r.io/app:1@{digest}"))])
        .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        docker.io/library/busybox:latest  (busybox:latest)
        docker.io/library/busybox:1.36  (busybox:1.36)
        docker.io/library/busybox:latest  (busybox:latest)
        docker.io/library/busybox:latest  (busybox:latest)
        docker.io/team/app:latest  (team/app:latest)
        docker.io/team/app:latest  (team/app:latest)
        docker.io/team/sub/app:latest  (team/sub/app:latest)
        localhost/app:latest  (localhost/app:latest)
        localhost:5000/app:v1  (localhost:5000/app:v1)
        127.0.0.1:5000/a/b_c/d__e/f---g.h:latest  (127.0.0.1:5000/a/b_c/d__e/f---g.h:latest)
        [::1]:5000/app:latest  ([::1]:5000/app:latest)
        [2001:db8::1]/app:latest  ([2001:db8::1]/app:latest)
        UPPER/app:latest  (UPPER/app:latest)
        ghcr.io/team/app:sha-1a2b  (ghcr.io/team/app:sha-1a2b)
        docker.io/library/a:5000  (a:5000)
        docker.io/library/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  (app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855)
        r.io/app:1@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  (r.io/app:1@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855)
        ");
    }

    #[test]
    fn a_bad_reference_says_what_is_wrong_with_it() {
        let long = "a".repeat(256);
        let tag = format!("app:{}", "t".repeat(129));
        let lines: Vec<_> = [
            "",
            "Busybox",
            "a//b",
            "/a",
            "a/",
            "a:",
            "a:-b",
            "a..b",
            "a___b",
            "-a",
            "a b",
            "r.io:port/a",
            "r.io:+80/a",
            "-r.io/a",
            "[::g]/a",
            "[2001:db8:3:4::192.0.2.33]:5000/a",
            "http://r.io/a",
            "a@sha256:12",
            "a@sha512:12",
            "r.io/",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ]
        .iter()
        .map(|text| full(text))
        .collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        invalid reference format "": it is empty
        invalid reference format "Busybox": the repository name "library/Busybox" must be lower-case
        invalid reference format "a//b": two slashes, or one at an end
        invalid reference format "/a": two slashes, or one at an end
        invalid reference format "a/": two slashes, or one at an end
        invalid reference format "a:": the tag "" is not 1 to 128 letters, digits, '_', '.' and '-', the first no '.' or '-'
        invalid reference format "a:-b": the tag "-b" is not 1 to 128 letters, digits, '_', '.' and '-', the first no '.' or '-'
        invalid reference format "a..b": "a..b": letters and digits, separated by one dot, one or two underscores, or dashes
        invalid reference format "a___b": "a___b": letters and digits, separated by one dot, one or two underscores, or dashes
        invalid reference format "-a": "-a": letters and digits, separated by one dot, one or two underscores, or dashes
        invalid reference format "a b": "a b": letters and digits, separated by one dot, one or two underscores, or dashes
        invalid reference format "r.io:port/a": "r.io:port" is not a host name with an optional port
        invalid reference format "r.io:+80/a": "r.io:+80" is not a host name with an optional port
        invalid reference format "-r.io/a": "-r.io" is not a host name with an optional port
        invalid reference format "[::g]/a": "[::g]" is not a host name with an optional port
        invalid reference format "[2001:db8:3:4::192.0.2.33]:5000/a": "[2001:db8:3:4::192.0.2.33]:5000" is not a host name with an optional port
        invalid reference format "http://r.io/a": "http:" is not a host name with an optional port
        invalid reference format "a@sha256:12": invalid digest "sha256:12": sha256 has 64 lower-case hexadecimal digits
        invalid reference format "a@sha512:12": invalid digest "sha512:12": the only algorithm known here is sha256
        invalid reference format "r.io/": it names no repository
        invalid reference format "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855": 64 hexadecimal digits are an id, not a name
        "#);
        assert!(full(&long).ends_with("a name has at most 255 characters"));
        assert!(full(&tag).contains("128"));
    }
}
