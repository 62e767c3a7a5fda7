//! `--env` and `--env-file`, to Docker's grammar.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Context, Error, Result};

type Variables = Vec<(OsString, OsString)>;

/// Sets a variable where it stands, or at the end; no value removes it.
pub(super) fn set(env: &mut Variables, key: OsString, value: Option<OsString>) {
    let place = env.iter().position(|(known, _)| *known == key);
    match (place, value) {
        (Some(n), Some(value)) => env[n].1 = value,
        (Some(n), None) => drop(env.remove(n)),
        (None, Some(value)) => env.push((key, value)),
        (None, None) => {}
    }
}

/// `KEY=VALUE`; or `KEY`, which means the caller's value, or none if there is none.
pub(super) fn set_from_flag(env: &mut Variables, text: &OsStr) -> Result<()> {
    let (key, value) = split(text);
    if key.is_empty() {
        return Err(Error::new(format!("invalid environment variable: {}", text.display())));
    }
    let value = value.or_else(|| std::env::var_os(&key));
    set(env, key, value);
    Ok(())
}

fn split(text: &OsStr) -> (OsString, Option<OsString>) {
    let bytes = text.as_bytes();
    let part = |bytes| OsStr::from_bytes(bytes).to_owned();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(n) => (part(&bytes[..n]), Some(part(&bytes[n + 1..]))),
        None => (part(bytes), None),
    }
}

pub(super) fn read_file(env: &mut Variables, path: &Path) -> Result<()> {
    let name = || format!("read the environment file {}", path.display());
    let text = std::fs::read_to_string(path).doing(name)?;
    let lines =
        parse_env_file(&text).map_err(|error| Error::new(format!("{}: {error}", name())))?;
    for (key, value) in lines {
        let value = value.map(OsString::from).or_else(|| std::env::var_os(&key));
        set(env, key.into(), value);
    }
    Ok(())
}

/// The lines of an environment file: `KEY=VALUE` to the end of the line, with no
/// quoting; `KEY` for the caller's value; empty lines, and `#` for comments.
///
/// # Errors
/// A line without a key, or with white space in it.
pub fn parse_env_file(text: &str) -> Result<Vec<(String, Option<String>)>> {
    let text = text.trim_start_matches('\u{feff}');
    let lines = text.lines().map(str::trim_start);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (key, value) = match line.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (line.trim_end(), None),
            };
            if key.is_empty() {
                return Err(Error::new(format!("no variable name on line '{line}'")));
            }
            if key.contains(char::is_whitespace) {
                return Err(Error::new(format!("variable '{key}' contains whitespaces")));
            }
            Ok((key.to_owned(), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_set_replaced_or_removed() {
        let mut env = vec![("A".into(), "1".into()), ("B".into(), "2".into())];
        set_from_flag(&mut env, OsStr::new("A=x=y")).unwrap();
        set_from_flag(&mut env, OsStr::new("C=")).unwrap();
        set_from_flag(&mut env, OsStr::new("B")).unwrap();
        assert_eq!(env, [("A".into(), "x=y".into()), ("C".into(), OsString::new())]);
        let error = set_from_flag(&mut env, OsStr::new("=x")).unwrap_err();
        assert_eq!(error.to_string(), "invalid environment variable: =x");
    }

    #[test]
    fn an_environment_file_has_one_variable_on_a_line() {
        let text = "\u{feff}# a comment\n\nA=1\n  B=with spaces, \"quotes\" and = signs \nC\n";
        let parsed = parse_env_file(text).unwrap();
        let b = "with spaces, \"quotes\" and = signs ";
        assert_eq!(
            parsed,
            [("A".into(), Some("1".into())), ("B".into(), Some(b.into())), ("C".into(), None)]
        );
        assert_eq!(
            parse_env_file("A B=1").unwrap_err().to_string(),
            "variable 'A B' contains whitespaces"
        );
        assert_eq!(parse_env_file("=1").unwrap_err().to_string(), "no variable name on line '=1'");
    }
}
