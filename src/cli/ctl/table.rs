//! Columns that are as wide as what is in them.

use super::words::{Paint, Tone};

/// The spaces before each column.
const GAP: usize = 2;
/// The least width to which texts are cut.
const CUT_MIN: usize = 9;

/// On which side the text of a column begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// A cell: its text and how good that is.
pub(super) type Cell = (String, Tone);

/// A table: a row of titles, and rows of as many cells.
#[derive(Debug)]
pub(super) struct Table {
    titles: Vec<(&'static str, Side)>,
    rows: Vec<Vec<Cell>>,
    /// The columns that have room before all others, by their titles.
    first: &'static [&'static str],
}

impl Table {
    pub(super) fn new(titles: &[(&'static str, Side)]) -> Self {
        Self { titles: titles.to_vec(), rows: Vec::new(), first: &[] }
    }

    /// Where there is no room for all columns, these have it first, in this order.
    pub(super) fn first(self, first: &'static [&'static str]) -> Self {
        Self { first, ..self }
    }

    pub(super) fn add(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// The lines, each of at most `width` characters.
    pub(super) fn lines(&self, paint: Paint, width: usize) -> Vec<String> {
        let widths = self.widths(width);
        let titles: Vec<Cell> = self.titles.iter().map(|(title, _)| ((*title).to_owned(), Tone::Faint)).collect();
        let rows = std::iter::once(&titles).chain(&self.rows);
        rows.map(|row| self.line(row, &widths, paint)).collect()
    }

    /// The width of each column, `None` if it has no room. Numbers are there as a whole or not at all; texts are cut,
    /// and what is left in the end is theirs.
    fn widths(&self, room: usize) -> Vec<Option<usize>> {
        let rank = |title: &str| self.first.iter().position(|first| *first == title).unwrap_or(self.first.len());
        let mut order: Vec<_> = self.titles.iter().enumerate().collect();
        order.sort_by_key(|(_, (title, _))| rank(title));
        let mut widths = vec![None; self.titles.len()];
        let mut left = room;
        for (column, (title, side)) in &order {
            let (whole, is_first) = (self.width(*column, title), *column == 0);
            let least = match side {
                Side::Left if is_first => whole.min(CUT_MIN.max(room / 5 * 2)).min(left.saturating_sub(GAP)),
                Side::Left => whole.min(CUT_MIN.max(room / 4)),
                Side::Right => whole,
            };
            if let (Some(rest), Some(width)) = (left.checked_sub(GAP + least), widths.get_mut(*column)) {
                (left, *width) = (rest, Some(least));
            }
        }
        for (column, (title, _)) in &order {
            if let Some(Some(width)) = widths.get_mut(*column) {
                let more = self.width(*column, title).saturating_sub(*width).min(left);
                (left, *width) = (left - more, *width + more);
            }
        }
        widths
    }

    fn width(&self, column: usize, title: &str) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|(text, _)| text.chars().count());
        cells.max().unwrap_or_default().max(title.len())
    }

    fn line(&self, row: &[Cell], widths: &[Option<usize>], paint: Paint) -> String {
        let mut line = String::new();
        for (((text, tone), column), (_, side)) in row.iter().zip(widths).zip(&self.titles) {
            let Some(column) = *column else { continue };
            let shown = cut(text, column);
            let pad = column.saturating_sub(shown.chars().count());
            let (before, after) = if *side == Side::Left { (GAP, pad) } else { (GAP + pad, 0) };
            line.push_str(&" ".repeat(before));
            line.push_str(&paint.with(*tone, &shown));
            line.push_str(&" ".repeat(after));
        }
        line.trim_end().to_owned()
    }
}

/// As much of a text as there is room for.
pub(super) fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).take(room).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_end_at_the_edge() {
        let mut table = Table::new(&[("NAME", Side::Left), ("N", Side::Right), ("WHY", Side::Left)]);
        let cell = |text: &str| (text.to_owned(), Tone::Plain);
        table.add(vec![cell("a"), cell("1"), cell("")]);
        table.add(vec![cell("longer"), cell("1,000"), cell("refused")]);
        let lines = table.lines(Paint::Plain, 80);
        assert_eq!(lines, ["  NAME        N  WHY", "  a           1", "  longer  1,000  refused"]);
        assert!(table.lines(Paint::Plain, 0).iter().all(String::is_empty));
        assert!(table.lines(Paint::Colours, 80)[0].starts_with("  \x1b[2mNAME\x1b[0m  "));
    }

    #[test]
    fn a_column_is_there_as_a_whole_or_not_at_all() {
        let titles = [("NAME", Side::Left), ("N", Side::Right), ("MUCH", Side::Right), ("WHY", Side::Left)];
        let mut table = Table::new(&titles).first(&["NAME", "WHY", "N"]);
        let cell = |text: &str| (text.to_owned(), Tone::Plain);
        table.add(vec![cell("longer"), cell("1,000"), cell("1,000,000"), cell("connection refused")]);
        let lines = |width| table.lines(Paint::Plain, width);
        assert_eq!(lines(46)[1], "  longer  1,000  1,000,000  connection refused");
        assert_eq!(lines(45)[1], "  longer  1,000  1,000,000  connection refus…");
        assert_eq!(lines(35)[1], "  longer  1,000  connection refused");
        assert_eq!(lines(26), ["  NAME        N  WHY", "  longer  1,000  connecti…"]);
        assert_eq!(lines(25), ["  NAME    WHY", "  longer  connection ref…"]);
        assert_eq!(lines(18), ["  NAME        N", "  longer  1,000"]);
        assert_eq!(lines(14), ["  NAME", "  longer"]);
        assert_eq!(lines(6), ["  NAME", "  lon…"]);
    }
}
