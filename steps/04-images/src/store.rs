//! The images of one engine, and the operations on them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layers::Layers;
use crate::layout::{BlobWriter, Layout, MANIFEST, REF_NAME};
use crate::manifest::{Descriptor, Index, Manifest, OCI_CONFIG, OCI_MANIFEST};
use crate::pipeline::unpack_blob;
use crate::reference::Reference;
use crate::unpack::UnpackOptions;

/// Images and their unpacked layers, below one folder.
///
/// Any number of processes may work on a store at once.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) layout: Layout,
    pub(crate) layers: Layers,
}

/// An image that is in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The digest of its config.
    pub id: Digest,
    /// The digest of its manifest, as it came.
    pub manifest_digest: Digest,
    /// The digest of its manifest in OCI's words, by which the table has it. Nearly
    /// always the same one.
    pub(crate) entry: Digest,
    /// Its names; those with a tag come before those with a digest.
    pub references: Vec<Reference>,
    /// How to run it.
    pub config: ImageConfig,
    /// Its layers as they came from the registry, bottom first.
    pub layers: Vec<Descriptor>,
    /// Bytes of file content in its unpacked layers.
    pub size: u64,
}

impl Image {
    /// Its names by tag.
    pub fn tags(&self) -> impl Iterator<Item = &Reference> {
        self.references.iter().filter(|reference| reference.digest().is_none())
    }

    /// Its names by digest: what a registry has it under.
    pub fn digests(&self) -> impl Iterator<Item = &Reference> {
        self.references.iter().filter(|reference| reference.digest().is_some())
    }
}

impl Store {
    /// Opens the store below `root`, and makes it where there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Newer`] if a newer version has written it.
    pub fn open(root: &Path) -> Result<Self> {
        let layout = Layout::open(root.join("images"))?;
        let layers = Layers::open(root.join("layers"))?;
        let store = Self { layout, layers };
        store.doubt()?;
        Ok(store)
    }

    /// All images, those that were named last first.
    pub fn list(&self) -> Result<Vec<Image>> {
        self.images_of(&self.layout.index()?)
    }

    /// The image of a name, an id, or the start of an id.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Ambiguous`] if several ids start like this.
    pub fn resolve(&self, name: &str) -> Result<Image> {
        Ok(find(self.list()?, name)?.0)
    }

    /// The image with this manifest.
    pub(crate) fn image(&self, manifest: &Digest) -> Result<Image> {
        let images = self.list()?.into_iter();
        let image = images
            .filter_map(|image| {
                let found = image.manifest_digest == *manifest
                    || image.references.iter().any(|r| r.digest() == Some(*manifest));
                found.then_some(image)
            })
            .next();
        image.ok_or_else(|| Error::NotFound(format!("no such image: {manifest}")))
    }

