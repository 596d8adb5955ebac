//! The attributes of spans, by the stable semantic conventions of OpenTelemetry for HTTP.

use std::borrow::Cow;

use http::Version;

use super::protobuf::Message;
use crate::config::address::Address;
use crate::metrics::Outcome;
use crate::proxy::story::{Attempt, Story};

/// The methods that a span names. Others are `_OTHER`, since there may be any number of them.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// The attributes of a message: its field with this number.
pub(super) struct Attributes<'m> {
    pub(super) message: &'m mut Message,
    pub(super) field: u32,
}

impl Attributes<'_> {
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.attribute(key, |any| any.bytes(1, value.as_bytes()));
    }

    pub(super) fn number(&mut self, key: &str, value: u64) {
        self.attribute(key, |any| any.chosen_number(3, i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn attribute(&mut self, key: &str, value: impl FnOnce(&mut Message)) {
        self.message.message(self.field, |pair| {
            pair.bytes(1, key.as_bytes());
            pair.message(2, value);
        });
    }

    /// Those of a request.
    pub(super) fn request(&mut self, story: &Story) {
        self.method(&story.method);
        self.text("url.path", &story.path);
        let is_tls = story.trace.as_ref().is_some_and(|trace| trace.is_tls);
        self.text("url.scheme", if is_tls { "https" } else { "http" });
        let (host, port) = host_and_port(&story.host);
        if !host.is_empty() {
            self.text("server.address", host);
        }
        if let Some(port) = port {
            self.number("server.port", port.into());
        }
        self.text("client.address", &story.client.to_string());
        self.text("network.protocol.version", version(story.version));
        if let Some(route) = &story.route {
            self.text("http.route", &route.path);
            self.text("unstick.route", &route.conditions);
        }
        if let Some(status) = story.status {
            self.number("http.response.status_code", status.into());
            self.number("http.response.body.size", story.bytes);
        }
        if let Some(error) = error_of(story) {
            self.text("error.type", &error);
        }
        self.text("unstick.listener", &story.listener);
        if let Some(pool) = &story.pool {
            self.text("unstick.pool", pool);
            self.number("unstick.attempts", story.attempts_made.into());
        }
        if !story.id.is_empty() {
            self.text("unstick.request_id", &story.id);
        }
        if let Some(cause) = story.cause {
            self.text("unstick.cause", cause.name());
        }
        self.text("unstick.outcome", outcome(story.outcome));
    }

    /// Those of an attempt, which has this number.
    pub(super) fn attempt(&mut self, story: &Story, attempt: &Attempt, number: u32) {
        self.method(&story.method);
        match &attempt.endpoint {
            Address::Tcp(address) => {
                self.text("server.address", &address.ip().to_string());
                self.number("server.port", address.port().into());
                self.text("network.peer.address", &address.ip().to_string());
                self.number("network.peer.port", address.port().into());
            }
            Address::Unix(file) => {
                self.text("server.address", &file.to_string_lossy());
                self.text("network.transport", "unix");
            }
        }
        if attempt.head.is_some() {
            self.text("network.protocol.version", if attempt.is_h2 { "2" } else { "1.1" });
        }
        if let Some(status) = attempt.status {
            self.number("http.response.status_code", status.into());
        }
        if number > 1 {
            self.number("http.request.resend_count", u64::from(number) - 1);
        }
        self.text("unstick.pool", &attempt.pool);
        self.text("unstick.chosen", attempt.chosen.name());
        if let Some(connection) = attempt.connection {
            self.text("unstick.connection", connection.name());
        }
        if let Some(failure) = &attempt.failure {
            self.text("unstick.cause", failure.cause);
            self.text("unstick.decision", failure.decision);
        }
        if let Some(error) = error_of_attempt(attempt) {
            self.text("error.type", &error);
        }
    }

    fn method(&mut self, method: &str) {
        self.text("http.request.method", known(method).unwrap_or("_OTHER"));
        if known(method).is_none() {
            self.text("http.request.method_original", method);
        }
    }
}

/// The name of the method, if spans may have it.
pub(super) fn known(method: &str) -> Option<&str> {
    METHODS.contains(&method).then_some(method)
}

/// What is wrong with a request, for whoever runs the service: a client that errs or leaves is no error of ours.
pub(super) fn error_of(story: &Story) -> Option<Cow<'static, str>> {
    match (story.outcome, story.status) {
        (Outcome::Cut, _) => Some("cut".into()),
        (_, Some(status)) if status >= 500 => {
            Some(story.cause.map_or_else(|| status.to_string().into(), |cause| cause.name().into()))
        }
        _ => None,
    }
}

/// What is wrong with an attempt, for whoever calls the replica.
pub(super) fn error_of_attempt(attempt: &Attempt) -> Option<Cow<'static, str>> {
    match (&attempt.failure, attempt.status) {
        (_, Some(status)) if status >= 400 => Some(status.to_string().into()),
        (Some(failure), _) => Some(failure.cause.into()),
        _ => None,
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered(_) => "answered",
        Outcome::Cut => "cut",
        Outcome::ClientGone => "client_gone",
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

/// The two parts of a `Host`, without the brackets of an IPv6 address.
fn host_and_port(host: &str) -> (&str, Option<u16>) {
    let bare = |name| str::trim_matches(name, ['[', ']']);
    match host.rsplit_once(':') {
        Some((name, port)) if !name.ends_with(':') && (!name.contains(':') || name.ends_with(']')) => {
            (bare(name), port.parse().ok())
        }
        _ => (bare(host), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_two_parts() {
        for (host, parts) in [
            ("a.test", ("a.test", None)),
            ("a.test:81", ("a.test", Some(81))),
            ("[::1]:81", ("::1", Some(81))),
            ("[::1]", ("::1", None)),
            ("::1", ("::1", None)),
            ("a:x", ("a", None)),
            ("", ("", None)),
        ] {
            assert_eq!(host_and_port(host), parts, "{host}");
        }
    }

    #[test]
    fn methods_that_anybody_may_invent_have_one_name() {
        assert_eq!(known("PATCH"), Some("PATCH"));
        assert_eq!(known("PURGE"), None);
    }
}
