//! Split an image's name into registry, repository and tag.
//!
//! `busybox` is short for `docker.io/library/busybox:latest`, and `localhost:5000/app` has a
//! port and no tag. Write `split`, which finds the three parts and completes what is missing.
//! The page "Names and digests" has the rules: the last colon starts a tag unless a slash
//! follows; the first component is a registry if it has a dot or a colon, or is `localhost`;
//! a single component on `docker.io` is in `library/`.
//!
//! Minutes: 15

/// A name of an image, complete.
struct Reference {
    registry: String,
    repository: String,
    tag: String,
}

/// Completes what people write.
fn split(text: &str) -> Reference {
    // YOURS: find the tag, then the registry, and complete what is missing
    // The last colon starts a tag, unless a slash follows: then it starts a port.
    let (name, tag) = match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (text, "latest"),
    };
    // The first component is a registry only if it could not be a path.
    let (registry, path) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => ("docker.io", name),
    };
    let official = registry == "docker.io" && !path.contains('/');
    let repository = if official { format!("library/{path}") } else { path.to_owned() };
    Reference { registry: registry.into(), repository, tag: tag.into() }
    // END
}

fn main() {
    for text in [
        "busybox",
        "busybox:1.36",
        "team/app",
        "localhost/app",
        "localhost:5000/app",
        "localhost:5000/team/app:v2",
        "registry.example/app",
        "docker.io/busybox",
    ] {
        let Reference { registry, repository, tag } = split(text);
        println!("{text} is {registry} / {repository} : {tag}");
    }
}
