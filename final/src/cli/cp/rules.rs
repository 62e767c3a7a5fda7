//! What `cp` means by its two paths. Docker's rules:
//!
//! ```text
//!                          DEST is a folder   DEST is a file   DEST is not there
//!   SRC is a file          into it            in its place     under that name; DEST/ is an error
//!   SRC is a folder        into it            an error         becomes it
//!   SRC/. is a folder      what is in it      an error         becomes it
//! ```

use std::path::{Component, Path, PathBuf};

use anyhow::{Result, bail};

/// One end of a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct End {
    /// As it was given, made absolute, its links followed as far as the rules say.
    pub path: String,
    /// It is there.
    pub exists: bool,
    /// It is a folder.
    pub is_dir: bool,
}

/// Where an archive is to be unpacked, and what becomes of the first part of its names.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// The folder.
    pub into: String,
    /// What the names begin with instead of the source's own.
    pub name: Option<String>,
}

/// `CONTAINER:PATH`, or a path of ours. What has a slash or a dot in front is ours.
pub fn split(argument: &str) -> (Option<&str>, &str) {
    if argument.starts_with('/') {
        return (None, argument);
    }
    match argument.split_once(':') {
        Some((container, path)) if !container.starts_with('.') => (Some(container), path),
        _ => (None, argument),
    }
}

/// Absolute and without detours, but as a folder if it was written as one.
pub fn absolute(path: &str) -> Result<String> {
    let joined = std::env::current_dir()?.join(path);
    Ok(keep_ending(clean(&joined.to_string_lossy()), path))
}

/// The slash or the dot at the end says that a folder is meant, and which.
fn keep_ending(mut cleaned: String, original: &str) -> String {
    if is_dot(original) && !is_dot(&cleaned) {
        if !cleaned.ends_with('/') {
            cleaned.push('/');
        }
        cleaned.push('.');
    }
    if original.ends_with('/') && !cleaned.ends_with('/') {
        cleaned.push('/');
    }
    cleaned
}

/// True if a path's last name is the folder itself.
fn is_dot(path: &str) -> bool {
    path.trim_end_matches('/').rsplit('/').next() == Some(".")
}

/// Without `.`, `..` and double slashes, as text alone.
pub fn clean(path: &str) -> String {
    let mut cleaned = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if cleaned.file_name().is_some_and(|name| name != "..") => {
                cleaned.pop();
            }
            Component::ParentDir if cleaned.has_root() => {}
            other => cleaned.push(other),
        }
    }
    match cleaned.as_os_str().is_empty() {
        true => ".".into(),
        false => cleaned.to_string_lossy().into_owned(),
    }
}

/// The folder that a path is in, and its name there: `.` if the path says so.
pub fn parent_and_name(path: &str) -> (String, String) {
    let cleaned = clean(path);
    if is_dot(path) {
        return (cleaned, ".".into());
    }
    let parent = Path::new(&cleaned).parent().map(|parent| parent.to_string_lossy().into_owned());
    let parent = match parent.as_deref() {
        None => "/",
        Some("") => ".",
        Some(parent) => parent,
    };
    let name = Path::new(&cleaned).file_name();
    (parent.to_owned(), name.map_or("/".into(), |name| name.to_string_lossy().into_owned()))
}

/// What is to be done.
///
/// # Errors
/// A folder over a file; a file as a folder that is not there.
pub fn plan(source: &End, destination: &End) -> Result<Plan> {
    let (parent, name) = parent_and_name(&destination.path);
    if destination.exists && destination.is_dir {
        return Ok(Plan { into: destination.path.clone(), name: None });
    }
    if destination.exists && source.is_dir {
        bail!("cannot copy directory");
    }
    let means_a_folder = destination.path.ends_with('/') || is_dot(&destination.path);
    if !destination.exists && !source.is_dir && means_a_folder {
        bail!("no such directory");
    }
    Ok(Plan { into: parent, name: Some(name) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(path: &str, exists: bool, is_dir: bool) -> End {
        End { path: path.into(), exists, is_dir }
    }

    #[test]
    fn a_colon_belongs_to_a_container_unless_a_slash_or_a_dot_is_in_front() {
        assert_eq!(split("web:/etc"), (Some("web"), "/etc"));
        assert_eq!(split("/a:b"), (None, "/a:b"));
        assert_eq!(split("./a:b"), (None, "./a:b"));
        assert_eq!(split("a"), (None, "a"));
        assert_eq!(split("web:"), (Some("web"), ""));
    }

    #[test]
    fn paths_are_split_as_docker_splits_them() {
        let split = |path| {
            let (parent, name) = parent_and_name(path);
            format!("{parent} {name}")
        };
        let cases = [
            ("/a/b", "/a b"),
            ("/a/b/", "/a b"),
            ("/a/b/.", "/a/b ."),
            ("/", "/ /"),
            ("b", ". b"),
            ("/a/../b", "/ b"),
        ];
        for (path, expected) in cases {
            assert_eq!(split(path), expected, "{path}");
        }
        assert_eq!(keep_ending("/a".into(), "a/"), "/a/");
        assert_eq!(keep_ending("/a".into(), "a/."), "/a/.");
    }

    #[test]
    fn what_goes_where_is_dockers() {
        let told = |source: End, destination: End| match plan(&source, &destination) {
            Ok(Plan { into, name }) => format!("{into} {}", name.unwrap_or_default()),
            Err(error) => error.to_string(),
        };
        let (file, folder) = (end("/s/f", true, false), end("/s/d", true, true));
        assert_eq!(told(file.clone(), end("/d", true, true)), "/d ");
        assert_eq!(told(file.clone(), end("/d/x", true, false)), "/d x");
        assert_eq!(told(file.clone(), end("/d/new", false, false)), "/d new");
        assert_eq!(told(file, end("/d/new/", false, false)), "no such directory");
        assert_eq!(told(folder.clone(), end("/d", true, true)), "/d ");
        assert_eq!(told(folder.clone(), end("/d/x", true, false)), "cannot copy directory");
        assert_eq!(told(folder, end("/d/new/", false, false)), "/d new");
    }
}
