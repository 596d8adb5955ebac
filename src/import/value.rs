//! Values of TOML, and how they are written. The `toml` crate writes documents without comments, and here every comment
//! has its place; what is written is read back by that crate in every test.

use std::fmt;

use super::imported::Keys;

/// A value of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A whole number.
    Number(i64),
    /// True or false.
    Switch(bool),
    /// A list in one line.
    List(Vec<Value>),
    /// A table in one line.
    Table(Keys),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(switch: bool) -> Self {
        Self::Switch(switch)
    }
}

impl From<Keys> for Value {
    fn from(keys: Keys) -> Self {
        Self::Table(keys)
    }
}

impl<V: Into<Value>> From<Vec<V>> for Value {
    fn from(list: Vec<V>) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Number(number) => write!(f, "{number}"),
            Self::Switch(switch) => write!(f, "{switch}"),
            Self::List(list) => {
                let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", list.join(", "))
            }
            Self::Table(Keys(keys)) => {
                let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{} = {value}", bare(key))).collect();
                write!(f, "{{ {} }}", keys.join(", "))
            }
        }
    }
}

/// One value, or a list if there are more.
pub fn one_or_more(values: &[String]) -> Value {
    match values {
        [one] => one.as_str().into(),
        more => more.to_vec().into(),
    }
}

/// A basic string of TOML, or a literal one where that needs no escapes.
pub fn quoted(text: &str) -> String {
    let is_plain = |c: char| !c.is_control() && c != '\'';
    if text.contains(['\\', '"']) && text.chars().all(is_plain) {
        return format!("'{text}'");
    }
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A key, in quotes if it needs them.
pub fn bare(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if is_bare { key.to_owned() } else { quoted(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_read_back_as_it_was() {
        for text in ["", "a", "a\"b", "a\\b", "it's", "'\"\\", "\u{0}\u{7f}\n\r\t", "~^/v[12]/\\d+$", "é"] {
            let written = format!("x = {}\n{} = 1\n", quoted(text), bare(text));
            let read: toml::Table = written.parse().unwrap_or_else(|error| panic!("{written}: {error}"));
            assert_eq!(read["x"].as_str(), Some(text));
            assert!(text == "x" || read.contains_key(text));
        }
    }
}
