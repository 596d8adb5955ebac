//! What happens to header fields on their way through the proxy.
//!
//! Hop-by-hop fields end here (RFC 9110 section 7.6.1). The request to the replica gets `Via`, `X-Forwarded-For`,
//! `X-Forwarded-Proto`, `X-Forwarded-Host`, `Forwarded` (RFC 7239) and `X-Request-Id`. What the client wrote into the
//! forwarding fields is replaced, unless the client is one of the listener's `trusted_proxies`: then the lists are
//! appended to, and the rest is kept. So is a usable `X-Request-Id`: with an identifier of its choice a stranger could
//! hide among the log lines of somebody else.

use std::time::Duration;

use http::Version;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, TE, UPGRADE,
};
use http::request::Parts;

use super::cause::Cause;
use super::forwarding::Forwarding;
use super::identity;
use super::target::Host;
use crate::fields::{self, KEEP_ALIVE, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REQUEST_ID};
use crate::link::added::{Added, RequestId};
use crate::pool::idle::keep_alive_timeout;

/// What `Via` says of a request that came in this version.
pub(super) fn via(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2.0 unstick",
        Version::HTTP_10 => "1.0 unstick",
        _ => "1.1 unstick",
    }
}

/// Turns the header fields of the client into those for the replica, with `via` if it is there. Returns what is to be
/// added to them; only for a client that is trusted they are whole, since its lists are gone on with.
pub(super) fn prepare_request(
    headers: &mut HeaderMap,
    seen: FieldsSeen,
    via: Option<&'static str>,
    host: Host,
    forwarding: &Forwarding,
) -> Added {
    let trailers_welcome = seen.te && headers.get_all(TE).iter().any(|te| fields::has_token(te, "trailers"));
    seen.strip(headers);
    if trailers_welcome {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    let is_trusted = forwarding.trusted.get();
    if seen.identity {
        let is_believed = is_trusted && !forwarding.verifies;
        identity::strip(headers, if is_believed { fields::is_disguised } else { fields::is_identity });
    }
    if seen.forwarding {
        identity::strip(headers, if is_trusted { fields::is_disguised } else { fields::is_forwarding });
    }
    if let Some(identity) = &forwarding.identity {
        identity.tell(headers);
    }
    let Host { value: host, is_field } = host;
    if !is_field {
        headers.insert(HOST, host.clone());
    }
    if is_trusted {
        forwarding.go_on(headers, seen, via, &host);
        return Added::default();
    }
    if seen.forwarded {
        [X_FORWARDED_FOR, FORWARDED, X_FORWARDED_PROTO, X_FORWARDED_HOST].iter().for_each(|it| _ = headers.remove(it));
    }
    if seen.request_id {
        headers.remove(X_REQUEST_ID);
    }
    Added { forwarding: forwarding.lines(&host, via), request_id: Some(RequestId::random()), ..Added::default() }
}

/// Refuses a head of HTTP/2 of more than `most` bytes. They are counted as its limit is (RFC 9113 section 6.5.2): 32
/// more for each field. Of the pseudo-header fields only the values are counted.
pub(super) fn check_list_size(parts: &Parts, host: Option<&Host>, most: usize) -> Result<(), Cause> {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let authority = host.filter(|host| !host.is_field).map_or(0, |host| host.value.len());
    let bytes = parts.method.as_str().len() + target + authority + fields::list_size(&parts.headers);
    if bytes > most { Err(Cause::HeadTooLarge) } else { Ok(()) }
}

/// An HTTP/2 client may send its cookies in several fields; HTTP/1.1 allows one (RFC 9113 section 8.2.3), and it counts
/// as one.
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let any_repeated = headers.len() > headers.keys_len();
    if !any_repeated || headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// What a response says about its connection.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// How long the replica keeps an unused connection, if it says so.
    pub(crate) idle_limit: Option<Duration>,
    /// Whether it asks for credentials, so that they may be those of a connection.
    pub(crate) is_challenge: bool,
}

