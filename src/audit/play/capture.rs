//! Takes values from responses.

use http::header::SET_COOKIE;
use regex::Regex;
use unstick_proof::trial::pairs::journey::Values;

use crate::journey::{Capture, Source};
use crate::outcome::Received;

/// Takes from a response, and from the messages that came with it, what a step says. What is not there stays as it was.
pub(super) fn take(captures: &[Capture], received: &Received, messages: &[String], values: &mut Values) {
    for capture in captures {
        if let Some(value) = find(&capture.source, received, messages) {
            values.set(&capture.name, value);
        }
    }
}

fn find(source: &Source, received: &Received, messages: &[String]) -> Option<String> {
    let text = || String::from_utf8_lossy(received.body.bytes());
    match source {
        Source::Regex(regex) => group(regex, &text()),
        Source::Json(path) => {
            let json = serde_json::from_slice(received.body.bytes()).ok()?;
            path.first_text(&json)
        }
        Source::Header(name) => received.headers.get(name)?.to_str().ok().map(str::to_owned),
        Source::Cookie(name) => {
            let fields = received.headers.get_all(SET_COOKIE).iter().filter_map(|field| field.to_str().ok());
            let mut pairs = fields.filter_map(|field| field.split(';').next()?.trim().split_once('='));
            pairs.rfind(|(known, _)| known == name).map(|(_, value)| value.to_owned())
        }
        Source::Messages(regex) => messages.iter().find_map(|message| group(regex, message)),
    }
}

/// The first group of the first match, or the whole match.
pub(super) fn group(regex: &Regex, text: &str) -> Option<String> {
    let found = regex.captures(text)?;
    found.get(1).or_else(|| found.get(0)).map(|found| found.as_str().to_owned())
}
