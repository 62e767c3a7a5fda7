//! Columns, aligned as Go's text/tabwriter aligns them, with Docker's measures.

/// The narrowest column.
const NARROWEST: usize = 10;
/// Blanks between two columns, at least.
const BETWEEN: usize = 3;

/// Puts the cells of each line, which tabs end, under each other.
///
/// A column is a run of lines that have a cell there: a line with fewer cells parts
/// those above it from those below.
pub fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut out = String::new();
    block(&lines, &mut Vec::new(), &mut out);
    out
}

/// Writes lines whose first columns have these widths.
fn block(lines: &[Vec<&str>], widths: &mut Vec<usize>, out: &mut String) {
    let column = widths.len();
    let has_cell = |line: &Vec<&str>| line.len() > column + 1;
    let mut rest = lines;
    while !rest.is_empty() {
        let plain = rest.iter().take_while(|line| !has_cell(line)).count();
        rest[..plain].iter().for_each(|line| write(line, widths, out));
        rest = &rest[plain..];
        let run = rest.iter().take_while(|line| has_cell(line)).count();
        if run > 0 {
            let width = rest[..run].iter().map(|line| line[column].chars().count()).max();
            widths.push((width.unwrap_or(0) + BETWEEN).max(NARROWEST));
            block(&rest[..run], widths, out);
            widths.pop();
            rest = &rest[run..];
        }
    }
}

fn write(line: &[&str], widths: &[usize], out: &mut String) {
    for (column, cell) in line.iter().enumerate() {
        out.push_str(cell);
        if let Some(width) = widths.get(column) {
            out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_ten_at_least() {
        let table = align("ID\tIMAGE\tNAMES\n1\ta-long-image\tx\n");
        assert_eq!(table, "ID        IMAGE          NAMES\n1         a-long-image   x\n");
    }

    #[test]
    fn a_line_without_cells_parts_columns() {
        assert_eq!(
            align("a\tb\nplain\nlonger than ten\tb\n"),
            "a         b\nplain\nlonger than ten   b\n"
        );
    }
}
