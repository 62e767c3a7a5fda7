//! What must be true of every page.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::Value;

use crate::driver::Browser;

/// The book, made once for all tests.
static BOOK: LazyLock<PathBuf> = LazyLock::new(|| {
    let target = testkit::temp_dir().keep();
    press::make(&target).unwrap_or_else(|error| panic!("{error:#}"));
    target
});

/// All pages but the one for printing, which is all of them.
fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(&BOOK, &mut files);
    files.retain(|file| !["print.html", "toc.html", "404.html"].iter().any(|n| file.ends_with(n)));
    files.sort();
    assert!(files.len() > 20, "{files:?}");
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).expect("read a folder").flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "html") {
            files.push(path);
        }
    }
}

fn name(file: &Path) -> String {
    file.strip_prefix(&*BOOK).unwrap_or(file).display().to_string()
}

#[track_caller]
fn assert_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

fn strings(value: &Value) -> Vec<String> {
    let all = value.as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

pub fn open() {
    let browser = Browser::open();
    let mut complaints = Vec::new();
    for file in files() {
        browser.go(&file);
        browser.wait("return document.readyState === 'complete' || null");
        for entry in browser.log("browser") {
            complaints.push(format!("{}: {}", name(&file), entry["message"]));
        }
        for entry in browser.log("performance") {
            let message = entry["message"].as_str().unwrap_or_default();
            let message: Value = serde_json::from_str(message).unwrap_or_default();
            let url = &message["message"]["params"]["request"]["url"];
            let url = url.as_str().unwrap_or_default();
            if ["http:", "https:", "ws:"].iter().any(|scheme| url.starts_with(scheme)) {
                complaints.push(format!("{}: asks the network for {url}", name(&file)));
            }
        }
        let missing = browser.ask(
            "return [...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)",
        );
        let missing = strings(&missing);
        complaints.extend(missing.iter().map(|src| format!("{}: no {src}", name(&file))));
    }
    assert_none(complaints);
}

/// Links within the book: to pages that are there, and to headings that are on them.
pub fn links() {
    let browser = Browser::open();
    let mut wanted: Vec<(String, String)> = Vec::new();
    let mut places: BTreeSet<String> = BTreeSet::new();
    for file in files() {
        browser.go(&file);
        let here = format!("file://{}", file.display());
        let ids = browser.ask("return [...document.querySelectorAll('[id]')].map(e => e.id)");
        places.extend(strings(&ids).iter().map(|id| format!("{here}#{id}")));
        places.insert(here);
        let links = browser
            .ask("return [...document.querySelectorAll('a[href]')].map(a => decodeURI(a.href))");
        wanted.extend(strings(&links).into_iter().map(|link| (name(&file), link)));
    }
    let dead = wanted.into_iter().filter(|(_, link)| {
        let link = link.trim_end_matches('#');
        let is_print = link.ends_with("print.html");
        link.starts_with("file:") && !is_print && !places.contains(link)
    });
    let dead: BTreeSet<_> = dead.map(|(page, link)| format!("{page}: {link}")).collect();
    assert_none(dead.into_iter().collect());
}

/// The terms of the glossary, as they stand on its page.
pub fn search() {
    let browser = Browser::open();
    browser.go(&BOOK.join("glossary.html"));
    let terms = strings(
        &browser.ask("return [...document.querySelectorAll('main h3')].map(e => e.textContent)"),
    );
    assert!(terms.len() > 50, "{terms:?}");
    browser.ask("document.querySelector('#mdbook-search-toggle, #search-toggle').click()");
    let mut complaints = Vec::new();
    for term in terms {
        // What is in parentheses explains.
        let words = term.split(" (").next().unwrap_or(&term).replace(',', "");
        let script = format!(
            "const bar = document.querySelector('#mdbook-searchbar, #searchbar');
             bar.value = {words:?}; bar.dispatchEvent(new Event('input', {{bubbles: true}}));
             bar.dispatchEvent(new KeyboardEvent('keyup', {{bubbles: true}}));"
        );
        browser.ask(&script);
        let found = testkit::wait_until(std::time::Duration::from_secs(10), || {
            let header = browser.ask(
                "const h = document.querySelector('#mdbook-searchresults-header, #searchresults-header');
                 const r = document.querySelectorAll('#mdbook-searchresults a, #searchresults a');
                 return h.textContent.includes(arguments[0] ?? '') ? [...r].map(a => a.href) : []",
            );
            strings(&header).iter().any(|link| link.contains("glossary.html"))
        });
        if !found {
            complaints.push(format!("{term:?} ({words}) is not found in the glossary"));
        }
    }
    assert_none(complaints);
}

/// Every text of a drawing can be read: it is large enough, and stands out.
const UNREADABLE: &str = r"
    const rgb = text => (text.match(/[\d.]+/g) || []).map(Number);
    const light = ([r, g, b]) => (0.299 * r + 0.587 * g + 0.114 * b);
    const ground = light(rgb(getComputedStyle(document.documentElement).backgroundColor));
    const bad = [];
    for (const svg of document.querySelectorAll('svg.drawing')) {
        const box = svg.getBoundingClientRect();
        if (box.width < 100 || box.height < 50) bad.push('a drawing of ' + box.width + ' by ' + box.height);
        if (box.right > document.documentElement.clientWidth + 1) bad.push('a drawing sticks out');
        for (const text of svg.querySelectorAll('text')) {
            const place = text.getBoundingClientRect();
            const contrast = Math.abs(light(rgb(getComputedStyle(text).fill)) - ground);
            const words = text.textContent.trim();
            if (place.height < 9) bad.push(words + ': ' + place.height.toFixed(1) + ' high');
            if (contrast < 60) bad.push(words + ': contrast ' + contrast.toFixed(0));
            if (place.right > box.right + 2 || place.left < box.left - 2) bad.push(words + ': cut off');
        }
    }
    return bad;";

pub fn drawings() {
    let browser = Browser::open();
    let mut complaints = Vec::new();
    let mut drawings = 0;
    for width in [1200, 360] {
        browser.resize(width, 800);
        for file in files() {
            let text = fs::read_to_string(&file).expect("read a page");
            if !text.contains("<svg class=\"drawing\"") {
                continue;
            }
            drawings += 1;
            browser.go(&file);
            for theme in ["light", "navy"] {
                browser.ask(&format!("document.documentElement.className = '{theme} js'"));
                let bad = strings(&browser.ask(UNREADABLE));
                let place = format!("{} ({theme}, {width})", name(&file));
                complaints.extend(bad.iter().map(|why| format!("{place}: {why}")));
            }
        }
    }
    assert!(drawings > 0);
    assert_none(complaints);
}

/// What is too wide (code, a table) scrolls by itself, and not the page with it.
pub fn width() {
    let browser = Browser::open();
    browser.resize(360, 800);
    let mut complaints = Vec::new();
    for file in files() {
        browser.go(&file);
        let width = browser.ask("return document.documentElement.scrollWidth").as_u64();
        if width.is_none_or(|width| width > 362) {
            complaints.push(format!("{} is {width:?} wide", name(&file)));
        }
    }
    assert_none(complaints);
}

/// The button on a block copies what the block shows: no markup, no line numbers, and of
/// a console what stands there.
pub fn copies() {
    let browser = Browser::open();
    browser.resize(1200, 800);
    let mut complaints = Vec::new();
    for file in files() {
        browser.go(&file);
        let bad = browser.ask(
            "const copied = [];
             const keep = text => { copied.push(text); return Promise.resolve(); };
             Object.defineProperty(navigator, 'clipboard', { value: { writeText: keep }, configurable: true });
             document.execCommand = () => { copied.push(document.getSelection().toString() || document.activeElement.value); return true; };
             const bad = [];
             for (const pre of document.querySelectorAll('main pre')) {
                 const button = pre.querySelector('.clip-button');
                 if (!button) { bad.push('no button on: ' + pre.textContent.slice(0, 40)); continue; }
                 copied.length = 0;
                 button.click();
                 const shown = pre.querySelector('code').innerText.trimEnd();
                 if ((copied[0] ?? '').trimEnd() !== shown) bad.push(JSON.stringify(copied[0]) + ' for ' + JSON.stringify(shown));
             }
             return bad;",
        );
        complaints.extend(strings(&bad).iter().map(|why| format!("{}: {why}", name(&file))));
    }
    assert_none(complaints);
}

pub fn languages() {
    let browser = Browser::open();
    let link = "return document.querySelector('a.language')?.href ?? null";
    for (from, to) in [
        ("1-namespaces/index.html", "zh-CN/1-namespaces/index.html"),
        ("zh-CN/preface.html", "preface.html"),
    ] {
        browser.go(&BOOK.join(from));
        let href = browser.wait(link);
        assert_eq!(href.as_str(), Some(&*format!("file://{}", BOOK.join(to).display())));
    }
    browser.go(&BOOK.join("zh-CN/1-namespaces/index.html"));
    let title = browser.ask("return document.querySelector('main h1').textContent");
    let is_chinese = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c);
    assert!(title.as_str().is_some_and(|title| title.contains(is_chinese)), "{title}");
}

/// Nothing of the preface and the first lesson is left in English.
pub fn translated() {
    for (language, _) in press::TRANSLATIONS {
        assert_none(press::untranslated(language).unwrap_or_else(|error| panic!("{error:#}")));
    }
}
