//! What a line of the access log is made of. No value can add a line or a field, whoever has sent it.

use std::borrow::Cow;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Version};

use super::AccessRecord;
use super::calendar::Calendar;
use super::layout::{Form, Step};
use crate::config::address::Address;
use crate::config::model::AccessField;

/// The status in a line of text if there was no response, as nginx has it.
const CLIENT_GONE: &str = "499";

/// What stands in a line of text for a value that is not there.
const NOTHING: &[u8] = b"-";

/// What a field says of a request.
enum Value<'a> {
    /// Nothing.
    None,
    Number(u64),
    /// Milliseconds, with their thousandths.
    Ms(Duration),
    Time,
    TimeCommon,
    Ip(IpAddr),
    /// An IP address and a port.
    Socket(SocketAddr),
    /// Words that are made here.
    Own(&'static str),
    /// What somebody else has written.
    Free(Cow<'a, [u8]>),
}

/// Adds a line, with its end.
pub(super) fn write_line(out: &mut Vec<u8>, record: &AccessRecord, calendar: &mut Calendar) {
    match &record.layout.form {
        Form::Json(fields) => write_json(out, record, fields, calendar),
        Form::Text(steps) => steps.iter().for_each(|step| match step {
            Step::Text(text) => out.extend_from_slice(text.as_bytes()),
            Step::Field(field, escaped) => match value(record, *field) {
                Value::None if *field == AccessField::Status => out.extend_from_slice(CLIENT_GONE.as_bytes()),
                Value::None => out.extend_from_slice(NOTHING),
                Value::Free(bytes) if bytes.is_empty() => out.extend_from_slice(NOTHING),
                Value::Free(bytes) => escape(out, &bytes, *escaped),
                // It has colons, and may have brackets.
                Value::Socket(address) => escape(out, address.to_string().as_bytes(), *escaped),
                value => write_own(out, &value, record, calendar),
            },
        }),
    }
    out.push(b'\n');
}

/// Adds what is made here. There is nothing in it that could end a field or a line.
fn write_own(out: &mut Vec<u8>, value: &Value<'_>, record: &AccessRecord, calendar: &mut Calendar) {
    match value {
        Value::None | Value::Free(_) => {}
        Value::Number(number) => write_number(out, *number),
        Value::Ms(duration) => {
            let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
            write_number(out, us / 1000);
            let thousandths = (us % 1000) as u16;
            let digit = |of: u16| b'0' + (thousandths / of % 10) as u8;
            out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
        }
        Value::Time => {
            let (second, fraction) = calendar.rfc3339(record.finished);
            out.extend_from_slice(second.as_bytes());
            out.extend_from_slice(fraction.as_bytes());
            out.push(b'Z');
        }
        Value::TimeCommon => out.extend_from_slice(calendar.common(record.finished).as_bytes()),
        Value::Ip(ip) => write_ip(out, *ip),
        Value::Socket(SocketAddr::V4(address)) => {
            write_ip(out, (*address.ip()).into());
            out.push(b':');
            write_number(out, address.port().into());
        }
        Value::Socket(address) => _ = write!(out, "{address}"),
        Value::Own(text) => out.extend_from_slice(text.as_bytes()),
    }
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn write_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            let mut separator: &[u8] = b"";
            for octet in ip.octets() {
                out.extend_from_slice(std::mem::replace(&mut separator, b"."));
                write_number(out, octet.into());
            }
        }
        IpAddr::V6(ip) => _ = write!(out, "{ip}"),
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

fn write_json(out: &mut Vec<u8>, record: &AccessRecord, fields: &[AccessField], calendar: &mut Calendar) {
    let mut separator = b'{';
    for field in fields {
        let value = value(record, *field);
        if matches!(value, Value::None) && !is_always_said(*field) {
            continue;
        }
        out.push(std::mem::replace(&mut separator, b','));
        out.push(b'"');
        out.extend_from_slice(field.name().as_bytes());
        out.extend_from_slice(b"\":");
        match value {
            Value::None => out.extend_from_slice(b"null"),
            Value::Number(_) | Value::Ms(_) => write_own(out, &value, record, calendar),
            Value::Free(bytes) => write_string(out, &bytes),
            value => {
                out.push(b'"');
                write_own(out, &value, record, calendar);
                out.push(b'"');
            }
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
fn write_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    if bytes.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
        out.extend_from_slice(bytes);
    } else {
        write_escaped(out, &String::from_utf8_lossy(bytes));
    }
    out.push(b'"');
}

fn write_escaped(out: &mut Vec<u8>, text: &str) {
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
}

fn value(record: &AccessRecord, field: AccessField) -> Value<'_> {
    use AccessField as Field;
    let some = |text: Option<&'static str>| text.map_or(Value::None, Value::Own);
    match field {
        Field::Time => Value::Time,
        Field::TimeCommon => Value::TimeCommon,
        Field::ClientIp => Value::Ip(record.client_ip),
        Field::PeerIp => Value::Ip(record.peer_ip),
        Field::Method => free(method(record)),
        Field::Target => free(target(record)),
        Field::Path => free(record.target.as_ref().map_or_else(|| target(record), PathAndQuery::path)),
        Field::Query => record.target.as_ref().and_then(PathAndQuery::query).map_or(Value::None, free),
        Field::Request => Value::Free(request(record)),
        Field::Line => record.line.as_deref().map_or(Value::None, free),
        Field::Version => Value::Own(version(record)),
        Field::Host => header(record.host.as_ref()),
        Field::Status => record.status.map_or(Value::None, |status| Value::Number(status.into())),
        Field::Outcome => Value::Own(record.outcome),
        Field::Origin => some(record.origin),
        Field::Cause => some(record.cause),
        Field::Rule => some(record.rule),
        Field::Error => record.error.as_deref().map_or(Value::None, free),
        Field::Bytes => Value::Number(record.bytes),
        Field::DurationMs => Value::Ms(record.duration),
        Field::Pool => record.pool.as_deref().map_or(Value::None, free),
        Field::Endpoint => match &record.endpoint {
            None => Value::None,
            Some(Address::Tcp(address)) => Value::Socket(*address),
            Some(address) => Value::Free(address.to_string().into_bytes().into()),
        },
        Field::Attempts => Value::Number(record.attempts.into()),
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
