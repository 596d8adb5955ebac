//! The words of a Caddyfile: its quotes, heredocs, comments and line ends, as Caddy's own lexer has them.

use std::rc::Rc;

use crate::imported::{Place, Unreadable};

/// A word of a line.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) text: String,
    /// Whether it stood in quotes, backquotes or a heredoc: then it is no brace.
    pub(super) is_quoted: bool,
    /// Whether it is the first of its line.
    pub(super) is_first: bool,
    pub(super) place: Place,
    /// The file that it stands in, where relative imports begin.
    pub(super) source: Rc<std::path::Path>,
}

impl Token {
    pub(super) fn is_open(&self) -> bool {
        self.text == "{" && !self.is_quoted
    }

    pub(super) fn is_close(&self) -> bool {
        self.text == "}" && !self.is_quoted
    }
}

/// The words of a file, which places call `name`.
pub(super) fn tokens(name: &Rc<str>, source: &Rc<std::path::Path>, text: &str) -> Result<Vec<Token>, Unreadable> {
    let chars: Vec<char> = text.chars().filter(|c| *c != '\r').collect();
    let mut lexer = Lexer { chars: &chars, at: 0, line: 1, is_first: true };
    let mut all = Vec::new();
    loop {
        let found = lexer.next().map_err(|(line, message)| Unreadable {
            file: source.display().to_string(),
            at: Some((line, 1)),
            message,
        })?;
        let Some(Word { text, is_quoted, is_first, line }) = found else { return Ok(all) };
        let place = Place { file: name.clone(), line };
        all.push(Token { text, is_quoted, is_first, place, source: source.clone() });
    }
}

struct Word {
    text: String,
    is_quoted: bool,
    is_first: bool,
    line: usize,
}

/// A line, and what is wrong there.
type Wrong = (usize, String);

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
    line: usize,
    /// Whether nothing of this line was read yet.
    is_first: bool,
}

