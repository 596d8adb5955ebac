//! The grammar of nginx.conf: words, `;`, and blocks in braces.
//!
//! It is our own, after looking at what there is (November 2026). `nginx-config` and `misc-conf` are no longer kept.
//! `nginx-lint-parser` is, and is made for a linter: it takes `http://$host/x` for three words, refuses lines that end
//! in CR LF, and ends the process on a file of 3,000 open braces. The rules are those of `ngx_conf_read_token`: a word
//! ends at white space, `;` or `{` (but `${` begins the name of a variable); quotes are quotes only where a word
//! begins; `#` is a comment only there.

use std::iter::Peekable;
use std::rc::Rc;
use std::str::Chars;

use crate::imported::{Place, Unreadable};

/// How deeply blocks may be nested.
const DEPTH_MAX: usize = 64;

/// A directive with its block, if it has one.
#[derive(Debug, Clone)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) args: Vec<String>,
    pub(super) block: Option<Vec<Directive>>,
    pub(super) place: Place,
}

impl Directive {
    /// An argument; nothing if there are fewer.
    pub(super) fn arg(&self, index: usize) -> &str {
        self.args.get(index).map_or("", String::as_str)
    }

    /// What was written, without the block.
    pub(super) fn written(&self) -> String {
        let words = [self.name.as_str()].into_iter().chain(self.args.iter().map(String::as_str));
        words.map(|word| if word.is_empty() { "\"\"" } else { word }).collect::<Vec<_>>().join(" ")
    }

    /// The directives of its block.
    pub(super) fn items(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }
}

/// Reads a text; `file` is what places call it.
pub(super) fn parse(file: &str, text: &str) -> Result<Vec<Directive>, Unreadable> {
    let mut reader = Reader { file: file.into(), rest: text.chars().peekable(), line: 1, column: 1 };
    reader.directives(0)
}

struct Reader<'a> {
    file: Rc<str>,
    rest: Peekable<Chars<'a>>,
    line: usize,
    column: usize,
}

/// What stands next.
enum Token {
    Word(String),
    End,
    Open,
    Close,
    Eof,
}

