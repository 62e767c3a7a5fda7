//! Volumes: what containers keep, and what outlives them.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use bollard_stubs::models::{
    Mount as ApiMount, MountBindOptions, MountPoint, MountTmpfsOptions, MountType,
    MountVolumeOptions, Volume as ApiVolume, VolumeCreateRequest, VolumeScopeEnum, VolumeUsageData,
};
use images::RunConfig;
use oci_spec::runtime::{Mount as OciMount, MountBuilder};
use rootfs::{Flags, Kind as MountKind, Propagation};
use volumes::{Bind, NewVolume, Point, Recursive, Source, Spec, Tmpfs, Volume};

use super::error::{Error, Result};
use super::filters::Filters;
use super::record::Record;
use crate::store::events::{Actor, Kind};
use crate::store::{Events, Root};

/// The driver of all volumes.
const LOCAL: &str = "local";

/// The volumes of one root.
pub struct Volumes {
    root: PathBuf,
}

/// What a container mounts.
#[derive(Debug, Default, Clone)]
pub struct Resolved {
    /// In OCI's words, in the order in which they must be made.
    pub mounts: Vec<OciMount>,
    /// Destinations that take the image's content if their source is empty.
    pub copy_up: Vec<PathBuf>,
    /// For some destinations, the part of the source that is mounted.
    pub subpaths: BTreeMap<PathBuf, PathBuf>,
    /// As `inspect` shows it.
    pub points: Vec<MountPoint>,
}

impl From<volumes::Error> for Error {
    fn from(error: volumes::Error) -> Self {
        match error {
            volumes::Error::Input(message) => Error::bad_parameter(message),
            volumes::Error::NotFound(message) => Error::not_found(message),
            volumes::Error::InUse(message) => Error::conflict(message),
            volumes::Error::Newer(message) => Error::system(message),
            volumes::Error::System(error) => error.into(),
        }
    }
}

impl Volumes {
    /// The volumes kept under `root`.
    pub fn new(root: &Root) -> Self {
        Self { root: root.data().to_owned() }
    }

    fn open(&self) -> Result<volumes::Volumes> {
        Ok(volumes::Volumes::open(&self.root)?)
    }

    /// Takes a container's volumes, and says what is to be mounted.
    ///
    /// `others` are those of other containers, where the record has none at that place.
    pub fn resolve(
        &self,
        record: &Record,
        others: Vec<Spec>,
        image: &RunConfig,
    ) -> Result<Resolved> {
        let mut own = specs(record)?;
        let is_free = |spec: &Spec| own.iter().all(|own| own.target != spec.target);
        let others: Vec<_> = others.into_iter().filter(is_free).collect();
        own.extend(others);
        let specs = volumes::merge(own, &image.volumes)?;
        if specs.is_empty() {
            return Ok(Resolved::default());
        }
        let mut resolved = Resolved::default();
        let volumes = self.open()?;
        let known = self.names(&volumes)?;
        for (mount, point) in volumes::resolve(&volumes, &specs, &record.id)? {
            if point.kind == "volume" && !known.contains(&point.name) {
                self.tell("create", &point.name, &point.driver);
            }
            resolved.add(mount, point);
        }
        Ok(resolved)
    }

    /// A container needs its volumes no longer; those without a name may go with it.
    pub fn release(&self, container: &str, with_anonymous: bool) -> Result<()> {
        if self.root.join("volumes").exists() {
            for name in self.open()?.release(container, with_anonymous)? {
                self.tell("destroy", &name, LOCAL);
            }
        }
        Ok(())
    }

    /// Gives back what containers hold that are not there any more.
    pub fn reconcile(&self, root: &Root) -> Result<()> {
        if self.root.join("volumes").exists() {
            self.open()?.reconcile(|id| root.container(id).path().exists())?;
        }
        Ok(())
    }

    fn names(&self, volumes: &volumes::Volumes) -> Result<HashSet<String>> {
        Ok(volumes.list()?.into_iter().map(|record| record.name).collect())
    }

    fn tell(&self, what: &str, name: &str, driver: &str) {
        let driver = if driver.is_empty() { LOCAL } else { driver };
        let actor = Actor::new(name).with("driver", driver);
        Events::of(&self.root).tell(Kind::Volume, what, actor);
    }

