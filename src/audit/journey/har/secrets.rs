//! Secrets that a recording has brought into a journey: who keeps the file should know of them.

use serde_json::Value as Json;

use super::body::pairs;
use crate::journey::template::gaps;
use crate::journey::{Act, Content, Request, Step};

/// What names of secrets contain, in small letters, without `-` and `_`.
const NAMES: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "authorization",
    "credential",
    "session",
    "jwt",
    "csrf",
];

/// The names of the secrets that a step sends as they were recorded, each once.
pub(super) fn names(step: &Step) -> Vec<String> {
    let (Act::Request(request) | Act::WebSocket(request, _) | Act::EventStream(request, _)) = &step.act else {
        return Vec::new();
    };
    let mut found = Vec::new();
    each(request, &mut |name, value| {
        if is_secret(name) && !value.is_empty() && gaps(value).next().is_none() && !found.contains(&name.to_owned()) {
            found.push(name.to_owned());
        }
    });
    found
}

fn is_secret(name: &str) -> bool {
    let bare = name.to_ascii_lowercase().replace(['-', '_'], "");
    NAMES.iter().any(|secret| bare.contains(secret))
}

/// Shows all values that have a name.
fn each(request: &Request, show: &mut dyn FnMut(&str, &str)) {
    let query = request.target.split_once('?').and_then(|(_, query)| pairs(query)).unwrap_or_default();
    query.iter().for_each(|(name, value)| show(name, value));
    request.fields.iter().for_each(|(name, value)| show(name.as_str(), value));
    match &request.content {
        Content::None | Content::Text(_) | Content::Bytes(_) => {}
        Content::Json(json) => in_json("", json, show),
        Content::Form(form) => form.iter().for_each(|(name, value)| show(name, value)),
        Content::Multipart(parts) => parts.iter().for_each(|part| show(&part.name, &part.content)),
    }
}

fn in_json(name: &str, json: &Json, show: &mut dyn FnMut(&str, &str)) {
    match json {
        Json::String(text) => show(name, text),
        Json::Array(elements) => elements.iter().for_each(|element| in_json(name, element, show)),
        Json::Object(map) => map.iter().for_each(|(key, inner)| in_json(key, inner, show)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journey::read;

    #[test]
    fn secrets_are_told_by_their_names() {
        for (step, expected) in [
            ("request = 'GET /?api_key=x&q=1&Token='", vec!["api_key"]),
            ("request = 'GET /'\nheaders = { authorization = 'Bearer x', accept = 'y' }", vec!["authorization"]),
            ("request = 'GET /'\nheaders = { authorization = 'Bearer {{unique}}' }", vec![]),
            ("request = 'POST /'\nform = { user = 'a', Password = ['b', 'c'] }", vec!["Password"]),
            ("request = 'POST /'\njson = { a = [{ clientSecret = 'b' }], session = 1 }", vec!["clientSecret"]),
            ("request = 'POST /'\nmultipart = [{ name = 'x-jwt', content = 'b' }]", vec!["x-jwt"]),
            ("websocket = '/?session-id=1'", vec!["session-id"]),
            ("request = 'POST /'\nbody = 'password=x'", vec![]),
        ] {
            let written = read("x.toml", &format!("[[step]]\n{step}")).unwrap_or_else(|problems| panic!("{problems}"));
            assert_eq!(names(&written.journey.steps[0]), expected, "{step}");
        }
    }
}
