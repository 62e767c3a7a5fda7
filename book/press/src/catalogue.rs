//! gettext: what there is to translate, and what is translated.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use mdbook_driver::MDBook;
use mdbook_i18n_helpers::renderers::Xgettext;
use polib::catalog::Catalog;
use polib::message::{Message, MessageMutView};
use polib::po_file;

use crate::{TRANSLATIONS, book, config, is_wholly_translated};

/// Every sentence of the book as it is now, without a translation.
fn template() -> Result<Catalog> {
    let mut config = config()?;
    // Before includes are replaced: code is no text to translate, and a drawing is
    // translated by naming another one.
    config.build.use_default_preprocessors = false;
    config.set("preprocessor", std::collections::BTreeMap::<String, String>::new())?;
    let target = tempfile::tempdir()?;
    config.build.build_dir = target.path().to_owned();
    let book = MDBook::load_with_config(book(), config).context("read the book")?;
    book.execute_build_process(&Xgettext).context("collect what there is to translate")?;
    parse(&target.path().join("messages.pot"))
}

fn parse(file: &Path) -> Result<Catalog> {
    po_file::parse(file).map_err(|error| anyhow!("read {}: {error}", file.display()))
}

fn file_of(language: &str) -> PathBuf {
    book().join("po").join(format!("{language}.po"))
}

/// Writes each language's catalogue anew: the sentences that it has, or must have, with
/// the translations that are there. What the book no longer says goes. All sentences are
/// in `messages.pot`, for who wants to go on.
pub fn update() -> Result<()> {
    let all = book().join("po/messages.pot");
    po_file::write(&template()?, &all).with_context(|| format!("write {}", all.display()))?;
    for (language, _) in TRANSLATIONS {
        let file = file_of(language);
        let known = parse(&file)?;
        let mut fresh = Catalog::new(parse(&file)?.metadata);
        for message in template()?.messages() {
            let translation = known.find_message(None, message.msgid(), None);
            let text = translation.and_then(|known| known.msgstr().ok()).unwrap_or_default();
            if is_code(message.msgid()) {
                continue;
            }
            let is_title = message.source().contains("SUMMARY.md");
            if text.is_empty() && !is_title && !is_wholly_translated(message.source()) {
                continue;
            }
            // A catalogue of lines would change with every line that is added above.
            let page = pages_of(message.source());
            let mut new = Message::build_singular();
            new.with_msgid(message.msgid().to_owned()).with_source(page);
            let mut new = new.done();
            new.set_msgstr(text.to_owned()).map_err(|_| anyhow!("a plural in a page"))?;
            fresh.append_or_update(new);
        }
        po_file::write(&fresh, &file).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

/// Commands, outputs and code stay as they are.
fn is_code(msgid: &str) -> bool {
    msgid.starts_with("```")
}

/// The pages of a message, without the line numbers.
fn pages_of(source: &str) -> String {
    let mut pages: Vec<_> = source
        .split_whitespace()
        .map(|place| place.rsplit_once(':').map_or(place, |(page, _)| page))
        .collect();
    pages.dedup();
    pages.join("\n")
}

/// The sentences of wholly translated pages that a language lacks.
pub fn untranslated(language: &str) -> Result<Vec<String>> {
    let known = parse(&file_of(language))?;
    let lacks = |msgid: &str| {
        let translation = known.find_message(None, msgid, None);
        translation.and_then(|known| known.msgstr().ok()).is_none_or(str::is_empty)
    };
    let messages = template()?;
    let wanted = messages
        .messages()
        .filter(|message| is_wholly_translated(message.source()) && !is_code(message.msgid()));
    let lacking = wanted.filter(|message| lacks(message.msgid()));
    Ok(lacking.map(|message| format!("{}: {}", message.source(), message.msgid())).collect())
}
