//! Texts with gaps: `{{name}}`, with spaces around the name if one likes.
//!
//! Two braces that hold no name are text. A name begins with a letter or `_`, and has letters, digits, `_` and `-`.

use std::ops::Range;

use serde_json::Value;

/// The longest name of a captured value, in characters.
const NAME_MAX: usize = 64;

/// A gap in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap<'t> {
    /// The name of the value that belongs there.
    pub name: &'t str,
    /// Where it stands in the text, braces included.
    pub range: Range<usize>,
}

/// The gaps of a text, in order.
pub fn gaps(text: &str) -> impl Iterator<Item = Gap<'_>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let start = from + text.get(from..)?.find("{{")?;
            // Of `{{{a}}}` the inner braces are the gap.
            from = start + 1;
            let (inner, _) = text.get(start + 2..)?.split_once("}}")?;
            let name = inner.trim_matches(' ');
            if is_name(name) {
                from = start + 2 + inner.len() + 2;
                return Some(Gap { name, range: start..from });
            }
        }
    })
}

/// Whether a value can be captured under this name.
pub fn is_name(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    text.len() <= NAME_MAX
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(is_inner)
}

/// The text with its gaps filled by `value`, which encodes for the place where the text goes.
///
/// # Errors
/// The name of the first value that there is not.
pub fn fill(text: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let (mut filled, mut end) = (String::with_capacity(text.len()), 0);
    for gap in gaps(text) {
        filled.push_str(text.get(end..gap.range.start).unwrap_or_default());
        filled.push_str(&value(gap.name).ok_or_else(|| gap.name.to_owned())?);
        end = gap.range.end;
    }
    filled.push_str(text.get(end..).unwrap_or_default());
    Ok(filled)
}

/// The JSON with the gaps of its strings filled. Keys have no gaps.
///
/// # Errors
/// The name of the first value that there is not.
pub fn fill_json(json: &Value, value: &impl Fn(&str) -> Option<String>) -> Result<Value, String> {
    Ok(match json {
        Value::String(text) => Value::String(fill(text, value)?),
        Value::Array(elements) => {
            Value::Array(elements.iter().map(|element| fill_json(element, value)).collect::<Result<_, _>>()?)
        }
        Value::Object(map) => {
            let filled = map.iter().map(|(key, inner)| Ok((key.clone(), fill_json(inner, value)?)));
            Value::Object(filled.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn gaps_are_found() {
        for (text, expected) in [
            ("", vec![]),
            ("{{a}}", vec!["a"]),
            ("x{{ csrf-token }}y{{_b1}}", vec!["csrf-token", "_b1"]),
            ("{{{a}}}", vec!["a"]),
            ("{{}} {{ }} {{1a}} {{a b}} {{a", vec![]),
            ("{{a b}}{{c}}", vec!["c"]),
            ("{{x {{c}}", vec!["c"]),
            ("é{{a}}é{{b}}", vec!["a", "b"]),
        ] {
            let found: Vec<&str> = gaps(text).map(|gap| gap.name).collect();
            assert_eq!(found, expected, "{text}");
            for gap in gaps(text) {
                assert_eq!(text[gap.range.clone()].trim_matches(['{', '}', ' ']), gap.name, "{text}");
            }
        }
    }

    #[test]
    fn gaps_are_filled() {
        let value = |name: &str| (name != "no").then(|| format!("<{name}>"));
        assert_eq!(fill("a{{x}}b{{ y }}{{z", value), Ok("a<x>b<y>{{z".to_owned()));
        assert_eq!(fill("{{x}}{{no}}", value), Err("no".to_owned()));
        let json = json!({ "a": ["{{x}}", 1, null], "{{k}}": { "b": "-{{y}}" } });
        assert_eq!(fill_json(&json, &value), Ok(json!({ "a": ["<x>", 1, null], "{{k}}": { "b": "-<y>" } })));
        assert_eq!(fill_json(&json!(["{{no}}"]), &value), Err("no".to_owned()));
    }

    #[test]
    fn names_are_told() {
        for (text, expected) in [("a", true), ("_", true), ("a-b_1", true), ("", false), ("1", false), ("a.b", false)] {
            assert_eq!(is_name(text), expected, "{text}");
        }
        assert!(is_name(&"a".repeat(NAME_MAX)) && !is_name(&"a".repeat(NAME_MAX + 1)));
    }
}
