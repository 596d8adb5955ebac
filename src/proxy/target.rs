//! Where a request goes: its target and its host.

use std::net::Ipv6Addr;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, Version};

use super::cause::Cause;
use super::malformed::Malformed;
use crate::config::percent;

/// The most digits of a port.
const PORT_DIGITS_MAX: usize = 5;

/// The host of a request.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) value: HeaderValue,
    /// Whether the header field `Host` has this value already.
    pub(super) is_field: bool,
}

impl Host {
    /// Puts the host where everybody looks for it. Returns whether there was no such field.
    #[inline]
    pub(super) fn become_field(&mut self, headers: &mut HeaderMap) -> bool {
        !std::mem::replace(&mut self.is_field, true) && headers.insert(HOST, self.value.clone()).is_none()
    }
}

/// Checks what the parsers of heads do not, finds the host, and brings the target into origin form.
///
/// The host is that of an absolute-form target, else that of the `Host` field (RFC 9112 section 3.2.2). It is `None`
/// only for HTTP/1.0 clients that named none.
///
/// # Errors
/// The cause of a 400 or 405.
pub(super) fn take_target(parts: &mut Parts) -> Result<Option<Host>, Cause> {
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Err(Cause::MethodNotAllowed);
    }
    let host = if parts.version == Version::HTTP_2 { h2_host(parts) } else { h1_host(parts) };
    let host = host.map_err(Cause::BadRequest)?;
    if parts.uri.path() == "*" && parts.method != Method::OPTIONS {
        return Err(Cause::BadRequest(Malformed::Asterisk));
    }
    if parts.uri.path_and_query().is_some_and(|target| percent::has_odd(target.as_str().as_bytes())) {
        encode(parts).map_err(Cause::BadRequest)?;
    }
    Ok(host)
}

/// Encodes what the libraries have let pass in the target although no URL may contain it: the route that it takes must
/// not depend on the version it came in, or on what came before it.
#[cold]
fn encode(parts: &mut Parts) -> Result<(), Malformed> {
    let mut encoded = Vec::new();
    percent::encode(parts.uri.path_and_query().map_or("", PathAndQuery::as_str).as_bytes(), &mut encoded);
    parts.uri =
        PathAndQuery::from_maybe_shared(Bytes::from(encoded)).map(Uri::from).map_err(|_| Malformed::TargetForm)?;
    Ok(())
}

/// The host of a request over HTTP/1.
fn h1_host(parts: &mut Parts) -> Result<Option<Host>, Malformed> {
    let host = parts.headers.get(HOST).cloned();
    // Looking for a second value costs as much as the first look-up, so it is done only if some field has several.
    let any_repeated = parts.headers.len() > parts.headers.keys_len();
    if any_repeated && parts.headers.get_all(HOST).iter().nth(1).is_some() {
        return Err(Malformed::HostRepeated);
    }
    let is_old = parts.version < Version::HTTP_11;
    let host = host.filter(|host| !is_old || !host.is_empty());
    match &host {
        None if !is_old => return Err(Malformed::HostMissing),
        Some(host) if !is_host(host.as_bytes()) => return Err(Malformed::HostInvalid),
        _ => {}
    }
    let Some(authority) = parts.uri.authority() else {
        return Ok(host.map(|value| Host { value, is_field: true }));
    };
    // Without a scheme it would be the target of CONNECT.
    check_scheme(parts.uri.scheme().ok_or(Malformed::TargetForm)?)?;
    let value = host_of(authority)?;
    add_path(parts);
    take_origin(parts)?;
    Ok(Some(Host { value, is_field: false }))
}

/// An empty path before a query is `/` (RFC 9110 section 4.2.3).
fn add_path(parts: &mut Parts) {
    let query = parts.uri.path_and_query().map(PathAndQuery::as_str).filter(|origin| origin.starts_with('?'));
    if let Some(origin) = query.and_then(|query| PathAndQuery::try_from(["/", query].concat()).ok()) {
        parts.uri = Uri::from(origin);
    }
}

/// The host of a request over HTTP/2, which names it in `:authority`. A `Host` field must name the same host, or
/// replaces a missing `:authority` (RFC 9113 section 8.3.1).
fn h2_host(parts: &mut Parts) -> Result<Option<Host>, Malformed> {
    let is_space = |byte: Option<&u8>| byte.is_some_and(|byte| b" \t".contains(byte));
    if parts.headers.values().any(|value| is_space(value.as_bytes().first()) || is_space(value.as_bytes().last())) {
        return Err(Malformed::FieldSpace);
    }
    let is_repeated = |name| parts.headers.get_all(name).iter().nth(1).is_some();
    if parts.headers.len() > parts.headers.keys_len() {
        if is_repeated(CONTENT_LENGTH) {
            return Err(Malformed::LengthRepeated);
        }
        if is_repeated(HOST) {
            return Err(Malformed::HostRepeated);
        }
    }
    if let Some(scheme) = parts.uri.scheme() {
        check_scheme(scheme)?;
    }
    let value = match (parts.uri.authority(), parts.headers.get(HOST)) {
        (Some(authority), Some(field)) if !authority.as_str().as_bytes().eq_ignore_ascii_case(field.as_bytes()) => {
            return Err(Malformed::HostsDiffer);
        }
        (Some(authority), _) => host_of(authority)?,
        (None, Some(field)) if is_host(field.as_bytes()) => field.clone(),
        (None, Some(_)) => return Err(Malformed::HostInvalid),
        (None, None) => return Err(Malformed::HostMissing),
    };
    take_origin(parts)?;
    Ok(Some(Host { value, is_field: false }))
}

