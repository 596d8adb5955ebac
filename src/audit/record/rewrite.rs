//! Fields as the application must see them, and as the browser must. Pure.

use std::net::SocketAddr;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::replicas::{Origin, Scheme};

/// Fields that are about one connection only (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A compressed body, or a 304 without one, tells nothing. A proxy has said `100 Continue` already.
const NOT_SENT: [HeaderName; 8] = [
    header::ACCEPT_ENCODING,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::CACHE_CONTROL,
    header::PRAGMA,
    header::EXPECT,
    // A compressed message cannot be read on its way.
    header::SEC_WEBSOCKET_EXTENSIONS,
    HeaderName::from_static("alt-used"),
];

/// Responses that name an address of the application.
const WITH_ADDRESS: [HeaderName; 3] = [header::LOCATION, header::CONTENT_LOCATION, header::ACCESS_CONTROL_ALLOW_ORIGIN];

/// What the application is called, and the recorder.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// As in `Host`: without the port that the scheme has anyway.
    pub(super) host: String,
    /// As in `Origin`.
    origin: String,
    /// The `Host` of a browser that sends none.
    recorder: String,
}

impl Names {
    pub(super) fn of(backend: &Origin, recorder: SocketAddr) -> Self {
        let (scheme, port) = match backend.scheme {
            Scheme::Http => ("http", ":80"),
            Scheme::Https => ("https", ":443"),
        };
        let authority = backend.authority();
        let host = authority.strip_suffix(port).unwrap_or(&authority).to_owned();
        Self { origin: format!("{scheme}://{host}"), host, recorder: recorder.to_string() }
    }

    /// What the browser calls the recorder: the beginning of its URLs.
    pub(super) fn asked(&self, headers: &HeaderMap) -> String {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        format!("http://{}", host.unwrap_or(&self.recorder))
    }