/// As [`prepare_response`], for a 426 to a client of HTTP/1.1: without `Upgrade` it would say nothing (RFC 9110 section
/// 15.5.22).
#[cold]
pub(super) fn prepare_upgrade_required(headers: &mut HeaderMap) -> Told {
    let upgrade = headers.get(UPGRADE).cloned();
    let told = prepare_response(headers);
    if let Some(upgrade) = upgrade {
        headers.insert(UPGRADE, upgrade);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    told
}

/// Turns the header fields of the replica into those for the client.
pub(crate) fn prepare_response(headers: &mut HeaderMap) -> Told {
    let seen = FieldsSeen::of(headers);
    let keep_alive = if seen.others { headers.get(KEEP_ALIVE) } else { None };
    let idle_limit = keep_alive.and_then(|field| keep_alive_timeout(field.as_bytes()));
    seen.strip(headers);
    Told { idle_limit, is_challenge: seen.challenge }
}

/// Which of the fields that mean something here are in a message. They are found in one pass: most messages have few,
/// and looking up each would cost more than the rest of the work on the head.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FieldsSeen {
    connection: bool,
    te: bool,
    pub(super) expect: bool,
    pub(super) upgrade: bool,
    /// Any of [`fields::OTHER_HOP_BY_HOP`].
    others: bool,
    /// Fields that name the client, see [`fields::is_identity`].
    identity: bool,
    /// Fields that only a trusted proxy may set, besides [`Self::forwarded`].
    forwarding: bool,
    /// Fields that tell how a request came, and of which the replica always gets one.
    forwarded: bool,
    pub(super) content_type: bool,
    pub(super) request_id: bool,
    /// `Authorization` or `Proxy-Authorization`.
    pub(super) credentials: bool,
    /// `WWW-Authenticate` or `Proxy-Authenticate`.
    challenge: bool,
}

impl FieldsSeen {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "connection" => seen.connection = true,
                "te" => seen.te = true,
                "expect" => seen.expect = true,
                "x-request-id" => seen.request_id = true,
                "content-type" => seen.content_type = true,
                "authorization" | "proxy-authorization" => seen.credentials = true,
                "www-authenticate" | "proxy-authenticate" => seen.challenge = true,
                "upgrade" => (seen.upgrade, seen.others) = (true, true),
                "transfer-encoding" | "keep-alive" | "proxy-connection" | "http2-settings" => seen.others = true,
                "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "forwarded" => seen.forwarded = true,
                name => {
                    seen.identity |= fields::is_identity(name);
                    seen.forwarding |= fields::is_forwarding(name);
                }
            }
        }
        seen
    }

    fn strip(&self, headers: &mut HeaderMap) {
        if self.connection {
            strip_nominated(headers);
        }
        if self.te {
            headers.remove(TE);
        }
        if self.others {
            for name in &fields::OTHER_HOP_BY_HOP {
                headers.remove(name);
            }
        }
    }
}

