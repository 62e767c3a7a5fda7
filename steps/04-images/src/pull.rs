//! Brings an image from a registry: its manifest, its config, its layers.
//!
//! Each document names the next by digest, so who knows that the first is right
//! knows it of all. The layers come side by side, each straight into its folder
//! (see [`pipeline`](crate::pipeline)), and the image gets its name last: until
//! then the store has only bytes that nobody asks for.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::auth::{Credentials, DockerConfig};
use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::download::Download;
use crate::error::{Doing, Error, Result};
use crate::layout::MANIFEST;
use crate::manifest::{Descriptor, Document, Manifest, OCI_MANIFEST};
use crate::pipeline::{drain, unpack_blob};
use crate::platform::Platform;
use crate::progress::{Event, Progress};
use crate::reference::Reference;
use crate::registry::{Fetched, Registry};
use crate::store::{Image, Store};

/// How many layers come at once: enough to fill a line, not so many that a registry minds.
const AT_ONCE: usize = 3;
/// A config is read into memory, and what a stranger may fill that with needs a limit.
const LARGEST_CONFIG: u64 = 4 << 20;
/// How many documents may lie between a name and an image, with the image: indexes may
/// have indexes in them.
const DEEPEST: usize = 4;
/// How often the whole is tried again because someone removes what has just come.
const ROUNDS: usize = 5;

/// What a pull may be told.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// Which image of an index; none is this machine's.
    pub platform: Option<Platform>,
    /// Who we are; none is what Docker's config file says.
    pub credentials: Option<Credentials>,
}

/// Pulls an image and gives it its name.
///
/// # Errors
///
/// [`Error::NotFound`] if the registry does not have it, [`Error::Denied`] if it wants
/// other credentials, [`Error::Registry`] if it does not answer, [`Error::Corrupt`] if
/// it sends other bytes than it should. The store is then as it was, except for parts
/// of a download that was cut off, which the next pull goes on with.
pub fn pull(
    store: &Store,
    reference: &Reference,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Image> {
    store.settle()?;
    store.collect(&[])?;
    let credentials = match &options.credentials {
        Some(given) => Some(given.clone()),
        None => DockerConfig::load()?.credentials(reference.domain())?,
    };
    let registry = Registry::new(reference, credentials)?;
    let wanted = options.platform.clone().unwrap_or_else(Platform::host);
    let found = find(&registry, reference, &wanted)?;
    for _ in 0..ROUNDS {
        let pull = Pull {
            store,
            registry: &registry,
            wanted: options.platform.as_ref(),
            progress,
            stop: AtomicBool::new(false),
            brought: Mutex::default(),
        };
        let (manifest, bytes, entry) = found.entry();
        if let Err(error) = pull.bring(&found, &bytes) {
            // After a broken connection the rest is worth keeping: the next try needs less.
            if !matches!(error, Error::Registry(_)) {
                store.collect(&pull.brought.into_inner().expect("no panic holds it"))?;
            }
            return Err(error);
        }
        let names = found.names(reference);
        if store.admit(&entry, &manifest, &names)? {
            return store.image(&found.image.digest);
        }
    }
    Err(Error::InUse(format!(
        "pull {}: its parts are removed as fast as they come",
        reference.familiar()
    )))
}

/// What a reference turned out to be.
struct Found {
    /// The index, if the reference led to one.
    index: Option<Fetched>,
    image: Fetched,
    manifest: Manifest,
}

// ANCHOR: find
fn find(registry: &Registry, reference: &Reference, wanted: &Platform) -> Result<Found> {
    let mut index = None;
    let mut fetched = registry.manifest(reference.digest())?;
    for _ in 0..DEEPEST {
        let choice = match Document::parse(&fetched.bytes)? {
            Document::Manifest(manifest) => return Ok(Found { index, image: fetched, manifest }),
            Document::Index(choice) => choice,
        };
        let chosen = choice.choose(wanted).map_err(|error| match error {
            Error::NotFound(why) => Error::NotFound(format!("{}: {why}", reference.familiar())),
            other => other,
        })?;
        let next = registry.manifest(Some(chosen.digest))?;
        // The outermost is what the registry has the name for.
        index.get_or_insert(fetched);
        fetched = next;
    }
    Err(Error::Corrupt(format!("{}: an index in an index, and so on", reference.familiar())))
}
// ANCHOR_END: find

impl Found {
    /// The digest that the registry has the reference under.
    fn digest(&self) -> Digest {
        self.index.as_ref().unwrap_or(&self.image).digest
    }

    /// The manifest that the table points to, and where to. Who reads an OCI layout knows
    /// OCI's words only; what the registry sent is kept beside it, under its own digest.
    fn entry(&self) -> (Manifest, Vec<u8>, Descriptor) {
        let Some(told) = self.manifest.in_oci_words() else {
            let entry = Descriptor::of(OCI_MANIFEST, &self.image.bytes);
            return (self.manifest.clone(), self.image.bytes.clone(), entry);
        };
        let bytes = serde_json::to_vec(&told).expect("a manifest is JSON");
        let mut entry = Descriptor::of(OCI_MANIFEST, &bytes);
        entry.annotations.insert(MANIFEST.into(), self.image.digest.to_string());
        (told, bytes, entry)
    }

    /// The names that the image gets: its tag, and its digest on this registry.
    fn names(&self, reference: &Reference) -> Vec<Reference> {
        let by_digest = reference.by_digest(self.digest());
        match reference.digest() {
            Some(_) => vec![by_digest],
            None => vec![reference.clone(), by_digest],
        }
    }
}

/// A pull under way.
struct Pull<'a> {
    store: &'a Store,
    registry: &'a Registry,
    /// The platform that was asked for.
    wanted: Option<&'a Platform>,
    progress: &'a dyn Progress,
    /// Set when one layer has failed.
    stop: AtomicBool,
    /// The blobs and layers that are new.
    brought: Mutex<Vec<Digest>>,
}

