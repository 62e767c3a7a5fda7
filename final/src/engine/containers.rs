//! Containers: their records found, listed and shown.

use std::collections::HashMap;
use std::sync::Mutex;

use bollard_stubs::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerSummary,
    ContainerSummaryHostConfig, ContainerSummaryNetworkSettings, ContainerSummaryStateEnum,
    DriverData,
};

use super::attach::Pending;
use super::error::{Error, Result};
use super::filters::Filters;
use super::names;
use super::networks::Places;
use super::record::Record;
use super::time::{self, NEVER};
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
                "Multiple IDs found with provided prefix: {wanted}"
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
                Status::Running => count.running += 1,
                Status::Paused => count.paused += 1,
                _ => {}
            }
        }
        Ok(count)
    }

    /// What `ps` shows.
    pub fn summaries(
        &self,
        all: bool,
        limit: Option<usize>,
        size: bool,
        filters: &Filters,
    ) -> Result<Vec<ContainerSummary>> {
        filters.only(&["ancestor", "exited", "id", "label", "name", "status", "volume"])?;
        let all = all
            || limit.is_some_and(|limit| limit > 0)
            || filters.has("status")
            || filters.has("exited");
        let places = Places::read(&self.root)?;
        let mut summaries = Vec::new();
        for container in self.all()? {
            let state = container.state()?;
            if (all || state.is_alive()) && container.admitted(&state, filters) {
                summaries.push(container.summary(&state, &places, size)?);
            }
            if limit.is_some_and(|limit| limit > 0 && summaries.len() == limit) {
                break;
            }
        }
        Ok(summaries)
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

    fn admitted(&self, state: &State, filters: &Filters) -> bool {
        let record = &self.record;
        let has_volume = |wanted: &str| {
            record.mounts.iter().any(|mount| {
                mount.name.as_deref() == Some(wanted)
                    || mount.destination.as_deref() == Some(wanted)
            })
        };
        filters.admit("id", |id| record.id.starts_with(id))
            && filters.admit("name", |name| record.name.contains(name.trim_start_matches('/')))
            && filters.admit("status", |status| status_name(state.status) == status)
            && filters.admit("exited", |code| {
                state.status == Status::Exited && code.parse() == Ok(state.exit_code.unwrap_or(0))
            })
            && filters.admit("ancestor", |image| {
                record.image() == image
                    || record.image().split(':').next() == Some(image)
                    || record.image_id.trim_start_matches("sha256:").starts_with(image)
                    || record.image_id == image
            })
            && filters.admit("volume", has_volume)
            && filters.admit_labels(|key| record.label(key))
    }

    fn summary(&self, state: &State, places: &Places, size: bool) -> Result<ContainerSummary> {
        let record = &self.record;
        Ok(ContainerSummary {
            id: Some(record.id.clone()),
            names: Some(vec![format!("/{}", record.name)]),
            image: Some(record.image().to_owned()),
            image_id: Some(record.image_id.clone()),
            command: Some(record.args.join(" ")),
            created: Some(time::seconds(&record.created)),
            ports: Some(Places::summaries(record, state)),
            size_rw: size.then(|| folder_size(&self.dir.upper())),
            labels: Some(record.config.labels.clone().unwrap_or_default()),
            state: Some(summary_state(state.status)),
            status: Some(status_line(state)),
            host_config: Some(ContainerSummaryHostConfig {
                network_mode: record.host_config.network_mode.clone(),
                annotations: None,
            }),
            network_settings: Some(ContainerSummaryNetworkSettings {
                networks: Some(places.endpoints(record)),
            }),
            mounts: Some(record.mounts.clone()),
            ..Default::default()
        })
    }

    /// What `inspect` shows.
    pub fn inspect(&self, root: &Root) -> Result<ContainerInspectResponse> {
        let state = self.state()?;
        let record = &self.record;
        let path = |path: std::path::PathBuf| Some(path.display().to_string());
        Ok(ContainerInspectResponse {
            id: Some(record.id.clone()),
            created: Some(record.created.clone()),
            path: record.args.first().cloned(),
            args: Some(record.args.iter().skip(1).cloned().collect()),
            state: Some(inspect_state(&state)),
            image: Some(record.image_id.clone()),
            resolv_conf_path: path(self.dir.path().join("resolv.conf")),
            hostname_path: path(self.dir.path().join("hostname")),
            hosts_path: path(self.dir.path().join("hosts")),
            log_path: path(self.dir.log()),
            name: Some(format!("/{}", record.name)),
            restart_count: Some(0),
            driver: Some("overlay".into()),
            platform: Some("linux".into()),
            mount_label: Some(String::new()),
            process_label: Some(String::new()),
            app_armor_profile: Some(String::new()),
            host_config: Some(record.host_config.clone()),
            graph_driver: Some(DriverData { name: "overlay".into(), data: HashMap::new() }),
            mounts: Some(record.mounts.clone()),
            config: Some(record.config.clone()),
            network_settings: Some(Places::read(root)?.settings(record, &state)),
            ..Default::default()
        })
    }
}