impl Lexer<'_> {
    fn next(&mut self) -> Result<Option<Word>, Wrong> {
        self.skip_space();
        let Some(&c) = self.chars.get(self.at) else { return Ok(None) };
        let (is_first, line) = (std::mem::take(&mut self.is_first), self.line);
        let rest = &self.chars[self.at..];
        // `<<` alone is a word.
        let is_heredoc = rest.starts_with(&['<', '<']) && rest.get(2).is_some_and(|c| !matches!(c, ' ' | '\t'));
        let (text, is_quoted) = match c {
            '"' | '`' => (self.quoted(c)?, true),
            '<' if is_heredoc && self.heredoc_marker().is_some() => (self.heredoc()?, true),
            _ => (self.plain(), false),
        };
        Ok(Some(Word { text, is_quoted, is_first, line }))
    }

    /// Passes over spaces, line ends, escaped line ends and comments.
    fn skip_space(&mut self) {
        while let Some(&c) = self.chars.get(self.at) {
            match c {
                '\n' => (self.line, self.is_first) = (self.line + 1, true),
                // The line goes on.
                '\\' if self.chars.get(self.at + 1) == Some(&'\n') => {
                    self.line += 1;
                    self.at += 1;
                }
                '#' => {
                    let end = self.chars[self.at..].iter().position(|c| *c == '\n');
                    self.at = end.map_or(self.chars.len(), |end| self.at + end);
                    continue;
                }
                c if c.is_whitespace() => {}
                _ => return,
            }
            self.at += 1;
        }
    }

    /// A word without quotes. Quotes within it have no meaning.
    fn plain(&mut self) -> String {
        let mut text = String::new();
        while let Some(&c) = self.chars.get(self.at) {
            match (c, self.chars.get(self.at + 1)) {
                ('\\', Some('\n')) => return text,
                // `\<<` is no heredoc.
                ('\\', Some('<')) => {}
                (c, _) if c.is_whitespace() => return text,
                (c, _) => text.push(c),
            }
            self.at += 1;
        }
        text
    }

    /// What is between two quotes. Only a double quote can be escaped, and between double quotes only.
    fn quoted(&mut self, quote: char) -> Result<String, Wrong> {
        let (begin, mut text) = (self.line, String::new());
        self.at += 1;
        while let Some(&c) = self.chars.get(self.at) {
            self.at += 1;
            match c {
                c if c == quote => return Ok(text),
                '\\' if quote == '"' && self.chars.get(self.at) == Some(&'"') => {
                    text.push('"');
                    self.at += 1;
                }
                c => {
                    self.line += usize::from(c == '\n');
                    text.push(c);
                }
            }
        }
        Err((begin, "this quote is not closed".to_owned()))
    }

    /// The word after `<<`, if it ends its line and can be one.
    fn heredoc_marker(&self) -> Option<&[char]> {
        let rest = &self.chars[self.at + 2..];
        let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '-' || *c == '_';
        let length = rest.iter().position(|c| !is_name(c))?;
        (length > 0 && rest[length] == '\n').then_some(&rest[..length])
    }

    /// The lines until the marker, without the spaces that stand before it.
    fn heredoc(&mut self) -> Result<String, Wrong> {
        let marker = self.heredoc_marker().unwrap_or_default();
        let (begin, length) = (self.line, marker.len());
        let rest = &self.chars[self.at + 2 + length + 1..];
        let shown = String::from_iter(marker);
        let Some(end) = rest.windows(length).position(|window| window == marker) else {
            return Err((begin, format!("the heredoc <<{shown} has no end")));
        };
        let body = String::from_iter(&rest[..end]);
        let (lines, indent) = body.rsplit_once('\n').unwrap_or(("", &body));
        self.line += 1 + body.matches('\n').count();
        self.at += 2 + length + 1 + end + length;
        let mut text = Vec::new();
        for line in lines.split('\n') {
            match line.strip_prefix(indent) {
                _ if line.is_empty() => text.push(""),
                Some(line) => text.push(line),
                None => return Err((begin, format!("a line of the heredoc <<{shown} is not indented as its end is"))),
            }
        }
        Ok(text.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The words of a text: `|` is a new line, quotes are round what was quoted.
    fn shown(text: &str) -> String {
        match tokens(&"x".into(), &Rc::from(Path::new("x")), text) {
            Err(error) => error.to_string(),
            Ok(all) => {
                let show = |token: &Token| {
                    let text = if token.is_quoted { format!("'{}'", token.text) } else { token.text.clone() };
                    if token.is_first { format!("|{text}") } else { text }
                };
                all.iter().map(show).collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn words_are_those_of_caddy() {
        for (text, expected) in [
            ("a.test {\n\trespond hi # all\n}\n", "|a.test { |respond hi |}"),
            ("a \"b c\" `d \"e\"` f\"g h", "|a 'b c' 'd \"e\"' f\"g h"),
            (r#"a "b \"c\" \d""#, r#"|a 'b "c" \d'"#),
            ("a \\\n b\nc", "|a b |c"),
            ("a#b #c", "|a#b"),
            ("a \"\"", "|a ''"),
            ("a <<END\n  one\n    two\n  END\nb", "|a 'one\n  two' |b"),
            ("a <<END\n\n  x\n  END 200", "|a '\nx' 200"),
            ("a << b \\<<c", "|a << b <<c"),
            ("a 'b c'", "|a 'b c'"),
            ("\"a\nb\" c\nd", "|'a\nb' c |d"),
            ("a \"b", "x:1:1: this quote is not closed"),
            ("\na <<END\n x", "x:2:1: the heredoc <<END has no end"),
            ("a <<END\n x\n  END", "x:1:1: a line of the heredoc <<END is not indented as its end is"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
        let lines: Vec<usize> = tokens(&"x".into(), &Rc::from(Path::new("x")), "a <<E\n x\n E\nb \"c\nd\" e\nf")
            .unwrap()
            .iter()
            .map(|token| token.place.line)
            .collect();
        assert_eq!(lines, [1, 1, 4, 4, 5, 6]);
    }
}
