//! From what is asked for to what is mounted.
//!
//! First, without touching anything: which mounts there will be ([`merge`]). Then the
//! volumes among them are made, and taken ([`resolve`]).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use namespaces::Context;
use rootfs::{Flags, Kind, Mount, Propagation};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, input};
use crate::options::{Backing, backing};
use crate::record::{NewVolume, Record};
use crate::short::parse_volume;
use crate::spec::{Bind, Recursive, Source, Spec, Volume};
use crate::store::Volumes;

/// A mount of a container, as `inspect` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Point {
    /// `bind`, `volume` or `tmpfs`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// The volume's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub destination: PathBuf,
    /// The volume's driver.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// What was written after the last colon; what counts of it is in the other fields.
    pub mode: String,
    /// Writable.
    #[serde(rename = "RW")]
    pub rw: bool,
    /// How later mounts travel.
    pub propagation: String,
}

// ANCHOR: merge
/// The mounts that were asked for, and those that the image asks for (`VOLUME`), in the
/// order in which they must be made: what lies above comes first.
///
/// # Errors
/// Docker's, for two mounts on one path.
pub fn merge(specs: Vec<Spec>, image: &BTreeSet<String>) -> Result<Vec<Spec>> {
    let mut targets = BTreeSet::new();
    for spec in &specs {
        if !targets.insert(spec.target.clone()) {
            return input(format!("Duplicate mount point: {}", spec.target.display()));
        }
    }
    let mut all = specs;
    for path in image {
        let spec = parse_volume(path, Path::new("/"))?;
        if targets.insert(spec.target.clone()) {
            all.push(spec);
        }
    }
    all.sort_by_key(|spec| spec.target.components().count());
    Ok(all)
}
// ANCHOR_END: merge

/// Takes the volumes for `container` (they are made if they are missing), and says what
/// is to be mounted.
///
/// # Errors
/// A bind's source that does not exist, a bad volume name. No volume is kept then.
pub fn resolve(volumes: &Volumes, specs: &[Spec], container: &str) -> Result<Vec<(Mount, Point)>> {
    let resolved: Result<Vec<_>> =
        specs.iter().map(|spec| resolve_one(volumes, spec, container)).collect();
    if resolved.is_err() {
        // The first error is the one to tell.
        let _ = volumes.release(container, true);
    }
    resolved
}

fn resolve_one(volumes: &Volumes, spec: &Spec, container: &str) -> Result<(Mount, Point)> {
    match &spec.source {
        Source::Bind(bind) => bind_mount(spec, bind),
        Source::Tmpfs(tmpfs) => {
            let mount = tmpfs_mount(&spec.target, &tmpfs.options);
            Ok((mount, point(spec, PathBuf::new(), None)))
        }
        Source::Volume(volume) => {
            let record = volumes.attach(&new_volume(volume), container)?;
            volume_mount(volumes, spec, volume, &record)
        }
    }
}

fn new_volume(volume: &Volume) -> NewVolume {
    NewVolume {
        name: volume.name.clone(),
        driver: volume.driver.clone(),
        labels: volume.labels.clone(),
        options: volume.options.clone(),
    }
}

// ANCHOR: bind_mount
fn bind_mount(spec: &Spec, bind: &Bind) -> Result<(Mount, Point)> {
    let Bind { path, create, propagation, recursive } = bind;
    if !path.exists() {
        if !create {
            return input(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                path.display()
            ));
        }
        fs::create_dir_all(path)
            .doing(|| format!("create {}, which is to be mounted", path.display()))?;
    }
    check_ties(path, *propagation)?;
    let kind = Kind::Bind {
        source: path.clone(),
        subpath: None,
        recursive: *recursive != Recursive::Disabled,
        recursive_read_only: *recursive == Recursive::Enabled,
    };
    let flags = Flags { read_only: spec.read_only, ..Flags::NONE };
    let mount = Mount { propagation: *propagation, ..Mount::new(kind, &spec.target, flags) };
    Ok((mount, point(spec, path.clone(), None)))
}
// ANCHOR_END: bind_mount