/// The bytes of all files below a folder.
fn folder_size(path: &std::path::Path) -> i64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_size(&entry.path()),
            Ok(metadata) => metadata.len() as i64,
            Err(_) => 0,
        })
        .sum()
}

/// `Up 3 minutes`, `Exited (0) 2 hours ago`.
fn status_line(state: &State) -> String {
    let ago =
        |time: &Option<String>| time::human_duration(time::age(time.as_deref().unwrap_or(NEVER)));
    match state.status {
        Status::Created => "Created".into(),
        Status::Running => format!("Up {}", ago(&state.started_at)),
        Status::Paused => format!("Up {} (Paused)", ago(&state.started_at)),
        Status::Exited => {
            format!("Exited ({}) {} ago", state.exit_code.unwrap_or(0), ago(&state.finished_at))
        }
        Status::Dead => "Dead".into(),
    }
}

/// Docker's word for it.
fn status_name(status: Status) -> &'static str {
    match status {
        Status::Created => "created",
        Status::Running => "running",
        Status::Paused => "paused",
        Status::Exited => "exited",
        Status::Dead => "dead",
    }
}

fn summary_state(status: Status) -> ContainerSummaryStateEnum {
    match status {
        Status::Created => ContainerSummaryStateEnum::CREATED,
        Status::Running => ContainerSummaryStateEnum::RUNNING,
        Status::Paused => ContainerSummaryStateEnum::PAUSED,
        Status::Exited => ContainerSummaryStateEnum::EXITED,
        Status::Dead => ContainerSummaryStateEnum::DEAD,
    }
}

fn inspect_state(state: &State) -> ContainerState {
    let status = match state.status {
        Status::Created => ContainerStateStatusEnum::CREATED,
        Status::Running => ContainerStateStatusEnum::RUNNING,
        Status::Paused => ContainerStateStatusEnum::PAUSED,
        Status::Exited => ContainerStateStatusEnum::EXITED,
        Status::Dead => ContainerStateStatusEnum::DEAD,
    };
    let or_never = |time: &Option<String>| Some(time.clone().unwrap_or_else(|| NEVER.into()));
    ContainerState {
        status: Some(status),
        running: Some(state.is_alive()),
        paused: Some(state.status == Status::Paused),
        restarting: Some(false),
        oom_killed: Some(state.oom_killed),
        dead: Some(state.status == Status::Dead),
        pid: Some(if state.is_alive() { state.pid.into() } else { 0 }),
        exit_code: Some(state.exit_code.unwrap_or(0).into()),
        error: Some(state.error.clone().unwrap_or_default()),
        started_at: or_never(&state.started_at),
        finished_at: or_never(&state.finished_at),
        health: None,
    }
}