    /// Gives an image one more name. An image that had this name loses it.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<()> {
        if target.digest().is_some() {
            return Err(Error::Input(format!("{}: a tag cannot have a digest", target.familiar())));
        }
        self.layout.change_index(|index| {
            let (image, _) = find(self.images_of(index)?, source)?;
            let of_image = |entry: &&Descriptor| entry.digest == image.entry;
            let entry = index.manifests.iter().find(of_image).cloned();
            name(index, entry.expect("an image of this index"), std::slice::from_ref(target));
            Ok(())
        })
    }

    // ANCHOR: layers
    /// The folders of an image's layers, bottom first: what overlayfs stacks.
    ///
    /// Layers that are not unpacked are unpacked now. What an opaque layer hides is
    /// left out.
    pub fn layers(&self, image: &Image) -> Result<Vec<PathBuf>> {
        let mut folders = Vec::new();
        for (blob, diff_id) in image.layers.iter().zip(&image.config.rootfs.diff_ids) {
            self.unpack_layer(&blob.digest, diff_id)?;
            if self.layers.record(diff_id)?.opaque {
                folders.clear();
            }
            let folder = self.layers.path(diff_id);
            // Overlayfs refuses a layer that lies on itself; two equal ones are as one.
            folders.retain(|known| *known != folder);
            folders.push(folder);
        }
        Ok(folders)
    }
    // ANCHOR_END: layers

    /// Bytes of file content in an unpacked layer; 0 before it is unpacked.
    pub fn layer_size(&self, diff_id: &Digest) -> Result<u64> {
        Ok(self.layers.record(diff_id)?.size)
    }

    /// True if [`Store::layers`] has nothing to unpack.
    pub fn is_unpacked(&self, image: &Image) -> bool {
        image.config.rootfs.diff_ids.iter().all(|diff_id| self.layers.has(diff_id))
    }

    /// Writes a blob into the store. Nothing keeps it until an image has it.
    pub fn blob_writer(&self) -> Result<BlobWriter> {
        self.layout.writer()
    }

    /// Where a blob of the store is: a manifest, a config, a layer as it came.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.layout.blob(digest)
    }

    /// Makes an image of a config (JSON) and of layers that are in the store already,
    /// bottom first, and names it.
    pub fn add_image(
        &self,
        config: &[u8],
        layers: &[Descriptor],
        names: &[Reference],
    ) -> Result<Image> {
        let parsed: ImageConfig = serde_json::from_slice(config)
            .map_err(|error| Error::Input(format!("unreadable image config: {error}")))?;
        if parsed.rootfs.diff_ids.len() != layers.len() {
            return Err(Error::Input("an image config with another number of layers".into()));
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(OCI_MANIFEST.into()),
            config: Descriptor::of(OCI_CONFIG, config),
            layers: layers.to_vec(),
        };
        let bytes = serde_json::to_vec(&manifest).expect("a manifest is JSON");
        let descriptor = Descriptor::of(OCI_MANIFEST, &bytes);
        self.layout.write(config)?;
        self.layout.write(&bytes)?;
        if !self.admit(&descriptor, &manifest, names)? {
            return Err(Error::NotFound("the image has a layer that is not in the store".into()));
        }
        self.image(&descriptor.digest)
    }

    /// Enters an image into the table, or answers false if a part of it is not here
    /// (any more: someone may have removed an image that had it too).
    pub(crate) fn admit(
        &self,
        entry: &Descriptor,
        manifest: &Manifest,
        names: &[Reference],
    ) -> Result<bool> {
        self.layout.change_index(|index| {
            let mut parts = manifest.layers.iter().chain([&manifest.config, entry]);
            if !parts.all(|part| self.layout.has(&part.digest)) {
                return Ok(false);
            }
            self.layout.sync()?;
            name(index, entry.clone(), names);
            Ok(true)
        })
    }

    /// True if the layer is here as a blob and as a folder.
    pub(crate) fn has_layer(&self, blob: &Digest, diff_id: &Digest) -> bool {
        self.layout.has(blob) && self.layers.has(diff_id)
    }

    /// Unpacks a layer from its blob, unless it is unpacked.
    pub(crate) fn unpack_layer(&self, blob: &Digest, diff_id: &Digest) -> Result<()> {
        let Some(layer) = self.layers.begin(diff_id)? else { return Ok(()) };
        if !self.layout.has(blob) {
            let lost = format!("the layer {blob} was lost when the machine stopped");
            return Err(Error::NotFound(lost + ": pull the image again"));
        }
        self.announce([*diff_id])?;
        let blob = self.layout.reader(blob)?;
        let unpacked = unpack_blob(blob, diff_id, layer.path(), &self.unpack_options())?;
        layer.commit(&unpacked.into())
    }

    /// An ordinary user without ranges in /etc/subuid is everyone in the image.
    pub(crate) fn unpack_options(&self) -> UnpackOptions {
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let ids =
            map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
        UnpackOptions { ignore_owners: ids.sum::<u64>() <= 1, ..UnpackOptions::default() }
    }

    /// Removes what killed processes left, of those that are gone.
    pub(crate) fn sweep(&self) {
        self.layout.sweep();
        self.layers.sweep();
    }

    /// The images of a table: an image has as many entries as names, or one without.
    pub(crate) fn images_of(&self, index: &Index) -> Result<Vec<Image>> {
        let mut images: Vec<Image> = Vec::new();
        for entry in index.manifests.iter().rev() {
            let reference = entry.annotations.get(REF_NAME).and_then(|name| name.parse().ok());
            let known = images.iter().position(|image| image.entry == entry.digest);
            let at = match known {
                Some(at) => at,
                None => {
                    let image = self.load(entry)?;
                    images.iter().position(|other| other.id == image.id).unwrap_or_else(|| {
                        images.push(image);
                        images.len() - 1
                    })
                }
            };
            images[at].references.extend::<Option<Reference>>(reference);
        }
        for image in &mut images {
            image.references.sort_by_key(|r| (r.digest().is_some(), r.to_string()));
        }
        Ok(images)
    }

    /// Reads an image, without its names.
    fn load(&self, entry: &Descriptor) -> Result<Image> {
        let manifest = self.manifest(&entry.digest)?;
        let unreadable = |error| {
            Error::Corrupt(format!("unreadable config {}: {error}", manifest.config.digest))
        };
        let config = self.layout.read(&manifest.config.digest)?;
        let config: ImageConfig = serde_json::from_slice(&config).map_err(unreadable)?;
        let mut size = 0;
        for diff_id in config.rootfs.diff_ids.iter().collect::<BTreeSet<_>>() {
            size += self.layers.record(diff_id)?.size;
        }
        Ok(Image {
            id: manifest.config.digest,
            manifest_digest: as_it_came(entry).unwrap_or(entry.digest),
            entry: entry.digest,
            references: Vec::new(),
            config,
            layers: manifest.layers,
            size,
        })
    }

    /// Reads a manifest.
    pub(crate) fn manifest(&self, digest: &Digest) -> Result<Manifest> {
        serde_json::from_slice(&self.layout.read(digest)?)
            .map_err(|error| Error::Corrupt(format!("unreadable manifest {digest}: {error}")))
    }
}