// ANCHOR: volume_mount
fn volume_mount(
    volumes: &Volumes,
    spec: &Spec,
    volume: &Volume,
    record: &Record,
) -> Result<(Mount, Point)> {
    let source = match backing(&record.options).map_err(Error::Input)? {
        Backing::Data => volumes.data(&record.name),
        Backing::Bind(path) => path,
        Backing::Tmpfs(options) => {
            let mut mount = tmpfs_mount(&spec.target, &options);
            mount.flags = Flags { read_only: spec.read_only, ..Flags::NONE };
            return Ok((mount, point(spec, volumes.data(&record.name), Some(record))));
        }
    };
    let kind = Kind::Bind {
        source: source.clone(),
        subpath: volume.subpath.clone(),
        recursive: true,
        recursive_read_only: true,
    };
    let flags = Flags { read_only: spec.read_only, ..Flags::NONE };
    let copy_up = !volume.nocopy && volume.subpath.is_none();
    let mount = Mount { copy_up, ..Mount::new(kind, &spec.target, flags) };
    Ok((mount, point(spec, source, Some(record))))
}
// ANCHOR_END: volume_mount

/// mount(8)'s words are flags of the mount, or options of the filesystem.
fn tmpfs_mount(target: &Path, options: &[String]) -> Mount {
    let mut flags = Flags::DATA;
    let mut data = Vec::new();
    for option in options {
        match option.as_str() {
            "ro" => flags.read_only = true,
            "rw" => flags.read_only = false,
            "exec" => flags.noexec = false,
            "noexec" => flags.noexec = true,
            "suid" => flags.nosuid = false,
            "nosuid" => flags.nosuid = true,
            "dev" => flags.nodev = false,
            "nodev" => flags.nodev = true,
            "noatime" => flags.noatime = true,
            "strictatime" => flags.strictatime = true,
            key if key.contains('=') => data.push(key),
            // The others are what the kernel does anyway.
            _ => {}
        }
    }
    Mount::new(Kind::Tmpfs, target, flags).data(data.join(","))
}

fn point(spec: &Spec, source: PathBuf, record: Option<&Record>) -> Point {
    let propagation = match &spec.source {
        Source::Bind(bind) => bind.propagation.to_string(),
        _ => String::new(),
    };
    Point {
        kind: spec.source.kind().into(),
        name: record.map_or_else(String::new, |record| record.name.clone()),
        source,
        destination: spec.target.clone(),
        driver: record.map_or_else(String::new, |record| record.driver.clone()),
        mode: if spec.read_only { "ro".into() } else { String::new() },
        rw: !spec.read_only,
        propagation,
    }
}

// ANCHOR: check_ties
/// A bind can only have ties that its source has.
fn check_ties(path: &Path, propagation: Propagation) -> Result<()> {
    let needed = match propagation {
        Propagation::Private | Propagation::RPrivate => return Ok(()),
        Propagation::Shared | Propagation::RShared => &["shared:"][..],
        Propagation::Slave | Propagation::RSlave => &["shared:", "master:"][..],
    };
    let real = fs::canonicalize(path).doing(|| format!("find {}", path.display()))?;
    let table = fs::read_to_string("/proc/self/mountinfo").doing(|| "read /proc/self/mountinfo")?;
    let Some((mounted_on, ties)) = mount_of(&table, &real) else { return Ok(()) };
    if ties.iter().any(|tie| needed.iter().any(|prefix| tie.starts_with(prefix))) {
        return Ok(());
    }
    let word = if needed.len() == 1 { "shared" } else { "shared or slave" };
    input(format!(
        "path {} is mounted on {} but it is not a {word} mount",
        path.display(),
        mounted_on.display()
    ))
}
// ANCHOR_END: check_ties

