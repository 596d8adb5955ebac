//! Text to a document of TOML, or what is wrong with its syntax.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use crate::problem::Sink;

/// A text that was read as far as its syntax allows.
pub struct Document<'t> {
    /// What it says. Places in it are places among all files of the sink.
    pub table: Spanned<DeTable<'t>>,
    /// Whether its meaning can be checked: what a broken line hides would be reported as missing.
    pub is_readable: bool,
}

/// Reads a file of the sink, of which 0 is the first, and reports its syntax errors.
pub fn document<'t>(sink: &Sink<'t>, nth: usize) -> Document<'t> {
    let (text, start) = sink.source(nth);
    let (table, errors) = DeTable::parse_recoverable(text);
    report(&errors, text, start, sink);
    let table =
        if start == 0 { table } else { Spanned::new(later(table.span(), start), moved(table.into_inner(), start)) };
    Document { table, is_readable: errors.iter().all(is_duplicate) }
}

/// The table with every place in it moved by `by` bytes.
fn moved(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    let each = table
        .into_iter()
        .map(|(key, value)| (Spanned::new(later(key.span(), by), key.into_inner()), moved_value(value, by)));
    each.collect()
}

fn moved_value(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = later(value.span(), by);
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(moved(table, by)),
        DeValue::Array(array) => DeValue::Array(array.into_iter().map(|element| moved_value(element, by)).collect()),
        value => value,
    };
    Spanned::new(span, value)
}

fn later(span: Range<usize>, by: usize) -> Range<usize> {
    span.start + by..span.end + by
}

/// Whether a key is there twice. The first one was read, so the rest of the file means what it says.
fn is_duplicate(error: &Error) -> bool {
    error.message() == "duplicate key"
}

/// Reports syntax errors. Of several in one line only the first: the others follow from it.
fn report(errors: &[Error], text: &str, start: usize, sink: &Sink<'_>) {
    let mut last_line = 0;
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let (line, _) = sink.place(span.start + start);
        if is_duplicate(error) {
            let key = text.get(span.clone()).unwrap_or_default();
            let help = Some("remove one of the two".into());
            sink.report(later(span, start), format!("`{key}` is already defined"), help);
        } else if line != last_line {
            last_line = line;
            sink.report(later(span, start), error.message(), None);
        }
    }
}
