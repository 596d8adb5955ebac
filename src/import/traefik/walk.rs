//! Looks through the keys of a part for those that have no translation, or that nobody knows.

use super::Importer;
use super::node::{Data, Node};
use super::words::WORDS;
use crate::fate::Fate;
use crate::imported::{At, LeftOut};

/// A part of the configuration that is looked through.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// The names of its keys in [`WORDS`], as in `middlewares`.
    pub(super) words: String,
    /// As it was said, as in `http.middlewares.auth`.
    pub(super) said: String,
}

impl Part {
    pub(super) fn new(words: &str, said: impl Into<String>) -> Self {
        Self { words: words.to_owned(), said: said.into() }
    }

    fn inner(&self, key: &str) -> Self {
        let join = |path: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        Self { words: join(&self.words), said: join(&self.said) }
    }
}

impl Importer<'_> {
    /// Tells of the keys in `node` that are left out.
    pub(super) fn look_through(&mut self, node: &Node, part: &Part, at: &At) {
        for left in left_in(node, part, None) {
            self.out.leave_out(LeftOut { at: at.clone(), ..left });
        }
    }
}

/// The keys in `node` that are left out. `fallback` is the fate of those without a word of their own.
pub(super) fn left_in(node: &Node, part: &Part, fallback: Option<Fate>) -> Vec<LeftOut> {
    let mut found = Vec::new();
    for element in node.elements() {
        found.extend(left_in(element, part, fallback));
    }
    for (key, child) in node.entries() {
        let inner = part.inner(key);
        let is_outer = WORDS.iter().any(|word| begins_with(word.name, &inner.words));
        let known = fate_of(&inner.words);
        match (known, fallback) {
            _ if child.is_off() || matches!(child.data, Data::Null) && is_outer => {}
            (Some(Fate::Left(..) | Fate::Guard(..)), _) if is_outer => found.extend(left_in(child, &inner, known)),
            (None, _) if is_outer => found.extend(left_in(child, &inner, None)),
            (Some(Fate::Left(why, what_to_do)), _) | (None, Some(Fate::Left(why, what_to_do))) => {
                found.push(super::left(&child.place, inner.said, why, what_to_do));
            }
            (Some(Fate::Guard(why, what_to_do)), _) => {
                let why = format!("{why}; what it protects answers 403");
                found.push(super::left(&child.place, inner.said, why, what_to_do));
            }
            (Some(Fate::Taken(_) | Fate::Needless(_)), _) if !is_outer => {}
            (Some(_), _) => found.extend(left_in(child, &inner, None)),
            _ => {
                let why = "the importer does not know this key";
                found.push(super::left(&child.place, inner.said, why, "see what it does, and whether unstick has it"));
            }
        }
    }
    found
}

/// What becomes of a key.
pub(super) fn fate_of(words: &str) -> Option<Fate> {
    WORDS.iter().find(|word| word.name.eq_ignore_ascii_case(words)).map(|word| word.fate)
}

/// Whether a word is one of those in `outer`.
fn begins_with(word: &str, outer: &str) -> bool {
    let begin = word.get(..outer.len());
    begin.is_some_and(|begin| begin.eq_ignore_ascii_case(outer)) && word[outer.len()..].starts_with('.')
}
