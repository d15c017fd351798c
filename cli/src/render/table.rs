//! Aligned tables: text left, numbers right, nothing else drawn.

use unicode_width::UnicodeWidthStr;

/// Where a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table that is being put together.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[(&str, Align)]) -> Self {
        let columns = columns.iter().map(|(name, align)| ((*name).to_owned(), *align)).collect();
        Self { columns, rows: Vec::new() }
    }

    /// A table of text columns.
    pub(crate) fn of_text(columns: &[&str]) -> Self {
        Self::new(&columns.iter().map(|name| (*name, Align::Left)).collect::<Vec<_>>())
    }

    /// Adds a row; it has as many cells as the table has columns.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| one_line(&cell)).collect());
    }

    /// Whether no row was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as lines, header first.
    pub(crate) fn text(&self) -> String {
        let header: Vec<String> = self.columns.iter().map(|(name, _)| one_line(name)).collect();
        let lines = || std::iter::once(&header).chain(&self.rows);
        let width = |column: usize| {
            lines().filter_map(|line| line.get(column)).map(|cell| cell.width()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for line in lines() {
            let mut drawn = String::new();
            for ((cell, (_, align)), width) in line.iter().zip(&self.columns).zip(&widths) {
                let space = " ".repeat(width - cell.width().min(*width));
                match align {
                    Align::Left => drawn.extend([cell.as_str(), &space, "  "]),
                    Align::Right => drawn.extend([space.as_str(), cell, "  "]),
                }
            }
            text.push_str(drawn.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A cell is one line, and nothing in it steers the terminal.
fn one_line(cell: &str) -> String {
    cell.chars()
        .map(|letter| match letter {
            '\n' | '\r' | '\t' => ' ',
            letter if letter.is_control() => '\u{fffd}',
            letter => letter,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stands_left_and_numbers_right_without_trailing_blanks() {
        let mut table = Table::new(&[("NAME", Align::Left), ("ROWS", Align::Right), ("NOTE", Align::Left)]);
        table.row(["a".to_owned(), "7".to_owned(), String::new()]);
        table.row(["größer".to_owned(), "1,234".to_owned(), "two\nlines\u{1b}".to_owned()]);
        let expected = "NAME     ROWS  NOTE\na           7\ngrößer  1,234  two lines\u{fffd}\n";
        assert_eq!(table.text(), expected);
    }

    #[test]
    fn wide_letters_count_as_wide() {
        let mut table = Table::of_text(&["A", "B"]);
        table.row(["日本".to_owned(), "x".to_owned()]);
        assert_eq!(table.text(), "A     B\n日本  x\n");
    }
}
