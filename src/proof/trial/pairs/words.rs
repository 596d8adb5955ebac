//! Words of a text, and which of them differ between two runs on one replica. Pure.
//!
//! Two texts are aligned by what they have in common, so that only what really differs is left out of a comparison, and
//! not what stands between two words that do.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use similar::{Algorithm, DiffTag, capture_diff_slices};

/// Words of the one times words of the other that are aligned at most. Of more, all count as replaced.
const ALIGNED_MAX: usize = 1 << 22;

/// Which words of a text differ from run to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changing {
    /// Words that come out otherwise, or not at all.
    words: BTreeSet<usize>,
    /// Places, named by the word behind them, where other texts have more words or fewer.
    places: BTreeSet<usize>,
}

/// Words of one text, and those that stand for them in another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edit {
    old: Range<usize>,
    new: Range<usize>,
}

impl Changing {
    /// What differs between two texts, counted in the first.
    pub(super) fn between(one: &[&str], other: &[&str]) -> Self {
        let aligned = Self::of(&edits(one, other));
        let Some(paired) = paired(one, other) else { return aligned };
        if paired.len() <= aligned.words.len() { Self { words: paired, places: BTreeSet::new() } } else { aligned }
    }

    fn of(edits: &[Edit]) -> Self {
        let mut changing = Self::default();
        for edit in edits {
            changing.words.extend(edit.old.clone());
            if edit.old.len() != edit.new.len() {
                changing.places.extend(edit.old.start..=edit.old.end);
            }
        }
        // What comes in at one place and goes at another moves all between them, as in a list of the latest ten.
        let come = edits.iter().filter(|edit| edit.old.is_empty()).map(|edit| edit.old.start);
        let gone = edits.iter().filter(|edit| edit.new.is_empty()).map(|edit| edit.old.clone());
        if let (Some(come), Some(gone)) = (ends(come.map(|at| at..at)), ends(gone)) {
            let moved = come.start.min(gone.start)..come.end.max(gone.end);
            changing.words.extend(moved.clone());
            changing.places.extend(moved.start..=moved.end);
        }
        changing
    }

    /// Adds what differs between the same first text and another one.
    pub(super) fn merge(&mut self, other: &Self) {
        self.words.extend(&other.words);
        self.places.extend(&other.places);
    }

    /// The first difference between two texts that is not known: where it is in both.
    pub(super) fn first_other(&self, one: &[&str], other: &[&str]) -> Option<(usize, usize)> {
        if paired(one, other).is_some_and(|differs| differs.is_subset(&self.words)) {
            return None;
        }
        let edits = edits(one, other);
        let new = edits.iter().find(|edit| !self.is_known(edit))?;
        // Words before the first one that is not known may be known.
        let known = new.old.clone().zip(new.new.clone()).take_while(|(old, _)| self.words.contains(old)).count();
        Some((new.old.start + known, new.new.start + known))
    }

    fn is_known(&self, Edit { old, new }: &Edit) -> bool {
        // Of two words side by side one stands between words: if even that changes, there may be any number of them.
        let may_be_longer = || old.len() > 1 || self.places.range(old.start..=old.end).next().is_some();
        old.clone().all(|word| self.words.contains(&word)) && (old.len() == new.len() || may_be_longer())
    }
}

/// From the first to the last of some ranges.
fn ends(ranges: impl Iterator<Item = Range<usize>>) -> Option<Range<usize>> {
    ranges.reduce(|all, range| all.start.min(range.start)..all.end.max(range.end))
}

/// The words that differ, one by one, if there are as many in both.
fn paired(one: &[&str], other: &[&str]) -> Option<BTreeSet<usize>> {
    (one.len() == other.len()).then(|| (0..one.len()).filter(|place| one[*place] != other[*place]).collect())
}

/// What makes one text of another.
fn edits(one: &[&str], other: &[&str]) -> Vec<Edit> {
    let mut edits = Vec::new();
    let (mut old, mut new) = (0, 0);
    for (one_at, other_at) in anchors(one, other).into_iter().chain([(one.len(), other.len())]) {
        block(one, other, Edit { old: old..one_at, new: new..other_at }, &mut edits);
        (old, new) = (one_at + 1, other_at + 1);
    }
    edits
}