/// The mount that `path` is on, and its optional fields: proc_pid_mountinfo(5).
fn mount_of<'t>(table: &'t str, path: &Path) -> Option<(PathBuf, Vec<&'t str>)> {
    let mounts = table.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let place = PathBuf::from(unescape(fields.nth(4)?));
        let ties = fields.skip(1).take_while(|field| *field != "-").collect();
        path.starts_with(&place).then_some((place, ties))
    });
    // The last of the deepest: it lies on top.
    mounts.max_by_key(|(place, _)| place.components().count())
}

/// Spaces and the like are written as `\040`.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, character)| text.replace(code, character))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_tmpfs;

    fn spec(text: &str) -> Spec {
        parse_volume(text, Path::new("/")).unwrap()
    }

    #[test]
    fn what_lies_above_comes_first_and_the_image_last() {
        let image = BTreeSet::from(["/var/lib/db".to_owned(), "/data/".to_owned()]);
        let specs = vec![spec("deep:/a/b/c"), spec("mine:/data"), spec("top:/a")];
        let merged = merge(specs, &image).unwrap();
        let told: Vec<_> = merged.iter().map(Spec::to_string).collect();
        let expected = [
            "volume mine on /data rw",
            "volume top on /a rw",
            "volume deep on /a/b/c rw",
            "volume (new) on /var/lib/db rw",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn two_mounts_on_one_path_are_refused() {
        let specs = vec![spec("a1:/data"), parse_tmpfs("/data/").unwrap()];
        let error = merge(specs, &BTreeSet::new()).unwrap_err();
        assert_eq!(error.to_string(), "Duplicate mount point: /data");
    }

    #[test]
    fn a_failure_lets_go_of_the_volumes() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(dir.path()).unwrap();
        let gone =
            crate::parse_mount("type=bind,source=/no/such,target=/x", Path::new("/")).unwrap();
        let error = resolve(&volumes, &[spec("data:/data"), spec("/new"), gone], "c1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid mount config for type \"bind\": bind source path does not exist: /no/such"
        );
        assert_eq!(volumes.users("data").unwrap(), [""; 0]);
        assert_eq!(volumes.list().unwrap().len(), 1, "what has a name stays, as with Docker");
    }

    #[test]
    fn a_missing_source_of_v_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(dir.path()).unwrap();
        let source = dir.path().join("new/deep");
        let (mount, point) =
            resolve(&volumes, &[spec(&format!("{}:/x:ro", source.display()))], "c1")
                .unwrap()
                .remove(0);
        assert!(source.is_dir());
        assert!(mount.flags.read_only && !mount.copy_up && !point.rw);
        assert_eq!(point.source, source);
    }

    #[test]
    fn a_tmpfs_forbids_what_docker_forbids_unless_told() {
        let told = |text: &str| {
            let Source::Tmpfs(tmpfs) = parse_tmpfs(text).unwrap().source else { unreachable!() };
            let mount = tmpfs_mount(Path::new("/t"), &tmpfs.options);
            format!("{} {}", mount.flags, mount.data)
        };
        assert_eq!(told("/t"), "rw,nosuid,nodev,noexec ");
        assert_eq!(told("/t:exec,ro,size=1m,mode=700"), "ro,nosuid,nodev size=1m,mode=700");
    }

    #[test]
    fn the_mount_below_a_path_is_found() {
        let table = "1 0 8:1 / / rw shared:1 - ext4 /dev/sda rw\n\
            2 1 0:5 / /mnt rw,noatime - tmpfs x rw\n\
            3 2 0:6 / /mnt/with\\040space rw master:3 propagate_from:1 - tmpfs x rw\n";
        let find = |path: &str| mount_of(table, Path::new(path)).unwrap();
        assert_eq!(find("/srv"), ("/".into(), vec!["shared:1"]));
        assert_eq!(find("/mnt/x"), ("/mnt".into(), vec![]));
        assert_eq!(find("/mntx"), ("/".into(), vec!["shared:1"]));
        assert_eq!(find("/mnt/with space/x").1, ["master:3", "propagate_from:1"]);
    }
}