    /// Makes a volume, or finds the one that has this name.
    pub fn create(&self, request: VolumeCreateRequest) -> Result<ApiVolume> {
        let driver = request.driver.clone().unwrap_or_default();
        if !matches!(&*driver, "" | LOCAL) {
            let name = request.name.unwrap_or_default();
            return Err(Error::not_found(format!(
                "create {name}: error looking up volume plugin {driver}: plugin \"{driver}\" not \
                 found: this engine has the driver \"{LOCAL}\" only"
            )));
        }
        let volumes = self.open()?;
        let known = self.names(&volumes)?;
        let record = volumes.create(&NewVolume {
            name: request.name.filter(|name| !name.is_empty()),
            driver: request.driver.filter(|driver| !driver.is_empty()),
            labels: request.labels.unwrap_or_default().into_iter().collect(),
            options: request.driver_opts.unwrap_or_default().into_iter().collect(),
        })?;
        if !known.contains(&record.name) {
            self.tell("create", &record.name, &record.driver);
        }
        Ok(api_volume(&volumes, record))
    }

    /// One volume.
    pub fn inspect(&self, name: &str) -> Result<ApiVolume> {
        let volumes = self.open()?;
        let record = volumes.get(name)?;
        Ok(api_volume(&volumes, record))
    }

    /// All volumes that the filters admit.
    pub fn list(&self, filters: &Filters) -> Result<Vec<ApiVolume>> {
        filters.only(&["dangling", "driver", "label", "name"])?;
        let wanted = filters.flag("dangling")?;
        let volumes = self.open()?;
        let mut list = Vec::new();
        for record in volumes.list()? {
            let dangling = volumes.users(&record.name)?.is_empty();
            let admitted = filters.matches("name", &record.name)
                && filters.admit("driver", |driver| record.driver == driver)
                && wanted.is_none_or(|wanted| wanted == dangling)
                && filters.admit_labels(|key| record.labels.get(key).cloned());
            if admitted {
                list.push(api_volume(&volumes, record));
            }
        }
        Ok(list)
    }

    /// All volumes, with who uses them and how large they are.
    pub fn with_usage(&self) -> Result<Vec<ApiVolume>> {
        let volumes = self.open()?;
        let with_usage = |mut volume: ApiVolume| {
            let usage = VolumeUsageData {
                ref_count: volumes.users(&volume.name)?.len() as i64,
                size: volumes.size(&volume.name)? as i64,
            };
            volume.usage_data = Some(usage);
            Ok(volume)
        };
        self.list(&Filters::default())?.into_iter().map(with_usage).collect()
    }

    /// Removes a volume that no container needs.
    pub fn remove(&self, name: &str, force: bool) -> Result<()> {
        let volumes = self.open()?;
        let there = volumes.get(name).is_ok();
        volumes.remove(name, force)?;
        if there {
            self.tell("destroy", name, LOCAL);
        }
        Ok(())
    }

    /// Removes what no container needs: the names, and the bytes that became free.
    pub fn prune(&self, filters: &Filters) -> Result<(Vec<String>, u64)> {
        filters.only(&["all", "label", "label!"])?;
        let all = filters.flag("all")?.unwrap_or(false);
        // What a volume with options mounts is kept elsewhere: nothing would become free.
        let keep = |record: &volumes::Record| {
            !record.options.is_empty()
                || !filters.admit_labels(|key| record.labels.get(key).cloned())
        };
        let (names, bytes) = self.open()?.prune(all, keep)?;
        for name in &names {
            self.tell("destroy", name, LOCAL);
        }
        let actor = Actor::new("").with("reclaimed", bytes);
        Events::of(&self.root).tell(Kind::Volume, "prune", actor);
        Ok((names, bytes))
    }
}

fn api_volume(volumes: &volumes::Volumes, record: volumes::Record) -> ApiVolume {
    ApiVolume {
        mountpoint: volumes.data(&record.name).display().to_string(),
        name: record.name,
        driver: record.driver,
        created_at: Some(record.created_at),
        labels: record.labels.into_iter().collect(),
        options: record.options.into_iter().collect(),
        scope: Some(VolumeScopeEnum::LOCAL),
        status: None,
        cluster_volume: None,
        usage_data: None,
    }
}

/// Everything that the user asked for, whichever way.
fn specs(record: &Record) -> Result<Vec<Spec>> {
    let host = &record.host_config;
    let base = Path::new("/");
    let mut specs = Vec::new();
    for bind in host.binds.iter().flatten() {
        specs.push(volumes::parse_volume(bind, base)?);
    }
    for mount in host.mounts.iter().flatten() {
        specs.push(spec_of(mount)?);
    }
    for (target, options) in host.tmpfs.iter().flatten() {
        let text = if options.is_empty() { target.clone() } else { format!("{target}:{options}") };
        specs.push(volumes::parse_tmpfs(&text)?);
    }
    // A path that wants a volume is content with whatever else is mounted there: some
    // clients name each of their binds here, too.
    for path in record.config.volumes.iter().flatten() {
        let spec = volumes::parse_volume(path, base)?;
        if !specs.iter().any(|other| other.target == spec.target) {
            specs.push(spec);
        }
    }
    Ok(specs)
}

