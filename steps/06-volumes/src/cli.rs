//! The flags and commands of this lesson: `coracle` has them too.

use std::collections::BTreeMap;
use std::io::{IsTerminal, stdin};
use std::mem::discriminant;

use clap::{ArgAction, Args, Subcommand};
use namespaces::Context;
use namespaces::cli::{print, tell};
use serde_json::json;

use crate::error::{Error, Result, input};
use crate::record::{NewVolume, Record};
use crate::short::parse_tmpfs;
use crate::spec::{Source, Spec, Volume};
use crate::store::Volumes;
use crate::{parse_mount, parse_volume};

/// What outlives the container, or comes from the host.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Volumes")]
pub struct VolumeArgs {
    /// Mount a volume or a path of the host: `[SOURCE:]TARGET[:OPTIONS]`
    #[arg(short, long = "volume", value_name = "VOLUME")]
    pub volumes: Vec<String>,
    /// The same in many words: `type=bind,source=…,target=…,readonly`
    #[arg(long = "mount", value_name = "MOUNT")]
    pub mounts: Vec<String>,
    /// Mount files in memory: `TARGET[:OPTIONS]`
    #[arg(long = "tmpfs", value_name = "TMPFS")]
    pub tmpfs: Vec<String>,
}

impl VolumeArgs {
    /// All mounts that are asked for. What is ignored is said on standard error.
    pub fn specs(&self) -> Result<Vec<Spec>> {
        let base = std::env::current_dir().doing(|| "find the current directory")?;
        let (mut specs, mut wanted) = (Vec::new(), Vec::new());
        for text in &self.volumes {
            let spec = parse_volume(text, &base)?;
            match &spec.source {
                Source::Volume(Volume { name: None, .. }) => wanted.push(spec),
                _ => specs.push(spec),
            }
        }
        for text in &self.mounts {
            specs.push(parse_mount(text, &base)?);
        }
        for text in &self.tmpfs {
            specs.push(parse_tmpfs(text)?);
        }
        // A path alone, as an image's, is content with whatever else is mounted there.
        for spec in wanted {
            if !specs.iter().any(|other| other.target == spec.target) {
                specs.push(spec);
            }
        }
        if specs.iter().any(|spec| spec.relabel) {
            tell("z and Z are ignored: this engine sets no SELinux labels");
        }
        Ok(specs)
    }
}

/// What can be done with volumes.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Make a volume
    Create(Create),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(List),
    /// Show all that is known of volumes, as JSON
    Inspect {
        /// Their names
        #[arg(required = true, value_name = "VOLUME")]
        names: Vec<String>,
    },
    /// Remove volumes and what is in them
    #[command(visible_alias = "remove")]
    Rm {
        /// Their names
        #[arg(required = true, value_name = "VOLUME")]
        names: Vec<String>,
        /// A volume that is not there is no error
        #[arg(short, long)]
        force: bool,
    },
    /// Remove volumes that no container needs
    Prune(Prune),
}

/// Make a volume.
#[derive(Debug, Clone, Args)]
pub struct Create {
    /// Its name; without one, it gets a random one
    #[arg(value_name = "VOLUME")]
    pub name: Option<String>,
    /// What keeps it
    #[arg(short, long, default_value = "local")]
    pub driver: String,
    /// Note something about it
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// An option of the driver: type, device, o
    #[arg(short, long = "opt", value_name = "KEY=VALUE")]
    pub options: Vec<String>,
}

/// List volumes.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// Only the names
    #[arg(short, long)]
    pub quiet: bool,
    /// Only some: name=TEXT, label=KEY[=VALUE], driver=NAME, dangling=true
    #[arg(short, long = "filter", value_name = "FILTER")]
    pub filters: Vec<Filter>,
    /// `json`: one object on each line
    #[arg(long, value_name = "FORMAT", value_parser = ["table", "json"])]
    pub format: Option<String>,
}

/// Remove volumes that no container needs.
#[derive(Debug, Clone, Args)]
pub struct Prune {
    /// Those with a name too
    #[arg(short, long, action = ArgAction::SetTrue)]
    pub all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Only some: label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long = "filter", value_name = "FILTER")]
    pub filters: Vec<Filter>,
}

