//! Read the value of `-v`.
//!
//! `data:/data`, `/srv:/www:ro`, `./src:/src`, `/cache`: one word, and three meanings. Write
//! `parse`. A source that begins with `/` or `.` is a path of the host, anything else the name of
//! a volume; without a source it is a new volume that nobody has named. A mode alone, as in
//! `/data:ro`, does not say of what, and is refused. The page "What is asked for" has the rules.
//!
//! Minutes: 20

use std::fmt;

/// What is to be mounted.
enum Source {
    /// A path of the host.
    Host(String),
    /// A volume with a name.
    Volume(String),
    /// A new volume.
    New,
}

struct Spec {
    source: Source,
    target: String,
    read_only: bool,
}

/// Reads `[SOURCE:]TARGET[:ro|:rw]`; the error is one sentence.
fn parse(text: &str) -> Result<Spec, String> {
    // YOURS: take the word apart, and decide what each part is
    // SAYS: is the name of a volume
    let parts: Vec<&str> = text.split(':').collect();
    let is_mode = |word: &str| word == "ro" || word == "rw";
    let (source, target, mode) = match parts[..] {
        [target] => (None, target, "rw"),
        [source, target] if !is_mode(target) => (Some(source), target, "rw"),
        [source, target, mode] if is_mode(mode) => (Some(source), target, mode),
        _ => return Err(format!("invalid volume specification: '{text}'")),
    };
    if !target.starts_with('/') || source == Some("") {
        return Err(format!("invalid volume specification: '{text}'"));
    }
    let source = source.map_or(Source::New, |path| Source::Host(path.into()));
    Ok(Spec { source, target: target.into(), read_only: mode == "ro" })
    // END
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.source {
            Source::Host(path) => format!("{path} of the host"),
            Source::Volume(name) => format!("the volume {name}"),
            Source::New => "a new volume".into(),
        };
        let access = if self.read_only { ", read-only" } else { "" };
        write!(f, "{source} on {}{access}", self.target)
    }
}

fn main() {
    for text in [
        "data:/data",
        "/srv:/www:ro",
        "./src:/src",
        "src:/src",
        "/cache",
        "data:/data:rw",
        "/data:ro",
        ":/data",
        "data:data",
        "data:/data:sometimes",
        "",
    ] {
        match parse(text) {
            Ok(spec) => println!("{text:?} is {spec}"),
            Err(_) => println!("{text:?} is refused"),
        }
    }
}
