//! The grammar of a Caddyfile: blocks with addresses, and lines of words with blocks of their own.

use super::environment;
use super::tokens::Token;
use crate::imported::{Place, Unreadable};

/// How deeply blocks may be nested.
const DEPTH_MAX: usize = 32;

/// A line of a block, with the block that it opens.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) args: Vec<String>,
    pub(super) block: Option<Vec<Line>>,
    /// Whether the first argument is in quotes.
    pub(super) is_quoted: bool,
    pub(super) place: Place,
}

/// A block of the file.
#[derive(Debug)]
pub(super) struct Block {
    /// Its addresses; none for the global options.
    pub(super) keys: Vec<String>,
    pub(super) lines: Vec<Line>,
    pub(super) place: Place,
}

impl Line {
    pub(super) fn arg(&self, index: usize) -> &str {
        self.args.get(index).map_or("", String::as_str)
    }

    pub(super) fn lines(&self) -> &[Line] {
        self.block.as_deref().unwrap_or_default()
    }

    /// What was written, without the block.
    pub(super) fn written(&self) -> String {
        let shown = |arg: &String| {
            let is_plain = !arg.is_empty() && !arg.contains(char::is_whitespace);
            let short: String = arg.chars().take(80).collect();
            if is_plain { short } else { format!("\"{short}\"") }
        };
        let words: Vec<String> = [self.name.clone()].into_iter().chain(self.args.iter().map(shown)).collect();
        words.join(" ")
    }

    /// The last line of its block that has this name.
    pub(super) fn one(&self, name: &str) -> Option<&Line> {
        self.lines().iter().rfind(|line| line.name == name)
    }
}

/// The blocks of a file.
pub(super) fn parse(words: &[Token]) -> Result<Vec<Block>, Unreadable> {
    let mut reader = Reader { words, at: 0 };
    let mut blocks = Vec::new();
    while let Some(first) = reader.peek() {
        let place = first.place.clone();
        let (keys, has_block) = reader.keys()?;
        // Without braces the rest of the file is the only block.
        let lines = if has_block { reader.block(0)? } else { reader.lines(0)? };
        blocks.push(Block { keys, lines, place });
        if reader.peek().is_some_and(Token::is_close) {
            return Err(reader.wrong("this `}` closes nothing"));
        }
    }
    Ok(blocks)
}

struct Reader<'t> {
    words: &'t [Token],
    at: usize,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<&'t Token> {
        self.words.get(self.at)
    }

    fn wrong(&self, message: &str) -> Unreadable {
        let word = self.peek().or(self.words.last());
        let file = word.map_or_else(String::new, |word| word.source.display().to_string());
        Unreadable { file, at: word.map(|word| (word.place.line, 1)), message: message.to_owned() }
    }

    /// The addresses of a block, and whether a brace follows. A comma says that another follows, on the next line too.
    fn keys(&mut self) -> Result<(Vec<String>, bool), Unreadable> {
        let (mut keys, mut expects_more) = (Vec::new(), true);
        while let Some(word) = self.peek() {
            if word.is_open() {
                self.at += 1;
                return Ok((keys, true));
            }
            if word.is_first && !expects_more && !keys.is_empty() {
                return Ok((keys, false));
            }
            if word.is_close() {
                return Err(self.wrong("this `}` closes nothing"));
            }
            if word.text.ends_with('{') && !word.is_quoted {
                return Err(self.wrong("an address and its `{` need a space between them"));
            }
            let key = word.text.trim_end_matches(',');
            if key.contains(',') && !environment::has_any(key) {
                return Err(self.wrong("addresses are separated by a comma and a space"));
            }
            expects_more = word.text.ends_with(',');
            if !key.is_empty() {
                keys.push(key.to_owned());
            }
            self.at += 1;
        }
        Ok((keys, false))
    }

    /// The lines up to the brace that closes their block.
    fn block(&mut self, depth: usize) -> Result<Vec<Line>, Unreadable> {
        let lines = self.lines(depth)?;
        match self.peek() {
            Some(word) if word.is_close() => self.at += 1,
            _ => return Err(self.wrong("a block is not closed")),
        }
        Ok(lines)
    }

    /// The lines up to a brace that closes, or the end.
    fn lines(&mut self, depth: usize) -> Result<Vec<Line>, Unreadable> {
        if depth > DEPTH_MAX {
            return Err(self.wrong(&format!("blocks are deeper than {DEPTH_MAX}")));
        }
        let mut lines = Vec::new();
        while let Some(first) = self.peek().filter(|word| !word.is_close()) {
            if first.is_open() {
                return Err(self.wrong("a `{` stands at the end of the line that it belongs to"));
            }
            self.at += 1;
            let (name, place) = (first.text.clone(), first.place.clone());
            let is_quoted = self.peek().is_some_and(|word| !word.is_first && word.is_quoted);
            let (mut args, mut block) = (Vec::new(), None);
            while let Some(word) = self.peek().filter(|word| !word.is_first && !word.is_close()) {
                self.at += 1;
                if !word.is_open() {
                    args.push(word.text.clone());
                    continue;
                }
                if self.peek().is_some_and(|word| !word.is_first) {
                    return Err(self.wrong("nothing may follow a `{` on its line"));
                }
                block = Some(self.block(depth + 1)?);
                break;
            }
            lines.push(Line { name, args, block, is_quoted, place });
        }
        Ok(lines)
    }
}
