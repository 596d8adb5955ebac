//! Compares two bodies, but for what is known to differ: JSON value by value, everything else word by word. Pure.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::Value;

/// Where two bodies differ that should be the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Noise {
    /// Nowhere.
    #[default]
    None,
    /// At these JSON pointers, and below.
    Json(BTreeSet<String>),
    /// At these words, as the first of the two counts them.
    Words(BTreeSet<usize>),
    /// Anywhere but in so many words at the beginning and at the end.
    Middle(usize, usize),
}

/// A place in a body, and what stands there in one and in the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyDifference {
    /// The place.
    pub at: String,
    /// What stands there in the first one.
    pub one: String,
    /// What stands there in the second one.
    pub other: String,
}

/// Characters that are shown of what differs.
const SHOWN_MAX: usize = 120;

impl Noise {
    /// What differs between two bodies.
    pub fn between(one: &str, other: &str) -> Self {
        if one == other {
            return Self::None;
        }
        if let Some((one, other)) = both_json(one, other) {
            return Self::Json(differences(&one, &other).into_iter().map(|found| found.at).collect());
        }
        let (one, other) = (words(one), words(other));
        if one.len() == other.len() {
            Self::Words((0..one.len()).filter(|place| one[*place] != other[*place]).collect())
        } else {
            let Range { start, end } = middle(&one, &other);
            Self::Middle(start, one.len() - end)
        }
    }

    /// Adds what differs at the same JSON pointers elsewhere. Words are counted in one body only, so they are not.
    pub fn add(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Json(known), Self::Json(new)) => known.extend(new.iter().cloned()),
            (Self::None, Self::Json(_)) => *self = other.clone(),
            _ => {}
        }
    }

    /// Adds what differs between the same first body and another one.
    pub fn merge(&mut self, one: &str, other: &Self) {
        let count = || words(one).len();
        let edges = |noise: &Self| match noise {
            Self::Words(known) => known.first().zip(known.last()).map(|(first, last)| (*first, count() - last - 1)),
            Self::Middle(prefix, suffix) => Some((*prefix, *suffix)),
            Self::None | Self::Json(_) => None,
        };
        match (&mut *self, other) {
            (_, Self::None) => {}
            (Self::None, _) => *self = other.clone(),
            (Self::Json(known), Self::Json(new)) => known.extend(new.iter().cloned()),
            (Self::Words(known), Self::Words(new)) => known.extend(new),
            _ => {
                let all = edges(self).into_iter().chain(edges(other));
                let (prefix, suffix) = all.fold((usize::MAX, usize::MAX), |(p, s), (a, b)| (p.min(a), s.min(b)));
                // One of them was no JSON: nothing is left to compare.
                *self = if prefix == usize::MAX { Self::Middle(0, 0) } else { Self::Middle(prefix, suffix) };
            }
        }
    }

    /// The first difference between two bodies that is no noise.
    pub fn difference(&self, one: &str, other: &str) -> Option<BodyDifference> {
        if one == other {
            return None;
        }
        if let (Self::None | Self::Json(_), Some((one, other))) = (self, both_json(one, other)) {
            let is_new = |found: &BodyDifference| match self {
                Self::Json(known) => !known.iter().any(|at| is_below(&found.at, at)),
                _ => true,
            };
            return differences(&one, &other).into_iter().find(is_new);
        }
        let (one_words, other_words) = (words(one), words(other));
        let found = self.first_word(&one_words, &other_words)?;
        let shown = |words: &[&str]| shortened(&words.iter().skip(found).copied().collect::<String>());
        Some(BodyDifference { at: format!("word {found}"), one: shown(&one_words), other: shown(&other_words) })
    }

    /// The place of the first word that differs and is no noise.
    fn first_word(&self, one: &[&str], other: &[&str]) -> Option<usize> {
        let Range { start, end } = middle(one, other);
        let (prefix, suffix) = match self {
            Self::Words(known) if one.len() == other.len() => {
                return (0..one.len()).find(|place| one[*place] != other[*place] && !known.contains(place));
            }
            // A word may have become two: everything from the first to the last of them is noise then.
            Self::Words(known) => match (known.first(), known.last()) {
                (Some(first), Some(last)) => (*first, one.len().saturating_sub(last + 1)),
                _ => return Some(start),
            },
            Self::Middle(prefix, suffix) => (*prefix, *suffix),
            Self::None | Self::Json(_) => return Some(start),
        };
        let is_noise = start >= prefix && one.len() - end >= suffix && other.len() >= prefix + suffix;
        (!is_noise).then_some(if start < prefix { start } else { end })
    }
}

