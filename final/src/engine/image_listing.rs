//! What `images`, `inspect` and `history` show of images, in Docker's shapes.

use std::collections::{BTreeSet, HashMap};

use images::{Digest, Image, Reference};
use serde_json::{Value as Json, json};

use super::Engine;
use super::error::Result;
use super::filters::Filters;
use super::images::Images;
use super::shown::DRIVER;
use super::time::{self, NEVER};

/// The images that the filters admit, the newest first, as Docker's `Summary`.
///
/// # Errors
/// A filter that makes no sense, or names an image that is not there.
pub fn images(engine: &Engine, filters: &Filters) -> Result<Vec<Json>> {
    filters.only(&["before", "dangling", "label", "label!", "reference", "since", "until"])?;
    let dangling = filters.flag("dangling")?;
    let created = |key: &'static str| {
        let image = filters.values(key).map(|name| engine.images.find(name)).next_back();
        image.transpose().map(|image| image.map(|image| moment(&image)))
    };
    let (before, since) = (created("before")?, created("since")?);
    let until = filters.until()?.map(|until| until.as_second());
    let admitted = |image: &&Image| {
        let created = moment(image);
        dangling.is_none_or(|dangling| dangling == image.references.is_empty())
            && before.is_none_or(|before| created < before)
            && since.is_none_or(|since| created > since)
            && until.is_none_or(|until| created < until)
            && filters.admit("reference", |pattern| {
                image.references.iter().any(|name| matches(name, pattern))
            })
            && filters.admit_labels(|key| image.config.config.labels.get(key).cloned())
    };
    let all = engine.images.list()?;
    let mut found: Vec<_> = all.iter().filter(admitted).collect();
    found.sort_by_key(|image| std::cmp::Reverse(moment(image)));
    Ok(found.into_iter().map(|image| summary(image, filters)).collect())
}

/// When it was made, in seconds since the epoch; 0 where nobody says.
pub fn moment(image: &Image) -> i64 {
    image.config.created.as_deref().map(time::seconds).unwrap_or(0)
}

fn summary(image: &Image, filters: &Filters) -> Json {
    let asked = |name: &&Reference| filters.admit("reference", |pattern| matches(name, pattern));
    json!({
        "Id": image.id.to_string(),
        "RepoTags": image.tags().filter(asked).map(Reference::familiar).collect::<Vec<_>>(),
        "RepoDigests": image.digests().filter(asked).map(Reference::familiar).collect::<Vec<_>>(),
        "Created": moment(image),
        "Size": image.size,
        "SharedSize": -1,
        "Containers": -1,
        "Labels": Some(&image.config.config.labels).filter(|labels| !labels.is_empty()),
    })
}

/// A repository, a repository with a tag, or a pattern.
fn matches(name: &Reference, pattern: &str) -> bool {
    let (full, repository) = (name.familiar(), name.familiar_name());
    let (pattern, full): (Vec<_>, Vec<_>) = (pattern.chars().collect(), full.chars().collect());
    glob(&pattern, &full) || glob(&pattern, &repository.chars().collect::<Vec<_>>())
}

/// A file's pattern: `*` stands for any text and `?` for any character without a
/// slash, `[a-z]` for one of several.
fn glob(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], text) => text.is_empty(),
        (['*', rest @ ..], text) => {
            let end = text.iter().position(|c| *c == '/').unwrap_or(text.len());
            (0..=end).any(|at| glob(rest, &text[at..]))
        }
        (['?', rest @ ..], [c, tail @ ..]) => *c != '/' && glob(rest, tail),
        (['[', rest @ ..], [c, tail @ ..]) => {
            let Some(end) = rest.iter().position(|c| *c == ']') else { return false };
            let (set, not) = match &rest[..end] {
                ['^', set @ ..] => (set, true),
                set => (set, false),
            };
            one_of(set, *c) != not && glob(&rest[end + 1..], tail)
        }
        (['\\', wanted, rest @ ..] | [wanted, rest @ ..], [c, tail @ ..]) => {
            wanted == c && glob(rest, tail)
        }
        _ => false,
    }
}

fn one_of(set: &[char], c: char) -> bool {
    match set {
        [first, '-', last, rest @ ..] => (*first..=*last).contains(&c) || one_of(rest, c),
        [one, rest @ ..] => *one == c || one_of(rest, c),
        [] => false,
    }
}

