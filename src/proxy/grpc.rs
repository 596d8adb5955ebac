//! What gRPC needs from a proxy beyond HTTP/2: deadlines, and errors as gRPC status.
//!
//! Source: "gRPC over HTTP2" (PROTOCOL-HTTP2.md) and "HTTP to gRPC Status Code Mapping" of the gRPC project.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(super) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The most digits that `grpc-timeout` may have.
const TIMEOUT_DIGITS_MAX: usize = 8;

/// A request that is a call of gRPC.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// How long the whole call may take, if the client says so.
    pub(super) timeout: Option<Duration>,
}

impl Call {
    /// The call that these header fields belong to, if it is one.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        is_call(headers).then(|| Self { timeout: timeout(headers) })
    }
}

/// Whether a request is a call: its content type is `application/grpc`, with or without a subtype for its messages.
pub(super) fn is_call(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = content_type.and_then(|value| value.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let (unit, digits) = headers.get(GRPC_TIMEOUT)?.as_bytes().split_last()?;
    if digits.len() > TIMEOUT_DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn what_is_a_call() {
        for (content_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_call(&with(CONTENT_TYPE, content_type)), expected, "{content_type}");
        }
        assert!(!is_call(&HeaderMap::new()));
    }

    #[test]
    fn timeouts() {
        for (text, expected) in [
            ("5S", Some(5_000_000_000)),
            ("100m", Some(100_000_000)),
            ("7u", Some(7_000)),
            ("1n", Some(1)),
            ("2M", Some(120_000_000_000)),
            ("99999999H", Some(359_999_996_400_000_000_000)),
            ("123456789S", None),
            ("5", None),
            ("S", None),
            ("-1S", None),
            ("", None),
        ] {
            let found = timeout(&with(GRPC_TIMEOUT, text)).map(|timeout| timeout.as_nanos());
            assert_eq!(found, expected, "{text}");
        }
    }
}
