//! The pages themselves: listed, anchored, linked, current.

use std::fs;
use std::path::{Component, Path, PathBuf};

use book::pages::{self, Page};
use book::{anchors, generated};

fn main() {
    testkit::main(vec![
        testkit::test("code_on_a_page_is_an_anchor_in_a_crate", &[], code),
        testkit::test("every_page_is_in_the_summary", &[], summary),
        testkit::test("every_link_to_a_page_leads_to_one", &[], links),
        testkit::test("drawings_take_the_theme_and_fit_a_phone", &[], drawings),
        testkit::test("errors_are_quoted_as_the_programs_say_them", &[], errors),
        testkit::test("every_lesson_has_four_exercises_or_more", &[], exercises),
        testkit::test("generated_pages_are_current", &[], current),
    ])
}

#[track_caller]
fn assert_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

fn book() -> Vec<Page> {
    pages::book().unwrap_or_else(|error| panic!("{error:#}"))
}

fn code() {
    assert_none(book().iter().flat_map(anchors::complaints).collect());
}

fn summary() {
    let pages = book();
    let summary = pages.iter().find(|page| page.name == "SUMMARY.md").expect("SUMMARY.md");
    let missing = pages.iter().filter(|page| page.name != "SUMMARY.md").filter_map(|page| {
        let is_there = summary.text.contains(&format!("({})", page.name));
        (!is_there).then(|| format!("{} is not in SUMMARY.md", page.name))
    });
    assert_none(missing.collect());
}

/// Links within the book, and from the READMEs into the repository. Links to a heading
/// are followed in the browser.
fn links() {
    let mut complaints = Vec::new();
    let mut pages = book();
    pages.extend(pages::readmes().unwrap_or_else(|error| panic!("{error:#}")));
    for page in &pages {
        for target in targets(&page.text) {
            let file = target.split('#').next().unwrap_or_default();
            if target.contains("://") || file.is_empty() {
                continue;
            }
            let path = tidy(&page.file.parent().expect("a folder").join(file));
            if !path.exists() {
                complaints.push(format!("{}: {target} leads nowhere", page.name));
            }
        }
    }
    assert_none(complaints);
}

/// The targets of `[text](target)`, outside of code.
fn targets(text: &str) -> Vec<String> {
    let mut targets = Vec::new();
    let mut code = false;
    for line in text.lines() {
        code ^= line.trim_start().starts_with("```");
        if !code {
            let ends = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            targets.extend(ends.map(|(target, _)| target.to_owned()));
        }
    }
    targets
}

fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(tidy.pop()),
            part => tidy.push(part),
        }
    }
    tidy
}

fn drawings() {
    let mut complaints = Vec::new();
    let source = pages::root().join("book/src");
    // A translated drawing is named where the sentences are translated.
    let translated = pages::files_below(&pages::root().join("book/po")).expect("the catalogues");
    let mut text: String = book().iter().map(|page| page.text.clone()).collect();
    text.extend(translated.iter().map(|file| fs::read_to_string(file).expect("read a catalogue")));
    for file in pages::files_below(&source).expect("the book's files") {
        if file.extension().is_none_or(|extension| extension != "svg") {
            continue;
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let drawing = fs::read_to_string(&file).expect("read a drawing");
        let mut demand = |holds: bool, what: &str| {
            if !holds {
                complaints.push(format!("{name}: {what}"));
            }
        };
        let wide = drawing.split_once("viewBox=\"0 0 ").and_then(|(_, rest)| rest.split_once(' '));
        let wide = wide.and_then(|(width, _)| width.parse::<u32>().ok());
        demand(
            drawing.starts_with("<svg class=\"drawing\""),
            "it begins with <svg class=\"drawing\"",
        );
        demand(wide.is_some_and(|width| width <= 480), "its viewBox is at most 480 wide");
        demand(drawing.contains("aria-label=\""), "an aria-label says what it shows");
        demand(drawing.lines().all(|line| !line.trim().is_empty()), "no line of it is empty");
        demand(
            !drawing.contains("<style") && !drawing.contains("fill=\"#"),
            "its colours are the theme's",
        );
        demand(text.contains(&format!("{name}}}}}")), "it is on a page, by {{#include …}}");
    }
    assert_none(complaints);
}

/// The headings of the page of errors are parts of sentences that stand in the crates.
fn errors() {
    let root = pages::root();
    let mut sources = String::new();
    for folder in ["steps", "final/src"] {
        for file in pages::files_below(&root.join(folder)).expect("the sources") {
            if file.extension().is_some_and(|extension| extension == "rs") {
                sources += &fs::read_to_string(&file).expect("read a source");
            }
        }
    }
    // A long sentence is written in several lines.
    let mut parts = sources.split("\\\n");
    let mut said = parts.next().unwrap_or_default().to_owned();
    parts.for_each(|part| said += part.trim_start());
    let pages = book();
    let page = pages.iter().find(|page| page.name == "errors.md").expect("errors.md");
    let headings = page.text.lines().filter_map(|line| line.strip_prefix("### "));
    let unsaid = headings.filter(|heading| !said.contains(heading));
    assert_none(unsaid.map(|heading| format!("no program says {heading:?}")).collect());
}

fn exercises() {
    let lessons = workshop::lessons(&pages::root()).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(lessons.len(), 6, "a lesson has no exercises");
    let few = lessons.iter().filter(|lesson| lesson.exercises.len() < 4);
    let number = |lesson: &workshop::Lesson| {
        format!("lesson {} has {}", lesson.number, lesson.exercises.len())
    };
    assert_none(few.map(number).collect());
    let mut names: Vec<_> = lessons.iter().flat_map(|lesson| &lesson.exercises).collect();
    names.sort_by_key(|exercise| &exercise.name);
    let same = names.windows(2).filter(|pair| pair[0].name == pair[1].name);
    assert_none(same.map(|pair| format!("two exercises are called {}", pair[0].name)).collect());
}

fn current() {
    let stale = generated::all().unwrap_or_else(|error| panic!("{error:#}"));
    let stale = stale.into_iter().filter(|page| !page.is_current());
    let name = |page: generated::Generated| {
        format!("{} is not current: run `cargo run -p book`", page.file.display())
    };
    assert_none(stale.map(name).collect());
}
