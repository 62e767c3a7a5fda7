//! Takes images away, and what only they had.

use std::collections::BTreeSet;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layout::{A_WHILE, REF_NAME};
use crate::manifest::Index;
use crate::reference::Reference;
use crate::store::{Image, Store, as_it_came, find};

/// How to take an image away.
#[derive(Default)]
pub struct RemoveOptions<'a> {
    /// Take away all names of an id; take a name from an image in use.
    pub force: bool,
    /// Who needs an image.
    pub in_use: Option<&'a InUse<'a>>,
}

/// Says who needs an image: "container 1a2b3c is running on it".
pub type InUse<'a> = dyn Fn(&Image) -> Option<String> + 'a;

/// What was taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Removed {
    /// A name.
    Untagged(Reference),
    /// An image with everything that only it had, by its id.
    Deleted(Digest),
}

impl Store {
    /// Takes a name from an image, and with the last name the image; or takes away an
    /// image by its id.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] if something needs it.
    pub fn remove(&self, word: &str, options: &RemoveOptions) -> Result<Vec<Removed>> {
        let removed = self.layout.change_index(|index| {
            let before = self.parts(index)?;
            let (image, name) = find(self.images_of(index)?, word)?;
            let goes = names_to_take(&image, name.as_ref(), options.force)?;
            let mut removed: Vec<_> = goes.iter().cloned().map(Removed::Untagged).collect();
            let last = goes.len() == image.references.len();
            let user = options.in_use.filter(|_| last).and_then(|in_use| in_use(&image));
            match (&user, &name) {
                (Some(user), None) => return Err(needed(word, user, "")),
                (Some(user), Some(_)) if !options.force => {
                    return Err(needed(word, user, "; force takes only the name away"));
                }
                _ => {}
            }
            take_names(index, &image, &goes);
            if last && user.is_none() {
                self.delete(index, &image, before)?;
                removed.push(Removed::Deleted(image.id));
            }
            Ok(removed)
        })?;
        // What was taken out of sight goes off the disk now, when nobody waits for us.
        self.layers.sweep();
        Ok(removed)
    }

    /// Removes an image without names, and the blobs and layers that no other has.
    ///
    /// They go before the table says so: a killed process leaves an image that is
    /// still listed and whose removal can be asked for again.
    fn delete(&self, index: &mut Index, image: &Image, before: Parts) -> Result<()> {
        let manifests = self.manifests_of(index, &image.id);
        index.manifests.retain(|entry| !manifests.contains(&entry.digest));
        let after = self.parts(index)?;
        for diff_id in before.layers.difference(&after.layers) {
            self.layers.discard(diff_id)?;
        }
        for blob in before.blobs.difference(&after.blobs) {
            self.layout.remove_blob(blob)?;
        }
        Ok(())
    }

    /// Removes blobs and layers that no image has: those that came for nothing a
    /// while ago, and those that the caller brought and gives up.
    ///
    /// Another process may be about to use them. It looks again before it enters its
    /// image into the table, under the same lock, and then brings them once more.
    pub(crate) fn collect(&self, given_up: &[Digest]) -> Result<()> {
        self.layout.change_index(|index| {
            let parts = self.parts(index)?;
            let old = |at: &SystemTime| at.elapsed().is_ok_and(|age| age > A_WHILE);
            let goes = |(digest, at): &(Digest, SystemTime)| old(at) || given_up.contains(digest);
            for (layer, _) in self.layers.all().iter().filter(|layer| goes(layer)) {
                if !parts.layers.contains(layer) {
                    self.layers.discard(layer)?;
                }
            }
            for (blob, _) in self.layout.blobs().iter().filter(|blob| goes(blob)) {
                if !parts.blobs.contains(blob) {
                    self.layout.remove_blob(blob)?;
                }
            }
            Ok(())
        })?;
        self.sweep();
        Ok(())
    }

    fn manifests_of(&self, index: &Index, id: &Digest) -> Vec<Digest> {
        let is_of = |digest: &Digest| self.manifest(digest).is_ok_and(|m| m.config.digest == *id);
        index.manifests.iter().map(|entry| entry.digest).filter(is_of).collect()
    }

    /// Everything that the images of a table are made of.
    fn parts(&self, index: &Index) -> Result<Parts> {
        let mut parts = Parts::default();
        for image in self.images_of(index)? {
            parts.layers.extend(image.config.rootfs.diff_ids.iter().copied());
        }
        for entry in &index.manifests {
            let manifest = self.manifest(&entry.digest)?;
            parts.blobs.extend([entry.digest, manifest.config.digest]);
            parts.blobs.extend(manifest.layers.iter().map(|layer| layer.digest));
            parts.blobs.extend(as_it_came(entry));
            // The index that led to the image.
            let name =
                entry.annotations.get(REF_NAME).and_then(|name| name.parse::<Reference>().ok());
            parts.blobs.extend(name.and_then(|name| name.digest()));
        }
        Ok(parts)
    }
}

#[derive(Default)]
struct Parts {
    blobs: BTreeSet<Digest>,
    layers: BTreeSet<Digest>,
}

fn needed(word: &str, user: &str, way: &str) -> Error {
    Error::InUse(format!("cannot remove {word}: {user}{way}"))
}

/// The names that go: the one that was said, with the digests of a repository whose
/// last tag it is; or all, if the image was called by its id.
fn names_to_take(image: &Image, name: Option<&Reference>, force: bool) -> Result<Vec<Reference>> {
    let Some(name) = name else {
        let repositories: BTreeSet<_> =
            image.references.iter().map(Reference::repository).collect();
        if repositories.len() > 1 && !force {
            let names: Vec<_> = image.tags().map(Reference::familiar).collect();
            return Err(Error::InUse(format!(
                "cannot remove {}: it has names in several repositories ({}); remove them by name, or force",
                image.id.short(),
                names.join(", ")
            )));
        }
        return Ok(image.references.clone());
    };
    let same = |other: &Reference| other.repository() == name.repository();
    let more_tags = image.tags().any(|tag| tag != name && same(tag));
    let goes = |other: &&Reference| {
        *other == name
            || (!more_tags && name.digest().is_none() && other.digest().is_some() && same(other))
    };
    Ok(image.references.iter().filter(goes).cloned().collect())
}

/// The image stays in the table, if need be without a name.
fn take_names(index: &mut Index, image: &Image, goes: &[Reference]) {
    let goes: Vec<_> = goes.iter().map(Reference::to_string).collect();
    let is_gone = |name: Option<&String>| name.is_some_and(|name| goes.contains(name));
    let nameless = index.manifests.iter().find(|entry| entry.digest == image.entry).cloned();
    index.manifests.retain(|entry| !is_gone(entry.annotations.get(REF_NAME)));
    if let Some(mut entry) = nameless
        && !index.manifests.iter().any(|other| other.digest == entry.digest)
    {
        entry.annotations.remove(REF_NAME);
        index.manifests.push(entry);
    }
}
