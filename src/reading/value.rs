//! One value of the file, of a type that is still to be found out.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::hidden::is_reference;
use crate::problem::{Sink, did_you_mean};
use crate::secrets::Kind;

/// A value that is being read.
#[derive(Clone)]
pub struct Value<'a> {
    /// Its key, for messages.
    pub key: String,
    /// Where it stands.
    pub span: Range<usize>,
    /// The value.
    pub value: &'a DeValue<'a>,
    /// Where problems with it go.
    pub sink: &'a Sink<'a>,
}

impl<'a> Value<'a> {
    /// Reports what is wrong with it, and what to do about it. Of a secret, only that it is not valid.
    pub fn report(&self, message: impl Into<String>, help: Option<String>) {
        if self.sink.is_secret(&self.span) {
            let message = format!("{} is not valid; it is not shown, because a secret is part of it", self.key);
            self.report_rule(message, None);
        } else {
            self.sink.report(self.span.clone(), message, help);
        }
    }

    /// Reports that it breaks a rule, in words that hold nothing of it.
    pub fn report_rule(&self, message: String, help: Option<String>) {
        self.sink.report_plain(self.span.clone(), message, help);
    }

    /// Reports that it has a wrong type.
    pub fn wrong_type(&self, expected: &str) {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.report_rule(format!("{} must be {expected}, not {found}", self.key), None);
    }

    /// Whether it is a whole number, or a string that one was filled into.
    pub fn is_integer(&self) -> bool {
        self.value.is_integer() || self.filled_number().is_some()
    }

    /// The whole number, if it is one that 64 bits can hold.
    pub fn integer(&self) -> Option<i64> {
        match self.value {
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => self.filled_number(),
        }
    }

    /// `"${NAME}"` is a string in TOML, whatever it stands for. Where a number is due, the number is meant.
    fn filled_number(&self) -> Option<i64> {
        self.filled_text()?.parse().ok()
    }

    /// Whether all of it is filled in from outside of the file, and has no default there.
    pub fn is_from_outside(&self) -> bool {
        self.sink.is_filled(&self.span) && is_reference(self.sink.text_at(&self.span))
    }

    /// Notes that it is a secret, wherever it came from: from now on it is shown as it is written.
    pub fn hide(&self) {
        let Some(text) = self.value.as_str() else { return };
        let written = self.sink.text_at(&self.span).trim_matches(['"', '\'']).to_owned();
        let mut filled = self.sink.filled.borrow_mut();
        filled.secrets.add(text);
        if filled.at(&self.span) == Some(&Kind::Plain) {
            filled.note(&self.span, Kind::Secret(written));
        }
    }

    /// The string, if something was filled into it.
    pub(crate) fn filled_text(&self) -> Option<&'a str> {
        self.value.as_str().filter(|_| self.sink.is_filled(&self.span))
    }

    /// The string, which anything else is reported not to be.
    pub fn string(&self) -> Option<&'a str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.wrong_type("a string");
        }
        text
    }

    /// The table, which anything else is reported not to be.
    pub fn table(&self) -> Option<&'a DeTable<'a>> {
        let table = self.value.as_table();
        if table.is_none() {
            self.wrong_type("a table");
        }
        table
    }

    /// The keys of the table and their values, in the order of the file; anything else is reported.
    pub fn entries(&self) -> Option<Vec<(&'a str, Self)>> {
        let mut entries: Vec<_> = self.table()?.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let entry = |(key, value): (&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)| {
            let key: &'a str = key.get_ref();
            let path = join(&self.key, key);
            (key, Self { key: path, span: value.span(), value: value.get_ref(), sink: self.sink })
        };
        Some(entries.into_iter().map(entry).collect())
    }

    /// The elements of the list, which anything else is reported not to be.
    pub fn array(&self) -> Option<Vec<Self>> {
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
    pub fn parsed<T>(&self, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.checked(parse(self.string()?))
    }

    /// What was made of it, or `None` and its error is reported, likewise.
    pub fn checked<T>(&self, made: Result<T, String>) -> Option<T> {
        let error = match made {
            Ok(made) => return Some(made),
            Err(error) => error,
        };
        let (message, help) = match error.split_once("; ") {
            Some((message, help)) => (message, Some(help.to_owned())),
            None => (error.as_str(), None),
        };
        self.report(format!("{}: {message}", self.key), help);
        None
    }
}

/// The full name of a key.
pub fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// The value that belongs to a word.
///
/// # Errors
/// That the word is unknown; after `; `, what to write.
pub fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let known = || words.iter().map(|(word, _)| *word);
        let help =
            did_you_mean(text, known()).unwrap_or_else(|| format!("write {}", known().collect::<Vec<_>>().join(", ")));
        format!("unknown value `{text}`; {help}")
    })
}

/// A basic string of TOML.
pub fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
