//! What an image says about running it, where the flags do not say otherwise.

use std::ffi::OsString;

use namespaces::cli::Defaults;

use crate::config::RunConfig;
use crate::error::{Error, Result};

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
