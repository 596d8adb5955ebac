//! Compares two bodies, but for what is known to differ: JSON value by value, everything else word by word. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::words::{Changing, words};

/// Where two bodies differ that should be the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Noise {
    /// Nowhere.
    #[default]
    None,
    /// At these JSON pointers, and below.
    Json(BTreeSet<String>),
    /// In these words.
    Text(Changing),
    /// Anywhere: at times it is JSON and at times it is not.
    All,
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
        Self::Text(Changing::between(&words(one), &words(other)))
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
    pub fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (_, Self::None) => {}
            (Self::None, _) => *self = other.clone(),
            (Self::Json(known), Self::Json(new)) => known.extend(new.iter().cloned()),
            (Self::Text(known), Self::Text(new)) => known.merge(new),
            _ => *self = Self::All,
        }
    }

    /// The first difference between two bodies that is no noise.
    pub fn difference(&self, one: &str, other: &str) -> Option<BodyDifference> {
        if one == other || *self == Self::All {
            return None;
        }
        if let (Self::None | Self::Json(_), Some((one, other))) = (self, both_json(one, other)) {
            let is_new = |found: &BodyDifference| match self {
                Self::Json(known) => !known.iter().any(|at| is_below(&found.at, at)),
                _ => true,
            };
            return differences(&one, &other).into_iter().find(is_new);
        }
        let nothing = Changing::default();
        let changing = if let Self::Text(changing) = self { changing } else { &nothing };
        let (one, other) = (words(one), words(other));
        let (at, other_at) = changing.first_other(&one, &other)?;
        let shown = |words: &[&str]| shortened(&words.concat());
        Some(BodyDifference { at: format!("word {at}"), one: shown(&one[at..]), other: shown(&other[other_at..]) })
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
            ("made in 3 ms: 1 2", "made in 4 ms: 1 2", "made in 1.25 ms: 1 3", Some("word 10")),
            ("made in 3 ms: 1 2", "made in 1.25 ms: 1 2", "made in 7 ms: 1 2", None),
            ("made in 3 ms: 1 2", "made in 1.25 ms: 1 2", "made in 7 ms: 1 3", Some("word 10")),
            // Another text, of another length, between two tokens.
            (
                "<i a=1/u+3=> hello ada <i b=4+==>",
                "<i a=u7+//9> hello ada <i b=/7+u=>",
                "<i a=u7+//9> please log in first <i b=/7+u=>",
                Some("word 5"),
            ),
            ("hi ada, 3 of 4 <p>", "hi ada, three of four <p>", "bye, 5 of six <p>", Some("word 0")),
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
            others.iter().for_each(|other| noise.merge(&Noise::between(one, other)));
            noise.difference(one, found).map(|found| found.at)
        };
        for (one, others, found, expected) in [
            ("a 1 b 2", &["a 3 b 2", "a 1 b 4"][..], "a 5 b 6", None),
            ("a 1 b 2", &["a 3 b 2", "a 1 b 4"], "c 5 b 6", Some("word 0")),
            ("a 1 b 2", &["a 3 b 2", "a 1.5 b 2"], "a 7 b 2", None),
            ("a 1 b 2", &["a 3 b 2", "a 1.5 b 2"], "a 7 b 3", Some("word 6")),
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