    /// A request of a browser as the application sees it.
    pub(super) fn to_application(&self, headers: &mut HeaderMap, asked: &str) {
        let is_websocket = is_websocket(headers);
        remove_hop_by_hop(headers);
        NOT_SENT.iter().for_each(|name| drop(headers.remove(name)));
        if is_websocket {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        for name in [header::ORIGIN, header::REFERER] {
            moved(headers, &name, asked, &self.origin);
        }
        if let Ok(host) = HeaderValue::try_from(&self.host) {
            headers.insert(header::HOST, host);
        }
    }

    /// A response of the application as the browser sees it.
    pub(super) fn to_browser(&self, headers: &mut HeaderMap, asked: &str) {
        let is_websocket = is_websocket(headers);
        remove_hop_by_hop(headers);
        if is_websocket {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        WITH_ADDRESS.iter().for_each(|name| moved(headers, name, &self.origin, asked));
        let cookies: Vec<_> = headers.get_all(header::SET_COOKIE).iter().map(for_localhost).collect();
        headers.remove(header::SET_COOKIE);
        headers.extend(cookies.into_iter().map(|cookie| (header::SET_COOKIE, cookie)));
        headers.remove(header::STRICT_TRANSPORT_SECURITY);
        headers.remove(header::ALT_SVC);
        // Else the browser asks once, and the next steps are not seen.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// Whether a WebSocket is asked for, or accepted (RFC 6455 section 4).
pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<_> =
        named.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse::<HeaderName>().ok()).collect();
    named.iter().chain(&HOP_BY_HOP).for_each(|name| drop(headers.remove(name)));
}

/// A URL that leads below one address leads below the other.
fn moved(headers: &mut HeaderMap, name: &HeaderName, from: &str, to: &str) {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    let rest = value.and_then(|value| value.strip_prefix(from));
    let rest = rest.filter(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']));
    if let Some(Ok(value)) = rest.map(|rest| HeaderValue::try_from(format!("{to}{rest}"))) {
        headers.insert(name, value);
    }
}

/// A cookie that a browser keeps for `http://localhost`. Names with a prefix want `Secure` (RFC 6265bis section 4.1.3).
fn for_localhost(cookie: &HeaderValue) -> HeaderValue {
    let Ok(text) = cookie.to_str() else { return cookie.clone() };
    let wants_secure = text.trim_start().starts_with("__Host-") || text.trim_start().starts_with("__Secure-");
    let is_kept = |attribute: &&str| {
        let attribute = attribute.trim().to_ascii_lowercase().replace(' ', "");
        let needs_tls = matches!(attribute.as_str(), "secure" | "samesite=none" | "partitioned");
        !attribute.starts_with("domain=") && (wants_secure || !needs_tls)
    };
    let mut parts = text.split(';');
    let pair = parts.next().unwrap_or_default();
    let kept: Vec<_> = std::iter::once(pair).chain(parts.filter(is_kept)).collect();
    HeaderValue::try_from(kept.join(";")).unwrap_or_else(|_| cookie.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(backend: &str) -> Names {
        Names::of(&backend.parse().unwrap(), "127.0.0.1:9000".parse().unwrap())
    }

    fn fields(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn sorted(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn the_application_sees_its_own_address() {
        for (backend, host, origin) in [
            ("127.0.0.1:3000", "127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("https://app.test", "app.test", "https://app.test"),
            ("http://app.test", "app.test", "http://app.test"),
            ("https://app.test:80", "app.test:80", "https://app.test:80"),
        ] {
            let mut headers = fields(&[
                ("host", "localhost:9000"),
                ("origin", "http://localhost:9000"),
                ("referer", "http://localhost:9000/login?next=1"),
                ("accept-encoding", "gzip, br"),
                ("if-none-match", "\"1\""),
                ("connection", "keep-alive, x-hop"),
                ("x-hop", "1"),
                ("x-kept", "1"),
            ]);
            let names = names(backend);
            let asked = names.asked(&headers);
            names.to_application(&mut headers, &asked);
            let expected = [
                format!("host: {host}"),
                format!("origin: {origin}"),
                format!("referer: {origin}/login?next=1"),
                "x-kept: 1".to_owned(),
            ];
            assert_eq!(sorted(&headers), expected, "{backend}");
        }
    }

    #[test]
    fn other_addresses_stay_as_they_are() {
        let mut headers =
            fields(&[("origin", "http://localhost:90001"), ("referer", "http://elsewhere.test/"), ("host", "h")]);
        let names = names("127.0.0.1:3000");
        names.to_application(&mut headers, "http://localhost:9000");
        let expected = ["host: 127.0.0.1:3000", "origin: http://localhost:90001", "referer: http://elsewhere.test/"];
        assert_eq!(sorted(&headers), expected);
        assert_eq!(names.asked(&HeaderMap::new()), "http://127.0.0.1:9000");
    }

    #[test]
    fn the_browser_stays_with_the_recorder() {
        let mut headers = fields(&[
            ("location", "https://app.test/home"),
            ("access-control-allow-origin", "https://app.test"),
            ("content-location", "https://app.test.example/home"),
            ("strict-transport-security", "max-age=1"),
            ("cache-control", "public, max-age=60"),
            ("transfer-encoding", "chunked"),
            ("etag", "\"1\""),
        ]);
        names("https://app.test").to_browser(&mut headers, "http://localhost:9000");
        let expected = [
            "access-control-allow-origin: http://localhost:9000",
            "cache-control: no-store",
            "content-location: https://app.test.example/home",
            "etag: \"1\"",
            "location: http://localhost:9000/home",
        ];
        assert_eq!(sorted(&headers), expected);
    }

    #[test]
    fn a_websocket_is_asked_for_without_compression() {
        let mut headers = fields(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-extensions", "permessage-deflate"),
            ("sec-websocket-key", "k"),
        ]);
        names("a:1").to_application(&mut headers, "");
        assert_eq!(
            sorted(&headers),
            ["connection: upgrade", "host: a:1", "sec-websocket-key: k", "upgrade: websocket"]
        );
        let mut other =
            fields(&[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "x")]);
        names("a:1").to_application(&mut other, "");
        assert_eq!(sorted(&other), ["host: a:1"], "no other protocol is spoken");
    }

    #[test]
    fn cookies_are_kept_on_localhost() {
        for (cookie, expected) in [
            ("sid=1; Path=/; Secure; HttpOnly", "sid=1; Path=/; HttpOnly"),
            ("a=secure; Domain=app.test; SameSite=None; Secure", "a=secure"),
            ("a=1; SameSite=Lax; max-age=5", "a=1; SameSite=Lax; max-age=5"),
            ("__Host-a=1; Path=/; Secure; SameSite=None", "__Host-a=1; Path=/; Secure; SameSite=None"),
            ("__Secure-a=1; secure; Domain=.app.test", "__Secure-a=1; secure"),
            ("odd", "odd"),
        ] {
            assert_eq!(for_localhost(&HeaderValue::from_str(cookie).unwrap()), expected, "{cookie}");
        }
    }
}
