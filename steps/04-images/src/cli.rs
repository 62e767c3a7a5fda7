//! The commands of this lesson, as data and as functions: `coracle` has them too.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use namespaces::cli::print;
use serde_json::json;

use crate::bars::Bars;
use crate::error::{Error, Result};
use crate::platform::Platform;
use crate::pull::{PullOptions, pull};
use crate::reference::Reference;
use crate::remove::{RemoveOptions, Removed};
use crate::store::{Image, Store};

/// Where images and layers are kept.
#[derive(Debug, Clone, clap::Args)]
pub struct Root {
    /// Keep everything below this folder instead of the usual place
    #[arg(long, global = true, env = "CORACLE_ROOT", value_name = "DIR")]
    pub root: Option<PathBuf>,
}

impl Root {
    /// `/var/lib/coracle`; for ordinary users `$XDG_DATA_HOME/coracle`.
    pub fn path(&self) -> Result<PathBuf> {
        let data = || {
            let named = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
            let home =
                || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share"));
            named.filter(|path| path.is_absolute()).or_else(home)
        };
        let usual = || match nix::unistd::geteuid().is_root() {
            true => Some(PathBuf::from("/var/lib/coracle")),
            false => data().map(|data| data.join("coracle")),
        };
        let path = self.root.clone().or_else(usual);
        let path = path.ok_or_else(|| {
            Error::Input("no place for images: $HOME is not set; pass --root".into())
        })?;
        std::path::absolute(&path)
            .map_err(|error| crate::error::io("find the current folder", error))
    }
}

/// The flags of `run` up to this lesson.
#[derive(Debug, Clone, Default, clap::Args)]
// Clap names the group of a struct's flags after the struct, and lesson 3 has an `Args` too.
#[group(id = "images")]
pub struct Args {
    /// The earlier lessons'.
    #[command(flatten)]
    pub rootfs: rootfs::cli::Args,
    /// Run this in place of the image's entrypoint; its command is dropped too
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<OsString>,
    /// When to pull the image
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub pull: PullPolicy,
}

/// What `run` runs: from the first word that is no flag, every word is the image's or
/// the command's, also if it looks like a flag.
#[derive(Debug, Clone, clap::Args)]
pub struct ImageAndCommand {
    /// A name or an id (`host`: this machine's own programs), then the command, in place of the image's
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE [COMMAND]")]
    words: Vec<OsString>,
}

impl ImageAndCommand {
    /// The image.
    pub fn image(&self) -> Result<&str> {
        let word = self.words[0].to_str();
        word.ok_or_else(|| Error::Input("the name of an image is plain text".into()))
    }

    /// The command and its arguments.
    pub fn command(&self) -> &[OsString] {
        &self.words[1..]
    }
}

/// When `run` pulls the image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum PullPolicy {
    /// Every time
    Always,
    /// If it is not in the store
    #[default]
    Missing,
    /// Never
    Never,
}

/// What can be done with images without running one.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Download an image from a registry
    Pull(Pull),
    /// List images
    #[command(visible_alias = "ls")]
    Images(List),
    /// Remove images
    Rmi(Remove),
    /// Show all that is known of images, as JSON
    Inspect {
        /// Names or ids
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
    /// Give an image another name
    Tag {
        /// A name or an id
        #[arg(value_name = "SOURCE")]
        source: String,
        /// The new name
        #[arg(value_name = "TARGET")]
        target: String,
    },
}