impl Reader<'_> {
    /// The directives up to the end of the block, or of the file at depth 0.
    fn directives(&mut self, depth: usize) -> Result<Vec<Directive>, Unreadable> {
        let mut found = Vec::new();
        loop {
            self.skip_blank();
            let place = Place { file: self.file.clone(), line: self.line };
            let name = match self.token()? {
                Token::Word(name) => name,
                Token::Close if depth > 0 => return Ok(found),
                Token::Eof if depth == 0 => return Ok(found),
                Token::Eof => return Err(self.wrong("the file ends within a block: a `}` is missing")),
                Token::Close => return Err(self.wrong("this `}` closes nothing")),
                Token::End => return Err(self.wrong("this `;` ends nothing")),
                Token::Open => return Err(self.wrong("this block has no name")),
            };
            found.push(self.directive(name, place, depth)?);
        }
    }

    fn directive(&mut self, name: String, place: Place, depth: usize) -> Result<Directive, Unreadable> {
        let mut args = Vec::new();
        loop {
            self.skip_blank();
            let block = match self.token()? {
                Token::Word(word) => {
                    args.push(word);
                    continue;
                }
                Token::End => None,
                Token::Open if depth >= DEPTH_MAX => return Err(self.wrong("blocks are nested too deeply")),
                Token::Open if name.ends_with("_by_lua_block") => Some(self.skip_lua()?),
                Token::Open => Some(self.directives(depth + 1)?),
                Token::Close => return Err(self.wrong(&format!("`{name}` has no `;` before this `}}`"))),
                Token::Eof => return Err(self.wrong(&format!("`{name}` has no `;`"))),
            };
            return Ok(Directive { name, args, block, place });
        }
    }

    fn token(&mut self) -> Result<Token, Unreadable> {
        let Some(&c) = self.rest.peek() else { return Ok(Token::Eof) };
        match c {
            ';' => self.bump_as(Token::End),
            '{' => self.bump_as(Token::Open),
            '}' => self.bump_as(Token::Close),
            '"' | '\'' => self.quoted(c),
            _ => Ok(Token::Word(self.word())),
        }
    }

    fn bump_as(&mut self, token: Token) -> Result<Token, Unreadable> {
        self.bump();
        Ok(token)
    }

    fn word(&mut self) -> String {
        let (mut word, mut is_variable) = (String::new(), false);
        while let Some(&c) = self.rest.peek() {
            if c.is_ascii_whitespace() || c == ';' || c == '{' && !is_variable {
                break;
            }
            is_variable = c == '$';
            self.bump();
            if c == '\\' { self.escape(&mut word) } else { word.push(c) }
        }
        word
    }

    fn quoted(&mut self, quote: char) -> Result<Token, Unreadable> {
        let start = (self.line, self.column);
        self.bump();
        let mut word = String::new();
        loop {
            match self.bump() {
                None => return Err(self.wrong_at(start, "this quote is not closed")),
                Some('\\') => self.escape(&mut word),
                Some(c) if c == quote => break,
                Some(c) => word.push(c),
            }
        }
        match self.rest.peek() {
            Some(&c) if !c.is_ascii_whitespace() && !matches!(c, ';' | '{' | ')') => {
                Err(self.wrong(&format!("`{c}` right behind a quote: nginx refuses that")))
            }
            _ => Ok(Token::Word(word)),
        }
    }

    /// What a backslash makes of the next character. Where it makes nothing, it stays.
    fn escape(&mut self, word: &mut String) {
        match self.bump() {
            Some(c @ ('"' | '\'' | '\\')) => word.push(c),
            Some('t') => word.push('\t'),
            Some('r') => word.push('\r'),
            Some('n') => word.push('\n'),
            Some(c) => word.extend(['\\', c]),
            None => word.push('\\'),
        }
    }

    /// The code of Lua up to its last brace. Braces in its strings and comments count too, as in nothing but odd code.
    fn skip_lua(&mut self) -> Result<Vec<Directive>, Unreadable> {
        let mut open = 1;
        while open > 0 {
            match self.bump() {
                Some('{') => open += 1,
                Some('}') => open -= 1,
                Some(_) => {}
                None => return Err(self.wrong("the file ends within a block of Lua")),
            }
        }
        Ok(Vec::new())
    }

    fn skip_blank(&mut self) {
        while let Some(&c) = self.rest.peek() {
            if c == '#' {
                while self.rest.peek().is_some_and(|&c| c != '\n') {
                    self.bump();
                }
            } else if c.is_ascii_whitespace() {
                self.bump();
            } else {
                break;
            }
        }
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            (self.line, self.column) = (self.line + 1, 1);
        } else {
            self.column += 1;
        }
        Some(c)
    }

    fn wrong(&self, message: &str) -> Unreadable {
        self.wrong_at((self.line, self.column), message)
    }

    fn wrong_at(&self, at: (usize, usize), message: &str) -> Unreadable {
        Unreadable { file: self.file.to_string(), at: Some(at), message: message.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        let show = |directive: &Directive| {
            let args: Vec<String> = directive.args.iter().map(|arg| format!("[{arg}]")).collect();
            format!("{} {}", directive.name, args.concat())
        };
        match parse("x", text) {
            Ok(found) => found.iter().map(show).collect::<Vec<_>>().join(" | "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn words_are_those_of_nginx() {
        for (text, expected) in [
            ("listen 80 ;\r\nlisten\t81;\n", "listen [80] | listen [81]"),
            ("proxy_pass http://$host$request_uri;", "proxy_pass [http://$host$request_uri]"),
            ("a ${b}c 'd e' \"f;g\" h#i; # j", "a [${b}c][d e][f;g][h#i]"),
            ("location ~ \"^/x{2}\" {}", "location [~][^/x{2}]"),
            ("location ~* \\.(js|css)$ {a;}", "location [~*][\\.(js|css)$]"),
            ("x \"a\\\"b\\n\" 'it\\'s' a\\ b;", "x [a\"b\n][it's][a\\ b]"),
            ("if ($x ~ 'a b') { c; }", "if [($x][~][a b][)]"),
            ("content_by_lua_block { if x then y = {} end } b;", "content_by_lua_block  | b "),
            ("set $x \"\";", "set [$x][]"),
            ("a b", "x:1:4: `a` has no `;`"),
            ("a {\n b;", "x:2:4: the file ends within a block: a `}` is missing"),
            ("a; }", "x:1:5: this `}` closes nothing"),
            ("a { b }", "x:1:8: `b` has no `;` before this `}`"),
            ("a 'b", "x:1:3: this quote is not closed"),
            ("a 'b'c;", "x:1:6: `c` right behind a quote: nginx refuses that"),
            (";", "x:1:2: this `;` ends nothing"),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = "a {".repeat(100_000);
        assert!(words(&deep).contains("nested too deeply"));
    }
}
