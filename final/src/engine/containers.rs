//! Containers: their records, found by name and id.

use std::collections::HashMap;
use std::sync::Mutex;

use super::attach::Pending;
use super::error::{Error, Result};
use super::names;
use super::record::Record;
use crate::runtime::{self, Found};
use crate::store::{self, ContainerDir, Root, State, Status};

/// The containers of one root.
pub struct Containers {
    root: Root,
    /// Attachments to containers that do not run yet, by id.
    pub(super) pending: Mutex<HashMap<String, Vec<Pending>>>,
}

/// One container: where it is kept, and how it was asked for.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its folder.
    pub dir: ContainerDir,
    /// Its record.
    pub record: Record,
}

/// How many there are.
#[derive(Debug, Default)]
pub struct Count {
    /// All of them.
    pub all: i64,
    /// Those that run.
    pub running: i64,
    /// Those that are frozen.
    pub paused: i64,
}

impl Containers {
    /// The containers kept under `root`.
    pub fn new(root: Root) -> Self {
        Self { root, pending: Mutex::default() }
    }

    /// The container with this name, this id, or this unambiguous start of an id.
    pub fn find(&self, wanted: &str) -> Result<Container> {
        let wanted = wanted.strip_prefix('/').unwrap_or(wanted);
        let missing = || Error::not_found(format!("No such container: {wanted}"));
        if wanted.is_empty() {
            return Err(Error::bad_parameter("no container was named"));
        }
        if names::check(wanted).is_ok()
            && let Some(id) = self.root.names().get(wanted)?
        {
            return self.load(&id);
        }
        let mut matching = self.ids()?.into_iter().filter(|id| id.starts_with(wanted));
        let id = matching.next().ok_or_else(missing)?;
        match matching.next() {
            Some(_) => Err(Error::bad_parameter(format!(
                "multiple IDs found with provided prefix: {wanted}"
            ))),
            None => self.load(&id).map_err(|_| missing()),
        }
    }

    fn load(&self, id: &str) -> Result<Container> {
        let dir = self.root.container(id);
        let record = store::read(&dir.record())?;
        let record = record.ok_or_else(|| Error::not_found(format!("No such container: {id}")))?;
        Ok(Container { dir, record })
    }

    /// The ids of all containers, in no order.
    pub fn ids(&self) -> Result<Vec<String>> {
        let entries = std::fs::read_dir(self.root.containers())?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter(|name| !name.starts_with('.')).collect())
    }

    /// All containers, the newest first. One that vanishes meanwhile is left out.
    pub fn all(&self) -> Result<Vec<Container>> {
        let ids = self.ids()?;
        let mut all: Vec<_> = ids.iter().filter_map(|id| self.load(id).ok()).collect();
        all.sort_by(|a, b| b.record.created.cmp(&a.record.created));
        Ok(all)
    }

    /// How many there are, by state.
    pub fn count(&self) -> Result<Count> {
        let mut count = Count::default();
        for container in self.all()? {
            count.all += 1;
            match container.state()?.status {
                Status::Running | Status::Restarting => count.running += 1,
                Status::Paused => count.paused += 1,
                _ => {}
            }
        }
        Ok(count)
    }
}

impl Container {
    /// Its state now. What a dead shim left is put in order first.
    pub fn state(&self) -> Result<State> {
        match runtime::reconcile(&self.dir)? {
            Found::Owned => Ok(self.dir.state()?),
            Found::Settled(state) | Found::Dead(state) => Ok(state),
            Found::Removed => {
                Err(Error::not_found(format!("No such container: {}", self.record.id)))
            }
        }
    }

    /// The first 12 digits of its id.
    pub fn short_id(&self) -> &str {
        &self.record.id[..12]
    }

    /// How it was made: a step a line, in JSON.
    pub fn birth(&self) -> Result<Vec<u8>> {
        std::fs::read(self.dir.birth()).map_err(|_| {
            Error::conflict(format!("container {} was not started yet", self.record.name))
        })
    }
}
