//! The hints of an exercise: `hints/NAME.md`.
//!
//! ```text
//!   A nudge.
//!   ---
//!   More than a nudge.
//!   ---
//!   Nearly everything.
//!   ## uts namespace: the host's
//!   What to say when that is on a line of yours which was not expected.
//! ```

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::Exercise;

/// Hints in steps, and what to say to typical mistakes.
#[derive(Debug)]
pub(crate) struct Hints {
    /// From a nudge to nearly everything.
    pub steps: Vec<String>,
    /// Words that show up only in a wrong result, and what they mean.
    pub remarks: Vec<(String, String)>,
}

impl Hints {
    pub fn read(exercise: &Exercise) -> Result<Hints> {
        let file = exercise.hints();
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let mut sections =
            format!("\n{text}").split("\n## ").map(str::to_owned).collect::<Vec<_>>().into_iter();
        let steps = sections.next().unwrap_or_default();
        let steps: Vec<_> = steps.split("\n---").map(|step| step.trim().to_owned()).collect();
        ensure!(steps.len() >= 2, "{} has fewer than two hints", file.display());
        ensure!(steps.iter().all(|step| !step.is_empty()), "{} has an empty hint", file.display());
        let remark = |section: String| {
            let (sign, remark) = section.split_once('\n')?;
            Some((sign.trim().to_owned(), remark.trim().to_owned()))
        };
        Ok(Hints { steps, remarks: sections.filter_map(remark).collect() })
    }
}