fn both_json(one: &str, other: &str) -> Option<(Value, Value)> {
    let parse =
        |text: &str| serde_json::from_str(text).ok().filter(|value: &Value| value.is_object() || value.is_array());
    Some((parse(one)?, parse(other)?))
}

fn differences(one: &Value, other: &Value) -> Vec<BodyDifference> {
    let mut found = Vec::new();
    compare(one, other, "", &mut found);
    found
}

/// Arrays of different length differ as a whole: nobody knows which element is missing.
fn compare(one: &Value, other: &Value, at: &str, found: &mut Vec<BodyDifference>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for key in keys {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                // A key without a value, and a key that is not there, differ.
                if one.contains_key(key) != other.contains_key(key) {
                    found.push(difference(&format!("{at}/{key}"), &of(one), &of(other)));
                } else {
                    compare(&of(one), &of(other), &format!("{at}/{key}"), found);
                }
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (place, (one, other)) in one.iter().zip(other).enumerate() {
                compare(one, other, &format!("{at}/{place}"), found);
            }
        }
        _ if one != other => found.push(difference(at, one, other)),
        _ => {}
    }
}

fn difference(at: &str, one: &Value, other: &Value) -> BodyDifference {
    BodyDifference { at: at.to_owned(), one: shortened(&one.to_string()), other: shortened(&other.to_string()) }
}

fn is_below(at: &str, root: &str) -> bool {
    at.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Words, and what stands between them.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut was_word = None;
    for (place, c) in text.char_indices() {
        // A token of base64 is one word, whatever it is made of.
        let is_word = c.is_alphanumeric() || "-_+/=".contains(c);
        if was_word.is_some_and(|was_word| was_word != is_word) {
            words.push(&text[start..place]);
            start = place;
        }
        was_word = Some(is_word);
    }
    if start < text.len() {
        words.push(&text[start..]);
    }
    words
}

