//! Strings that look like secrets, wherever they stand: JWTs, UUIDs and long random strings, with slashes in them too.

mod slashed;

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

/// Strings that are tried for randomness have at least so many characters.
const RANDOM_MIN: usize = 16;

/// In a random string of lower-case letters and digits at least one neighbour in so many is of the other kind.
const DIGIT_CHANGES: usize = 4;

/// Words have fewer digits than this, and dates fewer changes between digits and letters.
const DIGITS_MIN: usize = 4;

/// In a random string words (with or without a capital), capitals and digits have at most so many characters each, on
/// average. In `camelCase` they have more.
const PIECE_LENGTH: usize = 3;

/// The hexadecimal digits of a digest of 64 bits.
const DIGEST_LENGTH: usize = 16;

/// One that is compiled once. The patterns are constants, so they compile.
type Pattern = LazyLock<Option<Regex>>;

static JWT: Pattern = LazyLock::new(|| Regex::new(r"\beyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){0,4}").ok());
static UUID: Pattern =
    LazyLock::new(|| Regex::new(r"(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4,12}").ok());
/// What makers of tokens put before them, so that they are recognised.
static PREFIXED: Pattern = LazyLock::new(|| {
    let prefix =
        "AKIA|ASIA|AIza|gh[pousr]_|github_pat_|glpat-|xox[abprs]-|[rs]k_(?:live|test)_|whsec_|npm_|hf_|dop_v1_";
    Regex::new(&format!(r"\b(?:{prefix})[A-Za-z0-9_-]{{4,}}")).ok()
});
static PIECE: Pattern = LazyLock::new(|| Regex::new("[A-Z]?[a-z]+|[A-Z]+|[0-9]+").ok());
static TOKEN: Pattern = LazyLock::new(|| Regex::new(r"[A-Za-z0-9+_~-]{16,}={0,2}").ok());

/// Where such strings stand in a text.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    let all = |pattern: &'static Pattern| pattern.iter().flat_map(|pattern| pattern.find_iter(text));
    let random = all(&TOKEN).filter(|found| is_random(found.as_str()));
    let found = all(&JWT).chain(all(&UUID)).chain(all(&PREFIXED)).chain(random).map(|found| found.range());
    found.chain(slashed::find(text)).filter(|span| !is_digest(text, span)).collect()
}

/// Whether a span is the digest of a long body, as outcomes name it: `1048576 bytes, 9f86d081884c7d65`.
fn is_digest(text: &str, span: &Range<usize>) -> bool {
    span.len() == DIGEST_LENGTH && text[..span.start].ends_with(" bytes, ")
}

/// Whether a string looks as if nobody had chosen it: letters and digits, or small and large letters, follow one
/// another more often than in words, numbers and dates.
fn is_random(token: &str) -> bool {
    let token: String = token.chars().filter(char::is_ascii_alphanumeric).collect();
    if token.len() < RANDOM_MIN {
        return false;
    }
    let digits = token.bytes().filter(u8::is_ascii_digit).count();
    let is_change = |pair: &&[u8]| pair[0].is_ascii_digit() != pair[1].is_ascii_digit();
    let changes = token.as_bytes().windows(2).filter(is_change).count();
    (digits >= DIGITS_MIN && changes >= DIGITS_MIN && changes * DIGIT_CHANGES >= token.len())
        || token.len() <= pieces(&token) * PIECE_LENGTH
}

/// How many words with or without a capital, capitals, and digits there are.
fn pieces(token: &str) -> usize {
    PIECE.iter().flat_map(|piece| piece.find_iter(token)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_random_is_found_and_what_people_write_is_not() {
        let random = [
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1LTcifQ.c2lnbmF0dXJl",
            "eyJhbGciOiJIUzI1NiJ9.eyJz",
            "6f1c2a34-9b1d-4c55-8f0e-0a1b2c3d4e5f",
            "9f86d081884c7d659a2feaa0c55ad015",
            "q7Hs2LkPzW0vXn4TgYb8",
            "kZQwErTyUiOpAsDfGhJk",
            "aGVsbG8gd29ybGQgaGVsbG8=",
            "q7Hs2LkPz/W0vXn4TgYb8",
            "AKIAIOSFODNN7EXAMPLE",
            "ghp_abcdefghijklmnop",
            "xoxb-1111",
            "sk_live_words",
        ];
        let plain = [
            "getElementByIdAndReturnTheValue",
            "a-journey-with-many-words-2-and-3",
            "internationalization",
            "2026-11-27T21:40:14",
            "20261127T214014Z",
            "application/x-www-form-urlencoded",
            "12345678901234567890",
            "must-revalidate",
            "express-session",
            "ABCDEFGHIJKLMNOPQRSTUVW",
            "content-security-policy-report-only",
            "/api/v1/customers/2026/orders/42",
            "as_it_is_so_it_is_to_be_or_not",
            "/u/1/o/2/p/3/q/4/r/5/s/6/t/7",
            "/static/js/chunk-2f/AppShellMainView/v2",
            "/rest/v2.1/getUserById/ABC123/items/x9",
            "/wp-content/uploads/2026/11/IMG_20261128_WA0001.jpg",
            "text/html;q=0.9,application/xhtml+xml",
            "/Users/Me/Documents/Work/IO",
            "MAX_CONNECTIONS_PER_ADDRESS",
            "1048576 bytes, 9f86d081884c7d65",
        ];
        assert_eq!(random.iter().filter(|text| find(text).is_empty()).collect::<Vec<_>>(), Vec::<&&str>::new());
        assert_eq!(plain.iter().filter(|text| !find(text).is_empty()).collect::<Vec<_>>(), Vec::<&&str>::new());
    }
}
