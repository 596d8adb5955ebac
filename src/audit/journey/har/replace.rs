//! Values in the texts of a request, and gaps in their place.

use crate::journey::target::{TargetPart, encode_in};
use crate::journey::{Act, Content, Request, Step};
use http::header::CONTENT_TYPE;
use serde_json::Value as Json;

/// Where a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spot {
    /// It is the target: values in it are percent-encoded.
    Target,
    /// It is anything else.
    Plain,
}

/// The places of a text within another.
pub(super) fn places<'t>(text: &'t str, value: &'t str) -> impl Iterator<Item = usize> + 't {
    text.match_indices(value).map(|(at, _)| at)
}

/// Whether a value is not just a part of a longer one.
pub(super) fn is_whole(text: &str, at: usize, value: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let before = text.get(..at).and_then(|before| before.chars().next_back());
    let after = text.get(at + value.len()..).and_then(|after| after.chars().next());
    let starts = is_word(value.chars().next()) && is_word(before);
    let ends = is_word(value.chars().next_back()) && is_word(after);
    !starts && !ends
}

/// Whether a value stands in a text as a whole.
pub(super) fn contains(text: &str, spot: Spot, value: &str) -> bool {
    halves(text, spot)
        .into_iter()
        .any(|(half, part)| forms(part, value).iter().any(|form| places(half, form).any(|at| is_whole(half, at, form))))
}

/// Puts a gap in all places where a value stands as a whole.
fn replace(text: &mut String, spot: Spot, value: &str, gap: &str) {
    let replaced = halves(text, spot).into_iter().map(|(half, part)| {
        forms(part, value).iter().fold(half.to_owned(), |mut half, form| {
            let found: Vec<_> = places(&half, form).filter(|at| is_whole(&half, *at, form)).collect();
            for at in found.into_iter().rev() {
                half.replace_range(at..at + form.len(), gap);
            }
            half
        })
    });
    let replaced: Vec<String> = replaced.collect();
    *text = replaced.join("?");
}

/// Path and query of a target; of anything else there is one half.
fn halves(text: &str, spot: Spot) -> Vec<(&str, Option<TargetPart>)> {
    match (spot, text.split_once('?')) {
        (Spot::Plain, _) => vec![(text, None)],
        (Spot::Target, None) => vec![(text, Some(TargetPart::Path))],
        (Spot::Target, Some((path, query))) => {
            vec![(path, Some(TargetPart::Path)), (query, Some(TargetPart::Query))]
        }
    }
}

/// How a value may be written: in all ways that mean the same as what [`crate::journey::fill_target`] makes of it.
fn forms(part: Option<TargetPart>, value: &str) -> Vec<String> {
    let Some(part) = part else { return vec![value.to_owned()] };
    let filled = encode_in(value, part);
    let mut forms: Vec<String> = (filled == value).then(|| value.to_owned()).into_iter().collect();
    // What is encoded already would be so twice; in a path an encoded slash is no slash.
    if value.contains('%') || part == TargetPart::Path && value.contains('/') {
        return forms;
    }
    // As forms and JavaScript write it, and people.
    forms.extend([encode_but("", value), encode_but("!'()*", value), filled]);
    forms.sort();
    forms.dedup();
    forms
}