/// Everything that is known of an image.
///
/// # Errors
/// There is no such image.
pub fn inspect(images: &Images, name: &str) -> Result<Json> {
    let image = images.find(name)?;
    let config = &image.config;
    let layers: Vec<_> = config.rootfs.diff_ids.iter().map(ToString::to_string).collect();
    let run = serde_json::to_value(&config.config).expect("plain data");
    Ok(json!({
        "Id": image.id.to_string(),
        "RepoTags": image.tags().map(Reference::familiar).collect::<Vec<_>>(),
        "RepoDigests": image.digests().map(Reference::familiar).collect::<Vec<_>>(),
        "Created": config.created,
        "Author": config.author,
        "Comment": config.history.last().and_then(|last| last.comment.clone()),
        "Config": run,
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "Size": image.size,
        "GraphDriver": { "Name": DRIVER, "Data": folders(images, &image)? },
        "RootFS": { "Type": "layers", "Layers": layers },
        "Metadata": { "LastTagTime": NEVER },
    }))
}

/// The folders of an image's layers, the topmost first; null before they are unpacked.
fn folders(images: &Images, image: &Image) -> Result<Json> {
    if !images.store()?.is_unpacked(image) {
        return Ok(Json::Null);
    }
    let layers = images.layers(image)?;
    let text = |path: &std::path::PathBuf| path.display().to_string();
    let (Some(top), below) = (layers.last(), layers.iter().rev().skip(1)) else {
        return Ok(Json::Null);
    };
    Ok(json!({
        "UpperDir": text(top),
        "LowerDir": below.map(text).collect::<Vec<_>>().join(":"),
    }))
}

/// How an image came to be, the newest step first.
///
/// # Errors
/// There is no such image.
pub fn history(images: &Images, name: &str) -> Result<Vec<Json>> {
    let image = images.find(name)?;
    let store = images.store()?;
    let mut layers = image.config.rootfs.diff_ids.iter();
    let mut steps = Vec::new();
    for step in &image.config.history {
        let layer = if step.empty_layer { None } else { layers.next() };
        let size = layer.map(|layer| store.layer_size(layer)).transpose()?;
        steps.push(json!({
            "Id": "<missing>",
            "Created": step.created.as_deref().map(time::seconds).unwrap_or(0),
            "CreatedBy": step.created_by.clone().unwrap_or_default(),
            "Tags": Json::Null,
            "Size": size.unwrap_or(0),
            "Comment": step.comment.clone().unwrap_or_default(),
        }));
    }
    // An image of a builder that tells no history still has its layers.
    for layer in layers {
        steps.push(json!({
            "Id": "<missing>", "Created": moment(&image), "CreatedBy": "", "Tags": Json::Null,
            "Size": store.layer_size(layer)?, "Comment": "",
        }));
    }
    if let Some(last) = steps.last_mut() {
        last["Id"] = json!(image.id.to_string());
        let tags: Vec<_> = image.tags().map(Reference::familiar).collect();
        last["Tags"] = if tags.is_empty() { Json::Null } else { json!(tags) };
    }
    steps.reverse();
    Ok(steps)
}

/// How large the layers of all images are together, and of each image what others
/// have too.
pub struct Sizes {
    /// The bytes of all layers, each counted once.
    pub total: u64,
    /// The bytes that an image shares, by its id.
    pub shared: HashMap<String, u64>,
}

/// Looks at all layers.
///
/// # Errors
/// A store that cannot be read.
pub fn sizes(images: &Images) -> Result<Sizes> {
    let store = images.store()?;
    let all = images.list()?;
    let layers =
        |image: &Image| image.config.rootfs.diff_ids.iter().copied().collect::<BTreeSet<_>>();
    let mut users: HashMap<Digest, u32> = HashMap::new();
    all.iter().flat_map(layers).for_each(|layer| *users.entry(layer).or_default() += 1);
    let mut bytes = HashMap::new();
    for layer in users.keys() {
        bytes.insert(*layer, store.layer_size(layer)?);
    }
    let shared = |image: &Image| {
        let shared = layers(image).into_iter().filter(|layer| users[layer] > 1);
        (image.id.to_string(), shared.map(|layer| bytes[&layer]).sum())
    };
    Ok(Sizes { total: bytes.values().sum(), shared: all.iter().map(shared).collect() })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_pattern_is_a_files() {
        let glob = |pattern: &str, text: &str| {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            super::glob(&chars(pattern), &chars(text))
        };
        for (pattern, text) in [
            ("busy*", "busybox"),
            ("*:1*", "busybox:1.36"),
            ("busybox", "busybox"),
            ("b?sy[a-c]ox", "busybox"),
        ] {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("busy*", "busy/box"), ("busybox", "busybox2"), ("[^b]*", "busy")] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }
}
