//! Aligned tables: text left, numbers right, nothing else drawn.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

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

/// Columns that say much and are told in full elsewhere: by `describe`, and as JSON.
const CUT: [&str; 7] = ["FEATURES", "ENTITIES", "INPUTS", "DESCRIPTION", "TAGS", "PATH", "SOURCE"];
/// They keep at least this.
const CUT_MIN: usize = 12;

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

    /// Takes from the columns that may be cut until all of them fit, or no more can be taken.
    fn narrow(&self, widths: &mut [usize], columns: Option<usize>) {
        let Some(columns) = columns else { return };
        let gaps = 2 * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > columns {
            let may_be_cut = |at: &usize| {
                let name = self.columns.get(*at).map(|(name, _)| name.as_str()).unwrap_or_default();
                CUT.contains(&name) && widths.get(*at).is_some_and(|width| *width > CUT_MIN)
            };
            let widest = (0..widths.len()).filter(may_be_cut).max_by_key(|at| widths.get(*at).copied());
            let Some(width) = widest.and_then(|at| widths.get_mut(at)) else { return };
            *width -= 1;
        }
    }

    /// Whether no row was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as lines, header first.
    pub(crate) fn text(&self) -> String {
        self.text_within(None)
    }

    /// As [`Self::text`]; where that is wider than `columns`, cells of [`CUT`] are shortened, the widest first. What else
    /// stands there is what people copy, so it is never cut.
    pub(crate) fn text_within(&self, columns: Option<usize>) -> String {
        let header: Vec<String> = self.columns.iter().map(|(name, _)| one_line(name)).collect();
        let lines = || std::iter::once(&header).chain(&self.rows);
        let width = |column: usize| {
            lines().filter_map(|line| line.get(column)).map(|cell| cell.width()).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        self.narrow(&mut widths, columns);
        let mut text = String::new();
        for line in lines() {
            let mut drawn = String::new();
            for ((cell, (_, align)), width) in line.iter().zip(&self.columns).zip(&widths) {
                let cell = &shortened(cell, *width);
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

/// A text of this many columns at most; one that is cut ends with `…`.
fn shortened(cell: &str, width: usize) -> String {
    if cell.width() <= width {
        return cell.to_owned();
    }
    let mut short = String::new();
    for letter in cell.chars() {
        if short.width() + letter.width().unwrap_or(0) >= width {
            break;
        }
        short.push(letter);
    }
    format!("{}…", short.trim_end())
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
    fn a_narrow_terminal_costs_what_is_told_elsewhere_and_nothing_that_is_copied() {
        let mut table = Table::of_text(&["NAME", "FEATURES", "DESCRIPTION"]);
        let row = ["a_name_of_twenty_four_ch", "conv_rate, acc_rate, trips", "日本日本日本日本"];
        table.row(row.map(str::to_owned));
        assert_eq!(table.text_within(Some(70)), table.text(), "it fits to the column");
        let lines = |columns| -> Vec<String> {
            table.text_within(Some(columns)).lines().map(str::to_owned).collect()
        };
        assert_eq!(lines(58)[1], "a_name_of_twenty_four_ch  conv_rate, acc…  日本日本日本日…");
        assert_eq!(lines(52)[1], "a_name_of_twenty_four_ch  conv_rate,…   日本日本日…");
        assert_eq!(lines(10), lines(1), "there is a least width");
        assert!(lines(1)[1].starts_with("a_name_of_twenty_four_ch  "));
        assert!(lines(58).iter().all(|line| line.width() <= 58));
    }

    #[test]
    fn wide_letters_count_as_wide() {
        let mut table = Table::of_text(&["A", "B"]);
        table.row(["日本".to_owned(), "x".to_owned()]);
        assert_eq!(table.text(), "A     B\n日本  x\n");
    }
}
