//! Strings that are known to be secrets, wherever they stand: whole, cut, percent-encoded, in base64, in JSON, in HTML.
//!
//! Of each way to write a secret, all pieces of [`PIECE`] bytes are kept in a table. A text is searched in one pass:
//! where a piece of it is in the table there is a part of a secret, however it was cut.

use std::collections::HashSet;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The bytes of a piece. Shorter secrets are found as whole words only.
const PIECE: usize = 8;

/// Shorter secrets, such as `1`, are looked for in outcomes only: elsewhere they would hide what is meant.
const WORD_MIN: usize = 4;

/// A secret that is cut at the end or at the beginning of a text is found from this length on.
const STUMP_MIN: usize = 4;

/// Secrets longer than this are known by their beginning: a file that was uploaded is no table.
const SECRET_MAX: usize = 8 * 1024;

/// How much of the word around a part of a secret is hidden with it, on each side.
const REST_MAX: usize = 256;

/// What stands at the end of a text that was cut.
const ELLIPSES: [&str; 2] = ["…", "..."];

/// Strings that are known to be secrets.
#[derive(Debug, Default)]
pub(super) struct Known {
    seen: HashSet<String>,
    pieces: HashSet<[u8; PIECE]>,
    /// Ways to write secrets of at least [`PIECE`] bytes.
    long: Vec<String>,
    /// Ways to write shorter ones, down to [`WORD_MIN`].
    words: Vec<String>,
    /// Those that are shorter still.
    tiny: Vec<String>,
}

impl Known {
    /// Remembers a secret and all ways to write it.
    pub(super) fn add(&mut self, secret: &str) {
        let secret = secret.trim();
        let end = (0..=secret.len().min(SECRET_MAX)).rev().find(|end| secret.is_char_boundary(*end));
        let secret = &secret[..end.unwrap_or_default()];
        if secret.is_empty() || secret.contains(super::MASK) || !self.seen.insert(secret.to_owned()) {
            return;
        }
        for way in ways(secret) {
            match way.len() {
                PIECE.. => {
                    self.pieces
                        .extend(way.as_bytes().windows(PIECE).filter_map(|piece| <[u8; PIECE]>::try_from(piece).ok()));
                    self.long.push(way);
                }
                WORD_MIN.. => self.words.push(way),
                // One byte in base64 or hex is any two characters.
                _ if way == secret => self.tiny.push(way),
                _ => {}
            }
        }
    }

    /// Where secrets and parts of them stand in a text, each with the rest of the word it stands in.
    pub(super) fn find(&self, text: &str) -> Vec<Range<usize>> {
        let mut spans = Vec::new();
        for (place, piece) in text.as_bytes().windows(PIECE).enumerate() {
            if <[u8; PIECE]>::try_from(piece).is_ok_and(|piece| self.pieces.contains(&piece)) {
                add_span(&mut spans, whole_word(text, place..place + PIECE));
            }
        }
        self.words.iter().for_each(|word| spans.extend(as_words(text, word)));
        spans.extend(self.stump_at_end(text));
        spans.extend(self.stump_at_beginning(text));
        spans
    }

    /// Where very short secrets stand as words, but for the first line, which has the status.
    pub(super) fn find_tiny(&self, text: &str) -> Vec<Range<usize>> {
        let body = text.find('\n').unwrap_or(0);
        self.tiny.iter().flat_map(|word| as_words(text, word)).filter(|span| span.start >= body).collect()
    }

    /// The beginning of a secret with which a text ends.
    fn stump_at_end(&self, text: &str) -> Option<Range<usize>> {
        let end = ELLIPSES.iter().fold(text, |text, ellipsis| text.strip_suffix(ellipsis).unwrap_or(text));
        let is_stump = |way: &&String, length: usize| {
            let before = end.len().checked_sub(length);
            before.is_some_and(|before| {
                way.as_bytes()[..length] == end.as_bytes()[before..] && is_word_start(end, before)
            })
        };
        let lengths = (STUMP_MIN..PIECE).rev();
        let mut found = lengths.filter(|length| self.long.iter().any(|way| is_stump(&way, *length)));
        found.next().map(|length| widened(text, end.len() - length..end.len()))
    }

    /// The end of a secret with which a text begins.
    fn stump_at_beginning(&self, text: &str) -> Option<Range<usize>> {
        let rest = ELLIPSES.iter().fold(text, |text, ellipsis| text.strip_prefix(ellipsis).unwrap_or(text));
        let start = text.len() - rest.len();
        let is_stump = |way: &&String, length: usize| {
            rest.len() >= length
                && way.as_bytes()[way.len() - length..] == rest.as_bytes()[..length]
                && is_word_end(rest, length)
        };
        let lengths = (STUMP_MIN..PIECE).rev();
        let mut found = lengths.filter(|length| self.long.iter().any(|way| is_stump(&way, *length)));
        found.next().map(|length| widened(text, start..start + length))
    }
}

