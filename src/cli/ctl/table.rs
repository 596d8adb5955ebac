//! Columns that are as wide as what is in them.

use super::words::{Paint, Tone};

/// The spaces before each column.
const GAP: usize = 2;

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
}

impl Table {
    pub(super) fn new(titles: &[(&'static str, Side)]) -> Self {
        Self { titles: titles.to_vec(), rows: Vec::new() }
    }

    pub(super) fn add(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// The lines, each of at most `width` characters.
    pub(super) fn lines(&self, paint: Paint, width: usize) -> Vec<String> {
        let widths: Vec<usize> = self.titles.iter().enumerate().map(|(at, (title, _))| self.width(at, title)).collect();
        let titles: Vec<Cell> = self.titles.iter().map(|(title, _)| ((*title).to_owned(), Tone::Faint)).collect();
        let rows = std::iter::once(&titles).chain(&self.rows);
        rows.map(|row| self.line(row, &widths, paint, width)).collect()
    }

    fn width(&self, column: usize, title: &str) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|(text, _)| text.chars().count());
        cells.max().unwrap_or_default().max(title.len())
    }

    fn line(&self, row: &[Cell], widths: &[usize], paint: Paint, width: usize) -> String {
        let (mut line, mut used) = (String::new(), 0);
        for ((at, (text, tone)), column) in row.iter().enumerate().zip(widths) {
            let pad = column.saturating_sub(text.chars().count());
            let is_left = self.titles.get(at).is_none_or(|(_, side)| *side == Side::Left);
            let (before, after) = if is_left { (GAP, pad) } else { (GAP + pad, 0) };
            let room = width.saturating_sub(used + before);
            if room == 0 {
                break;
            }
            let shown = cut(text, room);
            let after = after.min(room.saturating_sub(shown.chars().count()));
            line.push_str(&" ".repeat(before));
            line.push_str(&paint.with(*tone, &shown));
            line.push_str(&" ".repeat(after));
            used += before + shown.chars().count() + after;
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
        let narrow = table.lines(Paint::Plain, 20);
        assert_eq!(narrow[2], "  longer  1,000  re…");
        assert!(table.lines(Paint::Plain, 0).iter().all(String::is_empty));
        assert!(table.lines(Paint::Colours, 80)[0].starts_with("  \x1b[2mNAME\x1b[0m  "));
    }
}