/// The words of the first that stand neither in the common beginning nor in the common end.
fn middle(one: &[&str], other: &[&str]) -> Range<usize> {
    let prefix = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let shorter = one.len().min(other.len()) - prefix;
    let ends = one.iter().rev().zip(other.iter().rev()).take(shorter);
    let suffix = ends.take_while(|(one, other)| one == other).count();
    prefix..one.len() - suffix
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place where a body differs from the first of two that should be the same.
    fn place(one: &str, again: &str, other: &str) -> Option<String> {
        Noise::between(one, again).difference(one, other).map(|found| found.at)
    }

    #[test]
    fn json_is_compared_value_by_value() {
        for (one, again, other, expected) in [
            (r#"{"a":1,"b":[1,2]}"#, r#"{"b":[1,2],"a":1}"#, r#"{ "b": [1,2], "a": 1 }"#, None),
            (r#"{"a":1,"b":[1,2]}"#, r#"{"a":1,"b":[1,2]}"#, r#"{"a":1,"b":[2,1]}"#, Some("/b/0")),
            (r#"{"a":1,"b":[1,2]}"#, r#"{"a":1,"b":[1,2]}"#, r#"{"a":1,"b":[1]}"#, Some("/b")),
            (r#"{"a":1,"b":[1,2]}"#, r#"{"a":2,"b":[1,2]}"#, r#"{"a":3,"b":[1,2]}"#, None),
            (r#"{"a":1,"b":[1,2]}"#, r#"{"a":2,"b":[1,2]}"#, r#"{"a":3,"b":[1]}"#, Some("/b")),
            (r#"{"a":{"b":1}}"#, r#"{"a":null}"#, r#"{"a":{"b":2}}"#, None),
            (r#"{"a":1}"#, r#"{"a":1,"t":1}"#, r#"{"a":1,"t":2}"#, None),
            (r#"{"a":null}"#, r#"{"a":null}"#, r#"{}"#, Some("/a")),
            (r#"{"ab":1,"a":1}"#, r#"{"ab":1,"a":2}"#, r#"{"ab":2,"a":1}"#, Some("/ab")),
            (r#"{"a":1}"#, r#"{"a":1}"#, "gone", Some("word 0")),
        ] {
            assert_eq!(place(one, again, other).as_deref(), expected, "{one} {again} {other}");
        }
    }

    #[test]
    fn text_is_compared_word_by_word() {
        for (one, again, other, expected) in [
            ("cart: 1 2", "cart: 1 2", "cart: 1 2", None),
            ("cart: 1 2", "cart: 1 2", "cart: 1", Some("word 3")),
            ("cart: 1 2", "cart: 1 2", "", Some("word 0")),
            ("", "", "cart", Some("word 0")),
            ("made in 3 ms: 1 2", "made in 4 ms: 1 2", "made in 5 ms: 1 2", None),
            ("made in 3 ms: 1 2", "made in 4 ms: 1 2", "made in 5 ms: 1 3", Some("word 10")),
            ("made in 3 ms: 1 2", "made in 4 ms: 1 2", "made in 1.25 ms: 1 2", None),
            ("made in 3 ms: 1 2", "made in 4 ms: 1 2", "made in 1.25 ms: 1 3", Some("word 11")),
            ("made in 3 ms: 1 2", "made in 1.25 ms: 1 2", "made in 7 ms: 1 2", None),
            ("made in 3 ms: 1 2", "made in 1.25 ms: 1 2", "made in 7 ms: 1 3", Some("word 11")),
            ("made in 3 ms: 1 2", "made in 1.25 ms: 1 2", "late in 7 ms: 1 2", Some("word 0")),
        ] {
            assert_eq!(place(one, again, other).as_deref(), expected, "{one} / {again} / {other}");
        }
    }

    #[test]
    fn noise_at_the_same_place_elsewhere_is_noise_here() {
        let mut noise = Noise::between(r#"{"a":1,"b":1}"#, r#"{"a":1,"b":1}"#);
        assert!(noise.difference(r#"{"a":1,"b":1}"#, r#"{"a":1,"b":2}"#).is_some());
        noise.add(&Noise::between(r#"{"a":1,"b":1}"#, r#"{"a":1,"b":2}"#));
        assert_eq!(noise.difference(r#"{"a":1,"b":1}"#, r#"{"a":1,"b":2}"#), None);
        assert!(noise.difference(r#"{"a":1,"b":1}"#, r#"{"a":2,"b":2}"#).is_some());
        noise.add(&Noise::between("a", "b"));
        assert_eq!(noise, Noise::Json(["/b".to_owned()].into()));
    }

    #[test]
    fn noise_of_several_runs_adds_up() {
        let of = |others: &[&str], one: &str, found: &str| {
            let mut noise = Noise::None;
            others.iter().for_each(|other| noise.merge(one, &Noise::between(one, other)));
            noise.difference(one, found).map(|found| found.at)
        };
        for (one, others, found, expected) in [
            ("a 1 b 2", &["a 3 b 2", "a 1 b 4"][..], "a 5 b 6", None),
            ("a 1 b 2", &["a 3 b 2", "a 1 b 4"], "c 5 b 6", Some("word 0")),
            ("a 1 b 2", &["a 3 b 2", "a 1.5 b 2"], "a 7 b 2", None),
            ("a 1 b 2", &["a 3 b 2", "a 1.5 b 2"], "a 7 b 3", Some("word 7")),
            (r#"{"a":1,"b":2}"#, &[r#"{"a":2,"b":2}"#, r#"{"a":1,"b":3}"#], r#"{"a":5,"b":5}"#, None),
            (r#"{"a":1,"b":2}"#, &[r#"{"a":2,"b":2}"#], r#"{"a":5,"b":5}"#, Some("/b")),
            (r#"{"a":1}"#, &[r#"{"a":2}"#, "gone"], "anything", None),
        ] {
            assert_eq!(of(others, one, found).as_deref(), expected, "{one} {others:?} {found}");
        }
    }

    #[test]
    fn what_is_shown_is_short() {
        let long = "é".repeat(500);
        let found = Noise::None.difference(&long, "").unwrap();
        assert_eq!((found.one.chars().count(), found.other.as_str()), (SHOWN_MAX + 3, ""));
    }
}
