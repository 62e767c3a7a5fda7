//! What the reader has done so far: the untracked folder `.workshop`.
//!
//! ```text
//!   .workshop/solved/01_hostname.rs   the file as it was when it passed
//!   .workshop/kept/01_hostname.rs     what `reset` took away, the last time
//!   .workshop/hints/01_hostname       how many hints were shown
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::Exercise;

/// How far an exercise is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// As it was handed out.
    New,
    /// Changed, and not solved.
    Begun,
    /// Passed, as it is now.
    Solved,
    /// Passed once, and changed since.
    Changed,
}

#[derive(Debug)]
pub(crate) struct Progress(PathBuf);

impl Progress {
    pub fn of(root: &Path) -> Progress {
        Progress(root.join(".workshop"))
    }

    pub fn state(&self, exercise: &Exercise) -> State {
        let now = fs::read_to_string(exercise.file()).unwrap_or_default();
        match fs::read_to_string(self.place("solved", exercise, ".rs")) {
            Ok(passed) if passed == now => State::Solved,
            Ok(_) => State::Changed,
            Err(_) if exercise.pristine().is_ok_and(|text| text == now) => State::New,
            Err(_) => State::Begun,
        }
    }

    pub fn solved(&self, exercise: &Exercise) -> Result<()> {
        self.keep("solved", exercise)
    }

    /// Puts the reader's file aside, and says where.
    pub fn put_aside(&self, exercise: &Exercise) -> Result<PathBuf> {
        self.keep("kept", exercise)?;
        let solved = self.place("solved", exercise, ".rs");
        if solved.exists() {
            fs::remove_file(&solved).with_context(|| format!("remove {}", solved.display()))?;
        }
        Ok(self.place("kept", exercise, ".rs"))
    }

    fn keep(&self, folder: &str, exercise: &Exercise) -> Result<()> {
        let (from, to) = (exercise.file(), self.place(folder, exercise, ".rs"));
        let copy = || {
            fs::create_dir_all(to.parent()?).ok()?;
            fs::copy(&from, &to).ok()
        };
        copy().with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
        Ok(())
    }

    /// Counts one more hint, and says which it is: 1 at first.
    pub fn next_hint(&self, exercise: &Exercise) -> Result<usize> {
        let file = self.place("hints", exercise, "");
        let shown = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
        let next = shown.unwrap_or(0) + 1;
        fs::create_dir_all(self.0.join("hints"))
            .and_then(|()| fs::write(&file, format!("{next}\n")))
            .with_context(|| format!("write {}", file.display()))?;
        Ok(next)
    }

    fn place(&self, folder: &str, exercise: &Exercise, extension: &str) -> PathBuf {
        self.0.join(folder).join(format!("{}{extension}", exercise.name))
    }
}
