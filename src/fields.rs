//! The header fields that mean something to a proxy, and the fields that trailers must not contain.

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE,
    EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, MAX_FORWARDS, PROXY_AUTHORIZATION, RANGE, SET_COOKIE,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};

pub(crate) const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// `HTTP2-Settings` belongs to an upgrade to HTTP/2 (RFC 7540 section 3.2.1), which is never passed on.
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
/// The fields that concern one connection only (RFC 9110 section 7.6.1), besides `Connection` and `TE`.
pub(crate) const OTHER_HOP_BY_HOP: [HeaderName; 5] =
    [TRANSFER_ENCODING, UPGRADE, KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS];

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Identifies one request in the logs of everything it passes.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Where a request is in a trace (W3C Trace Context), and what others keep beside it.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Promises that the application recognises a request that it has seen before, so that repeating it does no harm.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The client's certificate (RFC 9440 section 2.2).
pub(crate) const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
/// The subject of the client's certificate, as text (RFC 4514).
pub(crate) const X_CLIENT_CERT_SUBJECT: HeaderName = HeaderName::from_static("x-client-cert-subject");
/// The fields from which replicas learn who the client is. They must not come from the client itself.
const IDENTITY: [&str; 3] = ["client-cert", "client-cert-chain", "x-client-cert-subject"];

/// In HTTP/1.1, the end of a line, and in the line of a field the end of its name (RFC 9112 sections 2.2 and 5).
pub(crate) const LINE_END: &str = "\r\n";
pub(crate) const NAME_END: &str = ": ";

/// Fields that tell how a request came, or decide what becomes of it. They must be known before the body.
const NEVER_IN_TRAILERS: [HeaderName; 27] = [
    CONNECTION,
    TE,
    PROXY_CONNECTION,
    KEEP_ALIVE,
    HTTP2_SETTINGS,
    UPGRADE,
    TRANSFER_ENCODING,
    CONTENT_LENGTH,
    TRAILER,
    HOST,
    EXPECT,
    MAX_FORWARDS,
    CACHE_CONTROL,
    RANGE,
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    COOKIE,
    SET_COOKIE,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    CONTENT_RANGE,
    FORWARDED,
    VIA,
    X_REQUEST_ID,
    TRACEPARENT,
    TRACESTATE,
    IDEMPOTENCY_KEY,
];

/// Whether the client waits for a word before it sends its body, and expects nothing else (RFC 9110 section 10.1.1).
pub(crate) fn expects_continue(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(EXPECT).iter().peekable();
    values.peek().is_some() && values.all(is_continue)
}

/// Whether this value of `Expect` is the only one that has a meaning (RFC 9110 section 10.1.1).
pub(crate) fn is_continue(expected: &HeaderValue) -> bool {
    expected.as_bytes().eq_ignore_ascii_case(b"100-continue")
}

/// Whether a comma-separated list has this element, regardless of case.
pub(crate) fn has_token(list: &HeaderValue, token: &str) -> bool {
    list.as_bytes().split(|&b| b == b',').any(|element| element.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether a replica could take this field for one that says who the client is.
pub(crate) fn is_identity(name: &str) -> bool {
    IDENTITY.iter().any(|known| looks_like(name, known))
}

/// Whether a replica could take this field for one that says how a request came.
pub(crate) fn is_forwarding(name: &str) -> bool {
    // The first letter rules out most names at the cost of one comparison.
    name.starts_with('x')
        && (looks_like(name, "x-real-ip")
            || looks_like(name, "x-request-id")
            || name.get(..11).is_some_and(|x| looks_like(x, "x-forwarded")))
}

/// Whether an application could take this field for another one of those two kinds. No proxy writes such a name: a
/// stranger does, whose field a trusted proxy passes on beside its own.
pub(crate) fn is_disguised(name: &str) -> bool {
    name.contains('_') && (is_forwarding(name) || is_identity(name))
}

/// Whether nothing here reads or writes a field of this name, so that it is between the client, the config and the
/// application.
pub(crate) fn is_for_application(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-") && !is_forwarding(name) && !is_identity(name)
}

/// The size of fields in a head of HTTP/2, in bytes: 32 more for each than its name and value have (RFC 9113 section
/// 6.5.2).
pub(crate) fn list_size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

/// Appends a field as a line of HTTP/1.1.
pub(crate) fn push_line(lines: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    for part in [name.as_str().as_bytes(), NAME_END.as_bytes(), value.as_bytes(), LINE_END.as_bytes()] {
        lines.extend_from_slice(part);
    }
}

/// Whether two names are the same to an application for which `_` and `-` are, as for those that get fields in
/// variables of an environment (RFC 3875 section 4.1.18).
pub(crate) fn looks_like(name: &str, known: &str) -> bool {
    let same = |byte: u8| if byte == b'_' { b'-' } else { byte };
    known.len() == name.len() && known.bytes().zip(name.bytes()).all(|(a, b)| same(a) == same(b))
}

/// Removes trailers with these names, and those that an application may take for one of them.
pub(crate) fn strip_named(trailers: &mut HeaderMap, known: &[HeaderName]) {
    let is_known = |name: &&HeaderName| known.iter().any(|known| looks_like(name.as_str(), known.as_str()));
    let names: Vec<HeaderName> = trailers.keys().filter(is_known).cloned().collect();
    names.iter().for_each(|name| _ = trailers.remove(name));
}

/// Removes fields that trailers must not contain: framing, routing, authentication and the like (RFC 9110 section
/// 6.5.1), and what only the proxy may say about the client. A replica that merges trailers into the head would believe
/// them.
pub(crate) fn strip_trailers(trailers: &mut HeaderMap) {
    let is_forbidden = |name: &HeaderName| {
        let name = name.as_str();
        is_identity(name)
            || is_forwarding(name)
            || NEVER_IN_TRAILERS.iter().any(|known| looks_like(name, known.as_str()))
    };
    let names: Vec<HeaderName> = trailers.keys().filter(|name| is_forbidden(name)).cloned().collect();
    names.iter().for_each(|name| _ = trailers.remove(name));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_thing_can_be_expected() {
        for (values, expected) in [
            (&["100-continue"][..], true),
            (&["100-Continue"], true),
            (&["100-continue", "100-continue"], true),
            (&["100-continue", "x"], false),
            (&["x", "100-continue"], false),
            (&["100-continue, x"], false),
            (&["x"], false),
            (&[""], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| _ = headers.append(EXPECT, HeaderValue::from_static(value)));
            assert_eq!(expects_continue(&headers), expected, "{values:?}");
        }
    }

    #[test]
    fn what_may_stand_in_trailers() {
        for (name, expected) in [
            ("grpc-status", true),
            ("grpc-message", true),
            ("digest", true),
            ("x-checksum", true),
            ("x-forwarder", true),
            ("client-cert", false),
            ("client_cert_chain", false),
            ("x-client-cert-subject", false),
            ("x-forwarded-for", false),
            ("x_forwarded_proto", false),
            ("x-real-ip", false),
            ("forwarded", false),
            ("content-length", false),
            ("transfer_encoding", false),
            ("authorization", false),
            ("cookie", false),
            ("host", false),
            ("x-request-id", false),
            ("traceparent", false),
            ("tracestate", false),
        ] {
            let name = HeaderName::from_static(name);
            let mut trailers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static("1"))]);
            strip_trailers(&mut trailers);
            assert_eq!(trailers.contains_key(&name), expected, "{name}");
        }
    }
}