/// Removes `Connection` and the fields that it names, except `Host` and `Content-Length`, which say where the message
/// goes and where it ends.
fn strip_nominated(headers: &mut HeaderMap) {
    let is_plain = |value: &HeaderValue| {
        let value = value.as_bytes();
        value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close")
    };
    let any_repeated = headers.len() > headers.keys_len();
    let more: Vec<HeaderValue> = match any_repeated {
        true => headers.get_all(CONNECTION).iter().skip(1).cloned().collect(),
        false => Vec::new(),
    };
    let first = headers.remove(CONNECTION);
    for value in first.iter().chain(&more).filter(|value| !is_plain(value)) {
        for option in value.as_bytes().split(|&b| b == b',') {
            match HeaderName::from_bytes(option.trim_ascii()) {
                Ok(name) if name != HOST && name != CONTENT_LENGTH => _ = headers.remove(name),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::forwarding::REQUEST_ID_BYTES_MAX;
    use crate::proxy::identity::Proof;
    use proptest::prelude::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn prepared(fields: &[(&str, &str)], trusted: bool) -> HeaderMap {
        let mut map = headers(fields);
        let forwarding = Forwarding::new([192, 0, 2, 7].into(), trusted, false, Proof::NotAskedFor);
        let seen = FieldsSeen::of(&map);
        prepare_request(&mut map, seen, Some(via(Version::HTTP_11)), host(), &forwarding).extend(&mut map);
        map
    }

    fn host() -> Host {
        Host { value: HeaderValue::from_static("shop.example.com"), is_field: false }
    }

    fn all(map: &HeaderMap, name: &str) -> String {
        map.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_stranger_s_forwarding_fields_are_replaced() {
        let forged = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4"), ("x-forwarded-proto", "https")];
        let others = ["x-forwarded-port", "x_forwarded_for", "x-forwarded_proto", "x-real-ip", "X_Real_IP"];
        let map = prepared(&[&forged[..], &others.map(|name| (name, "1"))].concat(), false);
        assert!(others.iter().all(|name| !map.contains_key(*name)), "{map:?}");
        for name in others {
            let is_disguised = name.contains('_');
            assert_eq!(prepared(&[(name, "1")], true).contains_key(name), !is_disguised, "{name} behind a proxy");
        }
        for (name, is_kept) in [("x_request_id", false), ("client_cert", false), ("x_other", true)] {
            assert_eq!(prepared(&[(name, "1")], true).contains_key(name), is_kept, "{name} behind a proxy");
        }
        assert_eq!(all(&map, "x-forwarded-for"), "192.0.2.7");
        assert_eq!(all(&map, "forwarded"), "for=192.0.2.7;proto=http;host=shop.example.com");
        assert_eq!(all(&map, "x-forwarded-proto"), "http");
        assert_eq!(all(&map, "x-forwarded-host"), "shop.example.com");
    }

    /// Alone: beside other forged fields it would be removed together with them.
    #[test]
    fn a_forged_host_is_replaced() {
        let map = prepared(&[("x-forwarded-host", "evil.example.net")], false);
        assert_eq!(all(&map, "x-forwarded-host"), "shop.example.com");
    }

    #[test]
    fn a_trusted_proxy_s_forwarding_fields_are_appended_to() {
        let fields = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4"), ("x-forwarded-proto", "https")];
        let map = prepared(&fields, true);
        assert_eq!(all(&map, "x-forwarded-for"), "1.2.3.4, 192.0.2.7");
        let twice = prepared(&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2")], true);
        assert_eq!(twice.get_all("x-forwarded-for").iter().collect::<Vec<_>>(), ["1.1.1.1, 2.2.2.2, 192.0.2.7"]);
        assert_eq!(all(&map, "forwarded"), "for=1.2.3.4, for=192.0.2.7;proto=http;host=shop.example.com");
        assert_eq!(all(&map, "x-forwarded-proto"), "https");
        assert_eq!(all(&map, "x-forwarded-host"), "shop.example.com");
        assert_eq!(all(&prepared(&[("x-forwarded-host", "a.example")], true), "x-forwarded-host"), "a.example");
        assert_eq!(all(&prepared(&[], true), "x-forwarded-proto"), "http");
    }

    #[test]
    fn forwarded_quotes_what_is_not_a_token() {
        let forwarding = Forwarding::new("2001:db8::1".parse().unwrap(), false, false, Proof::NotAskedFor);
        let element = forwarding.element(&HeaderValue::from_static("example.com:8080"));
        assert_eq!(element, "for=\"[2001:db8::1]\";proto=http;host=\"example.com:8080\"");
        let element = forwarding.element(&HeaderValue::from_static("a;for=127.0.0.1;proto=https"));
        assert_eq!(element, "for=\"[2001:db8::1]\";proto=http;host=\"a;for=127.0.0.1;proto=https\"");
        assert_eq!(
            Forwarding::new("::ffff:192.0.2.7".parse().unwrap(), false, false, Proof::NotAskedFor).peer,
            "192.0.2.7"
        );
    }

    #[test]
    fn lines_belong_to_their_host_and_version() {
        let forwarding = Forwarding::new([192, 0, 2, 7].into(), false, true, Proof::NotAskedFor);
        let lines = |host, via| forwarding.lines(&HeaderValue::from_static(host), via);
        for host in ["a.example", "a.example", "b.example"] {
            for via in [Some("1.1 unstick"), None, Some("2.0 unstick")] {
                let expected = via.map_or_else(String::new, |via| format!("via: {via}\r\n"))
                    + "x-forwarded-for: 192.0.2.7\r\n"
                    + &format!("forwarded: for=192.0.2.7;proto=https;host={host}\r\n")
                    + "x-forwarded-proto: https\r\n"
                    + &format!("x-forwarded-host: {host}\r\n");
                assert_eq!(lines(host, via), expected);
            }
        }
        assert_eq!(lines("a.example", None).as_ptr(), lines("a.example", None).as_ptr(), "they are made once");
    }

    #[test]
    fn an_element_belongs_to_its_host() {
        let forwarding = Forwarding::new([192, 0, 2, 7].into(), false, true, Proof::NotAskedFor);
        for host in ["a.example", "a.example", "b.example", "a.example"] {
            let expected = format!("for=192.0.2.7;proto=https;host={host}");
            assert_eq!(forwarding.element(&HeaderValue::from_static(host)), expected);
        }
        let unreadable = HeaderValue::from_bytes(b"caf\xe9").unwrap();
        assert_eq!(forwarding.element(&unreadable), "for=192.0.2.7;proto=https;host=");
    }

    #[test]
    fn via_says_the_version() {
        let all_of_them =
            [(Version::HTTP_10, "1.0 unstick"), (Version::HTTP_11, "1.1 unstick"), (Version::HTTP_2, "2.0 unstick")];
        for (version, expected) in all_of_them {
            assert_eq!(via(version), expected);
        }
        assert_eq!(all(&prepared(&[("via", "1.1 before")], false), "via"), "1.1 before, 1.1 unstick");
    }

    /// Who the client is may be said by a trusted proxy, but not to a listener that asks for certificates itself.
    #[test]
    fn an_identity_comes_from_a_trusted_proxy_or_a_certificate() {
        for (trusted, verifies, expected) in
            [(true, false, "forged"), (false, false, ""), (true, true, ""), (false, true, "")]
        {
            let mut map = headers(&[("client-cert", "forged"), ("x_client_cert_subject", "forged"), ("x-other", "1")]);
            let proof = if verifies { Proof::None } else { Proof::NotAskedFor };
            let forwarding = Forwarding::new([192, 0, 2, 7].into(), trusted, false, proof);
            let seen = FieldsSeen::of(&map);
            prepare_request(&mut map, seen, None, host(), &forwarding);
            assert_eq!(all(&map, "client-cert"), expected, "{trusted} {verifies}");
            assert_eq!(all(&map, "x_client_cert_subject"), "", "{trusted} {verifies}");
            assert_eq!((all(&map, "x-other"), all(&map, "via")), ("1".into(), String::new()));
        }
    }

    #[test]
    fn the_host_is_written_only_if_it_is_no_field() {
        for (is_field, expected) in [(true, "before.example"), (false, "shop.example.com")] {
            let mut map = headers(&[("host", "before.example")]);
            let forwarding = Forwarding::new([192, 0, 2, 7].into(), false, false, Proof::NotAskedFor);
            prepare_request(&mut map, FieldsSeen::default(), None, Host { is_field, ..host() }, &forwarding);
            assert_eq!(all(&map, "host"), expected);
        }
    }

    #[test]
    fn trailers_are_welcome_only_if_the_client_says_so() {
        for (te, expected) in [("trailers", "trailers"), ("gzip", ""), ("trailers;q=0.5", ""), ("", "")] {
            let map = prepared(&[("te", te)], false);
            assert_eq!(all(&map, "te"), expected, "{te}");
            assert_eq!(all(&map, "connection"), if expected.is_empty() { "" } else { "te" }, "{te}");
        }
        assert!(!prepared(&[("trailer", "x-sum")], false).contains_key("te"));
    }

    #[test]
    fn cookies_become_one() {
        for (fields, expected) in [
            (&[][..], &[][..]),
            (&[("cookie", "a=1")], &["a=1"]),
            (&[("accept", "x"), ("accept", "y")], &[]),
            (&[("cookie", "a=1"), ("accept", "x"), ("accept", "y")], &["a=1"]),
            (&[("cookie", "a=1"), ("cookie", "b=2")], &["a=1; b=2"]),
            (&[("cookie", "a=1"), ("accept", "x"), ("cookie", "b=2"), ("cookie", "c=3")], &["a=1; b=2; c=3"]),
        ] {
            let mut map = headers(fields);
            join_cookies(&mut map);
            assert_eq!(map.get_all("cookie").iter().collect::<Vec<_>>(), expected, "{fields:?}");
            let is_other = |field: &&(&str, &str)| field.0 == "accept";
            assert_eq!(map.get_all("accept").iter().count(), fields.iter().filter(is_other).count());
        }
    }

    #[test]
    fn a_response_says_how_long_its_connection_is_kept_and_whether_it_challenges() {
        for (fields, idle_s, is_challenge) in [
            (&[][..], None, false),
            (&[("keep-alive", "timeout=7"), ("connection", "keep-alive")], Some(7), false),
            (&[("www-authenticate", "NTLM")], None, true),
            (&[("proxy-authenticate", "Negotiate")], None, true),
            (&[("authorization", "Basic x")], None, false),
        ] {
            let mut map = headers(fields);
            let told = prepare_response(&mut map);
            assert_eq!(told.idle_limit, idle_s.map(Duration::from_secs), "{fields:?}");
            assert_eq!(told.is_challenge, is_challenge, "{fields:?}");
            assert!(!map.contains_key("keep-alive"));
        }
    }

    #[test]
    fn a_426_says_to_what_the_client_should_upgrade() {
        for (upgrade, expected) in [(Some("websocket"), ("websocket", "upgrade")), (None, ("", ""))] {
            let mut map = headers(&[("connection", "close"), ("keep-alive", "timeout=7")]);
            upgrade.iter().for_each(|value| _ = map.append(UPGRADE, HeaderValue::from_static(value)));
            let told = prepare_upgrade_required(&mut map);
            assert_eq!((all(&map, "upgrade").as_str(), all(&map, "connection").as_str()), expected);
            assert_eq!(told.idle_limit, Some(Duration::from_secs(7)));
        }
    }

    /// Each field that means something here, and no other, is seen as what it is.
    #[test]
    fn fields_are_seen_as_what_they_are() {
        fn flags(seen: FieldsSeen) -> [(&'static str, bool); 11] {
            let FieldsSeen { connection, te, expect, upgrade, others, .. } = seen;
            let FieldsSeen { identity, forwarding, content_type, request_id, credentials, challenge, .. } = seen;
            [
                ("connection", connection),
                ("te", te),
                ("expect", expect),
                ("upgrade", upgrade),
                ("others", others),
                ("identity", identity),
                ("forwarding", forwarding),
                ("content_type", content_type),
                ("request_id", request_id),
                ("credentials", credentials),
                ("challenge", challenge),
            ]
        }
        for (names, expected) in [
            (&["accept"][..], &[][..]),
            (&["connection"], &["connection"]),
            (&["te"], &["te"]),
            (&["expect"], &["expect"]),
            (&["upgrade"], &["upgrade", "others"]),
            (&["transfer-encoding"], &["others"]),
            (&["client-cert"], &["identity"]),
            (&["client-cert", "x-client-cert-subject", "accept"], &["identity"]),
            (&["x-real-ip"], &["forwarding"]),
            (&["x-real-ip", "x-forwarded-port", "accept"], &["forwarding"]),
            (&["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"], &[]),
            (&["content-type"], &["content_type"]),
            (&["x-request-id"], &["request_id"]),
            (&["authorization"], &["credentials"]),
            (&["proxy-authorization"], &["credentials"]),
            (&["www-authenticate"], &["challenge"]),
            (&["proxy-authenticate"], &["challenge"]),
        ] {
            let fields: Vec<_> = names.iter().map(|name| (*name, "1")).collect();
            let seen = flags(FieldsSeen::of(&headers(&fields))).into_iter().filter(|flag| flag.1);
            assert_eq!(seen.map(|flag| flag.0).collect::<Vec<_>>(), expected, "{names:?}");
        }
    }

    /// What a list names that holds more than these two words is removed, but never what says where the message goes
    /// or ends.
    #[test]
    fn nominated_fields_end_here() {
        for (connections, gone, kept) in [
            (&["x-a"][..], &["x-a"][..], &["x-b", "host", "content-length"][..]),
            (&["close, x-a"], &["x-a"], &["x-b"]),
            (&["keep-alive, X-A , x-b"], &["x-a", "x-b"], &["host"]),
            (&["close", "x-a"], &["x-a"], &["x-b"]),
            (&["x-a", "close", "x-b"], &["x-a", "x-b"], &["host"]),
            (&["Close"], &[], &["x-a", "x-b"]),
            (&["Keep-Alive"], &[], &["x-a", "x-b"]),
            (&["host, content-length, x-a"], &["x-a"], &["host", "content-length"]),
            (&["(not a name), x-a"], &["x-a"], &["x-b"]),
        ] {
            let mut map = headers(&[("x-a", "1"), ("x-b", "1"), ("host", "h"), ("content-length", "0")]);
            connections.iter().for_each(|value| _ = map.append(CONNECTION, HeaderValue::from_static(value)));
            strip_nominated(&mut map);
            assert!(
                !map.contains_key(CONNECTION) && gone.iter().all(|name| !map.contains_key(*name)),
                "{connections:?}"
            );
            assert!(kept.iter().all(|name| map.contains_key(*name)), "{connections:?}: {map:?}");
        }
    }

    #[test]
    fn a_list_has_an_element_regardless_of_case() {
        for (list, expected) in [
            ("trailers", true),
            ("gzip, Trailers", true),
            ("TRAILERS ,gzip", true),
            ("gzip", false),
            ("xtrailers", false),
            ("trailers;q=1", false),
            ("", false),
        ] {
            assert_eq!(fields::has_token(&HeaderValue::from_static(list), "trailers"), expected, "{list}");
        }
    }

    #[test]
    fn every_hop_by_hop_field_is_seen() {
        for name in &fields::OTHER_HOP_BY_HOP {
            assert!(FieldsSeen::of(&headers(&[(name.as_str(), "1")])).others, "{name}");
        }
    }

    #[test]
    fn hop_by_hop_fields_end_here() {
        let map = prepared(
            &[
                ("connection", "close, X-Secret"),
                ("connection", "Host, content-length, X-Second"),
                ("x-secret", "1"),
                ("x-second", "1"),
                ("keep-alive", "timeout=5"),
                ("te", "gzip, Trailers"),
                ("upgrade", "websocket"),
                ("transfer-encoding", "chunked"),
                ("content-length", "3"),
                ("trailer", "x-sum"),
            ],
            false,
        );
        for gone in ["x-secret", "x-second", "keep-alive", "upgrade", "transfer-encoding"] {
            assert!(!map.contains_key(gone), "{gone}");
        }
        assert_eq!((all(&map, "connection").as_str(), all(&map, "te").as_str()), ("te", "trailers"));
        assert_eq!((all(&map, "content-length").as_str(), all(&map, "trailer").as_str()), ("3", "x-sum"));
        assert_eq!((all(&map, "host").as_str(), all(&map, "via").as_str()), ("shop.example.com", "1.1 unstick"));
    }

    #[test]
    fn a_request_id_is_kept_or_made() {
        assert_eq!(all(&prepared(&[("x-request-id", "abc")], true), "x-request-id"), "abc");
        assert_eq!(all(&prepared(&[("x-request-id", "a"), ("x-request-id", "b")], true), "x-request-id"), "a");
        for (id, trusted) in [("", true), (&*"x".repeat(REQUEST_ID_BYTES_MAX + 1), true), ("abc", false)] {
            assert_eq!(all(&prepared(&[("x-request-id", id)], trusted), "x-request-id").len(), 32, "{id} {trusted}");
        }
        let longest = "x".repeat(REQUEST_ID_BYTES_MAX);
        assert_eq!(all(&prepared(&[("x-request-id", &longest)], true), "x-request-id"), longest);
    }

    proptest! {
        /// Whatever a client sends, no hop-by-hop field and no field named by `Connection` crosses.
        #[test]
        fn hop_by_hop_never_crosses(
            fields in prop::collection::vec(("[a-zA-Z-]{1,12}", "[ -~]{0,20}"), 0..10),
            options in prop::collection::vec("[a-z-]{1,12}", 0..4),
        ) {
            let mut map = HeaderMap::new();
            for (name, value) in &fields {
                map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
            }
            for option in &options {
                map.append(HeaderName::from_bytes(option.as_bytes()).unwrap(), HeaderValue::from_static("v"));
            }
            map.append(CONNECTION, HeaderValue::from_str(&options.join(", ")).unwrap());
            prepare_response(&mut map);
            for name in ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"] {
                prop_assert!(!map.contains_key(name), "{}", name);
            }
            for option in options.iter().filter(|option| !["host", "content-length"].contains(&option.as_str())) {
                prop_assert!(!map.contains_key(option.as_str()), "{}", option);
            }
        }
    }
}
