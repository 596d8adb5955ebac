//! The problems of a file, or of several that are read as one: all at once, each with its place.

use std::cell::{Ref, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::hidden::without_tokens;
use crate::secrets::{Filled, Kind, Secrets};
use crate::sources::Sources;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// Line, counted from 1; 0 if the problem has no place in the text.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// The problem.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where it is in the text of the file.
    span: Option<Range<usize>>,
}

/// Everything that is wrong with one file and those that it includes. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    file: String,
    /// The texts of the files that have problems, by the names of these. Nobody is shown a token in them.
    texts: BTreeMap<String, String>,
    list: Vec<Problem>,
}

impl Problems {
    /// A problem with the file as a whole.
    pub fn of_file(file: &str, message: String, help: &str) -> Self {
        let file = file.to_owned();
        let problem =
            Problem { file: file.clone(), line: 0, column: 0, message, help: Some(help.to_owned()), span: None };
        Self { file, texts: BTreeMap::new(), list: vec![problem] }
    }

    /// The problems in the order of the files.
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
            if let (Some(span), Some(text)) = (&problem.span, self.texts.get(&problem.file)) {
                let annotation = AnnotationKind::Primary.span(span.clone());
                let annotation = annotation.label(problem.help.as_deref());
                group = group.element(Snippet::source(text.as_str()).path(&*problem.file).annotation(annotation));
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
        format!("{}{place}: {}{help}{more}", first.file, first.message)
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

/// Collects problems while a file, and what it includes, is read.
#[derive(Debug)]
pub struct Sink<'t> {
    sources: Sources<'t>,
    list: RefCell<Vec<Found>>,
    /// See [`Synonyms`].
    pub(crate) synonyms: Synonyms,
    /// See [`Sink::advised_by`].
    pub(crate) advice: fn(&str) -> Option<&'static str>,
    /// See [`Self::into_known`].
    pub(crate) known: RefCell<BTreeSet<String>>,
    /// What was filled into the strings.
    pub(crate) filled: RefCell<Filled>,
    /// The values that are paths, by where they begin, and what each means.
    pub(crate) paths: RefCell<BTreeMap<usize, PathBuf>>,
}

/// Something that is wrong, at a place in all of the files.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    span: Range<usize>,
    message: String,
    help: Option<String>,
}

impl<'t> Sink<'t> {
    /// For the problems of `text`, which messages call `file`.
    pub fn new(file: &'t str, text: &'t str, synonyms: Synonyms) -> Self {
        Self {
            sources: Sources::new(file, text),
            list: RefCell::default(),
            synonyms,
            advice: |_| None,
            known: RefCell::default(),
            filled: RefCell::default(),
            paths: RefCell::default(),
        }
    }

    /// Says something else of some unknown keys than which are known.
    #[must_use]
    pub fn advised_by(self, advice: fn(&str) -> Option<&'static str>) -> Self {
        Self { advice, ..self }
    }

    /// Adds a file that is read as a part of the first one.
    pub fn add(&mut self, file: &'t str, text: &'t str) {
        self.sources.add(file, text);
    }

    /// The text of a file, and the offset where it begins.
    pub(crate) fn source(&self, nth: usize) -> (&'t str, usize) {
        let source = self.sources.nth(nth);
        (source.text, source.start)
    }

    /// The text at `span`, as it is written.
    pub(crate) fn text_at(&self, span: &Range<usize>) -> &'t str {
        let source = self.sources.of(span.start);
        source.text.get(source.clipped(span)).unwrap_or_default()
    }

    /// Reports what is wrong with the text at `span`. What may hold a secret is not said.
    pub fn report(&self, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        match self.filled.borrow().at(&span) {
            Some(Kind::Secret(_)) => {
                let message = "this value is not valid; it is not shown, because a secret is part of it";
                return self.push(span, message.to_owned(), None);
            }
            Some(Kind::Broken) => return,
            Some(Kind::Plain) | None => {}
        }
        let secrets = &self.filled.borrow().secrets;
        self.push(span, secrets.mask(&message.into()), help.map(|help| secrets.mask(&help)));
    }

    /// As [`Self::report`], for a message that holds nothing of the value.
    pub(crate) fn report_plain(&self, span: Range<usize>, message: String, help: Option<String>) {
        if self.filled.borrow().at(&span) != Some(&Kind::Broken) {
            self.push(span, message, help);
        }
    }

    fn push(&self, span: Range<usize>, message: String, help: Option<String>) {
        let (message, help) = (printable(&message), help.as_deref().map(printable));
        self.list.borrow_mut().push(Found { span, message, help });
    }

    /// Line and column of a place in its file, both counted from 1.
    pub fn place(&self, offset: usize) -> (usize, usize) {
        self.sources.of(offset).place(offset)
    }

    /// The line of a place, for a message about another place: with its file, if that is another one.
    pub fn line_seen_from(&self, offset: usize, from: usize) -> String {
        let (there, here) = (self.sources.of(offset), self.sources.of(from));
        let line = there.place(offset).0;
        if there.start == here.start { format!("line {line}") } else { format!("line {line} of {}", there.name) }
    }

    /// The name of the file that has this place.
    pub fn file_of(&self, offset: usize) -> &'t str {
        self.sources.of(offset).name
    }

    /// The folder of the file that has this place: where relative paths begin.
    pub fn folder_of(&self, offset: usize) -> &'t Path {
        self.sources.of(offset).folder()
    }

    /// Notes that the value at `span` is a path, and which one it means.
    pub fn note_path(&self, span: &Range<usize>, path: &Path) {
        self.paths.borrow_mut().insert(span.start, path.to_owned());
    }

    /// Whether a secret is part of the value at `span`.
    pub fn is_secret(&self, span: &Range<usize>) -> bool {
        matches!(self.filled.borrow().at(span), Some(Kind::Secret(_)))
    }

    /// Whether something was filled into the string at `span`.
    pub(crate) fn is_filled(&self, span: &Range<usize>) -> bool {
        self.filled.borrow().at(span).is_some()
    }

    /// The secrets that were filled in so far.
    pub fn secrets(&self) -> Ref<'_, Secrets> {
        Ref::map(self.filled.borrow(), |filled| &filled.secrets)
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

    /// The problems in the order of the files, each once.
    pub fn into_problems(self) -> Problems {
        let (sources, mut list) = (self.sources, self.list.into_inner());
        list.sort_by_key(|found| found.span.start);
        list.dedup();
        let mut texts = BTreeMap::new();
        let problem = |Found { span, message, help }| {
            let source = sources.of(span.start);
            let (line, column) = source.place(span.start);
            texts.entry(source.name.to_owned()).or_insert_with(|| without_tokens(source.text));
            let (file, span) = (source.name.to_owned(), Some(source.clipped(&span)));
            Problem { file, line, column, message, help, span }
        };
        let list = list.into_iter().map(problem).collect();
        Problems { file: sources.nth(0).name.to_owned(), texts, list }
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
