//! `import`: snippets and files take its place, with the arguments and the block that were given to them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::environment;
use super::tokens::{Token, tokens};
use crate::files::{self, FILES_MAX};
use crate::imported::{At, Imported, LeftOut, Unreadable};

/// How deeply imports may name each other.
const DEPTH_MAX: usize = 16;
/// The most words, and bytes in them, that imports may make of a file. Snippets that import each other twice double.
const TOKENS_MAX: usize = 500_000;
const BYTES_MAX: usize = 64 << 20;

/// The words of a file with all that it imports, without its snippets.
pub(super) fn read(path: &Path, out: &mut Imported) -> Result<Vec<Token>, Unreadable> {
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let mut reader = Reader { folder, files: 0, snippets: HashMap::new(), all: Vec::new(), bytes: 0, nesting: 0, out };
    let words = reader.file(path)?;
    reader.expand(words, 0)?;
    Ok(reader.all)
}

struct Reader<'o> {
    /// The folder of the main file: places name files as they are seen from there.
    folder: PathBuf,
    files: usize,
    snippets: HashMap<String, Vec<Token>>,
    all: Vec<Token>,
    bytes: usize,
    /// The blocks that are open where the next word comes.
    nesting: usize,
    out: &'o mut Imported,
}

/// What was given to an import.
struct Given {
    args: Vec<String>,
    block: Vec<Token>,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path) -> Result<Vec<Token>, Unreadable> {
        self.files += 1;
        if self.files > FILES_MAX {
            return Err(refusal(path, format!("more than {FILES_MAX} files are imported")));
        }
        let name: Rc<str> = path.strip_prefix(&self.folder).unwrap_or(path).display().to_string().into();
        tokens(&name, &Rc::from(path), &environment::split(&files::read(path)?))
    }

    /// Adds words to all that were read, with what they import.
    fn expand(&mut self, words: Vec<Token>, depth: usize) -> Result<(), Unreadable> {
        let mut at = 0;
        while let Some(word) = words.get(at) {
            let next = words.get(at + 1);
            if self.nesting == 0 && word.is_first && is_snippet(&word.text) && next.is_some_and(Token::is_open) {
                let end = block_end(&words, at + 1).ok_or_else(|| unclosed(word))?;
                let name = word.text[1..word.text.len() - 1].to_owned();
                self.snippets.insert(name, words[at + 2..end].to_vec());
                at = end + 1;
            } else if word.is_first && word.text == "import" && next.is_some_and(|next| !next.is_first) {
                let line = line_end(&words, at);
                let has_block = words[line - 1].is_open();
                let end = if has_block { block_end(&words, line - 1).ok_or_else(|| unclosed(word))? } else { line - 1 };
                let args = &words[at + 2..if has_block { line - 1 } else { line }];
                let block = if has_block { words[line..end].to_vec() } else { Vec::new() };
                let given = Given { args: args.iter().map(|arg| arg.text.clone()).collect(), block };
                self.import(word, &words[at + 1], &given, depth + 1)?;
                at = end + 1;
            } else {
                self.add(word.clone())?;
                at += 1;
            }
        }
        Ok(())
    }

    fn add(&mut self, word: Token) -> Result<(), Unreadable> {
        match () {
            () if word.is_open() => self.nesting += 1,
            () if word.is_close() => self.nesting = self.nesting.saturating_sub(1),
            () => {}
        }
        self.bytes += word.text.len();
        if self.all.len() >= TOKENS_MAX || self.bytes > BYTES_MAX {
            return Err(refusal(&word.source, format!("imports make more than {TOKENS_MAX} words of this")));
        }
        self.all.push(word);
        Ok(())
    }

    fn import(&mut self, import: &Token, named: &Token, given: &Given, depth: usize) -> Result<(), Unreadable> {
        if depth > DEPTH_MAX {
            let message = format!("imports are deeper than {DEPTH_MAX}: does one import itself?");
            return Err(Unreadable { at: Some((import.place.line, 1)), ..refusal(&import.source, message) });
        }
        if let Some(snippet) = self.snippets.get(&named.text) {
            let words = snippet.clone();
            return self.expand(self.substituted(words, given)?, depth);
        }
        for path in self.paths(import, &named.text) {
            let words = self.file(&path)?;
            self.expand(self.substituted(words, given)?, depth)?;
        }
        Ok(())
    }

    /// The words with the arguments and blocks in their places.
    fn substituted(&self, words: Vec<Token>, given: &Given) -> Result<Vec<Token>, Unreadable> {
        let mut all: Vec<Token> = Vec::with_capacity(words.len());
        let mut bytes = self.bytes;
        for word in words {
            let from = all.len();
            match word.text.as_str() {
                "{block}" => all.extend(given.block.iter().cloned()),
                text if text.starts_with("{blocks.") && text.ends_with('}') => {
                    all.extend(named_block(&given.block, &text["{blocks.".len()..text.len() - 1]));
                }
                text => match range(text, given.args.len()) {
                    Some(range) => {
                        let more = given.args[range].iter();
                        all.extend(more.map(|arg| Token { text: arg.clone(), is_first: false, ..word.clone() }));
                    }
                    None => all.push(Token { text: arguments(text, &given.args), ..word.clone() }),
                },
            }
            if let Some(first) = all.get_mut(from) {
                first.is_first |= word.is_first;
            }
            bytes += all[from..].iter().map(|word| word.text.len()).sum::<usize>();
            if all.len() > TOKENS_MAX || bytes > BYTES_MAX {
                return Err(refusal(&word.source, format!("imports make more than {TOKENS_MAX} words of this")));
            }
        }
        if let Some(first) = all.first_mut() {
            first.is_first = true;
        }
        Ok(all)
    }

    /// The files that an import names, sorted.
    fn paths(&mut self, import: &Token, written: &str) -> Vec<PathBuf> {
        let path = import.source.parent().unwrap_or(Path::new("")).join(written);
        let is_pattern = written.contains(['*', '?', '[']);
        let found: Vec<PathBuf> = if is_pattern {
            glob::glob(&path.to_string_lossy()).map(|found| found.flatten().collect()).unwrap_or_default()
        } else {
            path.exists().then(|| path.clone()).into_iter().collect()
        };
        // Caddy passes over hidden files.
        let is_hidden = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let skips = Path::new(written).file_name().is_some_and(|name| name.to_string_lossy().starts_with('*'));
        let found: Vec<PathBuf> =
            found.into_iter().filter(|path| path.is_file() && !(skips && is_hidden(path))).collect();
        if found.is_empty() && !(is_pattern && path.parent().is_some_and(Path::is_dir)) {
            self.out.leave_out(LeftOut {
                place: import.place.clone(),
                directive: format!("import {written}"),
                why: "no snippet and no file here has this name, so what it says is unknown".to_owned(),
                what_to_do: "run `unstick import` where Caddy runs, or copy the file there".to_owned(),
                at: At::Top,
            });
        }
        found
    }
}