/// What differs within two parts of the texts.
fn block(one: &[&str], other: &[&str], Edit { old, new }: Edit, edits: &mut Vec<Edit>) {
    let (from, to) = (&one[old.clone()], &other[new.clone()]);
    let prefix = from.iter().zip(to).take_while(|(one, other)| one == other).count();
    let (from, to) = (&from[prefix..], &to[prefix..]);
    let suffix = from.iter().rev().zip(to.iter().rev()).take_while(|(one, other)| one == other).count();
    let (from, to) = (&from[..from.len() - suffix], &to[..to.len() - suffix]);
    let (old, new) = (old.start + prefix, new.start + prefix);
    let moved = |by: usize, range: Range<usize>| by + range.start..by + range.end;
    if from.is_empty() || to.is_empty() || from.len().saturating_mul(to.len()) > ALIGNED_MAX {
        if !from.is_empty() || !to.is_empty() {
            edits.push(Edit { old: moved(old, 0..from.len()), new: moved(new, 0..to.len()) });
        }
        return;
    }
    let found = capture_diff_slices(Algorithm::Myers, from, to).into_iter();
    let found = found.filter(|found| found.tag() != DiffTag::Equal);
    edits.extend(found.map(|found| Edit { old: moved(old, found.old_range()), new: moved(new, found.new_range()) }));
}

/// The words that both texts have once each, as far as they come in the same order (Bram Cohen's "patience diff"): they
/// cut long texts into parts that are aligned quickly.
fn anchors(one: &[&str], other: &[&str]) -> Vec<(usize, usize)> {
    let (in_one, in_other) = (once(one), once(other));
    let mut both: Vec<(usize, usize)> =
        in_one.into_iter().filter_map(|(word, at)| Some((at?, in_other.get(word).copied()??))).collect();
    both.sort_unstable();
    // For each length the anchor with which the sequence of that length ends the earliest, and the one before each.
    let (mut lasts, mut before): (Vec<usize>, Vec<Option<usize>>) = (Vec::new(), Vec::with_capacity(both.len()));
    for (nth, (_, at)) in both.iter().enumerate() {
        let length = lasts.partition_point(|last| both[*last].1 < *at);
        before.push(length.checked_sub(1).map(|shorter| lasts[shorter]));
        match lasts.get_mut(length) {
            Some(last) => *last = nth,
            None => lasts.push(nth),
        }
    }
    let longest = std::iter::successors(lasts.last().copied(), |nth| before[*nth]);
    let mut chosen: Vec<(usize, usize)> = longest.map(|nth| both[nth]).collect();
    chosen.reverse();
    chosen
}

/// Where each word is that comes once; `None` for those that come more often.
fn once<'a>(words: &[&'a str]) -> HashMap<&'a str, Option<usize>> {
    let mut found = HashMap::new();
    for (at, word) in words.iter().enumerate() {
        found.entry(*word).and_modify(|known| *known = None).or_insert(Some(at));
    }
    found
}

/// Words, and what stands between them. A token of base64 is one word, whatever it is made of and however that is
/// escaped, and so is a number or a time of day.
pub(super) fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let (mut start, mut at, mut was_word) = (0, 0, None);
    let mut last = None;
    while let Some((c, length)) = character(&text[at..]) {
        let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        let is_in_number = ".,:".contains(c) && is_digit(last) && is_digit(text[at + length..].chars().next());
        let is_word = c.is_alphanumeric() || "-_+/=".contains(c) || is_in_number;
        if was_word.is_some_and(|was_word| was_word != is_word) {
            words.push(&text[start..at]);
            start = at;
        }
        (was_word, last) = (Some(is_word), Some(c));
        at += length;
    }
    if start < text.len() {
        words.push(&text[start..]);
    }
    words
}

/// The first character, and the bytes that it takes. One that is escaped is what it stands for.
fn character(text: &str) -> Option<(char, usize)> {
    let first = text.chars().next()?;
    let escaped = match first {
        '%' => hex(text, 1, 2),
        '&' => entity(text),
        '\\' => match text.as_bytes().get(1) {
            Some(b'/') => Some(('/', 2)),
            Some(b'u') => hex(text, 2, 4),
            Some(b'x') => hex(text, 2, 2),
            _ => None,
        },
        _ => None,
    };
    Some(escaped.unwrap_or((first, first.len_utf8())))
}

