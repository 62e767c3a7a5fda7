//! One source, two programs: a solution, and the exercise that is made of it.
//!
//! ```text
//!   // YOURS: set the name          becomes    todo!("set the name")
//!   sethostname(self.0)?;
//!   // END
//! ```

use anyhow::{Result, bail};

const BEGIN: &str = "// YOURS: ";
const END: &str = "// END";

/// A program in pieces: what everyone has, and what the reader is to write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Lines that are the same in exercise, solution and mistake.
    Given(Vec<&'a str>),
    /// The reader's part: its indentation, what to do, and an answer.
    Yours { indent: usize, task: &'a str, answer: Vec<&'a str> },
}

/// Takes a solution, or a mistake, apart.
pub(crate) fn pieces(source: &str) -> Result<Vec<Piece<'_>>> {
    let mut pieces = vec![Piece::Given(Vec::new())];
    for line in source.lines() {
        let word = line.trim_start();
        let indent = line.len() - word.len();
        let inside = matches!(pieces.last(), Some(Piece::Yours { .. }));
        match (word.strip_prefix(BEGIN), word == END, inside) {
            (Some(task), _, false) => {
                pieces.push(Piece::Yours { indent, task, answer: Vec::new() });
            }
            (_, true, true) => pieces.push(Piece::Given(Vec::new())),
            (Some(_), ..) => bail!("a {BEGIN:?} before the {END:?} of the one above"),
            (_, true, false) => bail!("an {END:?} without a {BEGIN:?}"),
            _ => match pieces.last_mut().expect("the first piece is there") {
                Piece::Given(lines) | Piece::Yours { answer: lines, .. } => lines.push(line),
            },
        }
    }
    match pieces.last() {
        Some(Piece::Yours { task, .. }) => bail!("{BEGIN:?}{task} has no {END:?}"),
        _ if pieces.len() == 1 => bail!("it has no {BEGIN:?}: nothing is left to the reader"),
        _ => Ok(pieces),
    }
}

/// The exercise that is made of a solution.
pub(crate) fn exercise_of(solution: &str) -> Result<String> {
    let mut text = String::new();
    for piece in pieces(solution)? {
        match piece {
            Piece::Given(lines) => lines.iter().for_each(|line| text += &format!("{line}\n")),
            Piece::Yours { indent, task, .. } => {
                text += &format!("{:indent$}todo!({task:?})\n", "");
            }
        }
    }
    Ok(text)
}

/// What exercise, solution and mistakes must have in common.
pub(crate) fn given(source: &str) -> Result<Vec<String>> {
    let owned = |line: &&str| line.to_string();
    Ok(pieces(source)?
        .iter()
        .flat_map(|piece| match piece {
            Piece::Given(lines) => lines.iter().map(owned).collect(),
            Piece::Yours { task, .. } => vec![format!("{BEGIN}{task}")],
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOLUTION: &str =
        "fn f() -> u8 {\n    // YOURS: say \"7\"\n    // Because.\n    7\n    // END\n}\n";

    #[test]
    fn an_exercise_is_its_solution_without_the_answer() {
        let exercise = "fn f() -> u8 {\n    todo!(\"say \\\"7\\\"\")\n}\n";
        assert_eq!(exercise_of(SOLUTION).unwrap(), exercise);
    }

    #[test]
    fn a_mistake_has_all_that_the_solution_has_but_the_answer() {
        let mistake = SOLUTION.replace("7\n", "8\n");
        assert_eq!(given(SOLUTION).unwrap(), given(&mistake).unwrap());
        assert_ne!(given(SOLUTION).unwrap(), given(&SOLUTION.replace("u8", "u16")).unwrap());
    }

    #[test]
    fn marks_come_in_pairs() {
        assert!(pieces("// END\n").is_err());
        assert!(pieces("// YOURS: a\n").is_err());
        assert!(pieces("// YOURS: a\n// YOURS: b\n// END\n").is_err());
        assert!(pieces("fn main() {}\n").is_err());
    }
}