fn check_scheme(scheme: &Scheme) -> Result<(), Malformed> {
    if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS { Ok(()) } else { Err(Malformed::Scheme) }
}

/// The host that a target names.
fn host_of(authority: &Authority) -> Result<HeaderValue, Malformed> {
    if authority.as_str().contains('@') {
        return Err(Malformed::UserName);
    }
    if !is_host(authority.as_str().as_bytes()) {
        return Err(Malformed::HostInvalid);
    }
    HeaderValue::try_from(authority.as_str()).map_err(|_| Malformed::HostInvalid)
}

/// Reduces the target to its path and query.
fn take_origin(parts: &mut Parts) -> Result<(), Malformed> {
    let origin = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    if !origin.as_str().starts_with('/') && origin != "*" {
        return Err(Malformed::TargetForm);
    }
    parts.uri = Uri::from(origin);
    Ok(())
}

/// Whether a byte may be in a name: letters, digits and `-._~`. Every request asks for every byte of its host, and a
/// table takes half as many instructions as four comparisons.
const IS_OF_NAME: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0_u8);
    loop {
        table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};

/// A name of letters, digits and `-._~`, or an IP address, with or without a port. RFC 3986 has more, which no host has
/// that a route could be for.
fn is_host(host: &[u8]) -> bool {
    let is_port = |port: &[u8]| port.len() <= PORT_DIGITS_MAX && port.iter().all(u8::is_ascii_digit);
    if let Some(rest) = host.strip_prefix(b"[") {
        let Some(end) = rest.iter().position(|&byte| byte == b']') else { return false };
        let (address, port) = rest.split_at(end);
        let is_address = std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
        return is_address && (port == b"]" || port.strip_prefix(b"]:").is_some_and(is_port));
    }
    match host.iter().position(|&byte| !IS_OF_NAME[usize::from(byte)]) {
        None => !host.is_empty(),
        Some(0) => false,
        Some(end) => host.get(end..).and_then(|port| port.strip_prefix(b":")).is_some_and(is_port),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn the_target_decides_the_host() {
        type Expected = Result<(Option<&'static str>, &'static str), u16>;
        for (method, uri, version, hosts, expected) in [
            ("GET", "/a?b", Version::HTTP_11, &["x"][..], Ok((Some("x"), "/a?b")) as Expected),
            ("GET", "http://y:80/a?b", Version::HTTP_11, &["x"], Ok((Some("y:80"), "/a?b"))),
            ("GET", "http://y", Version::HTTP_11, &["x"], Ok((Some("y"), "/"))),
            ("GET", "http://y?q=/", Version::HTTP_11, &["x"], Ok((Some("y"), "/?q=/"))),
            ("OPTIONS", "*", Version::HTTP_11, &["x"], Ok((Some("x"), "*"))),
            ("GET", "/", Version::HTTP_10, &[], Ok((None, "/"))),
            ("GET", "/", Version::HTTP_11, &[], Err(400)),
            ("GET", "/", Version::HTTP_11, &["x", "y"], Err(400)),
            ("GET", "/", Version::HTTP_11, &["x, y"], Err(400)),
            ("GET", "/", Version::HTTP_11, &["x/y"], Err(400)),
            ("GET", "http://u@y/", Version::HTTP_11, &["x"], Err(400)),
            ("TRACE", "/", Version::HTTP_11, &["x"], Err(405)),
            ("CONNECT", "x:1", Version::HTTP_11, &["x"], Err(405)),
            ("GET", "/", Version::HTTP_10, &[""], Ok((None, "/"))),
            ("GET", "/", Version::HTTP_11, &[""], Err(400)),
            ("GET", "*", Version::HTTP_11, &["x"], Err(400)),
            ("GET", "ftp://y/", Version::HTTP_11, &["x"], Err(400)),
            ("GET", "http://evil,good/", Version::HTTP_11, &["x"], Err(400)),
            ("GET", "y:80", Version::HTTP_11, &["x"], Err(400)),
            ("GET", "https://y/?q", Version::HTTP_2, &[], Ok((Some("y"), "/?q"))),
            ("GET", "ftp://y/", Version::HTTP_2, &[], Err(400)),
            ("GET", "https://y/", Version::HTTP_2, &["z"], Err(400)),
        ] {
            let mut request = Request::builder().method(method).uri(uri).version(version);
            for host in hosts {
                request = request.header("host", *host);
            }
            let mut parts = request.body(()).unwrap().into_parts().0;
            let host = take_target(&mut parts).map_err(|cause| cause.status().as_u16());
            let host = host.map(|host| host.map(|host| host.value));
            let uri = parts.uri.to_string();
            let found = host.as_ref().map(|host| (host.as_ref().map(|h| h.to_str().unwrap()), uri.as_str()));
            assert_eq!(found.map_err(|status| *status), expected, "{method} {uri} {hosts:?}");
        }
    }

    #[test]
    fn what_a_host_is() {
        for host in ["a", "a.example.com", "A-1_b~c.", "a:80", "a:", "127.0.0.1:3000", "[::1]", "[2001:db8::1]:443"] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            ":80",
            "a,b",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "a@b",
            "a%41",
            "a;b",
            "a:b",
            "a:80:90",
            "a:123456",
            "::1",
            "[::1",
            "[::1]80",
            "[::1]:x",
            "[a]",
            "[]",
            "[::1%25eth0]",
            "a\"b",
            "a=b",
            "a&b",
            "a*",
            "\u{e9}",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