/// The digest of the manifest that a registry sent, where the table points to another.
pub(crate) fn as_it_came(entry: &Descriptor) -> Option<Digest> {
    entry.annotations.get(MANIFEST)?.parse().ok()
}

/// Gives a manifest these names, and takes them from whoever had them. An image that
/// loses its last name stays, without one.
fn name(index: &mut Index, entry: Descriptor, names: &[Reference]) {
    let names: Vec<String> = names.iter().map(Reference::to_string).collect();
    let mut nameless = Vec::new();
    index.manifests.retain_mut(|other| {
        let loses = other.annotations.get(REF_NAME).is_some_and(|name| names.contains(name));
        if loses {
            other.annotations.remove(REF_NAME);
            nameless.push(other.clone());
        }
        !loses && (other.digest != entry.digest || other.annotations.contains_key(REF_NAME))
    });
    for other in nameless {
        let known = index.manifests.iter().any(|m| m.digest == other.digest);
        if !known && other.digest != entry.digest {
            index.manifests.push(other);
        }
    }
    for name in names {
        let mut named = entry.clone();
        named.annotations.insert(REF_NAME.into(), name);
        index.manifests.push(named);
    }
}

/// The image that people mean by a word, and the name that it is, if it is one.
pub(crate) fn find(images: Vec<Image>, word: &str) -> Result<(Image, Option<Reference>)> {
    let reference: Result<Reference> = word.parse();
    if let Ok(reference) = &reference {
        // With a digest, the tag is for people.
        let wanted = match reference.digest() {
            Some(digest) => reference.by_digest(digest),
            None => reference.clone(),
        };
        if let Some(image) = images.iter().find(|image| image.references.contains(&wanted)) {
            return Ok((image.clone(), Some(wanted)));
        }
    }
    let prefix = word.strip_prefix("sha256:").unwrap_or(word);
    let is_prefix = !prefix.is_empty()
        && prefix.len() <= 64
        && prefix.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let starts = |image: &&Image| {
        is_prefix && [image.id, image.manifest_digest].iter().any(|id| id.hex().starts_with(prefix))
    };
    let found: Vec<&Image> = images.iter().filter(starts).collect();
    match (&found[..], reference) {
        ([image], _) => Ok(((*image).clone(), None)),
        ([], Err(error)) if !is_prefix => Err(error),
        ([], _) => Err(Error::NotFound(format!("no such image: {word}"))),
        (several, _) => {
            let ids: Vec<_> = several.iter().map(|image| image.id.short()).collect();
            Err(Error::Ambiguous(format!("{word} is the start of several ids: {}", ids.join(", "))))
        }
    }
}
