//! What a lesson's crate consists of, read as text.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::pages::{files_below, root};

/// A lesson's crate.
#[derive(Debug)]
pub(crate) struct Step {
    pub number: u8,
    /// `steps/01-namespaces`.
    pub folder: String,
    pub files: Vec<File>,
    /// The names of its dependencies, sorted.
    pub dependencies: Vec<String>,
}

/// One file of its `src/`.
#[derive(Debug)]
pub(crate) struct File {
    /// Relative to `src/`.
    pub name: String,
    /// The first sentence of its doc comment.
    pub about: String,
    /// Lines that are neither empty nor a comment, without the tests.
    pub lines: usize,
    /// Its text, without the tests.
    pub text: String,
}

impl Step {
    pub fn all() -> Result<Vec<Step>> {
        let steps = root().join("steps");
        let entries = fs::read_dir(&steps).with_context(|| format!("read {}", steps.display()))?;
        let mut folders: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        folders.sort();
        folders.iter().filter_map(|folder| Step::read(folder).transpose()).collect()
    }

    /// `None` if the folder is no lesson's.
    fn read(folder: &Path) -> Result<Option<Step>> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(Ok(number)) = name.split_once('-').map(|(number, _)| number.parse()) else {
            return Ok(None);
        };
        let source = folder.join("src");
        let is_rust = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "rs");
        let files = files_below(&source)?.into_iter().filter(is_rust);
        let files = files.map(|file| File::read(&file, &source)).collect::<Result<_>>()?;
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).context("read Cargo.toml")?;
        let dependencies = dependencies(&manifest);
        Ok(Some(Step { number, folder: format!("steps/{name}"), files, dependencies }))
    }

    pub fn lines(&self) -> usize {
        self.files.iter().map(|file| file.lines).sum()
    }
}

fn dependencies(manifest: &str) -> Vec<String> {
    let lines = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| !name.is_empty() && !name.starts_with('#')).map(str::to_owned).collect()
}

impl File {
    fn read(file: &Path, source: &Path) -> Result<File> {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
        let name = file.strip_prefix(source).unwrap_or(file).display().to_string();
        let code = |line: &&str| {
            let line = line.trim_start();
            !line.is_empty() && !line.starts_with("//")
        };
        let lines = text.lines().filter(code).count();
        let doc = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
        let doc = doc.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        let about = doc.split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned();
        Ok(File { name, about, lines, text })
    }
}
