//! TOML as text: strings, keys, tables and lists, in one line where they are short.
//!
//! What is written is TOML 1.0, so that any editor knows it: tables that are too long for a line follow as tables of
//! their own.

use std::fmt::{Display, Write as _};

/// The longest line of a table or list.
const COLUMNS_MAX: usize = 100;

/// A table that is being written.
#[derive(Debug, Default)]
pub(super) struct Table {
    lines: String,
    /// Tables within, which come after all lines.
    tables: Vec<(String, Vec<(String, String)>)>,
}

impl Table {
    /// A key and its value.
    pub(super) fn line(&mut self, key: &str, value: impl Display) {
        writeln!(self.lines, "{key} = {value}").ok();
    }

    /// A list of texts, if there are any.
    pub(super) fn texts(&mut self, key: &str, texts: &[String]) {
        if !texts.is_empty() {
            self.list(key, &texts.iter().map(|one| text(one)).collect::<Vec<_>>());
        }
    }

    /// A list of values, each on a line of its own if they are long.
    pub(super) fn list(&mut self, key: &str, values: &[String]) {
        let short = list(values);
        if key.len() + short.len() <= COLUMNS_MAX && !short.contains('\n') {
            return self.line(key, short);
        }
        let lines: String = values.iter().map(|value| format!("    {value},\n")).collect();
        self.line(key, format!("[\n{lines}]"));
    }

    /// A table of values, if there are any.
    pub(super) fn entries(&mut self, key: &str, entries: Vec<(String, String)>) {
        if entries.is_empty() {
            return;
        }
        let short = inline(&entries);
        if key.len() + short.len() <= COLUMNS_MAX && !short.contains('\n') {
            return self.line(key, short);
        }
        self.tables.push((key.to_owned(), entries));
    }

    /// The text of the table, of which `name` is the name.
    pub(super) fn finish(mut self, name: &str) -> String {
        for (table, entries) in self.tables {
            writeln!(self.lines, "\n[{name}.{table}]").ok();
            for (entry, value) in entries {
                writeln!(self.lines, "{} = {value}", key(&entry)).ok();
            }
        }
        self.lines
    }
}

/// A table in one line.
pub(super) fn inline(entries: &[(String, String)]) -> String {
    let entries: Vec<_> = entries.iter().map(|(name, value)| format!("{} = {value}", key(name))).collect();
    if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
}

/// A list in one line.
pub(super) fn list(values: &[String]) -> String {
    format!("[{}]", values.join(", "))
}

/// A key, in quotes if it needs them.
pub(super) fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { quoted(name) }
}

/// A string in the form that is read most easily.
pub(super) fn text(text: &str) -> String {
    let is_plain = |c: char| !c.is_control() && c != '\'';
    if text.contains(['"', '\\']) && text.chars().all(is_plain) {
        return format!("'{text}'");
    }
    quoted(text)
}

/// A basic string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_easy_to_read() {
        for (given, expected) in [
            ("a", "\"a\""),
            ("a'b", "\"a'b\""),
            ("a\"b", "'a\"b'"),
            ("\\d+", "'\\d+'"),
            ("'\"", "\"'\\\"\""),
            ("a\nb\u{7f}", "\"a\\nb\\u007F\""),
        ] {
            assert_eq!(text(given), expected);
        }
        assert_eq!((key("a-b"), key("a.b"), key("")), ("a-b".into(), "\"a.b\"".into(), "\"\"".into()));
    }

    #[test]
    fn what_is_long_gets_lines_of_its_own() {
        let mut table = Table::default();
        table.entries("short", vec![("a".into(), "1".into())]);
        table.entries("long", vec![("a".into(), quoted(&"x".repeat(100)))]);
        table.list("list", &[quoted(&"y".repeat(60)), quoted(&"z".repeat(60))]);
        table.line("last", 1);
        let (x, y, z) = ("x".repeat(100), "y".repeat(60), "z".repeat(60));
        let expected = format!(
            "short = {{ a = 1 }}\nlist = [\n    \"{y}\",\n    \"{z}\",\n]\nlast = 1\n\n[step.long]\na = \"{x}\"\n"
        );
        assert_eq!(table.finish("step"), expected);
    }
}
