//! Reads one table of the file: typed values out, problems into the sink, and at the end every key that is unknown.
//!
//! The tree is walked by hand instead of through serde, which stops at the first mistake: an operator wants to hear of
//! all mistakes at once.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use crate::problem::{Sink, nearest};
use crate::units;
use crate::value::{Value, join};

/// A table that is being read.
pub struct Section<'a> {
    /// Its full name, as in `pool.app.health`; empty for the top.
    pub name: String,
    /// The same with `*` for names that the operator chose.
    pattern: String,
    table: &'a DeTable<'a>,
    /// Where it stands.
    pub span: Range<usize>,
    /// Where problems with it go.
    pub sink: &'a Sink<'a>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// A table, by its full name, and by the same with `*` for names that the operator chose. The top has no name.
    pub fn new(name: &str, pattern: &str, table: &'a DeTable<'a>, span: Range<usize>, sink: &'a Sink<'a>) -> Self {
        Self { name: name.to_owned(), pattern: pattern.to_owned(), table, span, sink, asked: RefCell::default() }
    }

    /// The value of `key`, whatever its type.
    pub fn get(&self, key: &'static str) -> Option<Value<'a>> {
        if !self.asked.borrow().contains(&key) {
            self.asked.borrow_mut().push(key);
        }
        self.sink.known.borrow_mut().insert(join(&self.pattern, key));
        let value = self.table.get(key)?;
        Some(Value { key: join(&self.name, key), span: value.span(), value: value.get_ref(), sink: self.sink })
    }

    /// The table `key`.
    pub fn section(&self, key: &'static str) -> Option<Self> {
        let value = self.get(key)?;
        let table = value.table()?;
        Some(Self::new(&value.key, &join(&self.pattern, key), table, value.span.clone(), self.sink))
    }

    /// The tables within the table `key`, by the names that the operator gave them.
    pub fn named(&self, key: &'static str) -> Vec<(String, Self)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(table) = value.table() else { return Vec::new() };
        let mut sections = Vec::new();
        for (name, inner) in table {
            let path = join(&value.key, name.get_ref());
            let value = Value { key: path, span: inner.span(), value: inner.get_ref(), sink: self.sink };
            let Some(inner) = value.table() else { continue };
            let pattern = format!("{}.*", join(&self.pattern, key));
            // An empty implicit table has no place of its own; its name always has.
            let section = Self::new(&value.key, &pattern, inner, name.span(), self.sink);
            sections.push((name.get_ref().to_string(), section));
        }
        sections
    }

    /// The elements of the array of tables `key`.
    pub fn each(&self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.get(key) else { return Vec::new() };
        if value.value.is_table() {
            let help = format!("write [[{0}]] instead of [{0}]", value.key);
            value.report(format!("{} must be a list of tables", value.key), Some(help));
            return Vec::new();
        }
        let elements = value.array().unwrap_or_default();
        let pattern = join(&self.pattern, key);
        elements
            .into_iter()
            .filter_map(|element| {
                let table = element.table()?;
                Some(Self::new(&value.key, &pattern, table, element.span.clone(), self.sink))
            })
            .collect()
    }

    /// A string that `parse` reads; its error says what is expected.
    pub fn parsed<T>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.get(key)?.parsed(parse)
    }

    /// The same with a default: `None` means that the value is invalid.
    pub fn parsed_or<T>(&self, key: &'static str, default: T, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.get(key).map_or(Some(default), |value| value.parsed(parse))
    }

    /// True or false.
    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        match (value.value, value.filled_text()) {
            (DeValue::Boolean(boolean), _) => Some(*boolean),
            // What is filled in is a string in TOML.
            (_, Some("true")) => Some(true),
            (_, Some("false")) => Some(false),
            _ => {
                value.wrong_type("true or false");
                None
            }
        }
    }

    /// A whole number within `range`.
    pub fn integer(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.get(key)?;
        if !value.is_integer() {
            value.wrong_type("a whole number");
            return None;
        }
        let number = value.integer().and_then(|number| u64::try_from(number).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            value.report_rule(format!("{} must be from {} to {}", value.key, range.start(), range.end()), None);
        }
        number
    }

    /// A duration within `range`.
    pub fn duration(&self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.quantity(key, ("a duration", "s"), units::duration, range, units::show_duration)
    }

    /// A size in bytes within `range`.
    pub fn size(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        self.quantity(key, ("a size", "B"), units::size, range, units::show_size)
    }

    /// A share in percent.
    pub fn share(&self, key: &'static str) -> Option<u8> {
        self.quantity(key, ("a share", "%"), units::percent, 0..=100, |percent| format!("{percent}%"))
    }

    /// A number with its unit; `kind` names it, with a unit for the advice if none was written.
    fn quantity<T: PartialOrd + Copy>(
        &self,
        key: &'static str,
        kind: (&str, &str),
        parse: impl Fn(&str) -> Result<T, String>,
        range: RangeInclusive<T>,
        show: impl Fn(T) -> String,
    ) -> Option<T> {
        let value = self.get(key)?;
        if let Some(number) = value.integer() {
            let (what, unit) = kind;
            let help = format!("write \"{number}{unit}\"");
            value.report(format!("{} must be {what} with its unit", value.key), Some(help));
            return None;
        }
        let quantity = value.parsed(parse)?;
        if range.contains(&quantity) {
            return Some(quantity);
        }
        let (least, most) = (show(*range.start()), show(*range.end()));
        value.report_rule(format!("{} must be from {least} to {most}", value.key), None);
        None
    }

    /// Reports every key that was not asked for. Call it after asking for all.
    pub fn finish(&self) {
        let asked = self.asked.borrow();
        for (word, span) in self.unknown() {
            let help = match (self.meant_by(word), (self.sink.advice)(word)) {
                (_, Some(advice)) => advice.to_owned(),
                (Some(key), None) => format!("did you mean `{key}`?"),
                (None, None) => format!("known keys: {}", asked.join(", ")),
            };
            let place = if self.name.is_empty() { String::new() } else { format!(" in [{}]", self.name) };
            self.sink.report(span, format!("unknown key `{word}`{place}"), Some(help));
        }
    }

    /// Reports that there is no `key`, or nothing in it. Call it after [`Self::finish`].
    ///
    /// One mistake is one problem: a key is not missing if it is misspelt or has a wrong type.
    pub fn missing(&self, key: &'static str, span: Range<usize>, message: &str, help: &str) {
        let is_there = self.table.get(key).is_some_and(|value| match value.get_ref() {
            DeValue::Array(array) => !array.is_empty(),
            DeValue::Table(table) => !table.is_empty(),
            _ => true,
        });
        if !is_there && !self.unknown().any(|(word, _)| self.meant_by(word) == Some(key)) {
            self.sink.report(span, message, Some(help.to_owned()));
        }
    }

    /// The keys that were not asked for, with their places.
    fn unknown(&self) -> impl Iterator<Item = (&'a str, Range<usize>)> {
        let keys = self.table.keys().map(|key| (key.get_ref().as_ref(), key.span()));
        keys.filter(|(word, _)| !self.asked.borrow().contains(word))
    }

    /// The known key that was probably meant by an unknown one.
    fn meant_by(&self, word: &str) -> Option<&'static str> {
        let asked = self.asked.borrow();
        let synonym = self.sink.synonyms.iter().find(|(theirs, ours)| *theirs == word && asked.contains(ours));
        synonym.map(|(_, ours)| *ours).or_else(|| nearest(word, asked.iter().copied()))
    }
}

/// A list of strings, each parsed.
pub fn strings<T>(section: &Section<'_>, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
    let elements = section.get(key).and_then(|value| value.array()).unwrap_or_default();
    elements.iter().filter_map(|element| element.parsed(&parse)).collect()
}

/// A path; a relative one begins where the file is that names it.
pub fn path(section: &Section<'_>, key: &'static str) -> Option<PathBuf> {
    let value = section.get(key)?;
    let folder = value.sink.folder_of(value.span.start);
    let path =
        value.parsed(|text| if text.is_empty() { Err("a path is empty".into()) } else { Ok(folder.join(text)) })?;
    value.sink.note_path(&value.span, &path);
    Some(path)
}
