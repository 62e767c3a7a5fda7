//! What a page promises beside what came: what differs from run to run is left aside.

use std::sync::LazyLock;

use regex::Regex;
use similar::{ChangeTag, TextDiff};
use snapbox::filter::NormalizeToExpected;
use snapbox::{Data, Redactions};

use crate::console::Console;

/// `None` if they agree; otherwise the difference, line by line.
pub fn difference(console: &Console, expected: &[String], came: &[String]) -> Option<String> {
    let expected = equalised(&expected.join("\n"), console.numbers);
    let came = equalised(&came.join("\n"), console.numbers);
    let none = Redactions::new();
    let mut filter = NormalizeToExpected::new().redact_with(&none);
    if console.unordered {
        filter = filter.unordered();
    }
    let came = filter.normalize(Data::text(came), &Data::text(expected.clone())).to_string();
    (came != expected).then(|| line_by_line(&expected, &came))
}

/// Times, ids and such, in both texts, become the same words. Where a table is aligned
/// by them, so are the spaces around them.
fn equalised(text: &str, numbers: bool) -> String {
    static FILTERS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        [
            (r" *\b\d+(\.\d+)? ?(ns|µs|ms|s|seconds?|minutes?)\b( ago)? *", " TIME "),
            (r"\b(Less than|About) an? (second|minute|hour)( ago)? *", "TIME "),
            (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "DATE"),
            (r"\b[0-9a-f]{64}\b", "DIGEST"),
            (r"\b[0-9a-f]{12}\b", "ID"),
            (r"\[\d{6,}\]", "[INODE]"),
            (r"/proc/\d+", "/proc/PID"),
            (r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "MAC"),
            // A bridge, a cable and a subnet are chosen by an engine's folder; the host's
            // part of an address is not.
            (r"\bcor[0-9a-f]{8}\b *", "BRIDGE "),
            (r"\bveth[0-9a-f]{10}\b", "VETH"),
            (r"\b10\.(8\d|9[0-5])\.\d+\.(\d+)\b", "10.SUBNET.$2"),
            (r" +\n", "\n"),
        ]
        .map(|(pattern, name)| (Regex::new(pattern).expect("a good pattern"), name))
        .into()
    });
    static NUMBERS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r" *\d+").expect("a pattern"));
    let mut text = format!("{text}\n");
    for (pattern, name) in FILTERS.iter() {
        text = pattern.replace_all(&text, *name).into_owned();
    }
    match numbers {
        true => NUMBERS.replace_all(&text, " N").into_owned(),
        false => text,
    }
}

fn line_by_line(expected: &str, came: &str) -> String {
    let diff = TextDiff::from_lines(expected, came);
    let signed = diff.iter_all_changes().map(|change| {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => ' ',
        };
        format!("    {sign} {}", change.value())
    });
    signed.collect()
}
