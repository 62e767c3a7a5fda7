//! Images: what is in the store, and what is done with it.

use std::path::PathBuf;

use bollard_stubs::models::ImageDeleteResponseItem;
use images::{Image, Login, Reference, Store};
use namespaces::userns;

use super::error::{Error, Result};
use super::hidden::Hidden;
use super::worker::{self, Job};
use crate::store::events::{Actor, Kind};
use crate::store::{Events, Root};

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
        let missing = || Error::not_found(format!("No such image: {}", with_tag(name)));
        let image = self.store()?.resolve(name).map_err(|error| match error {
            images::Error::NotFound(_) => missing(),
            other => other.into(),
        })?;
        Some(image).filter(|image| !self.hidden().has(image)).ok_or_else(missing)
    }

    /// The image that a container was made from, even if it was removed by force.
    pub fn below(&self, id: &str) -> Result<Image> {
        Ok(self.store()?.resolve(id)?)
    }

    /// Images that were removed by force, while there are containers on their layers.
    pub fn hidden(&self) -> Hidden {
        Hidden::of(self.root.data())
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
        let hidden = self.hidden();
        Ok(self.kept()?.into_iter().filter(|image| !hidden.has(image)).collect())
    }

    /// All images, and those that were removed by force, with containers on them.
    pub fn kept(&self) -> Result<Vec<Image>> {
        Ok(self.store()?.list()?)
    }

    /// Downloads an image; `each` is told of the progress, a line of JSON each time.
    /// Without a `login`, it is whoever Docker's config file names.
    pub fn pull(
        &self,
        reference: &str,
        platform: Option<&str>,
        login: Option<Login>,
        each: impl FnMut(&[u8]) -> bool,
    ) -> Result<()> {
        let (name, platform) = (reference.to_owned(), platform.map(str::to_owned));
        worker::run(self.root.data(), &Job::Pull { reference: name, platform, login }, each)?;
        let Ok(name) = reference.parse::<Reference>() else { return Ok(()) };
        let actor = Actor::new(name.familiar()).with("name", name.familiar_name());
        Events::of(self.root.data()).tell(Kind::Image, "pull", actor);
        Ok(())
    }

    /// Gives an image one more name.
    ///
    /// # Errors
    /// There is no such image, or the name is none.
    pub fn tag(&self, name: &str, target: &str) -> Result<()> {
        let image = self.find(name)?;
        let wrong = |why: images::Error| {
            Error::bad_parameter(format!("{target:?} is not a valid repository/tag: {why}"))
        };
        let target: Reference = target.parse().map_err(wrong)?;
        let id = image.id.to_string();
        self.store()?.tag(&id, &target)?;
        let actor = Actor::new(&id).with("name", target.familiar());
        Events::of(self.root.data()).tell(Kind::Image, "tag", actor);
        Ok(())
    }

    /// Removes an image, or one of its names.
    pub fn remove(&self, name: &str, force: bool) -> Result<Vec<ImageDeleteResponseItem>> {
        let id = self.find(name)?.id.to_string();
        let mut items: Vec<ImageDeleteResponseItem> = Vec::new();
        let job = Job::Remove { image: name.to_owned(), force };
        worker::run(self.root.data(), &job, |line| {
            items.extend(serde_json::from_slice::<ImageDeleteResponseItem>(line));
            true
        })?;
        let events = Events::of(self.root.data());
        let actor = Actor::new(&id).with("name", &id);
        for _ in items.iter().filter(|item| item.untagged.is_some()) {
            events.tell(Kind::Image, "untag", actor.clone());
        }
        if items.iter().any(|item| item.deleted.as_deref() == Some(&id)) {
            tell_deleted(&events, &id);
        }
        Ok(items)
    }
}

/// Tells everyone that an image is gone.
pub fn tell_deleted(events: &Events, id: &str) {
    events.tell(Kind::Image, "delete", Actor::new(id).with("name", id));
}

/// `busybox` is `busybox:latest`, where it is a name at all.
fn with_tag(name: &str) -> String {
    name.parse::<Reference>()
        .map(|reference| reference.familiar())
        .unwrap_or_else(|_| name.to_owned())
}
