//! Paths in JSON, as text and as what they find: `$.user.name`, `$.items[0].id`, `$.items[*]`, `$["a key.with dots"]`.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::{JsonPath, PathPart};

impl JsonPath {
    /// Every value at this path, in the order of the document.
    pub fn find<'v>(&self, json: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![json];
        for part in &self.0 {
            found = found.into_iter().flat_map(|value| within(value, part)).collect();
        }
        found
    }

    /// The first string, number or boolean at this path, as text.
    pub fn first_text(&self, json: &Value) -> Option<String> {
        self.find(json).into_iter().find_map(|value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            _ => None,
        })
    }
}

fn within<'v>(value: &'v Value, part: &PathPart) -> Vec<&'v Value> {
    match (part, value) {
        (PathPart::Key(key), Value::Object(map)) => map.get(key).into_iter().collect(),
        (PathPart::Index(index), Value::Array(elements)) => elements.get(*index).into_iter().collect(),
        (PathPart::Any, Value::Array(elements)) => elements.iter().collect(),
        (PathPart::Any, Value::Object(map)) => map.values().collect(),
        _ => Vec::new(),
    }
}

/// Whether a key is written after a dot, without quotes.
fn is_plain(key: &str) -> bool {
    !key.is_empty() && key != "*" && !key.contains(['.', '[', ']', '\'', '"']) && !key.contains(char::is_whitespace)
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        for part in &self.0 {
            match part {
                PathPart::Key(key) if is_plain(key) => write!(f, ".{key}")?,
                PathPart::Key(key) => write!(f, "[\"{}\"]", key.replace('\\', "\\\\").replace('"', "\\\""))?,
                PathPart::Index(index) => write!(f, "[{index}]")?,
                PathPart::Any => f.write_str("[*]")?,
            }
        }
        Ok(())
    }
}

impl FromStr for JsonPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str, help: &str| Err(format!("`{text}` is not a path in JSON: {what}; {help}"));
        let Some(mut rest) = text.strip_prefix('$') else {
            let path = match text {
                "" => ".name".to_owned(),
                text if text.starts_with(['.', '[']) => text.to_owned(),
                text => format!(".{text}"),
            };
            return wrong("it does not begin with `$`", &format!("write \"json:${path}\""));
        };
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let part = match rest.strip_prefix('[') {
                Some(inner) => bracket(inner),
                None => rest.strip_prefix('.').and_then(dotted),
            };
            let Some((part, after)) = part else {
                let at = text.len() - rest.len() + 1;
                let what = if rest.starts_with("..") {
                    "`..` is not known".to_owned()
                } else {
                    format!("`{rest}` in column {at} is no part of one")
                };
                return wrong(&what, "write each step, as in `$.items[0].id`, `$.items[*].id` or `$[\"a.b\"]`");
            };
            parts.push(part);
            rest = after;
        }
        Ok(Self(parts))
    }
}

/// What follows a dot: a key or `*`; and the rest.
fn dotted(text: &str) -> Option<(PathPart, &str)> {
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (key, rest) = text.split_at(end);
    match key {
        "*" => Some((PathPart::Any, rest)),
        key => is_plain(key).then(|| (PathPart::Key(key.to_owned()), rest)),
    }
}

/// What follows a bracket: a number, `*` or a key in quotes; and the rest.
fn bracket(text: &str) -> Option<(PathPart, &str)> {
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let (mut key, mut chars) = (String::new(), text.char_indices().skip(1));
        loop {
            match chars.next()? {
                (_, '\\') => key.push(chars.next()?.1),
                (at, c) if c == quote => return Some((PathPart::Key(key), text.get(at + 1..)?.strip_prefix(']')?)),
                (_, c) => key.push(c),
            }
        }
    }
    match text.split_once(']')? {
        ("*", rest) => Some((PathPart::Any, rest)),
        (number, rest) if number.bytes().all(|c| c.is_ascii_digit()) => {
            Some((PathPart::Index(number.parse().ok()?), rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_find_values() {
        let json =
            json!({ "a": { "b": [1, { "c": "x" }], "d.e": true }, "n": null, "*": 3, "o": [{ "i": 7 }, { "i": 8 }] });
        for (path, expected) in [
            ("$.a.b[0]", vec![json!(1)]),
            ("$.a.b[1].c", vec![json!("x")]),
            ("$.a['d.e']", vec![json!(true)]),
            (r#"$["a"]["d.e"]"#, vec![json!(true)]),
            ("$.o[*].i", vec![json!(7), json!(8)]),
            ("$.o.*.i", vec![json!(7), json!(8)]),
            ("$['*']", vec![json!(3)]),
            ("$.n", vec![json!(null)]),
            ("$.a.b[2]", vec![]),
            ("$.a[0]", vec![]),
            ("$", vec![json.clone()]),
        ] {
            let path: JsonPath = path.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(path.find(&json).into_iter().cloned().collect::<Vec<_>>(), expected, "{path}");
            assert_eq!(path.to_string().parse(), Ok(path));
        }
        let text = |path: &str| path.parse::<JsonPath>().unwrap().first_text(&json);
        assert_eq!((text("$.a.b[0]"), text("$.a['d.e']")), (Some("1".into()), Some("true".into())));
        assert_eq!((text("$.n"), text("$.a"), text("$.*.b[1].c")), (None, None, Some("x".into())));
    }

    #[test]
    fn any_key_can_be_written() {
        for key in ["", "a b", "é", "'", "\"", "\\", "a\\\"]b", "*", "[", "0", "a\nb", "]"] {
            let path = JsonPath(vec![PathPart::Key(key.into()), PathPart::Index(3), PathPart::Any]);
            assert_eq!(path.to_string().parse(), Ok(path.clone()), "{path}");
        }
    }

    #[test]
    fn what_is_no_path_says_why() {
        for (text, part) in [
            ("a.b", "write \"json:$.a.b\""),
            (".a", "write \"json:$.a\""),
            ("", "does not begin with `$`"),
            ("$a", "`a` in column 2"),
            ("$.", "`.` in column 2"),
            ("$..a", "`..` is not known"),
            ("$.a[", "`[` in column 4"),
            ("$.a[b]", "`[b]` in column 4"),
            ("$.a['b]", "column 4"),
            ("$[-1]", "column 2"),
            ("$[99999999999999999999999]", "column 2"),
        ] {
            let error = text.parse::<JsonPath>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
