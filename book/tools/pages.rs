//! The pages that a reader meets: the book's, and the READMEs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The repository, which this crate is a folder of.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_owned()
}

/// One file of Markdown.
#[derive(Debug, Clone)]
pub struct Page {
    /// Where it is.
    pub file: PathBuf,
    /// Its name for whoever is told about it: "1-namespaces/run.md", "steps/01-namespaces/README.md".
    pub name: String,
    /// What it says.
    pub text: String,
}

impl Page {
    fn read(file: PathBuf, base: &Path) -> Result<Page> {
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let name = file.strip_prefix(base).unwrap_or(&file).display().to_string();
        Ok(Page { file, name, text })
    }

    /// Its fenced blocks, in order.
    pub fn blocks(&self) -> Vec<Block> {
        blocks(&self.text)
    }
}

/// The pages of the book, sorted by name.
pub fn book() -> Result<Vec<Page>> {
    let source = root().join("book/src");
    let files = files_below(&source)?;
    let pages = files.into_iter().filter(|file| file.extension().is_some_and(|e| e == "md"));
    pages.map(|file| Page::read(file, &source)).collect()
}

/// The READMEs: the repository's, and one in each folder of `steps/`.
pub fn readmes() -> Result<Vec<Page>> {
    let root = root();
    let steps = root.join("steps");
    let entries = fs::read_dir(&steps).with_context(|| format!("read {}", steps.display()))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path().join("README.md")).collect();
    files.push(root.join("README.md"));
    files.sort();
    files.into_iter().filter(|file| file.is_file()).map(|file| Page::read(file, &root)).collect()
}

/// Every file below a folder, sorted.
pub fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        match path.is_dir() {
            true => files.extend(files_below(&path)?),
            false => files.push(path),
        }
    }
    files.sort();
    Ok(files)
}

/// A fenced block of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The number of its first line of content, from 0.
    pub line: usize,
    /// The first word after the fence: "console".
    pub language: String,
    /// The other words after the fence.
    pub words: Vec<String>,
    /// What is between the fences, without the indentation of the fence.
    pub lines: Vec<String>,
    /// The indentation of the fence.
    pub indent: usize,
}

impl Block {
    /// True if the word stands after the fence.
    pub fn has(&self, word: &str) -> bool {
        self.words.iter().any(|other| other == word)
    }

    /// The value of `KEY=value` after the fence.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(Block, String)> = None;
    for (number, line) in text.lines().enumerate() {
        let word = line.trim_start();
        match &mut open {
            Some((_, fence)) if word.trim_end() == *fence => {
                blocks.extend(open.take().map(|(block, _)| block));
            }
            Some((block, _)) => {
                let indent = block.indent.min(line.len() - word.len());
                block.lines.push(line[indent..].to_owned());
            }
            None if word.starts_with("```") => {
                let info = word.trim_start_matches('`');
                let fence = "`".repeat(word.len() - info.len());
                let mut words = info.split_whitespace().map(str::to_owned);
                let block = Block {
                    line: number + 1,
                    language: words.next().unwrap_or_default(),
                    words: words.collect(),
                    lines: Vec::new(),
                    indent: line.len() - word.len(),
                };
                open = Some((block, fence));
            }
            None => {}
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_a_language_words_and_lines() {
        let text = "a\n```console fails needs=nft\n$ x\n```\n  ````text\n  ```\n  ````\n";
        let found = blocks(text);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].line, found[0].language.as_str()), (2, "console"));
        assert!(found[0].has("fails") && !found[0].has("needs"));
        assert_eq!(found[0].value("needs"), Some("nft"));
        assert_eq!(found[1].lines, ["```"]);
    }
}
