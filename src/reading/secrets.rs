//! What came from files of secrets. It is used as it is, and nobody may print it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use crate::value::quoted;

/// What stands in place of a secret.
pub const MASK: &str = "***";

/// The secrets of a config: texts that must not be printed.
///
/// All of them are equal, because they say how values are shown, and not what the values are.
#[derive(Clone, Default)]
pub struct Secrets(BTreeSet<String>);

impl Secrets {
    /// Adds a secret, also as it is written in TOML and in a path. A blank one cannot be told from other text.
    pub(crate) fn add(&mut self, secret: &str) {
        let written = quoted(secret);
        let written = &written[1..written.len() - 1];
        // Readers of values drop what surrounds them.
        for text in [secret, secret.trim(), written, &encoded(secret)] {
            if !text.trim().is_empty() {
                self.0.insert(text.to_owned());
            }
        }
    }

    /// These and the others.
    #[must_use]
    pub fn with(&self, others: &Self) -> Self {
        Self(self.0.union(&others.0).cloned().collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text with [`MASK`] in place of every secret, also of one whose letters are of the other case.
    pub fn mask(&self, text: &str) -> String {
        self.mask_all(text, false)
    }

    /// The same of a text of which `most` bytes were kept, or somewhat fewer for the sake of its last letter: if it may
    /// have been longer, the beginning of a secret is hidden at its end too.
    pub fn mask_cut(&self, text: &str, most: usize) -> String {
        self.mask_all(text, text.len() + char::MAX_LEN_UTF8 > most)
    }

    fn mask_all(&self, text: &str, is_cut: bool) -> String {
        let mut hidden: Vec<Range<usize>> = Vec::new();
        let lower = text.to_ascii_lowercase();
        for secret in &self.0 {
            let secret = secret.to_ascii_lowercase();
            hidden.extend(lower.match_indices(&secret).map(|(at, found)| at..at + found.len()));
            if is_cut {
                let mut ends = lower.char_indices().map(|(at, _)| at).skip_while(|at| at + secret.len() <= lower.len());
                hidden.extend(ends.find(|at| secret.starts_with(&lower[*at..])).map(|at| at..lower.len()));
            }
        }
        hidden.sort_by_key(|range| range.start);
        let (mut masked, mut at) = (String::with_capacity(text.len()), 0);
        for range in hidden {
            if range.start >= at {
                masked.push_str(&text[at..range.start]);
                masked.push_str(MASK);
            }
            // Where secrets overlap, all of them are hidden.
            at = at.max(range.end);
        }
        masked.push_str(&text[at..]);
        masked
    }
}

/// As a path has it: what no URL may contain is percent-encoded.
fn encoded(text: &str) -> String {
    let is_odd = |byte: u8| matches!(byte, b'"' | b'<' | b'>' | b'`') || !byte.is_ascii();
    let encode = |byte: u8| if is_odd(byte) { format!("%{byte:02X}") } else { char::from(byte).to_string() };
    text.trim().bytes().map(encode).collect()
}

impl PartialEq for Secrets {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

/// What became of the strings of a config that name something outside of it, by where each begins.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    places: BTreeMap<usize, (usize, Kind)>,
    /// The secrets among what was filled in.
    pub(crate) secrets: Secrets,
}

/// What was filled into a string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing secret.
    Plain,
    /// A secret; the text is how the string is shown instead.
    Secret(String),
    /// Nothing, for a reason that was reported. What else is wrong with the string follows from that.
    Broken,
}

impl Filled {
    /// Notes what was filled into the string at `span`.
    pub(crate) fn note(&mut self, span: &Range<usize>, kind: Kind) {
        self.places.insert(span.start, (span.end, kind));
    }

    /// What was filled into the string that `span` lies in.
    pub(crate) fn at(&self, span: &Range<usize>) -> Option<&Kind> {
        let (_, (end, kind)) = self.places.range(..=span.start).next_back()?;
        (span.start < *end).then_some(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown_in_any_spelling() {
        let mut secrets = Secrets::default();
        ["hunter2", "say \"a\\b\"\n", " ", "", "Abc", "bcd", "k<\u{fc}>"]
            .into_iter()
            .for_each(|secret| secrets.add(secret));
        for (text, expected) in [
            ("no", "no"),
            ("hunter2", "***"),
            ("a HUNTER2 b hunter2", "a *** b ***"),
            ("= \"say \\\"a\\\\b\\\"\\u000A\"", "= \"***\""),
            ("the abcd", "the ***"),
            ("/h?k=k%3C%C3%BC%3E", "/h?k=***"),
            ("é hunter2 é", "é *** é"),
            ("hunter2hunter2", "******"),
        ] {
            assert_eq!(secrets.mask(text), expected, "{text}");
        }
        assert_eq!(format!("{secrets:?}").matches("hunter").count(), 0);
    }

    #[test]
    fn no_beginning_of_a_secret_is_shown_at_the_end_of_what_was_cut() {
        let mut secrets = Secrets::default();
        ["hunter2\u{fc}\u{fc}x", "abab-c"].into_iter().for_each(|secret| secrets.add(secret));
        for (text, most, expected) in [
            ("key: hunter2", 12, "key: ***"),
            ("key: hunter2\u{fc}", 15, "key: ***"),
            ("key: HUNT", 9, "key: ***"),
            ("key: h", 6, "key: ***"),
            ("key: hunter2%C3%B", 17, "key: ***"),
            ("key: ababab", 11, "key: ab***"),
            ("key: hunter", 15, "key: hunter"),
            ("hunter, hunte-", 14, "hunter, hunte-"),
            ("hunter2\u{fc}\u{fc}x", 12, "***"),
            ("", 0, ""),
        ] {
            assert_eq!(secrets.mask_cut(text, most), expected, "{text}");
            assert_eq!(secrets.mask(text).contains("***"), text.ends_with('x'), "{text}");
        }
    }

    #[test]
    fn a_place_within_a_string_is_that_of_the_string() {
        let mut filled = Filled::default();
        filled.note(&(10..20), Kind::Broken);
        for (span, expected) in
            [(9..20, None), (10..20, Some(&Kind::Broken)), (19..40, Some(&Kind::Broken)), (20..21, None)]
        {
            assert_eq!(filled.at(&span), expected, "{span:?}");
        }
    }
}
