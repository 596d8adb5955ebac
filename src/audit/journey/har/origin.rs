//! Where in a recorded response a value stands, so that it can be found again in another one.

use regex::Regex;
use serde_json::Value as Json;

use super::replace::{is_whole, places};
use crate::journey::{JsonPath, PathPart, Source};

/// The most bytes of a body in which a regular expression is looked for.
const BODY_BYTES_MAX: usize = 1 << 20;
/// How many places of a value are tried.
const PLACES_MAX: usize = 10;
/// The most bytes of what stands before a value, and of what stands after it.
const CONTEXT_MAX: usize = 80;

/// A response, as far as values are taken from it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Names in small letters, and values.
    pub(super) fields: Vec<(String, String)>,
    /// What `Set-Cookie` sets.
    pub(super) cookies: Vec<(String, String)>,
    /// The body, if it is JSON.
    pub(super) json: Option<Json>,
    /// The body, if it is text.
    pub(super) body: String,
}

impl Seen {
    /// All texts of it: those of JSON without escapes.
    pub(super) fn texts(&self) -> Vec<String> {
        let mut texts: Vec<_> = self.fields.iter().chain(&self.cookies).map(|(_, value)| value.clone()).collect();
        match &self.json {
            Some(json) => leaves(json, &mut |text| texts.push(text)),
            None => texts.push(self.body.clone()),
        }
        texts
    }

    /// Where `value` stands, in the fewest letters, and what to call it.
    pub(super) fn source(&self, value: &str) -> Option<(Source, String)> {
        let cookie = self.cookies.iter().find(|(_, cookie)| cookie == value);
        let cookie = cookie.map(|(name, _)| (Source::Cookie(name.clone()), name.clone()));
        let found = [self.in_field(value), cookie, self.in_json(value)];
        let found = found.into_iter().flatten().min_by_key(|(source, _)| source.to_string().len());
        found.or_else(|| in_text(&self.body, value))
    }

    fn in_field(&self, value: &str) -> Option<(Source, String)> {
        let (name, _) = self.fields.iter().find(|(_, field)| field == value)?;
        // Only the first field of a name is taken.
        let (_, first) = self.fields.iter().find(|(other, _)| other == name)?;
        (first == value).then_some(())?;
        Some((Source::Header(name.parse().ok()?), name.clone()))
    }

    fn in_json(&self, value: &str) -> Option<(Source, String)> {
        let mut parts = Vec::new();
        path_to(self.json.as_ref()?, value, &mut parts).then_some(())?;
        let name = parts.iter().rev().find_map(|part| match part {
            PathPart::Key(key) => Some(key.clone()),
            _ => None,
        });
        Some((Source::Json(JsonPath(parts)), name.unwrap_or_default()))
    }
}

/// All strings and numbers.
fn leaves(json: &Json, found: &mut dyn FnMut(String)) {
    match json {
        Json::String(text) => found(text.clone()),
        Json::Number(number) => found(number.to_string()),
        Json::Array(elements) => elements.iter().for_each(|element| leaves(element, found)),
        Json::Object(map) => map.values().for_each(|inner| leaves(inner, found)),
        _ => {}
    }
}

/// The way to the first string or number that is `value`.
fn path_to(json: &Json, value: &str, parts: &mut Vec<PathPart>) -> bool {
    let within = |part: PathPart, inner: &Json, parts: &mut Vec<PathPart>| {
        parts.push(part);
        let is_found = path_to(inner, value, parts);
        if !is_found {
            parts.pop();
        }
        is_found
    };
    match json {
        Json::String(text) => text == value,
        Json::Number(number) => number.to_string() == value,
        Json::Array(list) => list.iter().enumerate().any(|(index, inner)| within(PathPart::Index(index), inner, parts)),
        Json::Object(map) => map.iter().any(|(key, inner)| within(PathPart::Key(key.clone()), inner, parts)),
        _ => false,
    }
}

/// A regular expression whose first group is `value`: the least context that finds it.
fn in_text(body: &str, value: &str) -> Option<(Source, String)> {
    if body.len() > BODY_BYTES_MAX {
        return None;
    }
    let whole = places(body, value).filter(|at| is_whole(body, *at, value));
    whole.take(PLACES_MAX).find_map(|at| in_place(body, at, value))
}

/// The least context of one place that finds the value in the whole body.
fn in_place(body: &str, at: usize, value: &str) -> Option<(Source, String)> {
    let (before, after) = (body.get(..at)?, body.get(at + value.len()..)?);
    let (class, closing) = class(value, after)?;
    // What has a name only behind the value is told by all that follows in its tag.
    let tag = after.split_inclusive('>').next().filter(|tag| tag.len() <= CONTEXT_MAX && !tag.contains('\n'));
    contexts(before).into_iter().find_map(|context| {
        [Some(closing), tag].into_iter().flatten().find_map(|end| {
            let regex = Regex::new(&format!("{}({class}){}", escape(context), escape(end))).ok()?;
            finds(&regex, body, value).then(|| (Source::Regex(regex), name_near(&format!("{context}{end}"))))
        })
    })
}

