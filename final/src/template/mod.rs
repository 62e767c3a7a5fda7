//! Go's templates, as Docker's users write them after `--format`.
//!
//! Docker's command line is written in Go, and its `--format` is Go's text/template
//! with a few functions more. Whole scripts stand on it, so all of it is spoken here:
//! pipes, variables, `if`, `range`, `with`, `define`, comparisons, `printf`; and what
//! is wrong is told in Go's words, for people look those up.
//!
//! ```text
//! text ─lex─▶ tokens ─parse─▶ tree ─exec, call, funcs─▶ text
//!                                    value, print
//! ```
//!
//! A command does not call this module but [`crate::cli::format`], which knows how Docker
//! shows lists, single objects and objects by name.
//!
//! Written here, for the crate that does the same keeps maps in no order, lacks
//! `break`, `continue` and blocks, and has messages of its own.

mod call;
mod exec;
mod funcs;
mod lex;
mod parse;
pub mod print;
#[cfg(test)]
mod tests;
mod tree;
pub mod value;

use exec::Mode;
use tree::Tree;
use value::Value;

/// A template that makes sense.
#[derive(Debug)]
pub struct Template {
    text: String,
    tree: Tree,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Go's sentence: `template: :1: unclosed action`.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self { text: text.to_owned(), tree: parse::parse(text)? })
    }

    /// The text for a value.
    ///
    /// # Errors
    /// Go's sentence: `template: :1:2: executing "" at <.X>: …`.
    pub fn render(&self, value: &Value) -> Result<String, String> {
        exec::execute(&self.tree, &self.text, value, Mode::default())
    }

    /// The text for JSON of which no types are known: a key that is missing is an error.
    ///
    /// # Errors
    /// As for [`Template::render`].
    pub fn render_raw(&self, value: &Value) -> Result<String, String> {
        let mode = Mode { raw: true, ..Mode::default() };
        exec::execute(&self.tree, &self.text, value, mode)
    }

    /// The headings of a table: each field stands for its heading.
    ///
    /// # Errors
    /// As for [`Template::render`].
    pub fn headings(&self, value: &Value) -> Result<String, String> {
        let mode = Mode { headings: true, ..Mode::default() };
        exec::execute(&self.tree, &self.text, value, mode)
    }

    /// The names of the fields that are asked for, in order.
    pub fn fields(&self) -> Vec<String> {
        self.tree.fields()
    }
}
