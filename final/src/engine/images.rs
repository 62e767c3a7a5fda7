//! Images: what is in the store, in Docker's shapes.

use std::collections::HashMap;
use std::path::PathBuf;

use bollard_stubs::models::{
    ImageConfig, ImageDeleteResponseItem, ImageInspect, ImageInspectRootFs, ImageSummary,
};
use images::{Image, Reference, Store};
use namespaces::userns;

use super::error::{Error, Result};
use super::filters::Filters;
use super::time;
use super::worker::{self, Job};
use crate::store::Root;

/// The built-in image, made from the host's own programs on first use.
pub const HOST: &str = "host";

/// The images of one root.
pub struct Images {
    root: Root,
}

impl From<images::Error> for Error {
    fn from(error: images::Error) -> Self {
        match error {
            images::Error::NotFound(message) => Error::not_found(message),
            images::Error::InUse(message) => Error::conflict(message),
            images::Error::Input(message) | images::Error::Ambiguous(message) => {
                Error::bad_parameter(message)
            }
            images::Error::System(error) => error.into(),
            other => Error::system(other.to_string()),
        }
    }
}

impl Images {
    /// The images kept under `root`.
    pub fn new(root: Root) -> Self {
        Self { root }
    }

    /// The store itself.
    pub fn store(&self) -> Result<Store> {
        Ok(Store::open(self.root.data())?)
    }

    /// The image with this name, digest, or beginning of an id.
    pub fn find(&self, name: &str) -> Result<Image> {
        let image = self.store()?.resolve(name);
        image.map_err(|error| match error {
            images::Error::NotFound(_) => {
                Error::not_found(format!("No such image: {}", with_tag(name)))
            }
            other => other.into(),
        })
    }

    /// The folders of an image's layers, bottom first, unpacked if need be.
    pub fn layers(&self, image: &Image) -> Result<Vec<PathBuf>> {
        let store = self.store()?;
        // An ordinary user may give files to their owners only in a user namespace.
        if userns::needed() && !store.is_unpacked(image) {
            worker::run(self.root.data(), &Job::Unpack(image.id.to_string()), |_| true)?;
        }
        Ok(store.layers(image)?)
    }

    /// All images.
    pub fn list(&self) -> Result<Vec<Image>> {
        Ok(self.store()?.list()?)
    }

    /// Downloads an image; `each` is told of the progress, a line of JSON each time.
    pub fn pull(
        &self,
        reference: &str,
        platform: Option<&str>,
        each: impl FnMut(&[u8]) -> bool,
    ) -> Result<()> {
        let platform = platform.map(str::to_owned);
        worker::run(
            self.root.data(),
            &Job::Pull { reference: reference.to_owned(), platform },
            each,
        )
    }

    /// Removes an image, or one of its names.
    pub fn remove(&self, name: &str, force: bool) -> Result<Vec<ImageDeleteResponseItem>> {
        self.find(name)?;
        let mut items = Vec::new();
        let job = Job::Remove { image: name.to_owned(), force };
        worker::run(self.root.data(), &job, |line| {
            items.extend(serde_json::from_slice::<ImageDeleteResponseItem>(line));
            true
        })?;
        Ok(items)
    }

    /// What `images` shows.
    pub fn summaries(&self, filters: &Filters) -> Result<Vec<ImageSummary>> {
        filters.only(&["reference", "label", "dangling"])?;
        let images = self.list()?;
        let mut summaries: Vec<_> = images
            .iter()
            .filter(|image| admitted(image, filters))
            .map(|image| summary(image, filters))
            .collect();
        summaries.sort_by_key(|summary| std::cmp::Reverse(summary.created));
        Ok(summaries)
    }

    /// What `inspect` shows.
    pub fn inspect(&self, name: &str) -> Result<ImageInspect> {
        let image = self.find(name)?;
        let config = &image.config;
        let layers = config.rootfs.diff_ids.iter().map(ToString::to_string).collect();
        Ok(ImageInspect {
            id: Some(image.id.to_string()),
            repo_tags: Some(tags(&image)),
            repo_digests: Some(digests(&image)),
            comment: Some(String::new()),
            created: Some(config.created.clone().unwrap_or_else(|| time::NEVER.into())),
            author: Some(config.author.clone().unwrap_or_default()),
            config: Some(
                serde_json::from_value::<ImageConfig>(
                    serde_json::to_value(&config.config).expect("plain data"),
                )
                .unwrap_or_default(),
            ),
            architecture: Some(config.architecture.clone()),
            variant: config.variant.clone(),
            os: Some(config.os.clone()),
            size: Some(image.size as i64),
            root_fs: Some(ImageInspectRootFs { typ: "layers".into(), layers: Some(layers) }),
            ..Default::default()
        })
    }
}

/// `busybox` is `busybox:latest`, where it is a name at all.
fn with_tag(name: &str) -> String {
    name.parse::<Reference>()
        .map(|reference| reference.familiar())
        .unwrap_or_else(|_| name.to_owned())
}

fn tags(image: &Image) -> Vec<String> {
    image.tags().map(Reference::familiar).collect()
}

fn digests(image: &Image) -> Vec<String> {
    image.digests().map(Reference::familiar).collect()
}

fn admitted(image: &Image, filters: &Filters) -> bool {
    let dangling = image.references.is_empty();
    filters.admit("dangling", |value| (value == "true" || value == "1") == dangling)
        && filters.admit("reference", |pattern| {
            image.references.iter().any(|name| matches(name, pattern))
        })
        && filters.admit_labels(|key| image.config.config.labels.get(key).cloned())
}

/// A repository, a repository with a tag, or a pattern with `*`.
fn matches(name: &Reference, pattern: &str) -> bool {
    let (full, repository) = (name.familiar(), name.familiar_name());
    [full.as_str(), repository.as_str()].into_iter().any(|text| glob(pattern, text))
}

/// `*` stands for any text without a slash.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.take_while(|at| !rest[..*at].contains('/')).any(|at| glob(after, &rest[at..]))
        }),
    }
}

fn summary(image: &Image, filters: &Filters) -> ImageSummary {
    let mut repo_tags = tags(image);
    if filters.has("reference") {
        repo_tags.retain(|tag| {
            tag.parse()
                .is_ok_and(|name| filters.admit("reference", |pattern| matches(&name, pattern)))
        });
    }
    ImageSummary {
        id: image.id.to_string(),
        parent_id: String::new(),
        repo_tags,
        repo_digests: digests(image),
        created: image.config.created.as_deref().map(time::seconds).unwrap_or(0),
        size: image.size as i64,
        shared_size: -1,
        labels: image.config.config.labels.clone().into_iter().collect::<HashMap<_, _>>(),
        containers: -1,
        manifests: None,
        descriptor: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_but_a_slash() {
        assert!(
            glob("busy*", "busybox") && glob("*:1*", "busybox:1.36") && glob("busybox", "busybox")
        );
        assert!(!glob("busy*", "busy/box") && !glob("busybox", "busybox2"));
    }
}
