//! The fields of a request: `headers = { accept = "application/json" }`.

use http::{HeaderName, HeaderValue};
use unstick_reading::Value;

use super::source::header;
use super::template::fill;
use super::texts::{Use, pairs};

/// Fields that a step does not write itself, and why.
const OURS: [(&str, &str); 16] = [
    ("host", "all replicas are asked for the same host, so that links do not differ; --host changes it"),
    ("cookie", "cookies come from the jar of the actor, as in a browser: let an earlier step receive them"),
    ("content-length", "it follows from the content"),
    ("transfer-encoding", "it follows from the content"),
    ("connection", "it belongs to the connection, which is made for every replica"),
    ("keep-alive", "it belongs to the connection, which is made for every replica"),
    ("proxy-connection", "it belongs to the connection, which is made for every replica"),
    ("te", "it belongs to the connection, which is made for every replica"),
    ("trailer", "the content has no trailers"),
    ("upgrade", "write websocket = \"/path\" instead of request"),
    ("http2-settings", "it belongs to the connection, which is made for every replica"),
    ("expect", "the content is sent at once"),
    ("sec-websocket-key", "the handshake brings its own"),
    ("sec-websocket-version", "the handshake brings its own"),
    ("sec-websocket-accept", "the handshake brings its own"),
    ("sec-websocket-extensions", "messages are sent as they are"),
];

/// Whether a step cannot write this field itself.
pub(super) fn is_ours(name: &str) -> bool {
    OURS.iter().any(|(ours, _)| *ours == name)
}

/// Reads the fields; what is wrong was reported.
pub(super) fn read(value: &Value<'_>, uses: &mut Vec<Use>) -> Vec<(HeaderName, String)> {
    let mut fields = Vec::new();
    for pair in pairs(value, uses) {
        let Some(name) = pair.value.checked(header(&pair.name)) else { continue };
        if let Some((_, why)) = OURS.iter().find(|(ours, _)| name == *ours) {
            pair.value.report(format!("the field `{name}` is not written in a step"), Some((*why).to_owned()));
        } else if !is_value(&pair.text) {
            let help = "leave out line breaks, other control characters, and spaces at both ends".to_owned();
            pair.value.report(format!("the field `{name}` cannot have this value"), Some(help));
        } else {
            fields.push((name, pair.text));
        }
    }
    fields
}

/// Whether a field can have this value.
pub(super) fn is_value(text: &str) -> bool {
    let sample = fill(text, |_| Some("x".to_owned())).unwrap_or_default();
    sample.trim() == sample && HeaderValue::from_str(&sample).is_ok()
}
