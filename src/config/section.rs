//! Reads one table of the file: typed values out, problems into the sink, and at the end every key that is unknown.
//!
//! The tree is walked by hand instead of through serde, which stops at the first mistake: an operator wants to hear of
//! all mistakes at once.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Sink, did_you_mean, nearest};
use super::{units, values};

/// A table that is being read.
pub(super) struct Section<'a> {
    /// Its full name, as in `pool.app.health`; empty for the top.
    pub(super) name: String,
    /// The same with `*` for names that the operator chose.
    pattern: String,
    table: &'a DeTable<'a>,
    pub(super) span: Range<usize>,
    pub(super) sink: &'a Sink<'a>,
    asked: RefCell<Vec<&'static str>>,
}

/// A value that is being read.
pub(super) struct Value<'a> {
    /// Its key, for messages.
    pub(super) key: String,
    pub(super) span: Range<usize>,
    pub(super) value: &'a DeValue<'a>,
    pub(super) sink: &'a Sink<'a>,
}

/// Spellings from other products, and what they are called here.
const FOREIGN: [(&str, &str); 20] = [
    ("servers", "backends"),
    ("server", "backends"),
    ("upstreams", "backends"),
    ("upstream", "pool"),
    ("upstream", "backends"),
    ("service", "pool"),
    ("backend", "pool"),
    ("targets", "backends"),
    ("endpoints", "backends"),
    ("bind", "address"),
    ("port", "address"),
    ("listener", "listen"),
    ("frontend", "listen"),
    ("algorithm", "balance"),
    ("lb", "balance"),
    ("lb_policy", "balance"),
    ("policy", "balance"),
    ("healthcheck", "health"),
    ("uri", "path"),
    ("prefix", "path"),
];

impl<'a> Section<'a> {
    pub(super) fn new(
        name: &str,
        pattern: &str,
        table: &'a DeTable<'a>,
        span: Range<usize>,
        sink: &'a Sink<'a>,
    ) -> Self {
        Self { name: name.to_owned(), pattern: pattern.to_owned(), table, span, sink, asked: RefCell::default() }
    }

    /// The value of `key`, whatever its type.
    pub(super) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        if !self.asked.borrow().contains(&key) {
            self.asked.borrow_mut().push(key);
        }
        self.sink.known.borrow_mut().insert(join(&self.pattern, key));
        let value = self.table.get(key)?;
        Some(Value { key: join(&self.name, key), span: value.span(), value: value.get_ref(), sink: self.sink })
    }

    /// The table `key`.
    pub(super) fn section(&self, key: &'static str) -> Option<Self> {
        let value = self.get(key)?;
        let table = value.table()?;
        Some(Self::new(&value.key, &join(&self.pattern, key), table, value.span.clone(), self.sink))
    }

    /// The tables within the table `key`, by the names that the operator gave them.
    pub(super) fn named(&self, key: &'static str) -> Vec<(String, Self)> {
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
    pub(super) fn each(&self, key: &'static str) -> Vec<Self> {
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
    pub(super) fn parsed<T>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.get(key)?.parsed(parse)
    }

    /// The same with a default: `None` means that the value is invalid.
    pub(super) fn parsed_or<T>(
        &self,
        key: &'static str,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.get(key).map_or(Some(default), |value| value.parsed(parse))
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        let DeValue::Boolean(boolean) = value.value else {
            value.wrong_type("true or false");
            return None;
        };
        Some(*boolean)
    }

    pub(super) fn integer(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.get(key)?;
        if !value.value.is_integer() {
            value.wrong_type("a whole number");
            return None;
        }
        let number = value.integer().and_then(|number| u64::try_from(number).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            value.report(format!("{} must be from {} to {}", value.key, range.start(), range.end()), None);
        }
        number
    }

    /// A duration within `range`.
    pub(super) fn duration(&self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.quantity(key, ("a duration", "s"), units::duration, range, units::show_duration)
    }

    /// A size in bytes within `range`.
    pub(super) fn size(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        self.quantity(key, ("a size", "B"), units::size, range, units::show_size)
    }

    /// A share in percent.
    pub(super) fn share(&self, key: &'static str) -> Option<u8> {
        self.quantity(key, ("a share", "%"), values::percent, 0..=100, |percent| format!("{percent}%"))
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
        value.report(format!("{} must be from {least} to {most}", value.key), None);
        None
    }

    /// Reports every key that was not asked for. Call it after asking for all.
    pub(super) fn finish(&self) {
        let asked = self.asked.borrow();
        for (word, span) in self.unknown() {
            let help = match self.meant_by(word) {
                Some(key) => format!("did you mean `{key}`?"),
                None => format!("known keys: {}", asked.join(", ")),
            };
            let place = if self.name.is_empty() { String::new() } else { format!(" in [{}]", self.name) };
            self.sink.report(span, format!("unknown key `{word}`{place}"), Some(help));
        }
    }

    /// Reports that there is no `key`, or nothing in it. Call it after [`Self::finish`].
    ///
    /// One mistake is one problem: a key is not missing if it is misspelt or has a wrong type.
    pub(super) fn missing(&self, key: &'static str, span: Range<usize>, message: &str, help: &str) {
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
        let foreign = FOREIGN.iter().find(|(theirs, ours)| *theirs == word && asked.contains(ours));
        foreign.map(|(_, ours)| *ours).or_else(|| nearest(word, asked.iter().copied()))
    }
}

