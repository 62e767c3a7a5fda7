//! Pages that are computed: nobody writes them, and a test asks whether they are current.

mod added;
mod agenda;
mod exercises;
mod source;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::pages::root;
use source::Step;

/// A page, and what it must say.
#[derive(Debug)]
pub struct Generated {
    /// Where it is.
    pub file: PathBuf,
    /// What it must say.
    pub text: String,
}

impl Generated {
    fn new(page: &str, text: String) -> Generated {
        Generated { file: root().join("book/src").join(page), text }
    }

    /// True if the page says so already.
    pub fn is_current(&self) -> bool {
        fs::read_to_string(&self.file).is_ok_and(|text| text == self.text)
    }

    /// Writes the page.
    pub fn write(&self) -> Result<()> {
        fs::write(&self.file, &self.text).with_context(|| format!("write {}", self.file.display()))
    }
}

/// All generated pages, as they must be.
pub fn all() -> Result<Vec<Generated>> {
    let lessons = workshop::lessons(&root())?;
    let steps = Step::all()?;
    let mut pages: Vec<_> = lessons.iter().map(exercises::page).collect();
    pages.extend((0..steps.len()).map(|n| added::page(&steps, n)));
    pages.push(agenda::page(&lessons));
    Ok(pages)
}

/// The folder of a lesson's chapter below `book/src`.
fn chapter(lesson: u8) -> &'static str {
    ["1-namespaces", "2-cgroups", "3-rootfs", "4-images", "5-networking", "6-volumes"]
        [usize::from(lesson) - 1]
}

/// Says on the page that it was not written by hand.
fn note(source: &str) -> String {
    format!("<!-- Made of {source} by `cargo run -p book`. -->\n")
}