/// Download an image from a registry.
#[derive(Debug, Clone, clap::Args)]
pub struct Pull {
    /// What to pull
    #[arg(value_name = "NAME", help = "What to pull: [REGISTRY/]NAME[:TAG|@DIGEST]")]
    pub name: String,
    /// The image for this platform, as os/architecture[/variant]
    #[arg(long)]
    pub platform: Option<String>,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// List images.
#[derive(Debug, Clone, clap::Args)]
pub struct List {
    /// Only the ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Whole ids
    #[arg(long)]
    pub no_trunc: bool,
}

/// Remove images.
#[derive(Debug, Clone, clap::Args)]
pub struct Remove {
    /// Names or ids
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
    /// Remove all names of an id
    #[arg(short, long)]
    pub force: bool,
}

impl Command {
    /// Does it, and prints the result on stdout.
    pub fn run(&self, store: &Store) -> Result<()> {
        match self {
            Command::Pull(args) => run_pull(store, args),
            Command::Images(args) => {
                Ok(print(&table(&store.list()?, args, jiff::Timestamp::now()))?)
            }
            Command::Rmi(args) => run_remove(store, args),
            Command::Inspect { images } => {
                let found: Result<Vec<_>> =
                    images.iter().map(|name| inspect(store, name)).collect();
                Ok(print(&format!("{:#}\n", serde_json::Value::from(found?)))?)
            }
            Command::Tag { source, target } => store.tag(source, &target.parse()?),
        }
    }
}

fn run_pull(store: &Store, args: &Pull) -> Result<()> {
    // Read here and not with the flags: a bad name is an answer of `pull`, as Docker's.
    let name: Reference = args.name.parse()?;
    let platform: Option<Platform> = args.platform.as_deref().map(str::parse).transpose()?;
    if name == crate::host::NAME.parse()? {
        // No registry has this one.
        crate::host::bring(store)?;
        return Ok(print(&format!("{name}\n"))?);
    }
    let options = PullOptions { platform, ..PullOptions::default() };
    if args.quiet {
        pull(store, &name, &options, &crate::Silent)?;
    } else {
        pull(store, &name, &options, &Bars::new())?;
    }
    Ok(print(&format!("{name}\n"))?)
}

fn run_remove(store: &Store, args: &Remove) -> Result<()> {
    let options = RemoveOptions { force: args.force, in_use: None };
    for image in &args.images {
        for removed in store.remove(image, &options)? {
            print(&match removed {
                Removed::Untagged(name) => format!("Untagged: {}\n", name.familiar()),
                Removed::Deleted(id) => format!("Deleted: {id}\n"),
            })?;
        }
    }
    Ok(())
}

/// The image as Docker's `inspect` shows it.
fn inspect(store: &Store, name: &str) -> Result<serde_json::Value> {
    let image = store.resolve(name)?;
    let names = |references: Vec<&Reference>| -> Vec<String> {
        references.into_iter().map(Reference::familiar).collect()
    };
    Ok(json!({
        "Id": image.id,
        "RepoTags": names(image.tags().collect()),
        "RepoDigests": names(image.digests().collect()),
        "Created": image.config.created,
        "Author": image.config.author.clone().unwrap_or_default(),
        "Config": image.config.config,
        "Architecture": image.config.architecture,
        "Variant": image.config.variant,
        "Os": image.config.os,
        "Size": image.size,
        "RootFS": { "Type": "layers", "Layers": image.config.rootfs.diff_ids },
        "Descriptor": { "digest": image.manifest_digest },
    }))
}

/// The table of `images`.
fn table(images: &[Image], args: &List, now: jiff::Timestamp) -> String {
    let id = |image: &Image| if args.no_trunc { image.id.to_string() } else { image.id.short() };
    if args.quiet {
        return images.iter().map(|image| id(image) + "\n").collect();
    }
    let mut rows = vec![["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"].map(String::from)];
    for image in images {
        let created = image.config.created.as_deref().and_then(|at| at.parse().ok());
        let row = |repository: String, tag: &str| {
            [repository, tag.to_owned(), id(image), age(created, now), human_size(image.size)]
        };
        let named = image.tags().map(|tag| row(tag.familiar_name(), tag.tag().unwrap_or("<none>")));
        let before = rows.len();
        rows.extend(named);
        if rows.len() == before {
            let repository = image.digests().next().map(Reference::familiar_name);
            rows.push(row(repository.unwrap_or("<none>".into()), "<none>"));
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..4).map(width).collect();
    let line = |row: &[String; 5]| {
        let cells: String = (0..4).map(|n| format!("{:<1$}   ", row[n], widths[n])).collect();
        format!("{cells}{}\n", row[4])
    };
    rows.iter().map(line).collect()
}

/// How long ago, in the largest unit that fits twice.
fn age(created: Option<jiff::Timestamp>, now: jiff::Timestamp) -> String {
    let Some(created) = created else { return "N/A".into() };
    let seconds = now.as_second().saturating_sub(created.as_second()).max(0);
    let units = [
        (365 * 86_400, "years"),
        (30 * 86_400, "months"),
        (7 * 86_400, "weeks"),
        (86_400, "days"),
        (3_600, "hours"),
        (60, "minutes"),
    ];
    match units.iter().find(|(length, _)| seconds >= 2 * length) {
        Some((length, name)) => format!("{} {name} ago", seconds / length),
        None => format!("{seconds} seconds ago"),
    }
}

/// Decimal units and three figures, as Docker writes sizes.
fn human_size(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if size < 999.5 {
            let digits = if unit == "B" || size >= 99.95 {
                0
            } else if size >= 9.995 {
                1
            } else {
                2
            };
            return format!("{size:.digits$}{unit}");
        }
        size /= 1000.0;
    }
    format!("{size:.2}TB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, ImageConfig};

    #[test]
    fn sizes_and_ages_read_as_dockers() {
        let sizes = [0, 999, 1000, 4_260_000, 77_900_000, 999_600_000, 1_500_000_000_000];
        let sizes: Vec<_> = sizes.map(human_size).to_vec();
        assert_eq!(sizes.join(" "), "0B 999B 1.00kB 4.26MB 77.9MB 1.00GB 1.50TB");
        let now = jiff::Timestamp::from_second(1_000_000_000).unwrap();
        let at =
            |ago: i64| age(Some(jiff::Timestamp::from_second(1_000_000_000 - ago).unwrap()), now);
        let ages = [5, 119, 120, 7200, 200_000, 1_300_000, 9_000_000, 90_000_000].map(at);
        insta::assert_snapshot!(ages.join(", "), @"5 seconds ago, 119 seconds ago, 2 minutes ago, 2 hours ago, 2 days ago, 2 weeks ago, 3 months ago, 2 years ago");
    }

    #[test]
    fn an_image_has_a_row_for_each_tag() {
        let image = |text: &str, names: &[&str]| Image {
            id: Digest::of(text.as_bytes()),
            manifest_digest: Digest::of(b""),
            entry: Digest::of(b""),
            references: names.iter().map(|name| name.parse().unwrap()).collect(),
            config: ImageConfig::default(),
            layers: Vec::new(),
            size: 4_260_000,
        };
        let images = [image("a", &["busybox", "127.0.0.1:5000/team/app:v1"]), image("b", &[])];
        let args = List { quiet: false, no_trunc: false };
        insta::assert_snapshot!(table(&images, &args, jiff::Timestamp::UNIX_EPOCH), @r"
        REPOSITORY                TAG      IMAGE ID       CREATED   SIZE
        busybox                   latest   ca978112ca1b   N/A       4.26MB
        127.0.0.1:5000/team/app   v1       ca978112ca1b   N/A       4.26MB
        <none>                    <none>   3e23e8160039   N/A       4.26MB
        ");
    }
}