/// A mount in the words of Docker's API.
fn spec_of(mount: &ApiMount) -> Result<Spec> {
    let source = mount.source.clone().unwrap_or_default();
    let bad = |what: &str| Error::bad_parameter(format!("invalid mount config: {what}"));
    let source = match mount.typ {
        Some(MountType::BIND) => Source::Bind(bind_of(&source, mount.bind_options.as_ref())?),
        Some(MountType::VOLUME) | None => {
            Source::Volume(volume_of(source, mount.volume_options.clone().unwrap_or_default()))
        }
        Some(MountType::TMPFS) => Source::Tmpfs(tmpfs_of(mount.tmpfs_options.as_ref())),
        Some(other) => return Err(bad(&format!("mount type {other} is not supported"))),
    };
    let target = PathBuf::from(mount.target.clone().unwrap_or_default());
    if !target.is_absolute() || target == Path::new("/") {
        return Err(bad(&format!(
            "the target '{}' must be an absolute path below /",
            target.display()
        )));
    }
    Ok(Spec { target, read_only: mount.read_only.unwrap_or(false), source, relabel: false })
}

fn bind_of(source: &str, options: Option<&MountBindOptions>) -> Result<Bind> {
    let path = PathBuf::from(source);
    if !path.is_absolute() {
        return Err(Error::bad_parameter(format!(
            "invalid mount config for type \"bind\": invalid mount path: '{source}' mount path must be absolute"
        )));
    }
    let options = options.cloned().unwrap_or_default();
    let word = options.propagation.map(|word| word.to_string()).unwrap_or_default();
    let recursive = match (options.non_recursive, options.read_only_non_recursive) {
        (Some(true), _) => Recursive::Disabled,
        (_, Some(true)) => Recursive::Writable,
        _ => Recursive::Enabled,
    };
    Ok(Bind {
        path,
        create: options.create_mountpoint.unwrap_or(false),
        propagation: Propagation::parse(&word).unwrap_or_default(),
        recursive,
    })
}

fn volume_of(name: String, options: MountVolumeOptions) -> Volume {
    let driver = options.driver_config.unwrap_or_default();
    Volume {
        name: Some(name).filter(|name| !name.is_empty()),
        nocopy: options.no_copy.unwrap_or(false),
        subpath: options.subpath.filter(|path| !path.is_empty()).map(PathBuf::from),
        labels: options.labels.unwrap_or_default().into_iter().collect(),
        driver: driver.name.filter(|name| !name.is_empty()),
        options: driver.options.unwrap_or_default().into_iter().collect(),
    }
}

fn tmpfs_of(options: Option<&MountTmpfsOptions>) -> Tmpfs {
    let options = options.cloned().unwrap_or_default();
    let size = options.size_bytes.map(|size| format!("size={size}"));
    let mode = options.mode.map(|mode| format!("mode={mode:o}"));
    Tmpfs { options: size.into_iter().chain(mode).collect() }
}

impl Resolved {
    /// Lesson 6 decides in lesson 3's words; the bundle is written in OCI's.
    fn add(&mut self, mount: rootfs::Mount, point: Point) {
        let mut options = flag_words(mount.flags);
        let (typ, source) = match mount.kind {
            MountKind::Bind { source, subpath, recursive, recursive_read_only } => {
                options.push(if recursive { "rbind" } else { "bind" }.into());
                options.push(mount.propagation.to_string());
                if recursive_read_only && mount.flags.read_only {
                    options.push("rro".into());
                }
                if let Some(subpath) = subpath {
                    self.subpaths.insert(mount.destination.clone(), subpath);
                }
                ("bind", source)
            }
            // Of the other kinds, lesson 6 makes only this one.
            _ => ("tmpfs", PathBuf::from("tmpfs")),
        };
        options.extend(mount.data.split(',').filter(|word| !word.is_empty()).map(str::to_owned));
        if mount.copy_up {
            self.copy_up.push(mount.destination.clone());
        }
        let oci = MountBuilder::default().destination(mount.destination).typ(typ).source(source);
        self.mounts.push(oci.options(options).build().expect("all fields are given"));
        self.points.push(api_point(point));
    }
}

fn flag_words(flags: Flags) -> Vec<String> {
    flags.to_string().split(',').map(str::to_owned).collect()
}

fn api_point(point: Point) -> MountPoint {
    let text = |text: String| Some(text).filter(|text| !text.is_empty());
    MountPoint {
        typ: Some(point.kind),
        name: text(point.name),
        source: Some(point.source.display().to_string()),
        destination: Some(point.destination.display().to_string()),
        driver: text(point.driver),
        mode: Some(point.mode),
        rw: Some(point.rw),
        propagation: Some(point.propagation),
    }
}
