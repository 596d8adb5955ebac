//! Redirects from plain text to TLS.

use bytes::Bytes;
use http::header::{HOST, HeaderValue, LOCATION};
use http::request::Parts;
use http::{Response, StatusCode, Uri};

use super::body::ResponseBody;
use super::busy::Busy;
use super::closing;
use super::exchange::Exchange;

/// The port that a URL of `https` may leave out.
const HTTPS: u16 = 443;

/// Redirects a client to the same URL by `https`, with the same method and body (308, RFC 9110 section 15.4.9).
pub(super) fn to_https(mut exchange: Exchange, parts: &Parts, port: u16, busy: Busy) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::local(Bytes::new(), busy));
    if closing::is_last(exchange.client(), exchange.timeouts()) {
        closing::close(response.headers_mut());
    }
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    match location(host, port, &parts.uri) {
        Some(location) => {
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(LOCATION, location);
        }
        None => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    if let Some(planned) = exchange.planned() {
        planned.edit_response(response.headers_mut());
    }
    exchange.answered_here(response.status(), None, None);
    exchange.finish_answered();
    response
}

/// The URL to go to; `None` without a host.
pub(super) fn location(host: &str, port: u16, target: &Uri) -> Option<HeaderValue> {
    // The part after the last colon is the port, unless it is the end of an IPv6 address.
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    };
    if name.is_empty() {
        return None;
    }
    let port = if port == HTTPS { String::new() } else { format!(":{port}") };
    let target = target.path_and_query().filter(|target| target.as_str().starts_with('/'));
    HeaderValue::try_from(format!("https://{name}{port}{}", target.map_or("/", |target| target.as_str()))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_place_by_https() {
        for (host, port, target, expected) in [
            ("shop.example.com", 443, "/a?b=c", Some("https://shop.example.com/a?b=c")),
            ("shop.example.com:8080", 443, "/", Some("https://shop.example.com/")),
            ("shop.example.com:8080", 8443, "/", Some("https://shop.example.com:8443/")),
            ("[::1]:8080", 8443, "/x", Some("https://[::1]:8443/x")),
            ("[::1]", 443, "/x", Some("https://[::1]/x")),
            ("shop.example.com", 443, "*", Some("https://shop.example.com/")),
            ("", 443, "/", None),
        ] {
            let found = location(host, port, &target.parse().unwrap());
            assert_eq!(found.as_ref().map(|location| location.to_str().unwrap()), expected, "{host} {port} {target}");
        }
    }
}
