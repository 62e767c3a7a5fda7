//! Code on a page comes from a crate that is compiled and tested, by an anchor there.

use std::fs;
use std::path::Path;

use crate::pages::{Block, Page};

/// What is wrong with the code of a page, one sentence each.
pub fn complaints(page: &Page) -> Vec<String> {
    let mut found = Vec::new();
    for block in page.blocks() {
        let place = format!("{}:{}", page.name, block.line);
        if block.language == "rust" {
            found.extend(judge_code(page, &block).map(|why| format!("{place}: {why}")));
        }
        if block.language.is_empty() {
            found.push(format!("{place}: say what the block is: rust, console or text"));
        }
    }
    found
}

fn judge_code(page: &Page, block: &Block) -> Option<String> {
    let [line] = &block.lines[..] else {
        return Some("a rust block is one line, {{#include FILE:ANCHOR}}".into());
    };
    let include = line.strip_prefix("{{#include ").and_then(|rest| rest.strip_suffix("}}"));
    let Some((file, anchor)) = include.and_then(|include| include.trim().rsplit_once(':')) else {
        return Some("a rust block is one line, {{#include FILE:ANCHOR}}".into());
    };
    if anchor.is_empty() || !anchor.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Some(format!("{anchor:?} is no anchor: line numbers do not hold"));
    }
    let path = page.file.parent().unwrap_or(Path::new("")).join(file);
    let Ok(source) = fs::read_to_string(&path) else {
        return Some(format!("there is no file {file}"));
    };
    let count = |mark: &str| {
        let mark = format!("{mark}: {anchor}");
        source.lines().filter(|line| line.trim_start().trim_start_matches("// ") == mark).count()
    };
    match (count("ANCHOR"), count("ANCHOR_END")) {
        (1, 1) => None,
        (0, _) => Some(format!("{file} has no anchor {anchor}")),
        (_, 0) => Some(format!("{file}: the anchor {anchor} has no end")),
        _ => Some(format!("{file} has more than one anchor {anchor}")),
    }
}
