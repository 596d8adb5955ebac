//! The grammar of haproxy.cfg: sections of lines, and lines of words.
//!
//! It is our own: `haproxy-config`, the one crate that reads it, is of 2023 and knows some keywords only, and what it
//! does not know it refuses. Words end at white space; a backslash, quotes of both kinds and `#` are those of HAProxy's
//! manual, section 2.2.

use std::iter::Enumerate;
use std::rc::Rc;
use std::str;

use crate::imported::{Place, Unreadable};
use crate::value::reference;

type Chars<'t> = Enumerate<str::Chars<'t>>;

/// A line of words.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) words: Vec<String>,
    pub(super) place: Place,
}

/// A section, which begins with a line of its own.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) head: Line,
    pub(super) lines: Vec<Line>,
}

const SECTIONS: [&str; 17] = [
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "resolvers",
    "peers",
    "mailers",
    "userlist",
    "cache",
    "program",
    "http-errors",
    "ring",
    "log-forward",
    "fcgi-app",
    "crt-store",
    "traces",
];

impl Line {
    pub(super) fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }

    /// What was written.
    pub(super) fn written(&self) -> String {
        self.words.join(" ")
    }

    /// The keyword: some have two words.
    pub(super) fn keyword(&self) -> String {
        match self.word(0) {
            first @ ("http-request" | "http-response" | "option" | "timeout" | "stick" | "http-check"
            | "tcp-request") => {
                format!("{first} {}", self.word(1))
            }
            first => first.to_owned(),
        }
    }
}

impl Section {
    pub(super) fn kind(&self) -> &str {
        self.head.word(0)
    }

    pub(super) fn name(&self) -> &str {
        self.head.word(1)
    }
}

/// Reads a text; `file` is what places call it.
pub(super) fn parse(file: &str, text: &str) -> Result<Vec<Section>, Unreadable> {
    let name: Rc<str> = file.into();
    let mut sections: Vec<Section> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = |column: usize, message: &str| Unreadable {
            file: file.to_owned(),
            at: Some((index + 1, column)),
            message: message.to_owned(),
        };
        let words = words(line).map_err(|column| wrong(column, "this quote is not closed"))?;
        let Some(first) = words.first() else { continue };
        let is_head = SECTIONS.contains(&first.as_str());
        let line = Line { words, place: Place { file: name.clone(), line: index + 1 } };
        match sections.last_mut() {
            _ if is_head => sections.push(Section { head: line, lines: Vec::new() }),
            Some(section) => section.lines.push(line),
            None => return Err(wrong(1, "this line belongs to no section")),
        }
    }
    Ok(sections)
}

/// The words of a line.
///
/// # Errors
/// The column of a quote that is not closed.
fn words(line: &str) -> Result<Vec<String>, usize> {
    let (mut words, mut word, mut is_open) = (Vec::new(), String::new(), false);
    let mut quote: Option<(char, usize)> = None;
    let mut chars = line.chars().enumerate();
    while let Some((column, c)) = chars.next() {
        match (c, quote) {
            ('\\', None | Some(('"', _))) => {
                is_open = true;
                match chars.next() {
                    Some((_, 'n')) => word.push('\n'),
                    Some((_, 'r')) => word.push('\r'),
                    Some((_, 't')) => word.push('\t'),
                    Some((_, c @ (' ' | '#' | '\\' | '"' | '\'' | '$'))) => word.push(c),
                    Some((_, c)) => word.extend(['\\', c]),
                    None => word.push('\\'),
                }
            }
            ('$', Some(('"', _))) => word.push_str(&variable(&mut chars)),
            (c, Some((open, _))) if c == open => quote = None,
            (c, Some(_)) => word.push(c),
            ('"' | '\'', None) => (quote, is_open) = (Some((c, column + 1)), true),
            ('#', None) => break,
            (c, None) if c.is_whitespace() => {
                if is_open {
                    words.push(std::mem::take(&mut word));
                    is_open = false;
                }
            }
            (c, None) => {
                word.push(c);
                is_open = true;
            }
        }
    }
    if let Some((_, column)) = quote {
        return Err(column);
    }
    if is_open {
        words.push(word);
    }
    Ok(words)
}

/// A variable of the environment behind its `$`: `NAME`, `{NAME}` or `{NAME-default}`.
fn variable(chars: &mut Chars<'_>) -> String {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut ahead = chars.clone();
    let Some((_, first)) = ahead.next() else { return "$".to_owned() };
    if first == '{' {
        let inner: String = ahead.by_ref().map(|(_, c)| c).take_while(|c| *c != '}').collect();
        let (name, default) = inner.split_once('-').map_or((&*inner, None), |(name, rest)| (name, Some(rest)));
        *chars = ahead;
        return reference(name, default);
    }
    let name: String = chars.clone().map(|(_, c)| c).take_while(|c| is_of_name(*c)).collect();
    if name.is_empty() {
        return "$".to_owned();
    }
    chars.by_ref().take(name.len()).for_each(drop);
    reference(&name, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_haproxy() {
        for (line, expected) in [
            ("  bind *:80  # all", Ok(vec!["bind", "*:80"])),
            (r#"a "b c" 'd \e' f\ g h"i"j"#, Ok(vec!["a", "b c", r"d \e", "f g", "hij"])),
            (r"acl x path_reg ^/v\d+$", Ok(vec!["acl", "x", "path_reg", r"^/v\d+$"])),
            ("a \"\"", Ok(vec!["a", ""])),
            ("a 'b", Err(3)),
        ] {
            let expected = expected.map(|words: Vec<&str>| words.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(words(line), expected, "{line}");
        }
        assert_eq!(parse("x", "bind :80").unwrap_err().to_string(), "x:1:1: this line belongs to no section");
    }
}