/// A condition on volumes, as Docker writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// A part of the name.
    Name(String),
    /// A label, with this value if one is given.
    Label(String, Option<String>),
    /// Not this label, or not with this value.
    NotLabel(String, Option<String>),
    /// What keeps it.
    Driver(String),
    /// No container needs it.
    Dangling(bool),
}

impl std::str::FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Filter> {
        let label = |text: &str| match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (text.to_owned(), None),
        };
        match text.split_once('=') {
            Some(("name", part)) => Ok(Filter::Name(part.into())),
            Some(("driver", name)) => Ok(Filter::Driver(name.into())),
            Some(("dangling", "true" | "1")) => Ok(Filter::Dangling(true)),
            Some(("dangling", "false" | "0")) => Ok(Filter::Dangling(false)),
            Some(("label", rest)) => {
                let (key, value) = label(rest);
                Ok(Filter::Label(key, value))
            }
            Some(("label!", rest)) => {
                let (key, value) = label(rest);
                Ok(Filter::NotLabel(key, value))
            }
            _ => input(format!("invalid filter '{text}'")),
        }
    }
}

impl Filter {
    /// True if all filters mean the volume. Of several values of one key any is enough,
    /// but for labels: all of those must be there.
    pub fn admit(filters: &[Filter], record: &Record, is_used: bool) -> bool {
        let matches = |filter: &Filter| filter.matches(record, is_used);
        filters.iter().all(|filter| match filter {
            Filter::Label(..) => matches(filter),
            _ => {
                let key = discriminant(filter);
                filters.iter().any(|other| discriminant(other) == key && matches(other))
            }
        })
    }

    /// True if the volume is meant.
    fn matches(&self, record: &Record, is_used: bool) -> bool {
        let has = |key: &str, value: &Option<String>| {
            let found = record.labels.get(key);
            found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
        };
        match self {
            Filter::Name(part) => record.name.contains(part),
            Filter::Driver(name) => record.driver == *name,
            Filter::Dangling(dangling) => *dangling != is_used,
            Filter::Label(key, value) => has(key, value),
            Filter::NotLabel(key, value) => !has(key, value),
        }
    }
}

impl Command {
    /// Does it, and prints the result on standard output.
    pub fn run(&self, volumes: &Volumes) -> Result<()> {
        match self {
            Command::Create(args) => {
                Ok(print(&format!("{}\n", volumes.create(&args.volume())?.name))?)
            }
            Command::Ls(args) => run_list(volumes, args),
            Command::Inspect { names } => {
                let mut found = Vec::new();
                let told = each(names, |name| {
                    found.push(describe(volumes, &volumes.get(name)?));
                    Ok(())
                });
                print(&format!("{:#}\n", serde_json::Value::from(found)))?;
                told
            }
            Command::Rm { names, force } => each(names, |name| {
                volumes.remove(name, *force)?;
                Ok(print(&format!("{name}\n"))?)
            }),
            Command::Prune(args) => run_prune(volumes, args),
        }
    }
}

impl Create {
    fn volume(&self) -> NewVolume {
        NewVolume {
            name: self.name.clone().filter(|name| !name.is_empty()),
            driver: Some(self.driver.clone()),
            labels: pairs(&self.labels),
            options: pairs(&self.options),
        }
    }
}

fn pairs(texts: &[String]) -> BTreeMap<String, String> {
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    texts.iter().map(pair).collect()
}

/// Does it for all, and tells every error, the last one to the caller.
fn each(names: &[String], mut act: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let mut result = Ok(());
    for name in names {
        if let Err(error) = act(name)
            && let Err(earlier) = std::mem::replace(&mut result, Err(error))
        {
            tell(earlier);
        }
    }
    result
}

/// A volume as Docker's `inspect` shows it.
pub fn describe(volumes: &Volumes, record: &Record) -> serde_json::Value {
    let or_null =
        |map: &BTreeMap<String, String>| if map.is_empty() { json!(null) } else { json!(map) };
    json!({
        "CreatedAt": record.created_at,
        "Driver": record.driver,
        "Labels": or_null(&record.labels),
        "Mountpoint": volumes.data(&record.name),
        "Name": record.name,
        "Options": or_null(&record.options),
        "Scope": "local",
    })
}

