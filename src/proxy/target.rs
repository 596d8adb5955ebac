//! Where a request goes: its target and its host.

use http::header::{HOST, HeaderValue};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{Method, Version};

use super::cause::Cause;

/// The host of a request.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) value: HeaderValue,
    /// Whether the header field `Host` has this value already.
    pub(super) is_field: bool,
}

/// Checks what hyper does not, finds the host, and brings the target into origin form.
///
/// The host is that of an absolute-form target, else that of the `Host` field (RFC 9112 section 3.2.2). It is `None`
/// only for HTTP/1.0 clients that sent none.
///
/// # Errors
/// The cause of a 400 or 405.
pub(super) fn take_target(parts: &mut Parts) -> Result<Option<Host>, Cause> {
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Err(Cause::MethodNotAllowed);
    }
    if parts.version == Version::HTTP_2 {
        return take_h2_target(parts).map(|value| Some(Host { value, is_field: false }));
    }
    let host = parts.headers.get(HOST).cloned();
    // Looking for a second value costs as much as the first look-up, so it is done only if some field has several.
    let any_repeated = parts.headers.len() > parts.headers.keys_len();
    if any_repeated && parts.headers.get_all(HOST).iter().nth(1).is_some() {
        return Err(Cause::BadRequest("the request has more than one Host field"));
    }
    if host.is_none() && parts.version >= Version::HTTP_11 {
        return Err(Cause::BadRequest("the request has no Host field"));
    }
    if host.as_ref().is_some_and(|host| !is_host(host.as_bytes())) {
        return Err(Cause::BadRequest("the Host field is not a valid host"));
    }
    let Some(authority) = parts.uri.authority() else {
        return Ok(host.map(|value| Host { value, is_field: true }));
    };
    if authority.as_str().contains('@') {
        return Err(Cause::BadRequest("the request target must not contain a user name"));
    }
    let value = HeaderValue::try_from(authority.as_str())
        .map_err(|_| Cause::BadRequest("the target's host is not a valid host"))?;
    let origin = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::from(origin);
    Ok(Some(Host { value, is_field: false }))
}

/// The same for HTTP/2, which names the host in `:authority`. A `Host` field must name the same host, or replaces a
/// missing `:authority` (RFC 9113 section 8.3.1).
fn take_h2_target(parts: &mut Parts) -> Result<HeaderValue, Cause> {
    let mut fields = parts.headers.get_all(HOST).iter();
    let (field, more) = (fields.next(), fields.next());
    let host = match (parts.uri.authority(), field) {
        _ if more.is_some() => return Err(Cause::BadRequest("the request has more than one Host field")),
        (Some(authority), Some(field)) if !authority.as_str().as_bytes().eq_ignore_ascii_case(field.as_bytes()) => {
            return Err(Cause::BadRequest("the request has two different hosts"));
        }
        (Some(authority), _) => HeaderValue::try_from(authority.as_str()).ok(),
        (None, field) => field.cloned(),
    };
    let host = host.ok_or(Cause::BadRequest("the request names no host"))?;
    if host.is_empty() || !is_host(host.as_bytes()) {
        return Err(Cause::BadRequest("the request's host is not a valid host"));
    }
    let origin = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let is_origin_form = origin.as_str().starts_with('/') || (origin == "*" && parts.method == Method::OPTIONS);
    if !is_origin_form {
        return Err(Cause::BadRequest("the request's path does not begin with a slash"));
    }
    parts.uri = Uri::from(origin);
    Ok(host)
}

/// `uri-host [":" port]` of RFC 3986, loosely: it admits no byte that ends a host in a URL, a list or a quoted string.
fn is_host(host: &[u8]) -> bool {
    host.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+;=".contains(b))
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
            ("OPTIONS", "*", Version::HTTP_11, &["x"], Ok((Some("x"), "*"))),
            ("GET", "/", Version::HTTP_10, &[], Ok((None, "/"))),
            ("GET", "/", Version::HTTP_11, &[], Err(400)),
            ("GET", "/", Version::HTTP_11, &["x", "y"], Err(400)),
            ("GET", "/", Version::HTTP_11, &["x, y"], Err(400)),
            ("GET", "/", Version::HTTP_11, &["x/y"], Err(400)),
            ("GET", "http://u@y/", Version::HTTP_11, &["x"], Err(400)),
            ("TRACE", "/", Version::HTTP_11, &["x"], Err(405)),
            ("CONNECT", "x:1", Version::HTTP_11, &["x"], Err(405)),
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
}
