//! A document as one file of TOML.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use crate::fill::escaped;
use crate::problem::Sink;
use crate::secrets::Kind;
use crate::value::quoted;

/// What the files of a sink say together. It means the same wherever it is read: paths are absolute, what was filled in
/// is written out, but for secrets, which are referred to. Comments say which file each table is from.
///
/// Everything that is known only after values were read, such as which of them are paths, must have been read before.
pub fn print(table: &DeTable<'_>, sink: &Sink<'_>) -> String {
    let mut printer = Printer { sink, out: String::new(), file: sink.file_of(0) };
    printer.table(table, "", &["include"]);
    printer.out
}

struct Printer<'s> {
    sink: &'s Sink<'s>,
    out: String,
    /// The file that the last table was from.
    file: &'s str,
}

type Entry<'a> = (&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>);

impl Printer<'_> {
    /// The entries of a table: values first, then the tables in it.
    fn table(&mut self, table: &DeTable<'_>, path: &str, without: &[&str]) {
        let mut entries: Vec<Entry<'_>> =
            table.iter().filter(|(key, _)| !without.contains(&&**key.get_ref())).collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let is_table = |value: &DeValue<'_>| match value {
            DeValue::Table(_) => true,
            DeValue::Array(array) => is_of_tables(array),
            _ => false,
        };
        let (tables, values): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(_, value)| is_table(value.get_ref()));
        for (key, value) in values {
            let value = self.value(value);
            _ = writeln!(self.out, "{} = {value}", bare(key.get_ref()));
        }
        for (key, value) in tables {
            let path = if path.is_empty() { bare(key.get_ref()) } else { format!("{path}.{}", bare(key.get_ref())) };
            match value.get_ref() {
                DeValue::Table(table) => {
                    // A table of tables needs no heading of its own, and one without anything does.
                    if table.is_empty() || table.values().any(|value| !is_table(value.get_ref())) {
                        self.heading(&format!("[{path}]"), key.span().start);
                    }
                    self.table(table, &path, &[]);
                }
                DeValue::Array(elements) => {
                    for element in elements {
                        self.heading(&format!("[[{path}]]"), element.span().start);
                        let Some(table) = element.get_ref().as_table() else { continue };
                        self.table(table, &path, &[]);
                    }
                }
                _ => {}
            }
        }
    }

    fn heading(&mut self, heading: &str, place: usize) {
        let file = self.sink.file_of(place);
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        if file != self.file {
            self.file = file;
            let name: String = file.chars().filter(|c| !c.is_control()).collect();
            _ = writeln!(self.out, "# {name}");
        }
        _ = writeln!(self.out, "{heading}");
    }

    /// A value in one line.
    fn value(&self, value: &Spanned<DeValue<'_>>) -> String {
        match value.get_ref() {
            DeValue::String(text) => self.string(text, value),
            DeValue::Integer(integer) => integer.to_string(),
            DeValue::Float(float) => float.as_str().to_owned(),
            DeValue::Boolean(boolean) => boolean.to_string(),
            DeValue::Datetime(datetime) => datetime.to_string(),
            DeValue::Array(array) => {
                let elements: Vec<_> = array.iter().map(|element| self.value(element)).collect();
                format!("[{}]", elements.join(", "))
            }
            DeValue::Table(table) => {
                let each = table.iter().map(|(key, value)| format!("{} = {}", bare(key.get_ref()), self.value(value)));
                format!("{{ {} }}", each.collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn string(&self, text: &str, value: &Spanned<DeValue<'_>>) -> String {
        let span = value.span();
        let (filled, paths) = (self.sink.filled.borrow(), self.sink.paths.borrow());
        match (filled.at(&span), paths.get(&span.start)) {
            (Some(Kind::Secret(shown)), Some(_)) if Path::new(text).is_relative() => {
                let folder = absolute(self.sink.folder_of(span.start));
                quoted(&folder.join(shown).display().to_string())
            }
            (Some(Kind::Secret(shown)), _) => quoted(shown),
            (_, Some(path)) => quoted(&escaped(&absolute(path).display().to_string())),
            _ => quoted(&escaped(text)),
        }
    }
}

/// The path from the root; the empty path is the present folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).or_else(|_| std::env::current_dir().map(|here| here.join(path))).unwrap_or_default()
}

/// Whether it is a list of nothing but tables.
fn is_of_tables(array: &DeArray<'_>) -> bool {
    !array.is_empty() && array.iter().all(|element| element.get_ref().is_table())
}

/// A key, in quotes if it needs them.
fn bare(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !key.is_empty() && key.bytes().all(is_bare) { key.to_owned() } else { quoted(key) }
}
