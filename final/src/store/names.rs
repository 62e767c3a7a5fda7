//! Names of containers. A name belongs to whoever made its file first.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use namespaces::{Context, Error, Result};

use super::record::beside;

/// The folder of names: each file is called like a name and holds an id.
#[derive(Debug, Clone)]
pub struct Names(PathBuf);

/// The name belongs to another container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameTaken {
    /// The container that has it.
    pub by: String,
}

impl Names {
    /// The names in this folder, which exists.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    // ANCHOR: take
    /// Takes a name for a container, or says who has it.
    ///
    /// The file appears with its content, by link(2), which refuses an existing
    /// target: nobody can read it half written, and of two at once only one wins.
    pub fn take(&self, name: &str, id: &str) -> Result<Result<(), NameTaken>> {
        let path = self.path(name)?;
        let temporary = beside(&path);
        let what = || format!("take the name {name}");
        fs::write(&temporary, id).doing(what)?;
        let linked = fs::hard_link(&temporary, &path);
        let _ = fs::remove_file(&temporary);
        match linked {
            Ok(()) => Ok(Ok(())),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // It may have been given back in between; then the caller tries again.
                let by = self.get(name)?.unwrap_or_default();
                Ok(if by == id { Ok(()) } else { Err(NameTaken { by }) })
            }
            Err(error) => Err(Error::os(what(), error)),
        }
    }
    // ANCHOR_END: take

    /// Whose name it is.
    pub fn get(&self, name: &str) -> Result<Option<String>> {
        match fs::read_to_string(self.path(name)?) {
            Ok(id) => Ok(Some(id)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::os(format!("look up the name {name}"), error)),
        }
    }

    /// Gives a name back, if it is this container's.
    pub fn release(&self, name: &str, id: &str) -> Result<()> {
        if self.get(name)?.as_deref() == Some(id) {
            fs::remove_file(self.path(name)?).doing(|| format!("release the name {name}"))?;
        }
        Ok(())
    }

    /// All files in the folder: names, and what a killed process wanted to make one.
    pub fn entries(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// The file that a name is taken by.
    pub fn file(&self, name: &str) -> Result<PathBuf> {
        self.path(name)
    }

    /// A name is a file's name here, and nothing that leads elsewhere.
    fn path(&self, name: &str) -> Result<PathBuf> {
        let sound = !name.is_empty() && !name.starts_with('.') && !name.contains('/');
        match sound && Path::new(name).components().count() == 1 {
            true => Ok(self.0.join(name)),
            false => Err(Error::new(format!("{name:?} cannot be a name"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_owner_until_it_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let names = Names::at(folder.path());
        assert_eq!(names.take("web", "1").unwrap(), Ok(()));
        assert_eq!(names.take("web", "1").unwrap(), Ok(()));
        assert_eq!(names.take("web", "2").unwrap(), Err(NameTaken { by: "1".into() }));
        names.release("web", "2").unwrap();
        assert_eq!(names.get("web").unwrap().as_deref(), Some("1"));
        names.release("web", "1").unwrap();
        assert_eq!(names.take("web", "2").unwrap(), Ok(()));
    }

    #[test]
    fn a_name_cannot_lead_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["", ".", "..", "a/b", "/etc/passwd", ".hidden"] {
            assert!(Names::at(folder.path()).take(name, "1").is_err(), "{name}");
        }
    }
}
