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
    todo!("find the tag, then the registry, and complete what is missing")
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
