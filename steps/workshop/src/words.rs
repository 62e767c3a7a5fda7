//! The difference between what was expected and what came, in words.

use similar::{ChangeTag, TextDiff};

use crate::grade::Run;
use crate::hints::Hints;

/// What there is to say about a run; `None` if it is as it should be.
pub(crate) fn verdict(expected: &str, run: &Run, hints: &Hints) -> Option<String> {
    if run.picture.trim_end() == expected.trim_end() {
        return None;
    }
    if let Some(task) = todo(&run.errors) {
        return Some(format!(
            "It is not written yet. The todo!() that was reached says: {task}.\n"
        ));
    }
    let mut text = String::new();
    for section in Section::all(expected, &run.picture) {
        text += &section.in_words();
    }
    let errors = run.errors.trim_end();
    if !errors.is_empty() {
        text += &format!("It says on standard error:\n{}\n", indented(errors));
    }
    let unexpected: Vec<_> =
        run.picture.lines().filter(|line| !expected.lines().any(|other| other == *line)).collect();
    let shows =
        |sign: &str| unexpected.iter().any(|line| line.contains(sign)) || errors.contains(sign);
    for (_, remark) in hints.remarks.iter().filter(|(sign, _)| shows(sign)) {
        text += &format!("{remark}\n");
    }
    Some(text)
}

/// The text of the `todo!` that ended the program.
fn todo(errors: &str) -> Option<&str> {
    let (_, rest) = errors.split_once("not yet implemented: ")?;
    rest.lines().next()
}

pub(crate) fn indented(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

/// One part of both pictures.
struct Section<'a> {
    title: &'a str,
    expected: Vec<&'a str>,
    found: Vec<&'a str>,
}

impl<'a> Section<'a> {
    fn all(expected: &'a str, found: &'a str) -> Vec<Section<'a>> {
        let titles = expected.lines().filter(|line| !line.starts_with(' '));
        let sections = titles.map(|title| Section {
            title: title.trim_end_matches(':'),
            expected: below(expected, title),
            found: below(found, title),
        });
        sections.collect()
    }

    fn in_words(&self) -> String {
        let diff = TextDiff::from_slices(&self.expected, &self.found);
        let (mut wanted, mut came) = (Vec::new(), Vec::new());
        for change in diff.iter_all_changes() {
            match change.tag() {
                ChangeTag::Delete => wanted.push(change.value()),
                ChangeTag::Insert => came.push(change.value()),
                ChangeTag::Equal => {}
            }
        }
        if wanted.is_empty() && came.is_empty() {
            return String::new();
        }
        let mut text = format!("{}:\n", self.title);
        let pairs = wanted.len().max(came.len());
        for n in 0..pairs {
            text += &match (wanted.get(n), came.get(n)) {
                (Some(wanted), Some(came)) => {
                    format!("  expected: {wanted}\n  yours:    {came}\n")
                }
                (Some(wanted), None) => format!("  missing:  {wanted}\n"),
                (None, Some(came)) => format!("  too much: {came}\n"),
                (None, None) => String::new(),
            };
        }
        text
    }
}

fn below<'a>(picture: &'a str, title: &str) -> Vec<&'a str> {
    let lines = picture.lines().skip_while(|line| *line != title).skip(1);
    lines.take_while(|line| line.starts_with(' ')).map(|line| &line[2..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(expected: &str, found: &str, errors: &str) -> Option<String> {
        let run = Run { picture: found.into(), errors: errors.into() };
        let remark = ("the host's".to_owned(), "Ask for a namespace.".to_owned());
        verdict(expected, &run, &Hints { steps: vec![], remarks: vec![remark] })
    }

    #[test]
    fn a_difference_is_told_line_by_line_with_a_remark_on_its_cause() {
        let expected = "It prints:\n  boat\nAfter it:\n  it ends well\n";
        assert_eq!(words(expected, expected, "chatter"), None);
        let found = "It prints:\n  the host's\n  again\nAfter it:\n  it ends well\n";
        assert_eq!(
            words(expected, found, "").unwrap(),
            "It prints:\n  expected: boat\n  yours:    the host's\n  too much: again\nAsk for a namespace.\n"
        );
    }

    #[test]
    fn what_is_not_written_yet_is_not_called_wrong() {
        let panic =
            "thread 'main' panicked at a.rs:1:1:\nnot yet implemented: set the name\nnote: x";
        let said = words("It prints:\n  boat\n", "It prints:\n", panic).unwrap();
        assert_eq!(
            said,
            "It is not written yet. The todo!() that was reached says: set the name.\n"
        );
    }
}
