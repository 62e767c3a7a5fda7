//! Names of containers. A name belongs to whoever made its file first.
//!
//! ```text
//!   ROOT/names             locked by whoever makes or removes a file in it
//!   ROOT/names/NAME        a container's id; locked until that container is there
//! ```
//!
//! So a name whose container is not there, and which nobody holds, was left by a process
//! that was killed: the kernel has taken its lock back, and whoever comes across the
//! name can take it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use namespaces::{Context, Error, Result};

use super::Lock;

/// A file on its way to a name; no name begins with a dot.
const UNNAMED: &str = ".unnamed";

/// The folder of names: each file is called like a name and holds an id.
#[derive(Debug, Clone)]
pub struct Names(PathBuf);

/// The name belongs to another container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameTaken {
    /// The container that has it.
    pub by: String,
}

/// A name whose container is in the making: nobody takes it back.
#[derive(Debug)]
pub struct Held(#[allow(dead_code, reason = "held, not read")] Lock);

impl Names {
    /// The names in this folder, which exists.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    // ANCHOR: take
    /// Takes a name for a container, or says who has it. To be held until the container
    /// is there, with this name in its record.
    ///
    /// The file appears with its content, by link(2), which refuses an existing
    /// target: nobody can read it half written, and of two at once only one wins.
    pub fn take(&self, name: &str, id: &str) -> Result<Result<Held, NameTaken>> {
        let path = self.path(name)?;
        let what = || format!("take the name {name}");
        let _folder = Lock::folder(&self.0)?;
        let temporary = self.0.join(UNNAMED);
        // Of somebody who was killed: nobody else has it now. It may have a name already.
        let _ = fs::remove_file(&temporary);
        let held = Lock::exclusive(&temporary)?;
        let linked = fs::write(&temporary, id).and_then(|()| fs::hard_link(&temporary, &path));
        let _ = fs::remove_file(&temporary);
        match linked {
            Ok(()) => Ok(Ok(Held(held))),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let by = self.get(name)?.unwrap_or_default();
                let own = if by == id { Lock::try_exclusive(&path)? } else { None };
                Ok(own.map(Held).ok_or(NameTaken { by }))
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

    /// Takes a name back from a container that is neither there nor in the making. True
    /// if it is nobody's now.
    pub fn free(&self, name: &str, is_there: impl Fn(&str) -> bool) -> Result<bool> {
        let _folder = Lock::folder(&self.0)?;
        let Some(id) = self.get(name)? else { return Ok(true) };
        let path = self.path(name)?;
        let Some(_held) = Lock::try_exclusive(&path)? else { return Ok(false) };
        // Not before: until now it could still be finished.
        if is_there(&id) {
            return Ok(false);
        }
        fs::remove_file(&path).doing(|| format!("take back the name {name}"))?;
        Ok(true)
    }

    /// Gives a name back, if it is this container's.
    pub fn release(&self, name: &str, id: &str) -> Result<()> {
        let _folder = Lock::folder(&self.0)?;
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
        let taken = |id| names.take("web", id).unwrap().map(drop);
        assert_eq!(taken("1"), Ok(()));
        assert_eq!(taken("1"), Ok(()));
        assert_eq!(taken("2"), Err(NameTaken { by: "1".into() }));
        names.release("web", "2").unwrap();
        assert_eq!(names.get("web").unwrap().as_deref(), Some("1"));
        names.release("web", "1").unwrap();
        assert_eq!(taken("2"), Ok(()));
    }

    #[test]
    fn a_name_is_taken_back_only_from_a_container_that_nobody_makes() {
        let folder = tempfile::tempdir().unwrap();
        let names = Names::at(folder.path());
        let held = names.take("web", "1").unwrap().unwrap();
        assert!(!names.free("web", |_| false).unwrap());
        drop(held);
        assert!(!names.free("web", |id| id == "1").unwrap());
        assert!(names.free("web", |_| false).unwrap());
        assert_eq!(names.get("web").unwrap(), None);
        assert_eq!(names.entries(), Vec::<PathBuf>::new());
    }

    #[test]
    fn of_many_who_take_back_a_name_and_take_it_one_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let names = Names::at(folder.path());
        for round in 0..50 {
            drop(names.take("web", "killed").unwrap());
            let take = &|id: String| {
                names.free("web", |id| id != "killed").unwrap();
                names.take("web", &id).unwrap().is_ok()
            };
            let winners = std::thread::scope(|scope| {
                let spawn = |n| scope.spawn(move || take(format!("{round}.{n}")));
                let threads: Vec<_> = (0..4).map(spawn).collect();
                threads
                    .into_iter()
                    .filter_map(|thread| thread.join().unwrap().then_some(()))
                    .count()
            });
            assert_eq!(winners, 1);
            let owner = names.get("web").unwrap().unwrap();
            names.release("web", &owner).unwrap();
        }
    }

    #[test]
    fn a_name_cannot_lead_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["", ".", "..", "a/b", "/etc/passwd", ".hidden"] {
            assert!(Names::at(folder.path()).take(name, "1").is_err(), "{name}");
        }
    }
}
