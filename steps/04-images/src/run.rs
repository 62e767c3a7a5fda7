//! What an image says about running it, where the flags do not say otherwise.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use namespaces::cli::Defaults;
use namespaces::explain::step;
use namespaces::userns;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::PullPolicy;
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::store::{Image, Store};

const CHAPTER: u8 = 4;

/// What the image's config gives to the flags of lesson 1.
///
/// # Errors
/// A user that cannot be read.
pub fn defaults(config: &RunConfig, hostname: &str) -> Result<Defaults> {
    let variable = |line: &String| {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        (OsString::from(name), OsString::from(value))
    };
    let user = match config.user.as_str() {
        "" => None,
        user => Some(user.parse().map_err(Error::System)?),
    };
    let workdir = Some(config.working_dir.as_str()).filter(|dir| !dir.is_empty());
    Ok(Defaults {
        hostname: hostname.to_owned(),
        env: config.env.iter().map(variable).collect(),
        workdir: workdir.map(Into::into),
        user,
    })
}

// ANCHOR: program
/// The program and its arguments: the entrypoint, then the command.
///
/// Arguments take the place of the image's command. Another entrypoint does so too,
/// because the command was made for the old one; an empty one is none at all.
///
/// # Errors
/// If there is nothing to run.
pub fn program(
    config: &RunConfig,
    entrypoint: Option<&OsString>,
    arguments: &[OsString],
) -> Result<Vec<OsString>> {
    let own = |list: &Option<Vec<String>>| -> Vec<OsString> {
        list.iter().flatten().map(OsString::from).collect()
    };
    let mut program = match entrypoint {
        Some(given) => Some(given.clone()).filter(|given| !given.is_empty()).into_iter().collect(),
        None => own(&config.entrypoint),
    };
    match arguments {
        [] if entrypoint.is_none() => program.extend(own(&config.cmd)),
        given => program.extend(given.iter().cloned()),
    }
    if program.is_empty() {
        return Err(Error::Input("the image names no command: say which one to run".into()));
    }
    Ok(program)
}
// ANCHOR_END: program

/// The image `name` of the store below `root`, pulled if need be.
///
/// The pull is another process, because it has threads, and a container is not cloned
/// from a process that has had any: this program itself, with its verb `pull`.
///
/// # Errors
/// No such image. A pull that fails has said why, and ends this process too.
pub fn find(
    store: &Store,
    root: &Path,
    name: &str,
    policy: PullPolicy,
) -> namespaces::Result<Image> {
    let found = match policy {
        PullPolicy::Always => Err(Error::NotFound(String::new())),
        _ => store.resolve(name),
    };
    match found {
        Err(Error::NotFound(_)) if policy != PullPolicy::Never => {
            step(CHAPTER, || format!("execve  pull {name}"), || pull_apart(root, name))?;
            Ok(store.resolve(name)?)
        }
        found => Ok(found?),
    }
}

/// Pulls in a process of its own.
fn pull_apart(root: &Path, name: &str) -> namespaces::Result<()> {
    let mut pull = Command::new("/proc/self/exe");
    let this = std::env::args_os().next().unwrap_or_else(|| "images".into());
    pull.arg0(this).arg("--root").arg(root).args(["pull", name]).stdout(Stdio::null());
    match pull.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => std::process::exit(125),
        Err(error) => Err(namespaces::Error::os("start the pull", error)),
    }
}

/// The folders of the image's layers, bottom first, unpacked if need be.
pub fn layers(store: &Store, image: &Image) -> namespaces::Result<Vec<PathBuf>> {
    let names: Vec<_> = image.config.rootfs.diff_ids.iter().map(|id| id.short()).collect();
    let told = |verb: &str| format!("{verb} layers/{}", names.join(", "));
    // Looks first: an ordinary user needs no user namespace to find that all is there.
    match store.is_unpacked(image) {
        true => step(CHAPTER, || told("read"), || Ok(store.layers(image)?)),
        false => step(CHAPTER, || told("unpack"), || as_owner(|| Ok(store.layers(image)?))),
    }
}

/// Layers have files of many owners. An ordinary user is root over them only in a
/// user namespace.
pub fn as_owner<T: Serialize + DeserializeOwned>(
    work: impl FnOnce() -> namespaces::Result<T>,
) -> namespaces::Result<T> {
    if userns::needed() { userns::run_in(work) } else { work() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(entrypoint: Option<&str>, arguments: &[&str]) -> String {
        let config = RunConfig {
            entrypoint: Some(vec!["entry".into(), "-e".into()]),
            cmd: Some(vec!["command".into()]),
            ..RunConfig::default()
        };
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let program = program(&config, entrypoint.map(OsString::from).as_ref(), &arguments);
        program.map_or_else(
            |error| error.to_string(),
            |program| {
                program
                    .iter()
                    .map(|word| word.to_string_lossy().into_owned())
                    .collect::<Vec<_>>()
                    .join(" ")
            },
        )
    }

    #[test]
    fn flags_take_the_place_of_what_the_image_says() {
        assert_eq!(run(None, &[]), "entry -e command");
        assert_eq!(run(None, &["other", "-x"]), "entry -e other -x");
        assert_eq!(run(Some("mine"), &[]), "mine");
        assert_eq!(run(Some("mine"), &["-x"]), "mine -x");
        assert_eq!(run(Some(""), &["sh"]), "sh");
        assert_eq!(run(Some(""), &[]), "the image names no command: say which one to run");
    }

    #[test]
    fn the_images_words_become_defaults() {
        let config = RunConfig {
            user: "33:33".into(),
            env: vec!["A=b=c".into(), "EMPTY=".into()],
            working_dir: "/srv".into(),
            ..RunConfig::default()
        };
        let found = defaults(&config, "box").unwrap();
        assert_eq!(found.env, [("A".into(), "b=c".into()), ("EMPTY".into(), "".into())]);
        assert_eq!(found.workdir, Some("/srv".into()));
        assert!(found.user.is_some());
        assert!(defaults(&RunConfig::default(), "box").unwrap().workdir.is_none());
    }
}