/// Percent-encodes all but what RFC 3986 calls unreserved, and `plain`.
fn encode_but(plain: &str, value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || plain.as_bytes().contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Shows all texts that a step sends.
pub(super) fn each(step: &mut Step, show: &mut dyn FnMut(Spot, &mut String)) {
    match &mut step.act {
        Act::Request(request) => each_of(request, show),
        Act::WebSocket(request, talk) | Act::EventStream(request, talk) => {
            each_of(request, show);
            talk.send.iter_mut().for_each(|text| show(Spot::Plain, text));
        }
        Act::Talk(_, talk) => talk.send.iter_mut().for_each(|text| show(Spot::Plain, text)),
    }
}

fn each_of(request: &mut Request, show: &mut dyn FnMut(Spot, &mut String)) {
    show(Spot::Target, &mut request.target);
    // What kind of content it is, and what is accepted, is no value of a response.
    let is_kind = |name: &str| matches!(name, "accept" | "content-type" | "origin" | "x-requested-with");
    for (_, value) in request.fields.iter_mut().filter(|(name, _)| !is_kind(name.as_str())) {
        show(Spot::Plain, value);
    }
    match &mut request.content {
        Content::None | Content::Bytes(_) => {}
        Content::Text(text) => show(Spot::Plain, text),
        Content::Json(json) => each_string(json, show),
        Content::Form(form) => form.iter_mut().for_each(|(_, value)| show(Spot::Plain, value)),
        Content::Multipart(parts) => parts.iter_mut().for_each(|part| show(Spot::Plain, &mut part.content)),
    }
}

fn each_string(json: &mut Json, show: &mut dyn FnMut(Spot, &mut String)) {
    match json {
        Json::String(text) => show(Spot::Plain, text),
        Json::Array(elements) => elements.iter_mut().for_each(|element| each_string(element, show)),
        Json::Object(map) => map.values_mut().for_each(|inner| each_string(inner, show)),
        _ => {}
    }
}

/// The numbers of a JSON content.
pub(super) fn numbers(step: &Step) -> Vec<String> {
    let mut found = Vec::new();
    if let Act::Request(Request { content: Content::Json(json), .. }) = &step.act {
        all_numbers(json, &mut found);
    }
    found
}

fn all_numbers(json: &Json, found: &mut Vec<String>) {
    match json {
        Json::Number(number) => found.push(number.to_string()),
        Json::Array(elements) => elements.iter().for_each(|element| all_numbers(element, found)),
        Json::Object(map) => map.values().for_each(|inner| all_numbers(inner, found)),
        _ => {}
    }
}

/// Whether a step sends a value.
pub(super) fn sends(step: &mut Step, value: &str) -> bool {
    let mut is_found = numbers(step).iter().any(|number| number == value);
    each(step, &mut |spot, text| is_found |= contains(text, spot, value));
    is_found
}

/// Puts a gap wherever a step sends a value. JSON has gaps in strings only: with one for a number it becomes text.
pub(super) fn put_gap(step: &mut Step, value: &str, name: &str) {
    let is_number = numbers(step).iter().any(|number| number == value);
    if let (true, Act::Request(request)) = (is_number, &mut step.act) {
        if let Content::Json(json) = &request.content {
            request.content = Content::Text(json.to_string());
        }
        if request.fields.iter().all(|(name, _)| name != CONTENT_TYPE) {
            request.fields.push((CONTENT_TYPE, "application/json".to_owned()));
        }
    }
    let gap = format!("{{{{{name}}}}}");
    each(step, &mut |spot, text| replace(text, spot, value, &gap));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_and_replaced() {
        for (text, spot, value, expected) in [
            ("a=v12&b=v12", Spot::Plain, "v12", "a={{n}}&b={{n}}"),
            ("v123 xv12", Spot::Plain, "v12", "v123 xv12"),
            ("/o/v12/x?v=v12", Spot::Target, "v12", "/o/{{n}}/x?v={{n}}"),
            ("/o?t=a%2Fb%2B", Spot::Target, "a/b+", "/o?t={{n}}"),
            ("/o?t=a/b+", Spot::Target, "a/b+", "/o?t=a/b+"),
            ("/o/a/b1?t=a/b1", Spot::Target, "a/b1", "/o/{{n}}?t={{n}}"),
            ("/o/a%2Fb1?t=a%2Fb1", Spot::Target, "a/b1", "/o/a%2Fb1?t={{n}}"),
            ("/o?t=a%20b%2525", Spot::Target, "a b%25", "/o?t=a%20b%2525"),
            ("/o?t=a12==", Spot::Target, "a12==", "/o?t={{n}}"),
            ("/o?t=(a)%3D", Spot::Target, "(a)=", "/o?t={{n}}"),
            ("é-v12-é", Spot::Plain, "v12", "é-{{n}}-é"),
        ] {
            let mut replaced = text.to_owned();
            replace(&mut replaced, spot, value, "{{n}}");
            assert_eq!(replaced, expected, "{text}");
            assert_eq!(contains(text, spot, value), text != expected, "{text}");
        }
    }
}
