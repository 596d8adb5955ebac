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

impl Value {
    /// Writes what looks like a reference to the environment so that it means itself. References are marked.
    pub(crate) fn escape(&mut self) {
        match self {
            Self::Text(text) => *text = text.replace("${", "$${"),
            Self::List(list) => list.iter_mut().for_each(Self::escape),
            Self::Table(Keys(keys)) => keys.iter_mut().for_each(|(_, value)| value.escape()),
            Self::Number(_) | Self::Switch(_) => {}
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
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

/// What begins, ends and divides a reference to the environment within a text: characters of private use, which
/// `files::read` takes out of all that it reads.
const BEGIN: char = '\u{e000}';
const END: char = '\u{e001}';
const OR: char = '\u{e002}';
/// All of them.
pub(crate) const MARKS: [char; 3] = [BEGIN, END, OR];

/// A reference to a variable of the environment, which is written as `${NAME}` or `${NAME:-default}`. All else that
/// looks like one is escaped by `Imported::escape`.
pub(crate) fn reference(name: &str, default: Option<&str>) -> String {
    let default = default.map_or(String::new(), |default| format!("{OR}{default}"));
    format!("{BEGIN}{name}{default}{END}")
}

/// The text with its references as they are written.
pub(crate) fn shown(text: &str) -> String {
    if !text.contains(MARKS) {
        return text.to_owned();
    }
    text.replace(BEGIN, "${").replace(OR, ":-").replace(END, "}")
}

/// The text with another one in place of each reference: so its form can be looked at.
pub(crate) fn with_sample(text: &str, sample: &str) -> String {
    each_part(text, |part, is_reference| if is_reference { sample.to_owned() } else { part.to_owned() })
}

/// The name of the variable, if the text is nothing but a reference.
pub(crate) fn variable(text: &str) -> Option<&str> {
    let inner = text.strip_prefix(BEGIN)?.strip_suffix(END)?;
    if inner.contains(BEGIN) { None } else { inner.split(OR).next() }
}

/// The text in lower case, but for the names of variables.
pub(crate) fn lower(text: &str) -> String {
    each_part(text, |part, is_reference| if is_reference { part.to_owned() } else { part.to_ascii_lowercase() })
}

/// The text for a template of unstick, in which a brace that means itself is written twice.
pub(crate) fn escaped_braces(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

fn each_part(text: &str, of: impl Fn(&str, bool) -> String) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(BEGIN) {
        let end = rest[at..].find(END).map_or(rest.len(), |end| at + end + END.len_utf8());
        out.push_str(&of(&rest[..at], false));
        out.push_str(&of(&rest[at..end], true));
        rest = &rest[end..];
    }
    out + &of(rest, false)
}

/// A basic string of TOML, or a literal one where that needs no escapes.
pub fn quoted(text: &str) -> String {
    let text = &shown(text);
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

    #[test]
    fn only_references_refer_to_the_environment() {
        let text = format!("{}:{} ${{x}} {{", reference("HOST", None), reference("PORT", Some("80")));
        let mut value = Value::List(vec![Value::Text(text.clone())]);
        value.escape();
        assert_eq!(value.to_string(), "[\"${HOST}:${PORT:-80} $${x} {\"]");
        assert_eq!(with_sample(&text, "1"), "1:1 ${x} {");
        assert_eq!(quoted(&lower(&format!("A{}", reference("NAME", None)))), "\"a${NAME}\"");
        assert_eq!((variable(&reference("N", Some("x"))), variable(&text)), (Some("N"), None));
    }
}
