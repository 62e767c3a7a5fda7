//! What `ps` shows: containers, narrowed down by filters.

use std::cell::LazyCell;
use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bollard_stubs::models::PortSummary;
use images::Image;
use serde_json::{Value as Json, json};

use super::containers::Container;
use super::error::{Error, Result};
use super::filters::Filters;
use super::networks::Places;
use super::record::Record;
use super::{Engine, status, time};
use crate::store::{State, Status};

/// The filters that this listing knows.
const KNOWN: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

/// What is asked of the listing.
#[derive(Debug, Default)]
pub struct Options {
    /// Also those that do not run.
    pub all: bool,
    /// The newest, whether they run or not.
    pub limit: Option<usize>,
    /// How much each has written, which takes a look at all its files.
    pub size: bool,
    /// What it is narrowed to.
    pub filters: Filters,
}

/// The containers that are asked for, the newest first, as Docker's `Summary`.
///
/// # Errors
/// A filter that makes no sense, or names a container that is not there.
pub fn containers(engine: &Engine, options: &Options) -> Result<Vec<Json>> {
    let limit = options.limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let wanted = Wanted::new(engine, &options.filters)?;
    let everything = options.all || limit < usize::MAX || options.filters.has("status");
    let places = Places::read(&engine.root)?;
    // Not before there is something to show.
    let images = LazyCell::new(|| Images::read(engine));
    let mut found = Vec::new();
    for container in engine.containers.all()? {
        if found.len() == limit {
            break;
        }
        if !wanted.admits_record(&container.record, &places) {
            continue;
        }
        // One that is removed meanwhile is not there, and no error.
        let Ok(state) = container.state() else { continue };
        if (everything || state.is_alive()) && wanted.admits_state(&container, &state) {
            found.push(summary(&container, &state, &places, &images, options.size));
        }
    }
    Ok(found)
}

/// The images by name and by id, to say what a container's image is called now.
struct Images {
    ids: HashMap<String, String>,
    sizes: HashMap<String, u64>,
}

impl Images {
    fn read(engine: &Engine) -> Self {
        let (mut ids, mut sizes) = (HashMap::new(), HashMap::new());
        for image in engine.images.list().unwrap_or_default() {
            let id = image.id.to_string();
            for name in &image.references {
                ids.insert(name.to_string(), id.clone());
            }
            sizes.insert(id, image.size);
        }
        Self { ids, sizes }
    }

    /// What the container was made from by that name; its id, if the name is gone or
    /// another image's now.
    fn name_of(&self, record: &Record) -> String {
        let name = record.image();
        let reference = name.parse::<images::Reference>().ok();
        let reference = reference.map(|reference| match reference.digest() {
            Some(digest) => reference.by_digest(digest).to_string(),
            None => reference.to_string(),
        });
        let now = reference.and_then(|reference| self.ids.get(&reference));
        let hexadecimal = record.image_id.strip_prefix("sha256:").unwrap_or(&record.image_id);
        let is_id = !name.is_empty()
            && hexadecimal.starts_with(name.strip_prefix("sha256:").unwrap_or(name))
            && self.sizes.contains_key(&record.image_id);
        match now {
            Some(id) if *id == record.image_id => name.to_owned(),
            None if is_id => name.to_owned(),
            _ => record.image_id.clone(),
        }
    }
}

/// These images and all that were made from them, by id. What was made from an image has
/// its layers and its history below its own.
fn descendants(all: &[Image], ancestors: &[Image]) -> HashSet<String> {
    let stands_on = |image: &Image, below: &Image| {
        let (above, below) = (&image.config, &below.config);
        !below.rootfs.diff_ids.is_empty()
            && above.rootfs.diff_ids.starts_with(&below.rootfs.diff_ids)
            && above.history.len() > below.history.len()
            && above.history.starts_with(&below.history)
    };
    let is_of = |image: &&Image| {
        ancestors.iter().any(|ancestor| ancestor.id == image.id || stands_on(image, ancestor))
    };
    all.iter().filter(is_of).map(|image| image.id.to_string()).collect()
}

