//! Makes the book's html, in each language, and the catalogues for translators.
//!
//! mdBook and its gettext helpers are used as libraries: a reader needs no installation
//! beyond what `cargo` fetches with the rest, and everybody has the same versions.

mod catalogue;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mdbook_driver::MDBook;
use mdbook_driver::config::Config;
use mdbook_i18n_helpers::preprocessors::Gettext;

pub use catalogue::{untranslated, update};

/// The languages that the book is translated into: gettext's name, and the folder's.
pub const TRANSLATIONS: [(&str, &str); 1] = [("zh_CN", "zh-CN")];

/// The folder `book/`.
pub fn book() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the folder book").to_owned()
}

/// Makes the English book in `target`, and each translation in a folder below.
///
/// # Errors
/// What mdBook finds wrong, or cannot write.
pub fn make(target: &Path) -> Result<()> {
    make_one("en", target)?;
    for (language, folder) in TRANSLATIONS {
        make_one(language, &target.join(folder))?;
    }
    Ok(())
}

fn make_one(language: &str, target: &Path) -> Result<()> {
    let mut config = config()?;
    config.book.language = Some(language.into());
    config.build.build_dir = target.to_owned();
    // The way to the other language leads nowhere in a book of one language.
    config.set("output.html.additional-js", ["theme/language.js"])?;
    let mut book = MDBook::load_with_config(book(), config).context("read the book")?;
    book.with_preprocessor(Gettext);
    book.build().with_context(|| format!("make the book in {language}"))
}

fn config() -> Result<Config> {
    let file = book().join("book.toml");
    Config::from_disk(&file).with_context(|| format!("read {}", file.display()))
}

/// True if the page is part of what is wholly translated: the preface, the first lesson.
fn is_wholly_translated(page: &str) -> bool {
    page.contains("src/preface.md")
        || page.contains("src/1-namespaces/") && !page.contains("/added.md")
}
