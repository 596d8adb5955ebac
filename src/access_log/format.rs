//! What a line of the access log is made of. No value can add a line or a field, whoever has sent it.

use std::borrow::Cow;
use std::io::Write as _;

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Version};

use super::layout::{Form, Step};
use super::{AccessRecord, rfc3339, utc};
use crate::config::model::AccessField;

/// The status in a line of text if there was no response, as nginx has it.
const CLIENT_GONE: &str = "499";

/// What stands in a line of text for a value that is not there.
const NOTHING: &[u8] = b"-";

/// What a field says of a request.
enum Value<'a> {
    /// Nothing.
    None,
    /// Digits, with a point or without.
    Number(Cow<'a, str>),
    /// Words that are made here.
    Own(Cow<'a, str>),
    /// What somebody else has written.
    Free(Cow<'a, [u8]>),
}

/// Adds a line, with its end.
pub(super) fn write_line(out: &mut Vec<u8>, record: &AccessRecord) {
    match &record.layout.form {
        Form::Json(fields) => write_json(out, record, fields),
        Form::Text(steps) => steps.iter().for_each(|step| match step {
            Step::Text(text) => out.extend_from_slice(text.as_bytes()),
            Step::Field(field, escaped) => write_field(out, value(record, *field), *field, *escaped),
        }),
    }
    out.push(b'\n');
}

fn write_field(out: &mut Vec<u8>, value: Value<'_>, field: AccessField, escaped: u128) {
    match value {
        Value::None if field == AccessField::Status => out.extend_from_slice(CLIENT_GONE.as_bytes()),
        Value::None => out.extend_from_slice(NOTHING),
        Value::Free(bytes) if bytes.is_empty() => out.extend_from_slice(NOTHING),
        Value::Number(text) | Value::Own(text) => out.extend_from_slice(text.as_bytes()),
        Value::Free(bytes) => escape(out, &bytes, escaped),
    }
}

/// Adds printable ASCII. Everything else is written as `\xHH`, and so are the `escaped` ones, a bit each. The backslash
/// must be one of these.
fn escape(out: &mut Vec<u8>, bytes: &[u8], escaped: u128) {
    for &byte in bytes {
        if matches!(byte, b' '..=b'~') && escaped & 1 << byte == 0 {
            out.push(byte);
        } else {
            write!(out, "\\x{byte:02x}").ok();
        }
    }
}

fn write_json(out: &mut Vec<u8>, record: &AccessRecord, fields: &[AccessField]) {
    let mut separator = b'{';
    for field in fields {
        let value = value(record, *field);
        if matches!(value, Value::None) && !is_always_said(*field) {
            continue;
        }
        out.push(std::mem::replace(&mut separator, b','));
        write!(out, "\"{field}\":").ok();
        match value {
            Value::None => out.extend_from_slice(b"null"),
            Value::Number(text) => out.extend_from_slice(text.as_bytes()),
            Value::Own(text) => write_string(out, &text),
            Value::Free(bytes) => write_string(out, &String::from_utf8_lossy(&bytes)),
        }
    }
    out.extend_from_slice(if separator == b'{' { b"{}" } else { b"}" });
}

/// Whether a line in JSON has the field when there is nothing to say: `null` says that there was none.
fn is_always_said(field: AccessField) -> bool {
    matches!(field, AccessField::Status | AccessField::Pool | AccessField::Endpoint)
}

/// A string of JSON (RFC 8259 section 7). All control characters are escaped, also those that JSON allows, because a
/// terminal obeys them; so are the two that are line ends to some readers.
fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut buffer = [0; 4];
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\u{2028}' | '\u{2029}' => _ = write!(out, "\\u{:04x}", c as u32),
            c if c.is_control() => _ = write!(out, "\\u{:04x}", c as u32),
            c => out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes()),
        }
    }
    out.push(b'"');
}

fn value(record: &AccessRecord, field: AccessField) -> Value<'_> {
    use AccessField as Field;
    let own = |text: &'static str| Value::Own(text.into());
    let some = |text: Option<&'static str>| text.map_or(Value::None, own);
    let number = |number: u64| Value::Number(number.to_string().into());
    match field {
        Field::Time => Value::Own(rfc3339(record.finished).into()),
        Field::TimeCommon => Value::Own(time_common(record).into()),
        Field::ClientIp => Value::Own(record.client_ip.to_string().into()),
        Field::PeerIp => Value::Own(record.peer_ip.to_string().into()),
        Field::Method => free(method(record)),
        Field::Target => free(target(record)),
        Field::Path => free(record.target.as_ref().map_or_else(|| target(record), PathAndQuery::path)),
        Field::Query => record.target.as_ref().and_then(PathAndQuery::query).map_or(Value::None, free),
        Field::Request => Value::Free(request(record)),
        Field::Line => record.line.as_deref().map_or(Value::None, free),
        Field::Version => own(version(record)),
        Field::Host => header(record.host.as_ref()),
        Field::Status => record.status.map_or(Value::None, |status| number(status.into())),
        Field::Outcome => own(record.outcome),
        Field::Origin => some(record.origin),
        Field::Cause => some(record.cause),
        Field::Rule => some(record.rule),
        Field::Error => record.error.as_deref().map_or(Value::None, free),
        Field::Bytes => number(record.bytes),
        Field::DurationMs => {
            let us = record.duration.as_micros();
            Value::Number(format!("{}.{:03}", us / 1000, us % 1000).into())
        }
        Field::Pool => record.pool.as_deref().map_or(Value::None, free),
        Field::Endpoint => record
            .endpoint
            .as_ref()
            .map_or(Value::None, |endpoint| Value::Free(endpoint.to_string().into_bytes().into())),
        Field::Attempts => number(record.attempts.into()),
        Field::RequestId => header(record.request_id.as_ref()),
        Field::UserAgent => header(record.user_agent.as_ref()),
        Field::Referer => header(record.referer.as_ref()),
    }
}

fn free(text: &str) -> Value<'_> {
    Value::Free(text.as_bytes().into())
}

fn header(value: Option<&HeaderValue>) -> Value<'_> {
    value.map_or(Value::None, |value| Value::Free(value.as_bytes().into()))
}

/// The time as the common log format writes it.
fn time_common(record: &AccessRecord) -> String {
    let at = utc(record.finished);
    let (day, month, year, time) = (at.day(), at.month(), at.year(), at.to_hms());
    format!("{day:02}/{month:.3}/{year:04}:{:02}:{:02}:{:02} +0000", time.0, time.1, time.2)
}

/// Method, target and version; of a head that could not be read its first line, if that is known.
fn request(record: &AccessRecord) -> Cow<'_, [u8]> {
    match (&record.method, &record.line) {
        (Some(method), _) => format!("{method} {} {}", target(record), version(record)).into_bytes().into(),
        (None, Some(line)) => line.as_bytes().into(),
        (None, None) => NOTHING.into(),
    }
}

/// `-` if the head could not be read.
fn method(record: &AccessRecord) -> &str {
    record.method.as_ref().map_or("-", Method::as_str)
}

fn target(record: &AccessRecord) -> &str {
    match (&record.target, &record.authority, &record.method) {
        (Some(target), ..) => target.as_str(),
        (None, Some(authority), _) => authority.as_str(),
        (None, None, Some(_)) => "*",
        (None, None, None) => "-",
    }
}

fn version(record: &AccessRecord) -> &'static str {
    match record.version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}