impl Pull<'_> {
    /// Brings everything that the store does not have yet.
    fn bring(&self, found: &Found, manifest: &[u8]) -> Result<()> {
        let layout = &self.store.layout;
        let came = found.index.iter().chain([&found.image]).map(|document| &document.bytes[..]);
        for document in came.chain([manifest]) {
            let digest = Digest::of(document);
            if !layout.has(&digest) {
                self.note(&[digest]);
                layout.write(document)?;
            }
        }
        let manifest = &found.manifest;
        if manifest.config.size > LARGEST_CONFIG {
            let (name, size) = (self.registry.reference(), manifest.config.size);
            return Err(Error::Corrupt(format!(
                "the config of {name} is larger than 4 MiB: {size} bytes"
            )));
        }
        self.blob(&manifest.config)?;
        let config = layout.read(&manifest.config.digest)?;
        let config: ImageConfig = serde_json::from_slice(&config).map_err(|error| {
            Error::Corrupt(format!("unreadable image config {}: {error}", manifest.config.digest))
        })?;
        self.check_platform(found, &config)?;
        let (diff_ids, layers) = (&config.rootfs.diff_ids, &manifest.layers);
        if diff_ids.len() != layers.len() {
            return Err(Error::Corrupt(format!(
                "the manifest has {} layers and the config {}",
                layers.len(),
                diff_ids.len()
            )));
        }
        // A layer may come twice in an image; an empty one often does.
        let mut jobs: Vec<(&Descriptor, &Digest)> = Vec::new();
        for job in layers.iter().zip(diff_ids) {
            if !jobs.iter().any(|known| (known.0.digest, known.1) == (job.0.digest, job.1)) {
                jobs.push(job);
            }
        }
        let new =
            jobs.iter().filter(|(blob, diff_id)| !self.store.has_layer(&blob.digest, diff_id));
        self.store.announce(new.flat_map(|(blob, diff_id)| [blob.digest, **diff_id]))?;
        self.side_by_side(&jobs)
    }

    /// An index is asked for a platform; a single image says its own when it is here.
    fn check_platform(&self, found: &Found, config: &ImageConfig) -> Result<()> {
        let Some(wanted) = self.wanted.filter(|_| found.index.is_none()) else { return Ok(()) };
        let actual = config.platform();
        // An image that does not say it, as some tools write them, is taken at its word.
        if actual.architecture.is_empty() || wanted.fit(&actual).is_some() {
            return Ok(());
        }
        Err(Error::NotFound(format!(
            "image with reference {} was found but does not match the specified platform: \
             wanted {wanted}, actual: {actual}",
            self.registry.reference().familiar()
        )))
    }

    /// Brings the layers, a few at once; the first error ends all.
    fn side_by_side(&self, jobs: &[(&Descriptor, &Digest)]) -> Result<()> {
        for (blob, _) in jobs {
            self.progress.layer(&blob.digest, Event::Waiting);
        }
        let queue = Mutex::new(jobs.iter());
        let first_error = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(jobs.len()) {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().expect("no panic holds it").next();
                        let Some((blob, diff_id)) = next else { break };
                        if let Err(error) = self.layer(blob, diff_id) {
                            first_error.lock().expect("no panic holds it").get_or_insert(error);
                            self.stop.store(true, Relaxed);
                        }
                        if self.stop.load(Relaxed) {
                            break;
                        }
                    }
                });
            }
        });
        match first_error.into_inner().expect("no panic holds it") {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Brings one layer: the blob and the folder.
    fn layer(&self, blob: &Descriptor, diff_id: &Digest) -> Result<()> {
        if self.store.has_layer(&blob.digest, diff_id) {
            self.progress.layer(&blob.digest, Event::Exists);
            return Ok(());
        }
        self.download(blob, Some(diff_id))?;
        // The blob may have been here, or another process may have brought it.
        self.store.unpack_layer(&blob.digest, diff_id)?;
        self.progress.layer(&blob.digest, Event::Done);
        Ok(())
    }

    fn note(&self, brought: &[Digest]) {
        self.brought.lock().expect("no panic holds it").extend(brought);
    }

    /// Brings a blob that is no layer.
    fn blob(&self, blob: &Descriptor) -> Result<()> {
        self.download(blob, None)
    }

    /// Brings a blob if it is not here, and unpacks it on the way if it is a layer.
    fn download(&self, blob: &Descriptor, diff_id: Option<&Digest>) -> Result<()> {
        let layout = &self.store.layout;
        for attempt in 0.. {
            let ingest = layout.ingest(&blob.digest.hex(), false)?.expect("not only new ones");
            if layout.has(&blob.digest) {
                return Ok(());
            }
            let mut download =
                Download::new(self.registry, blob, self.progress, &self.stop, ingest)?;
            match self.receive(&mut download, diff_id) {
                // What was on the disk from before may be what is wrong.
                Err(Error::Corrupt(_)) if download.resumed && attempt == 0 => continue,
                Err(error) => return Err(error),
                Ok(layer) => {
                    let ingest = download.finish();
                    if diff_id.is_none() {
                        // A config is small; only layers were announced.
                        let sync = ingest.file.sync_data();
                        sync.doing(|| format!("sync {}", ingest.path.display()))?;
                    }
                    layout.admit(ingest, &blob.digest)?;
                    self.note(&[blob.digest, *diff_id.unwrap_or(&blob.digest)]);
                    if let Some((layer, record)) = layer {
                        layer.commit(&record)?;
                    }
                    return Ok(());
                }
            }
        }
        unreachable!("the second attempt returns")
    }

    // ANCHOR: layer
    fn receive(
        &self,
        download: &mut Download,
        diff_id: Option<&Digest>,
    ) -> Result<Option<(crate::layers::NewLayer, crate::layers::Record)>> {
        let new = diff_id.map(|diff_id| self.store.layers.begin(diff_id)).transpose()?.flatten();
        let (Some(layer), Some(diff_id)) = (new, diff_id) else {
            drain(download)?;
            return Ok(None);
        };
        let options = self.store.unpack_options();
        let unpacked = unpack_blob(download, diff_id, layer.path(), &options)?;
        Ok(Some((layer, unpacked.into())))
    }
    // ANCHOR_END: layer
}
