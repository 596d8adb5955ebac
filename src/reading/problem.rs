//! The problems of a file: all at once, each with its place.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, counted from 1; 0 if the problem has no place in the text.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// The problem.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    span: Option<Range<usize>>,
}

/// Everything that is wrong with one file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    file: String,
    text: String,
    list: Vec<Problem>,
}

impl Problems {
    /// A problem with the file as a whole.
    pub fn of_file(file: &str, message: String, help: &str) -> Self {
        let problem = Problem { line: 0, column: 0, message, help: Some(help.to_owned()), span: None };
        Self { file: file.to_owned(), text: String::new(), list: vec![problem] }
    }

    /// The problems in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// All of them with their lines, for a person.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for problem in &self.list {
            let mut group = Group::with_title(Level::ERROR.primary_title(problem.message.as_str()));
            if let Some(span) = &problem.span {
                let annotation = AnnotationKind::Primary.span(span.clone());
                let annotation = annotation.label(problem.help.as_deref());
                group = group.element(Snippet::source(self.text.as_str()).path(&*self.file).annotation(annotation));
            } else if let Some(help) = &problem.help {
                group = group.element(Level::HELP.message(help.as_str()));
            }
            out.push_str(&renderer.render(&[group]));
            out.push_str("\n\n");
        }
        let count = self.list.len();
        out.push_str(&format!("{}: {count} problem{}", self.file, if count == 1 { "" } else { "s" }));
        out
    }

    /// The first of them in one line, and how many more there are, for a log.
    pub fn one_line(&self) -> String {
        let Some(first) = self.list.first() else { return self.file.clone() };
        let place = if first.line == 0 { String::new() } else { format!(":{}:{}", first.line, first.column) };
        let help = first.help.as_ref().map(|help| format!(", {help}")).unwrap_or_default();
        let more = match self.list.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        format!("{}{place}: {}{help}{more}", self.file, first.message)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}

/// Spellings of keys from other products, and what they are called here.
pub type Synonyms = &'static [(&'static str, &'static str)];

/// Collects problems while a file is read.
#[derive(Debug)]
pub struct Sink<'t> {
    file: &'t str,
    text: &'t str,
    /// Where each line begins.
    lines: Vec<usize>,
    list: RefCell<Vec<Problem>>,
    /// See [`Synonyms`].
    pub(crate) synonyms: Synonyms,
    /// See [`Sink::advised_by`].
    pub(crate) advice: fn(&str) -> Option<&'static str>,
    /// See [`Self::into_known`].
    pub(crate) known: RefCell<BTreeSet<String>>,
}

impl<'t> Sink<'t> {
    /// For the problems of `text`, which messages call `file`.
    pub fn new(file: &'t str, text: &'t str, synonyms: Synonyms) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file, text, lines, list: RefCell::default(), synonyms, advice: |_| None, known: RefCell::default() }
    }

    /// Says something else of some unknown keys than which are known.
    #[must_use]
    pub fn advised_by(self, advice: fn(&str) -> Option<&'static str>) -> Self {
        Self { advice, ..self }
    }

    /// Reports what is wrong with the text at `span`.
    pub fn report(&self, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        let end = span.end.min(self.text.len());
        let start = span.start.min(end);
        let (line, column) = self.place(start);
        let (message, help) = (printable(&message.into()), help.as_deref().map(printable));
        let problem = Problem { line, column, message, help, span: Some(start..end) };
        self.list.borrow_mut().push(problem);
    }

    /// Line and column of a byte offset, both counted from 1.
    pub fn place(&self, offset: usize) -> (usize, usize) {
        let offset = if self.text.is_char_boundary(offset) { offset } else { self.text.len() };
        let line = self.lines.partition_point(|start| *start <= offset);
        let line_start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        (line, self.text[line_start..offset].chars().count() + 1)
    }

    /// The folder of the file: where relative paths in it begin.
    pub fn folder(&self) -> &'t Path {
        Path::new(self.file).parent().unwrap_or(Path::new(""))
    }

    /// Whether nothing is wrong so far.
    pub fn is_clean(&self) -> bool {
        self.list.borrow().is_empty()
    }

    /// How many things are wrong so far.
    pub fn count(&self) -> usize {
        self.list.borrow().len()
    }

    /// Every key that was looked for, as `section.key`, whether it was there or not.
    pub fn into_known(self) -> BTreeSet<String> {
        self.known.into_inner()
    }

    /// The problems in the order of the file, each once.
    pub fn into_problems(self) -> Problems {
        let mut list = self.list.into_inner();
        list.sort_by_key(|problem| problem.span.as_ref().map_or(0, |span| span.start));
        list.dedup();
        Problems { file: self.file.to_owned(), text: self.text.to_owned(), list }
    }
}

/// Messages quote the file, and a log line or a terminal must not obey what it says: control characters are escaped.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// The one of `known` that `word` was probably meant to be.
pub fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let scored = known.map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate));
    let (distance, candidate) = scored.min()?;
    // A one-letter name is one edit away from every other.
    (distance <= 1 + candidate.len() / 4 && distance < candidate.len()).then_some(candidate)
}

/// "did you mean", if one of `known` is near.
pub fn did_you_mean<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<String> {
    nearest(word, known).map(|candidate| format!("did you mean `{candidate}`?"))
}
