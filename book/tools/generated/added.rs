//! What a lesson added to the one before it: files, mechanisms, flags, crates.

use super::source::{File, Step};
use super::{Generated, chapter, note};

/// The page of the lesson at `steps[n]`.
pub(crate) fn page(steps: &[Step], n: usize) -> Generated {
    let step = &steps[n];
    let mut text = format!("# What this lesson added\n\n{}", note(&step.folder));
    text += &in_numbers(step, &steps[..n]);
    text += "\n## Files\n\n| file | lines | what it is for |\n|---|--:|---|\n";
    for File { name, about, lines, .. } in &step.files {
        let (lines, about) = (rounded(*lines), about.replace('|', "\\|"));
        text += &format!("| `{name}` | {lines} | {about} |\n");
    }
    text += &mechanisms(step);
    text += &flags(step);
    text += &crates(step, &steps[..n]);
    Generated::new(&format!("{}/added.md", chapter(step.number)), text)
}

/// To tens, or every small change in a crate would make the page stale.
fn rounded(lines: usize) -> usize {
    lines.div_ceil(10) * 10
}

fn in_numbers(step: &Step, before: &[Step]) -> String {
    let hundreds = |lines: usize| lines.div_ceil(100) * 100;
    let so_far = hundreds(before.iter().map(Step::lines).sum());
    let (files, lines) = (step.files.len(), hundreds(step.lines()));
    let folder = &step.folder;
    match so_far {
        0 => format!(
            "\n`{folder}` has about {lines} lines of code in {files} files. Empty lines, comments and \
             tests\nare not counted.\n"
        ),
        _ => format!(
            "\n`{folder}` has about {lines} lines of code in {files} files, on top of {so_far} in the \
             lessons\nbefore it. Empty lines, comments and tests are not counted.\n"
        ),
    }
}

/// Which moments of a container's life each `impl Mechanism` takes part in.
fn mechanisms(step: &Step) -> String {
    let mut rows = String::new();
    for file in &step.files {
        for part in file.text.split("\nimpl Mechanism for ").skip(1) {
            let name = part.split([' ', '{']).next().unwrap_or_default();
            let body = part.split("\n}").next().unwrap_or_default();
            let moments = ["before_clone", "in_parent", "in_child", "teardown"];
            let cell = |moment: &&str| {
                let cell = if body.contains(&format!("fn {moment}(")) { "yes" } else { "" };
                format!(" {cell} |")
            };
            let cells: String = moments.iter().map(cell).collect();
            rows += &format!("| `{name}` | `{}` |{cells}\n", file.name);
        }
    }
    if rows.is_empty() {
        return "\n## Mechanisms\n\nNone of its own: what it adds is data for one that is there.\n"
            .into();
    }
    format!(
        "\n## Mechanisms\n\nWhat takes part in a container's life, and when:\n\n\
         | mechanism | file | `before_clone` | `in_parent` | `in_child` | `teardown` |\n\
         |---|---|---|---|---|---|\n{rows}"
    )
}

/// The flags that the crate's clap structures name, with the first line of their help.
fn flags(step: &Step) -> String {
    // `run`'s come first: they are in the library, the other commands' in main.rs.
    let (main, library): (Vec<_>, Vec<_>) =
        step.files.iter().partition(|file| file.name == "main.rs");
    let mut rows: Vec<String> = Vec::new();
    for file in library.into_iter().chain(main) {
        let mut help: Vec<&str> = Vec::new();
        let mut attribute = String::new();
        for line in file.text.lines().map(str::trim) {
            if let Some(doc) = line.strip_prefix("/// ") {
                help.push(doc);
            } else if line.starts_with("#[arg(")
                || (!attribute.is_empty() && !attribute.contains(")]"))
            {
                attribute += line;
            } else {
                if let Some(name) = flag_name(&attribute, line) {
                    let help = help.first().copied().unwrap_or_default().replace('|', "\\|");
                    rows.push(format!("| `--{name}` | {help} |\n"));
                }
                help.clear();
                attribute.clear();
            }
        }
    }
    rows.sort_by_key(|row| row.split('|').nth(1).map(str::to_owned));
    rows.dedup_by_key(|row| row.split('|').nth(1).map(str::to_owned));
    if rows.is_empty() {
        return String::new();
    }
    format!("\n## Flags\n\n| flag | what it does |\n|---|---|\n{}", rows.concat())
}

/// The long name of a flag: its own, or the field's.
fn flag_name(attribute: &str, field: &str) -> Option<String> {
    let words = attribute.strip_prefix("#[arg(")?;
    if let Some((_, rest)) = words.split_once("long = \"") {
        return rest.split('"').next().map(str::to_owned);
    }
    let is_long = words.split([',', ' ', ')']).any(|word| word == "long");
    let name = field.trim_start_matches("pub ").split(':').next()?;
    is_long.then(|| name.trim_start_matches("r#").replace('_', "-"))
}

fn crates(step: &Step, before: &[Step]) -> String {
    let is_known = |name: &String| before.iter().any(|step| step.dependencies.contains(name));
    let is_lesson = |name: &String| LESSONS.contains(&name.as_str());
    let new: Vec<_> = step
        .dependencies
        .iter()
        .filter(|name| !is_known(name) && !is_lesson(name))
        .map(|name| format!("`{name}`"))
        .collect();
    match new.len() {
        0 => "\n## Libraries\n\nNone that a lesson before it had not.\n".into(),
        _ => format!("\n## Libraries\n\n{}\n", new.join(", ")),
    }
}

const LESSONS: [&str; 6] = ["namespaces", "cgroups", "rootfs", "images", "networking", "volumes"];