/// The filters, understood.
struct Wanted<'a> {
    filters: &'a Filters,
    exited: Vec<i32>,
    /// Only what was created before and after these moments.
    before: Option<String>,
    since: Option<String>,
    ancestors: HashSet<String>,
    publish: HashSet<(u16, String)>,
    expose: HashSet<(u16, String)>,
}

impl<'a> Wanted<'a> {
    fn new(engine: &Engine, filters: &'a Filters) -> Result<Self> {
        filters.only(&KNOWN)?;
        let refuse = |key: &str, value: &str, why: String| {
            Error::bad_parameter(format!("invalid filter '{key}={value}': {why}"))
        };
        let mut exited = Vec::new();
        for value in filters.values("exited") {
            match value.parse() {
                Ok(code) => exited.push(code),
                Err(_) => return Err(refuse("exited", value, "it is not a number".into())),
            }
        }
        let one_of = |key: &'static str, known: &[&str]| {
            let Some(value) = filters.values(key).find(|value| !known.contains(value)) else {
                return Ok(());
            };
            let what = if key == "status" { "state" } else { key };
            let known = known.join(", ");
            let why = format!("invalid value for {what} ({value}): must be one of {known}");
            Err(refuse(key, value, why))
        };
        one_of("status", &status::NAMES)?;
        one_of("health", &["none", "starting", "healthy", "unhealthy"])?;
        filters.flag("is-task")?;
        // Of several, the last one counts; Docker leaves open which that is.
        let created = |key: &'static str| {
            let container =
                filters.values(key).map(|name| engine.containers.find(name)).next_back();
            container.transpose().map(|found| found.map(|found| found.record.created))
        };
        let (before, since) = (created("before")?, created("since")?);
        let ancestors: Vec<_> =
            filters.values("ancestor").filter_map(|name| engine.images.find(name).ok()).collect();
        let ancestors = match ancestors.is_empty() {
            true => HashSet::new(),
            false => descendants(&engine.images.kept()?, &ancestors),
        };
        let (publish, expose) = (ports(filters, "publish")?, ports(filters, "expose")?);
        Ok(Self { filters, exited, before, since, ancestors, publish, expose })
    }

    /// What can be told without the state.
    fn admits_record(&self, record: &Record, places: &Places) -> bool {
        let filters = self.filters;
        let name_matches = |name: &str| {
            filters.matches("name", name) || filters.matches("name", &format!("/{name}"))
        };
        let has_volume = |wanted: &str| {
            record.mounts.iter().any(|mount| {
                let source = mount.name.as_deref().or(mount.source.as_deref());
                source == Some(wanted) || mount.destination.as_deref() == Some(wanted)
            })
        };
        let in_network = |wanted: &str| {
            places.endpoints(record, true).iter().any(|(name, endpoint)| {
                let id = endpoint.network_id.as_deref().unwrap_or_default();
                name == wanted || !id.is_empty() && id.starts_with(wanted)
            })
        };
        let isolation = |wanted: &str| wanted.is_empty() || wanted == "default";
        self.before.as_ref().is_none_or(|before| record.created < *before)
            && self.since.as_ref().is_none_or(|since| record.created > *since)
            && name_matches(&record.name)
            && filters.admit("id", |id| record.id.starts_with(id))
            // There are no tasks: those are a swarm's.
            && filters.flag("is-task") != Ok(Some(true))
            && filters.admit("isolation", isolation)
            && (!filters.has("ancestor") || self.ancestors.contains(&record.image_id))
            && filters.admit("volume", has_volume)
            && (!filters.has("network") || filters.admit("network", in_network))
            && filters.admit_labels(|key| record.label(key))
    }

    fn admits_state(&self, container: &Container, state: &State) -> bool {
        let ended = matches!(state.status, Status::Exited | Status::Dead);
        let exited = state.exit_code.filter(|_| ended && state.started_at.is_some());
        (self.exited.is_empty() || exited.is_some_and(|code| self.exited.contains(&code)))
            && self.filters.admit("status", |wanted| status::name(state.status) == wanted)
            && self.filters.admit("health", |wanted| status::health(state) == wanted)
            && self.admits_ports(container, state)
    }

    fn admits_ports(&self, container: &Container, state: &State) -> bool {
        if self.publish.is_empty() && self.expose.is_empty() {
            return true;
        }
        ports_of(&container.record, state).iter().any(|port| {
            let typ = port.typ.map(|typ| typ.to_string()).unwrap_or_default();
            self.publish.contains(&(port.public_port.unwrap_or(0), typ.clone()))
                || self.expose.contains(&(port.private_port, typ))
        })
    }
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn ports(filters: &Filters, key: &'static str) -> Result<HashSet<(u16, String)>> {
    let mut ports = HashSet::new();
    for value in filters.values(key) {
        if value.contains(':') {
            return Err(Error::bad_parameter(format!(
                "filter for '{key}' should not contain ':': {value}"
            )));
        }
        let (range, typ) = value.split_once('/').unwrap_or((value, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else {
            return Err(Error::bad_parameter(format!(
                "error while looking up for {key} {value}: Invalid containerPort: {range}"
            )));
        };
        ports.extend((first..=last).map(|port| (port, typ.to_owned())));
    }
    Ok(ports)
}

fn summary(
    container: &Container,
    state: &State,
    places: &Places,
    images: &Images,
    size: bool,
) -> Json {
    let record = &container.record;
    let written = size.then(|| folder_size(&container.dir.upper()));
    let below = images.sizes.get(&record.image_id).copied().unwrap_or(0);
    json!({
        "Id": record.id,
        "Names": [format!("/{}", record.name)],
        "Image": images.name_of(record),
        "ImageID": record.image_id,
        "Command": command(&record.args),
        "Created": time::seconds(&record.created),
        "Ports": ports_of(record, state),
        "SizeRw": written,
        "SizeRootFs": written.map(|written| written + below),
        "Labels": record.config.labels.clone().unwrap_or_default(),
        "State": status::name(state.status),
        "Status": status::line(state),
        "HostConfig": {
            "NetworkMode": record.host_config.network_mode,
            "Annotations": record.host_config.annotations,
        },
        "NetworkSettings": { "Networks": places.endpoints(record, state.is_alive()) },
        "Mounts": record.mounts,
    })
}

/// The ports, which only a container that runs has.
fn ports_of(record: &Record, state: &State) -> Vec<PortSummary> {
    if state.is_alive() { Places::summaries(record, state) } else { Vec::new() }
}

/// The program and its arguments, those with blanks in quotes.
fn command(args: &[String]) -> String {
    let quoted = |(at, arg): (usize, &String)| match at > 0 && arg.contains(' ') {
        true => format!("'{arg}'"),
        false => arg.clone(),
    };
    args.iter().enumerate().map(quoted).collect::<Vec<_>>().join(" ")
}

/// The bytes of all files below a folder; a file with two names counts once.
pub fn folder_size(path: &Path) -> u64 {
    fn below(path: &Path, seen: &mut HashSet<(u64, u64)>) -> u64 {
        let Ok(entries) = std::fs::read_dir(path) else { return 0 };
        let size = |entry: std::fs::DirEntry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => below(&entry.path(), seen),
            Ok(metadata) if metadata.nlink() > 1 => {
                let first = seen.insert((metadata.dev(), metadata.ino()));
                if first { metadata.len() } else { 0 }
            }
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        };
        entries.flatten().map(size).sum()
    }
    below(path, &mut HashSet::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_blanks_is_quoted() {
        let args = ["sh", "-c", "echo hi"].map(str::to_owned);
        assert_eq!(command(&args), "sh -c 'echo hi'");
    }

    #[test]
    fn ports_are_numbers_or_ranges() {
        let filter = |value: &str| Filters::new([("publish".to_owned(), value.to_owned())]);
        let some = ports(&filter("80-81/udp"), "publish").unwrap();
        assert_eq!(some, HashSet::from([(80, "udp".into()), (81, "udp".into())]));
        for bad in ["a", "80:80", "1-x"] {
            assert!(ports(&filter(bad), "publish").is_err(), "{bad}");
        }
    }
}