fn refusal(path: &Path, message: String) -> Unreadable {
    Unreadable { file: path.display().to_string(), at: None, message }
}

fn unclosed(word: &Token) -> Unreadable {
    let message = "this block is not closed".to_owned();
    Unreadable { at: Some((word.place.line, 1)), ..refusal(&word.source, message) }
}

fn is_snippet(text: &str) -> bool {
    text.len() > 2 && text.starts_with('(') && text.ends_with(')')
}

/// Where the line ends that a word belongs to: the first word of the next one.
fn line_end(words: &[Token], at: usize) -> usize {
    words.iter().skip(at + 1).position(|word| word.is_first).map_or(words.len(), |length| at + 1 + length)
}

/// The brace that closes the block which begins at a word.
fn block_end(words: &[Token], at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (index, word) in words.iter().enumerate().skip(at) {
        depth += usize::from(word.is_open());
        depth -= usize::from(word.is_close());
        if depth == 0 {
            return Some(index);
        }
    }
    None
}

/// The part of a block that has a name: `NAME { ... }`, or the rest of a line `NAME ...`.
fn named_block(block: &[Token], name: &str) -> Vec<Token> {
    let mut at = 0;
    while let Some(word) = block.get(at) {
        let line = line_end(block, at);
        let has_block = line > at + 1 && block[line - 1].is_open();
        let end = if has_block { block_end(block, line - 1).unwrap_or(block.len()) } else { line };
        if word.text == name {
            let args = &block[at + 1..if has_block { line - 1 } else { line }];
            let within = if has_block { &block[line..end.min(block.len())] } else { &[] };
            return [args, within].concat();
        }
        at = if has_block { end + 1 } else { end };
    }
    Vec::new()
}

/// `{args[1:]}`, which is as many words as there are arguments.
fn range(text: &str, count: usize) -> Option<std::ops::Range<usize>> {
    let (start, end) = text.strip_prefix("{args[")?.strip_suffix("]}")?.split_once(':')?;
    let number = |text: &str, default: usize| if text.is_empty() { Some(default) } else { text.parse().ok() };
    let (start, end) = (number(start, 0)?, number(end, count)?);
    (start <= end && end <= count).then_some(start..end)
}

/// The text with `{args[0]}` and the older `{args.0}` replaced. What is not given stays.
fn arguments(text: &str, args: &[String]) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("{args") {
        let Some(end) = rest[at..].find('}').map(|end| at + end) else { break };
        let inner = &rest[at + "{args".len()..end];
        let index = inner.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).or(inner.strip_prefix('.'));
        out.push_str(&rest[..at]);
        match index.and_then(|index| args.get(index.parse::<usize>().ok()?)) {
            Some(arg) => out.push_str(arg),
            None => out.push_str(&rest[at..=end]),
        }
        rest = &rest[end + 1..];
    }
    out + rest
}