/// The crate also escapes what is no mark of an expression, which is harder to read.
fn escape(text: &str) -> String {
    ["-", "#", "&", "~"].iter().fold(regex::escape(text), |text, mark| text.replace(&format!("\\{mark}"), mark))
}

fn finds(regex: &Regex, body: &str, value: &str) -> bool {
    regex.captures(body).and_then(|found| found.get(1)).is_some_and(|group| group.as_str() == value)
}

/// What letters the value has: all until the one after it, which is given too if it is a quote.
fn class<'t>(value: &str, after: &'t str) -> Option<(&'static str, &'t str)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let quote = after.get(..1).unwrap_or_default();
    let class = match after.chars().next() {
        Some('"') => "[^\"]+",
        Some('\'') => "[^']+",
        Some('<') => "[^<]+",
        Some('&') => "[^&]+",
        Some('\\') => "[^\\\\]+",
        _ if value.chars().all(is_word) => "[A-Za-z0-9_-]+",
        None => "\\S+",
        Some(end) => end.is_whitespace().then_some("\\S+")?,
    };
    Some((class, if matches!(quote, "\"" | "'") { quote } else { "" }))
}

/// What stands before a value, from its words on, the shortest first; within its line and its tag. In a tag that has a
/// name those with the name come first: a field is told by its name, wherever it stands in the form.
fn contexts(before: &str) -> Vec<&str> {
    let mut start = before.len().saturating_sub(CONTEXT_MAX);
    while !before.is_char_boundary(start) {
        start += 1;
    }
    let window = before.get(start..).unwrap_or_default();
    let window = window.rsplit('\n').next().unwrap_or_default();
    let begins = |c: char| c.is_whitespace() || matches!(c, '<' | '>' | '{' | ',' | '(' | ';' | '&' | '?');
    let starts = window.char_indices().rev().filter(|(_, c)| begins(*c)).map(|(at, c)| at + c.len_utf8());
    let contexts = starts.chain(std::iter::once(0)).filter_map(|at| window.get(at..));
    let mut contexts: Vec<_> = contexts.filter(|text| text.matches(char::is_alphanumeric).count() >= 2).collect();
    let has_name = |context: &&str| context.contains("name=") && !context.contains('>');
    contexts.sort_by_key(|context| !has_name(context));
    contexts
}

/// The name of a field of a form, or the word before.
fn name_near(context: &str) -> String {
    let named = ["name=\"", "name='"].iter().find_map(|start| {
        let (_, rest) = context.split_once(start)?;
        rest.split(['"', '\'']).next()
    });
    let words = context.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
    let mut words = words.filter(|word| !matches!(*word, "" | "value" | "content"));
    named.or_else(|| words.next_back()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_in_text_are_found_again() {
        let token = "tok-123456";
        for (body, expected, name) in [
            ("<input name=\"csrf\" value=\"tok-123456\">", "regex:name=\"csrf\" value=\"([^\"]+)\"", "csrf"),
            (
                "<input name=\"a\" value=\"1\"><input type=hidden name=\"csrf\" value=\"tok-123456\">",
                "regex:name=\"csrf\" value=\"([^\"]+)\"",
                "csrf",
            ),
            (
                "<input value=\"1\" name=\"a\"><input value=\"tok-123456\" name=\"csrf\">",
                "regex:value=\"([^\"]+)\" name=\"csrf\">",
                "csrf",
            ),
            ("var token = 'tok-123456';", "regex:token = '([^']+)'", "token"),
            ("data: {\"id\":\"tok-123456\"}\n\n", "regex:\"id\":\"([^\"]+)\"", "id"),
            ("<a href=\"/orders/tok-123456\">", "regex:href=\"/orders/([^\"]+)\"", "orders"),
            ("<a href=\"/orders/tok-123456/pay\">", "regex:href=\"/orders/([A-Za-z0-9_-]+)", "orders"),
            ("token=tok-123456", "regex:token=([A-Za-z0-9_-]+)", "token"),
        ] {
            let found = in_text(body, token).map(|(source, name)| (source.to_string(), name));
            assert_eq!(found, Some((expected.to_owned(), name.to_owned())), "{body}");
        }
        assert!(in_text("id=tok-1234567", token).is_none());
    }

    #[test]
    fn the_shortest_source_is_taken() {
        let seen = Seen {
            fields: vec![
                ("x-request-token".into(), "v-1".into()),
                ("etag".into(), "v-2".into()),
                ("etag".into(), "v-3".into()),
            ],
            cookies: vec![("csrf_cookie".into(), "v-1".into())],
            json: Some(json!({ "a": [{ "id": 123456 }, { "id": "v-4" }], "b": "v-1" })),
            body: String::new(),
        };
        for (value, expected) in [
            ("v-1", Some(("json:$.b", "b"))),
            ("v-2", Some(("header:etag", "etag"))),
            ("v-3", None),
            ("v-4", Some(("json:$.a[1].id", "id"))),
            ("123456", Some(("json:$.a[0].id", "id"))),
        ] {
            let found = seen.source(value).map(|(source, name)| (source.to_string(), name));
            assert_eq!(found, expected.map(|(source, name)| (source.to_owned(), name.to_owned())), "{value}");
        }
    }
}