impl<'a> Value<'a> {
    pub(super) fn report(&self, message: impl Into<String>, help: Option<String>) {
        self.sink.report(self.span.clone(), message, help);
    }

    pub(super) fn wrong_type(&self, expected: &str) {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.report(format!("{} must be {expected}, not {found}", self.key), None);
    }

    /// The whole number, if it is one that 64 bits can hold.
    pub(super) fn integer(&self) -> Option<i64> {
        match self.value {
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => None,
        }
    }

    pub(super) fn string(&self) -> Option<&'a str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.wrong_type("a string");
        }
        text
    }

    pub(super) fn table(&self) -> Option<&'a DeTable<'a>> {
        let table = self.value.as_table();
        if table.is_none() {
            self.wrong_type("a table");
        }
        table
    }

    pub(super) fn array(&self) -> Option<Vec<Self>> {
        let Some(array) = self.value.as_array() else {
            self.wrong_type("a list");
            return None;
        };
        let element = |value: &'a Spanned<DeValue<'a>>| Self {
            key: self.key.clone(),
            span: value.span(),
            value: value.get_ref(),
            sink: self.sink,
        };
        Some(array.iter().map(element).collect())
    }

    /// A string that `parse` reads; an error of the form `what; help` is split at the semicolon.
    pub(super) fn parsed<T>(&self, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.string()?;
        match parse(text) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                let (message, help) = match error.split_once("; ") {
                    Some((message, help)) => (message, Some(help.to_owned())),
                    None => (error.as_str(), None),
                };
                self.report(format!("{}: {message}", self.key), help);
                None
            }
        }
    }
}

pub(super) fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// A list of strings, each parsed.
pub(super) fn strings<T>(
    section: &Section<'_>,
    key: &'static str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let elements = section.get(key).and_then(|value| value.array()).unwrap_or_default();
    elements.iter().filter_map(|element| element.parsed(&parse)).collect()
}

/// The value that belongs to a word.
pub(super) fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let known = || words.iter().map(|(word, _)| *word);
        let help =
            did_you_mean(text, known()).unwrap_or_else(|| format!("write {}", known().collect::<Vec<_>>().join(", ")));
        format!("unknown value `{text}`; {help}")
    })
}

/// A path; a relative one begins where the config file is.
pub(super) fn path(section: &Section<'_>, key: &'static str) -> Option<PathBuf> {
    section.parsed(key, |text| {
        if text.is_empty() { Err("a path is empty".into()) } else { Ok(section.sink.folder().join(text)) }
    })
}
