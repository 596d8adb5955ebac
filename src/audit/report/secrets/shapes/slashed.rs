//! Random strings with slashes in them, as standard base64 has them (RFC 4648, section 4), told apart from paths.
//!
//! What stands between two slashes is a word or it is not. Paths are made of words: `orders`, `v1`, `AppShell`, `2026`.
//! What is no word, with the next that is none, makes a string that may look random.

use std::ops::Range;

use regex::Regex;

use super::{Pattern, RANDOM_MIN, is_random, pieces};

/// Words of at most so many characters may stand in the middle of a random string.
const WORD_INSIDE_MAX: usize = 4;
/// And of so many at its ends.
const WORD_BESIDE_MAX: usize = 3;
/// Words that are shorter may be of several pieces, as `v2` is.
const SHORT: usize = 6;
/// The pieces of longer words have more characters than this on average, times two: those of `getUserById` have 2.75.
const PIECE_LENGTH_TWOFOLD: usize = 5;

static RUN: Pattern = Pattern::new(|| Regex::new(r"[A-Za-z0-9+/_~-]{16,}={0,2}").ok());
static WORD: Pattern = Pattern::new(|| {
    let word = "(?:[A-Z]?[a-z]+|[A-Z]+)(?:[-_~]?(?:[A-Z]?[a-z]{2,}|[A-Z]{2,}))*(?:[-_~]?[0-9]+)*";
    Regex::new(&format!("^(?:{word}|[0-9]+(?:[-_~][0-9]+)*)?$")).ok()
});

/// Where such strings stand in a text.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    let runs = RUN.iter().flat_map(|run| run.find_iter(text)).filter(|run| run.as_str().contains('/'));
    runs.flat_map(|run| {
        let found =
            if is_padded(text, run.range()) { std::iter::once(0..run.len()).collect() } else { of_run(run.as_str()) };
        found.into_iter().map(move |span| run.start() + span.start..run.start() + span.end)
    })
    .collect()
}

/// Whether it ends as only base64 does: four characters encode three bytes, and `=` fills up.
fn is_padded(text: &str, run: Range<usize>) -> bool {
    let is_whole = !text[run.end..].starts_with(|next: char| next.is_alphanumeric());
    is_whole && text[run.clone()].ends_with('=') && run.len().is_multiple_of(4) && run.len() >= RANDOM_MIN
}

/// The random strings of a run of characters that base64 or a path may have.
fn of_run(run: &str) -> Vec<Range<usize>> {
    let parts = parts(run);
    let odd: Vec<usize> = (0..parts.len()).filter(|at| !is_word(&run[parts[*at].clone()])).collect();
    let is_near = |one: &usize, next: &usize| parts[one + 1..*next].iter().all(|part| part.len() <= WORD_INSIDE_MAX);
    let strings = odd.chunk_by(is_near).filter_map(|group| Some(whole(&parts, *group.first()?, *group.last()?)));
    strings.filter(|string| is_random(&run[string.clone()])).collect()
}

fn is_word(part: &str) -> bool {
    let is_word = WORD.as_ref().is_some_and(|word| word.is_match(part));
    is_word && (part.len() < SHORT || part.len() * 2 > pieces(part) * PIECE_LENGTH_TWOFOLD)
}

/// What stands between the slashes.
fn parts(run: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    let part = |part: &str| {
        let range = start..start + part.len();
        start = range.end + 1;
        range
    };
    run.split('/').map(part).collect()
}

/// From the first to the last part of a string, with short words beside it; but a path begins with one.
fn whole(parts: &[Range<usize>], mut first: usize, mut last: usize) -> Range<usize> {
    let is_path = parts.first().is_some_and(Range::is_empty);
    while !is_path && first > 0 && parts[first - 1].len() <= WORD_BESIDE_MAX {
        first -= 1;
    }
    while parts.get(last + 1).is_some_and(|next| next.len() <= WORD_BESIDE_MAX) {
        last += 1;
    }
    parts[first].start..parts[last].end
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

    use super::*;

    /// Of how many of a thousand tokens half stays in one piece.
    fn left_of_thousand(bytes: usize, encode: impl Fn(&[u8]) -> String) -> usize {
        let mut random = fastrand::Rng::with_seed(7);
        let tokens = (0..).map(|_| encode(&std::iter::repeat_with(|| random.u8(..)).take(bytes).collect::<Vec<_>>()));
        let is_left = |token: &String| {
            let said = format!("it says \"{token}\" here");
            let clean = super::super::super::masked(&said, super::super::find(&said));
            let mut halves = (0..=token.len() / 2).map(|start| &token[start..start + token.len() / 2]);
            halves.any(|half| clean.contains(half))
        };
        tokens.filter(|token| token.contains('/')).take(1000).filter(is_left).count()
    }

    #[test]
    fn tokens_of_standard_base64_are_hidden() {
        for (bytes, padded, bare) in [(16, 0, 80), (32, 0, 10), (64, 0, 5)] {
            let left = left_of_thousand(bytes, |token| STANDARD.encode(token));
            assert!(left <= padded, "{left} of 1000 tokens of {bytes} bytes");
            let left = left_of_thousand(bytes, |token| STANDARD_NO_PAD.encode(token));
            assert!(left <= bare, "{left} of 1000 tokens of {bytes} bytes without padding");
        }
    }

    #[test]
    fn a_path_is_left_but_for_what_is_random_in_it() {
        for (text, hidden) in [
            ("/api/users/9f86d081884c7d65/orders", vec!["9f86d081884c7d65"]),
            ("/a/q7Hs2LkPz/W0vXn4TgYb8/orders", vec!["q7Hs2LkPz/W0vXn4TgYb8"]),
            ("say q7Hs2LkPz/ab/W0vXn4TgYb8/a1 now", vec!["q7Hs2LkPz/ab/W0vXn4TgYb8/a1"]),
            ("/q7Hs2LkPz/customers/W0vXn4TgYb8", Vec::new()),
            ("/orders/A1/items/B2/C3/D4", Vec::new()),
        ] {
            assert_eq!(find(text).into_iter().map(|span| &text[span]).collect::<Vec<_>>(), hidden, "{text}");
        }
    }
}