fn run_list(volumes: &Volumes, args: &List) -> Result<()> {
    let mut records = Vec::new();
    for record in volumes.list()? {
        let is_used = !volumes.users(&record.name)?.is_empty();
        if Filter::admit(&args.filters, &record, is_used) {
            records.push(record);
        }
    }
    let json = args.format.as_deref() == Some("json");
    let heading = if args.quiet || json { "" } else { "DRIVER    VOLUME NAME\n" };
    let lines = records.iter().map(|record| match (args.quiet, json) {
        (true, _) => format!("{}\n", record.name),
        (_, true) => format!("{}\n", describe(volumes, record)),
        _ => format!("{:<9} {}\n", record.driver, record.name),
    });
    Ok(print(&(heading.to_owned() + &lines.collect::<String>()))?)
}

fn run_prune(volumes: &Volumes, args: &Prune) -> Result<()> {
    if !args.force && !confirm(args.all)? {
        return input("volume prune has been cancelled");
    }
    let keep = |record: &Record| !Filter::admit(&args.filters, record, false);
    let (names, bytes) = volumes.prune(args.all, keep)?;
    let deleted = match names.as_slice() {
        [] => String::new(),
        names => format!("Deleted Volumes:\n{}\n\n", names.join("\n")),
    };
    Ok(print(&format!("{deleted}Total reclaimed space: {}\n", cgroups::size::human(bytes)))?)
}

fn confirm(all: bool) -> Result<bool> {
    let which = if all { "all local volumes" } else { "anonymous local volumes" };
    print(&format!(
        "WARNING! This will remove {which} not used by at least one container.\n\
         Are you sure you want to continue? [y/N] "
    ))?;
    let mut answer = String::new();
    stdin().read_line(&mut answer).doing(|| "read the answer")?;
    if !stdin().is_terminal() {
        print("\n")?;
    }
    Ok(matches!(answer.trim(), "y" | "Y"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_alone_is_content_with_what_else_is_mounted_there() {
        let told = |volumes: &[&str], mounts: &[&str]| {
            let texts = |all: &[&str]| all.iter().map(|text| text.to_string()).collect();
            let (volumes, mounts) = (texts(volumes), texts(mounts));
            let specs = VolumeArgs { volumes, mounts, tmpfs: vec![] }.specs().unwrap();
            specs.iter().map(Spec::to_string).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(told(&["/x", "/x/"], &[]), "volume (new) on /x rw");
        assert_eq!(told(&["/x", "data:/x"], &[]), "volume data on /x rw");
        assert_eq!(told(&["/x"], &["type=tmpfs,target=/x"]), "tmpfs  on /x rw");
    }

    #[test]
    fn a_filter_is_written_as_docker_has_it() {
        let record = Record {
            version: 1,
            name: "data".into(),
            created_at: String::new(),
            driver: "local".into(),
            labels: pairs(&["a=1".into(), "b".into()]),
            options: BTreeMap::new(),
        };
        let matches =
            |text: &str| text.parse::<Filter>().map(|filter| filter.matches(&record, true)).ok();
        for yes in [
            "name=at",
            "label=a",
            "label=a=1",
            "label!=c",
            "label!=a=2",
            "driver=local",
            "dangling=false",
        ] {
            assert_eq!(matches(yes), Some(true), "{yes}");
        }
        for no in ["name=x", "label=a=2", "label!=a", "driver=x", "dangling=true"] {
            assert_eq!(matches(no), Some(false), "{no}");
        }
        let admit = |texts: &[&str]| {
            let filters: Vec<Filter> = texts.iter().map(|text| text.parse().unwrap()).collect();
            Filter::admit(&filters, &record, true)
        };
        assert!(admit(&[]) && admit(&["name=x", "name=at"]) && admit(&["label=a", "label=b"]));
        assert!(!admit(&["label=a", "label=c"]) && !admit(&["name=at", "driver=x"]));
        assert!(admit(&["label!=a", "label!=c"]) && !admit(&["label!=a", "label!=b"]));
        for wrong in ["", "name", "size=1", "dangling=maybe"] {
            assert_eq!(matches(wrong), None, "{wrong}");
        }
    }
}
