//! Several files in one space of byte offsets: one number is a place in any of them.

use std::ops::Range;
use std::path::Path;

/// The files of a config, one after the other. There is at least one.
#[derive(Debug)]
pub(crate) struct Sources<'t>(Vec<Source<'t>>);

/// A file.
#[derive(Debug)]
pub(crate) struct Source<'t> {
    /// What messages call it: its path.
    pub(crate) name: &'t str,
    /// Its contents.
    pub(crate) text: &'t str,
    /// The offset of its first byte.
    pub(crate) start: usize,
    /// Where each line begins, counted from `start`.
    lines: Vec<usize>,
}

impl<'t> Sources<'t> {
    /// One file.
    pub(crate) fn new(name: &'t str, text: &'t str) -> Self {
        Self(vec![Source::new(name, text, 0)])
    }

    /// Adds a file behind the others.
    pub(crate) fn add(&mut self, name: &'t str, text: &'t str) {
        // The end of a file is a place too, and no place in the next one.
        let start = self.0.last().map_or(0, |last| last.start + last.text.len() + 1);
        self.0.push(Source::new(name, text, start));
    }

    /// A file by its number; a number that is too large is that of the last one.
    pub(crate) fn nth(&self, nth: usize) -> &Source<'t> {
        &self.0[nth.min(self.0.len() - 1)]
    }

    /// The number of the file that has this offset.
    pub(crate) fn number_of(&self, offset: usize) -> usize {
        self.0.partition_point(|source| source.start <= offset).saturating_sub(1)
    }

    /// The file that has this offset.
    pub(crate) fn of(&self, offset: usize) -> &Source<'t> {
        self.nth(self.number_of(offset))
    }
}

impl<'t> Source<'t> {
    fn new(name: &'t str, text: &'t str, start: usize) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name, text, start, lines }
    }

    /// The part of the text at `span`, which is counted from the start of the file.
    pub(crate) fn clipped(&self, span: &Range<usize>) -> Range<usize> {
        let end = span.end.saturating_sub(self.start).min(self.text.len());
        span.start.saturating_sub(self.start).min(end)..end
    }

    /// Line and column of an offset in this file, both counted from 1.
    pub(crate) fn place(&self, offset: usize) -> (usize, usize) {
        let offset = offset.saturating_sub(self.start);
        let offset = if self.text.is_char_boundary(offset) { offset } else { self.text.len() };
        let line = self.lines.partition_point(|start| *start <= offset);
        let line_start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        (line, self.text[line_start..offset].chars().count() + 1)
    }

    /// The folder of the file: where relative paths in it begin.
    pub(crate) fn folder(&self) -> &'t Path {
        Path::new(self.name).parent().unwrap_or(Path::new(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_offset_is_a_place_in_one_file() {
        let mut sources = Sources::new("a.toml", "x\ny");
        sources.add("conf.d/b.toml", "");
        sources.add("conf.d/c.toml", "é = 1\n");
        for (offset, name, place) in [
            (0, "a.toml", (1, 1)),
            (2, "a.toml", (2, 1)),
            (3, "a.toml", (2, 2)),
            (4, "conf.d/b.toml", (1, 1)),
            (5, "conf.d/c.toml", (1, 1)),
            (8, "conf.d/c.toml", (1, 3)),
            (12, "conf.d/c.toml", (2, 1)),
            (99, "conf.d/c.toml", (2, 1)),
        ] {
            let source = sources.of(offset);
            assert_eq!((source.name, source.place(offset)), (name, place), "{offset}");
        }
        assert_eq!(sources.of(5).folder(), Path::new("conf.d"));
        assert_eq!(sources.of(5).clipped(&(5..99)), 0..7);
    }
}