/// So many hexadecimal digits behind a prefix, as a character of ASCII.
fn hex(text: &str, prefix: usize, digits: usize) -> Option<(char, usize)> {
    let number = text.get(prefix..prefix + digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let c = char::from_u32(u32::from_str_radix(number, 16).ok()?).filter(char::is_ascii)?;
    Some((c, prefix + digits))
}

/// A character of ASCII as a number in HTML (`&#43;`, `&#x2B;`), or a name of one that base64 uses.
fn entity(text: &str) -> Option<(char, usize)> {
    const NAMES: [(&str, char); 3] = [("&plus;", '+'), ("&sol;", '/'), ("&equals;", '=')];
    /// Bytes of the longest that is looked at, `&#x0002B;`.
    const LENGTH_MAX: usize = 9;
    if let Some((name, c)) = NAMES.iter().find(|(name, _)| text.starts_with(name)) {
        return Some((*c, name.len()));
    }
    let end = text.bytes().take(LENGTH_MAX).position(|byte| byte == b';')?;
    let number = text.get(..end)?.strip_prefix("&#")?;
    let code = match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => number.parse(),
    };
    Some((char::from_u32(code.ok()?).filter(char::is_ascii)?, end + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is always the same in a page, and in what kinds of tokens it has gaps.
    #[derive(Debug, Clone)]
    enum Piece {
        Word(&'static str),
        Token(Kind),
    }

    #[derive(Debug, Clone, Copy)]
    enum Kind {
        Base64,
        Base64InHtml,
        Base64InQuery,
        Base64Url,
        Hex,
        Uuid,
    }

    impl Kind {
        fn token(self, dice: &mut fastrand::Rng) -> String {
            let of = |alphabet: &str, length: usize, dice: &mut fastrand::Rng| -> String {
                (0..length).map(|_| char::from(alphabet.as_bytes()[dice.usize(..alphabet.len())])).collect()
            };
            let hex = |length: usize, dice: &mut fastrand::Rng| of("0123456789abcdef", length, dice);
            let standard = "+/ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
            // Most of them have some `+` and `/`, and one or two `=` at the end.
            let base64 =
                |dice: &mut fastrand::Rng| of(standard, 42 + dice.usize(..2), dice) + ["=", "=="][dice.usize(..2)];
            match self {
                Self::Base64 => base64(dice),
                Self::Base64InHtml => base64(dice).replace('+', "&#43;").replace('/', "&#x2F;").replace('=', "&#x3d;"),
                Self::Base64InQuery => base64(dice).replace('+', "%2B").replace('/', "%2f").replace('=', "%3D"),
                Self::Base64Url => of(&standard.replace("+/", "-_"), 43, dice),
                Self::Hex => hex(32, dice),
                Self::Uuid => [8, 4, 4, 4, 12].map(|length| hex(length, dice)).join("-"),
            }
        }
    }

    fn page(pieces: &[Piece], dice: &mut fastrand::Rng) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Word(word) => (*word).to_owned(),
            Piece::Token(kind) => format!("<input value=\"{}\">", kind.token(dice)),
        };
        pieces.iter().map(piece).collect::<Vec<_>>().join(" ")
    }

    fn pieces() -> impl Strategy<Value = Vec<Piece>> {
        use Kind::{Base64, Base64InHtml, Base64InQuery, Base64Url, Hex, Uuid};
        let words =
            prop::sample::select(vec!["hello", "ada", "<p>", "</p>", "cart:", "5", "items,", "a=b", "log", "in."]);
        let kinds = prop::sample::select(vec![Base64, Base64InHtml, Base64InQuery, Base64Url, Hex, Uuid]);
        let piece = prop_oneof![words.prop_map(Piece::Word), kinds.prop_map(Piece::Token)];
        prop::collection::vec(piece, 1..24)
    }

    /// What differs between the first of some runs and the others.
    fn learned(first: &str, others: &[String]) -> Changing {
        let mut changing = Changing::default();
        others.iter().for_each(|other| changing.merge(&Changing::between(&words(first), &words(other))));
        changing
    }

    proptest! {
        #[test]
        fn what_differs_in_tokens_only_is_the_same(pieces in pieces(), seed in any::<u64>()) {
            let mut dice = fastrand::Rng::with_seed(seed);
            let [first, again, other] = [(); 3].map(|()| page(&pieces, &mut dice));
            let changing = learned(&first, &[again]);
            prop_assert_eq!(changing.first_other(&words(&first), &words(&other)), None, "{}\n{}", first, other);
        }

        #[test]
        fn a_word_beside_tokens_that_changes_is_seen(
            mut pieces in pieces(),
            seed in any::<u64>(),
            (at, with) in (any::<prop::sample::Index>(), 0..5_usize),
        ) {
            let mut dice = fastrand::Rng::with_seed(seed);
            let [first, again, third] = [(); 3].map(|()| page(&pieces, &mut dice));
            let with = ["", "bye", "please log in first", "5 5", "<b> <i> </i> </b>"][with];
            let fixed: Vec<usize> = (0..pieces.len()).filter(|at| matches!(pieces[*at], Piece::Word(_))).collect();
            prop_assume!(!fixed.is_empty());
            pieces[fixed[at.index(fixed.len())]] = Piece::Word(with);
            let other = page(&pieces, &mut dice);
            let changing = learned(&first, &[again, third]);
            let found = changing.first_other(&words(&first), &words(&other));
            prop_assert!(found.is_some(), "{}\n{}", first, other);
        }

        #[test]
        fn edits_make_one_text_of_the_other(
            one in prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d", "e", "f", "g"]), 0..20),
            other in prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d", "e", "f", "g"]), 0..20),
        ) {
            let mut made = one.clone();
            for Edit { old, new } in edits(&one, &other).into_iter().rev() {
                made.splice(old, other[new].iter().copied());
            }
            prop_assert_eq!(made, other);
        }
    }

    #[test]
    fn a_token_a_number_and_a_time_are_one_word_each() {
        for (text, expected) in [
            ("ab+/c== d", &["ab+/c==", " ", "d"][..]),
            ("\"ab&#43;&#x2f;c&equals;\"", &["\"", "ab&#43;&#x2f;c&equals;", "\""]),
            ("?t=ab%2Bc%3D%20d", &["?", "t=ab%2Bc%3D", "%20", "d"]),
            (r"{ab\u002bc\/d\x3D}", &["{", r"ab\u002bc\/d\x3D", "}"]),
            ("a&amp;b&#39;c&#1234567890;", &["a", "&", "amp", ";", "b", "&#39;", "c", "&#", "1234567890", ";"]),
            ("12:30:05, 1.25 s. No", &["12:30:05", ", ", "1.25", " ", "s", ". ", "No"]),
            ("100% é%é &", &["100", "% ", "é", "%", "é", " &"]),
            ("", &[]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn what_moves_as_a_whole_is_known() {
        let list = |items: std::ops::Range<u32>| {
            let items: Vec<String> = items.rev().map(|item| format!("<li>note number {item} of many</li>")).collect();
            format!("<h1>latest</h1>{}<p>ada</p>", items.concat())
        };
        for (others, other, is_known) in [
            // A list that grows, and one that keeps its length.
            (vec![list(0..11), list(0..12)], list(0..20), true),
            (vec![list(1..11), list(2..12)], list(9..19), true),
            (vec![list(0..11)], list(0..12).replace("ada", "nobody at all"), false),
            (vec![list(1..11)], list(2..12).replace("latest", "nothing is here"), false),
        ] {
            let changing = learned(&list(0..10), &others);
            let found = changing.first_other(&words(&list(0..10)), &words(&other));
            assert_eq!(found.is_none(), is_known, "{found:?} {other}");
        }
    }

    #[test]
    fn long_texts_that_have_nothing_in_common_are_not_aligned() {
        let long = |word: &str| format!("<p>{}</p>", format!("{word} ").repeat(10_000));
        let (one, other) = (long("a"), long("b c"));
        let (one, other) = (words(&one), words(&other));
        assert!(one.len() * other.len() > ALIGNED_MAX);
        let changing = Changing::between(&one, &other);
        assert_eq!(changing.first_other(&one, &other), None);
        assert_eq!(Changing::default().first_other(&one, &other), Some((3, 3)));
    }
}
