//! `--cidfile`.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// The file that a container's id is written to. It is there before the container: that
/// it cannot be written must not leave a container that nobody knows of.
pub struct IdFile<'a> {
    path: &'a Path,
    file: File,
    filled: bool,
}

impl<'a> IdFile<'a> {
    /// # Errors
    /// It is there already, or cannot be.
    pub fn create(path: &'a Path) -> Result<Self> {
        match File::create_new(path) {
            Ok(file) => Ok(Self { path, file, filled: false }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(
                "container ID file found: make sure the other container isn't running, or delete {}",
                path.display()
            ),
            Err(error) => Err(error).with_context(|| format!("create {}", path.display())),
        }
    }

    /// Writes the id. Dropped without one, the file is not left.
    pub fn fill(mut self, id: &str) -> Result<()> {
        let written = self.file.write_all(id.as_bytes());
        written.with_context(|| format!("write {}", self.path.display()))?;
        self.filled = true;
        Ok(())
    }
}

impl Drop for IdFile<'_> {
    fn drop(&mut self) {
        if !self.filled {
            let _ = std::fs::remove_file(self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_file_is_nobody_elses_and_is_left_only_with_an_id() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id");
        drop(IdFile::create(&path).unwrap());
        assert!(!path.exists());
        IdFile::create(&path).unwrap().fill("abc").unwrap();
        assert!(IdFile::create(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "abc");
    }
}