/// All ways to write a secret.
fn ways(secret: &str) -> Vec<String> {
    let percent = percent_encoded(secret, |byte| format!("%{byte:02X}"));
    // Some encoders leave no byte as it is.
    let bytewise = |one: fn(u8) -> String| secret.bytes().map(one).collect::<String>();
    let charwise = |one: fn(u32) -> String| secret.chars().map(|character| one(character.into())).collect::<String>();
    let mut ways = vec![
        secret.to_owned(),
        percent_encoded(secret, |byte| format!("%{byte:02x}")),
        percent_encoded(secret, |byte| if byte == b' ' { "+".to_owned() } else { format!("%{byte:02X}") }),
        percent.replace('%', "%25"),
        percent,
        percent_decoded(secret),
        serde_json::to_string(secret).unwrap_or_default().trim_matches('"').to_owned(),
        super::super::html::escaped(secret),
        bytewise(|byte| format!("{byte:02x}")),
        bytewise(|byte| format!("{byte:02X}")),
        bytewise(|byte| format!("%{byte:02x}")),
        bytewise(|byte| format!("%{byte:02X}")),
        bytewise(|byte| format!("{byte:02x}:")),
        bytewise(|byte| format!("\\x{byte:02x}")),
        charwise(|character| format!("&#{character};")),
        charwise(|character| format!("&#x{character:x};")),
        charwise(|character| format!("\\u{character:04x}")),
    ];
    ways.extend((0..3).flat_map(|offset| in_base64(secret.as_bytes(), offset)));
    ways.sort();
    ways.dedup();
    ways.retain(|way| !way.is_empty());
    ways
}

/// What base64 of a text has in common, whatever stands around the secret, if `offset` bytes of a group stand before
/// it.
fn in_base64(secret: &[u8], offset: usize) -> [String; 2] {
    let padded = [&[0; 2][..offset], secret].concat();
    // A character that has bits of a neighbour is not known.
    let first = (offset * 8).div_ceil(6);
    let end = padded.len() * 8 / 6;
    let part = |text: String| text.get(first..end).unwrap_or_default().to_owned();
    [part(STANDARD_NO_PAD.encode(&padded)), part(URL_SAFE_NO_PAD.encode(&padded))]
}

fn percent_encoded(text: &str, encode: fn(u8) -> String) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => encode(byte),
    };
    text.bytes().map(one).collect()
}

fn percent_decoded(text: &str) -> String {
    let (bytes, mut decoded, mut place) = (text.as_bytes(), Vec::new(), 0);
    while let Some(byte) = bytes.get(place) {
        let digits = text.get(place + 1..place + 3).filter(|_| *byte == b'%');
        let escape = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(escape.unwrap_or(*byte));
        place += if escape.is_some() { 3 } else { 1 };
    }
    String::from_utf8(decoded).unwrap_or_default()
}

/// Where a string stands as a word of its own.
fn as_words(text: &str, word: &str) -> Vec<Range<usize>> {
    let all = text.match_indices(word).map(|(start, found)| start..start + found.len());
    all.filter(|span| is_word_start(text, span.start) && is_word_end(text, span.end)).collect()
}

fn is_word_start(text: &str, place: usize) -> bool {
    text.get(..place).is_some_and(|before| !before.ends_with(char::is_alphanumeric))
}

fn is_word_end(text: &str, place: usize) -> bool {
    text.get(place..).is_some_and(|after| !after.starts_with(char::is_alphanumeric))
}

/// Adds a span; one that touches the last one makes that one longer.
fn add_span(spans: &mut Vec<Range<usize>>, span: Range<usize>) {
    match spans.last_mut().filter(|last| span.start <= last.end && last.start <= span.start) {
        Some(last) => last.end = last.end.max(span.end),
        None => spans.push(span),
    }
}

/// A span with the rest of the word it stands in, so that no stump of a secret is left beside it.
fn whole_word(text: &str, span: Range<usize>) -> Range<usize> {
    let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'_' | b'-' | b'~');
    let bytes = text.as_bytes();
    let before = bytes[..span.start].iter().rev().take(REST_MAX).take_while(|byte| is_of_word(byte)).count();
    let after = bytes[span.end..].iter().take(REST_MAX).take_while(|byte| is_of_word(byte)).count();
    widened(text, span.start - before..span.end + after)
}

/// A span that begins and ends between characters.
fn widened(text: &str, span: Range<usize>) -> Range<usize> {
    let start = (0..=span.start).rev().find(|place| text.is_char_boundary(*place)).unwrap_or(0);
    let end = (span.end..=text.len()).find(|place| text.is_char_boundary(*place)).unwrap_or(text.len());
    start..end
}
