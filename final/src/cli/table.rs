//! Columns, aligned.

use std::fmt;

/// Rows of text, the first of them the headings.
pub struct Table(Vec<Vec<String>>);

impl Table {
    /// A table with these headings.
    pub fn new(headings: impl Iterator<Item = String>) -> Self {
        Self(vec![headings.collect()])
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl Iterator<Item = String>) {
        self.0.push(cells.collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.0[0].len();
        let width =
            |column: usize| self.0.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<_> = (0..columns).map(width).collect();
        for row in &self.0 {
            let (last, cells) = row.split_last().expect("a table has columns");
            for (cell, width) in cells.iter().zip(&widths) {
                write!(f, "{cell:<width$}   ")?;
            }
            writeln!(f, "{last}")?;
        }
        Ok(())
    }
}
