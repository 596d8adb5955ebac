//! The two formats of the access log.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Version};
use serde::Serialize;

use super::{AccessRecord, rfc3339, utc};
use crate::config::address::Address;

/// A line as JSON.
#[derive(Serialize)]
pub(super) struct JsonLine<'a> {
    time: String,
    client: IpAddr,
    method: &'a str,
    target: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<&'a str>,
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    status: Option<u16>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    bytes: u64,
    duration_ms: f64,
    pool: Option<&'a str>,
    endpoint: Option<Address>,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referer: Option<String>,
}

impl<'a> JsonLine<'a> {
    pub(super) fn of(record: &'a AccessRecord) -> Self {
        let text = |value: &Option<HeaderValue>| value.as_ref().map(|v| String::from_utf8_lossy(v.as_bytes()).into());
        Self {
            time: rfc3339(record.finished),
            client: record.client,
            method: method(record),
            target: target(record),
            line: record.line.as_deref(),
            version: version(record),
            host: text(&record.host),
            status: record.status,
            outcome: record.outcome,
            origin: record.origin,
            cause: record.cause,
            rule: record.rule,
            error: record.error.as_deref(),
            bytes: record.bytes,
            duration_ms: (record.duration.as_secs_f64() * 1e6).round() / 1e3,
            pool: record.pool.as_deref(),
            endpoint: record.endpoint.clone(),
            attempts: record.attempts,
            request_id: text(&record.request_id),
            user_agent: text(&record.user_agent),
            referer: text(&record.referer),
        }
    }
}

/// The common log format of NCSA: `host ident user [time] "request" status bytes`. The status is 499 if there was none.
pub(super) fn common(record: &AccessRecord) -> String {
    let at = utc(record.finished);
    let (day, month, year, time) = (at.day(), at.month(), at.year(), at.to_hms());
    let time = format!("{day:02}/{month:.3}/{year:04}:{:02}:{:02}:{:02} +0000", time.0, time.1, time.2);
    let mut line = format!("{} - - [{time}] \"{} ", record.client, method(record));
    for c in target(record).chars() {
        // hyper refuses quotes and control bytes in targets, but readers of the log must not have to rely on it.
        if matches!(c, '"' | '\\') || c.is_control() {
            write!(line, "\\x{:02x}", c as u32).ok()
        } else {
            line.push(c);
            None
        };
    }
    let status = record.status.unwrap_or(499);
    write!(line, " {}\" {status} {}", version(record), record.bytes).ok();
    line
}

/// `-` if the head could not be read.
fn method(record: &AccessRecord) -> &str {
    record.method.as_ref().map_or("-", Method::as_str)
}

fn target(record: &AccessRecord) -> &str {
    let without = if record.method.is_some() { "*" } else { "-" };
    record.target.as_ref().map_or(without, PathAndQuery::as_str)
}

fn version(record: &AccessRecord) -> &'static str {
    match record.version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}
