//! Text to a document of TOML, or what is wrong with its syntax.

use toml::Spanned;
use toml::de::{DeTable, Error};

use crate::problem::Sink;

/// A text that was read as far as its syntax allows.
pub struct Document<'t> {
    /// What it says.
    pub table: Spanned<DeTable<'t>>,
    /// Whether its meaning can be checked: what a broken line hides would be reported as missing.
    pub is_readable: bool,
}

/// Reads a text and reports its syntax errors.
pub fn document<'t>(text: &'t str, sink: &Sink<'_>) -> Document<'t> {
    let (table, errors) = DeTable::parse_recoverable(text);
    report(&errors, text, sink);
    Document { table, is_readable: errors.iter().all(is_duplicate) }
}

/// Whether a key is there twice. The first one was read, so the rest of the file means what it says.
fn is_duplicate(error: &Error) -> bool {
    error.message() == "duplicate key"
}

/// Reports syntax errors. Of several in one line only the first: the others follow from it.
fn report(errors: &[Error], text: &str, sink: &Sink<'_>) {
    let mut last_line = 0;
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let (line, _) = sink.place(span.start);
        if is_duplicate(error) {
            let key = text.get(span.clone()).unwrap_or_default();
            sink.report(span, format!("`{key}` is already defined"), Some("remove one of the two".into()));
        } else if line != last_line {
            last_line = line;
            sink.report(span, error.message(), None);
        }
    }
}
