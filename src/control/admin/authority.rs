//! Whether a request may change something: from where it comes, what it knows, and that no page of another site made a
//! browser send it.

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use http::{StatusCode, Uri};
use serde::Serialize;

use super::door::Door;
use crate::control::access::{Access, is_same};
use crate::control::refused::Why;

/// What a browser says of where a request is from (W3C Fetch Metadata).
pub(super) const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A request is refused: why, the status, and a sentence that says what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) why: Why,
    pub(super) status: StatusCode,
    pub(super) error: String,
}

impl Refusal {
    pub(super) fn new(why: Why, status: StatusCode, error: impl Into<String>) -> Self {
        Self { why, status, error: error.into() }
    }
}

/// Whether a request that came through `door` may change something.
///
/// # Errors
/// Why it may not.
pub(super) fn check(door: Door, access: &Access, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    may(door, access)?;
    from_own_page(uri, headers)?;
    knows(door, access, headers)?;
    is_json(headers)
}

/// Whether somebody who comes through `door` may change something, for the page of the dashboard: `null` if so, else
/// what it needs.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Needs {
    /// Whether the token is enough.
    token: bool,
    why: String,
}

impl Needs {
    pub(super) fn of(door: Door, access: &Access) -> Option<Self> {
        let refusal = may(door, access).and_then(|()| knows(door, access, &HeaderMap::new())).err()?;
        Some(Self { token: refusal.why == Why::NoToken, why: refusal.error })
    }
}

/// Whether anybody may change something through this door.
fn may(door: Door, access: &Access) -> Result<(), Refusal> {
    let read_only = |error: &str| Err(Refusal::new(Why::ReadOnly, StatusCode::FORBIDDEN, error));
    match (door, access) {
        (Door::Unix, _) | (Door::Loopback(_) | Door::Remote(_), Access::Known(_)) => Ok(()),
        (Door::Loopback(_), Access::Loopback) => Ok(()),
        (_, Access::Nobody) => read_only("the admin port is read-only: admin.control is false"),
        (_, Access::NobodyKnown | Access::Loopback) => read_only(
            "the admin port is read-only, because it can be reached from elsewhere: set admin.token to change \
             something over it",
        ),
    }
}

/// Whether no browser sent it, or it did so for a page of the admin port. A page of another site can make a browser
/// send a request, but it cannot choose what the browser says of it.
fn from_own_page(uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let refuse = |what: &str| {
        let error = format!("{what}: only the page of the admin port itself may change something in a browser");
        Err(Refusal::new(Why::OtherSite, StatusCode::FORBIDDEN, error))
    };
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    let sites = headers.get_all(FETCH_SITE).iter().map(text);
    if let Some(site) = sites.into_iter().find(|site| site != "same-origin" && site != "none") {
        return refuse(&format!("Sec-Fetch-Site is {site:?}"));
    }
    let host = uri.authority().map(|host| host.as_str().to_ascii_lowercase()).or(headers.get(HOST).map(text));
    for origin in headers.get_all(ORIGIN).iter().map(text) {
        // A proxy in front may speak TLS.
        let of = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
        if of.is_none() || of != host.as_deref() {
            return refuse(&format!("Origin is {origin:?}"));
        }
    }
    Ok(())
}

/// Whether it knows what it must know.
fn knows(door: Door, access: &Access, headers: &HeaderMap) -> Result<(), Refusal> {
    let (Door::Loopback(_) | Door::Remote(_), Access::Known(token)) = (door, access) else { return Ok(()) };
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let refuse = |why, error: &str| Err(Refusal::new(why, StatusCode::UNAUTHORIZED, error));
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return refuse(Why::NoToken, "this needs the token of admin.token, as in `Authorization: Bearer TOKEN`");
    };
    let given = field.as_bytes().split_at_checked("bearer ".len());
    match given {
        Some((scheme, given)) if scheme.eq_ignore_ascii_case(b"bearer ") && is_same(token, given.trim_ascii()) => {
            Ok(())
        }
        _ => refuse(Why::WrongToken, "this is not the token of admin.token, as in `Authorization: Bearer TOKEN`"),
    }
}

/// Whether its body is said to be JSON. A form of a page of another site cannot say that.
fn is_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let field = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = field.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let error = "a change needs the field `Content-Type: application/json`";
    Err(Refusal::new(Why::ContentType, StatusCode::UNSUPPORTED_MEDIA_TYPE, error))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::config::model::Token;

    const LOOPBACK: Door = Door::Loopback(IpAddr::V4(Ipv4Addr::LOCALHOST));
    const REMOTE: Door = Door::Remote(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)));
    const JSON: (&str, &str) = ("content-type", "application/json");

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("127.0.0.1:9900"))]);
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn refused(door: Door, access: &Access, fields: &[(&'static str, &str)]) -> Option<(Why, u16)> {
        let checked = check(door, access, &Uri::from_static("/v1/reload"), &headers(fields));
        checked.err().map(|refusal| (refusal.why, refusal.status.as_u16()))
    }

    #[test]
    fn each_door_has_its_rule() {
        let known = Access::Known(Token::parse("0123456789abcdef").unwrap());
        let right = ("authorization", "Bearer 0123456789abcdef");
        for (door, access, fields, expected) in [
            (Door::Unix, &Access::Nobody, &[JSON][..], None),
            (Door::Unix, &known, &[JSON], None),
            (LOOPBACK, &Access::Loopback, &[JSON], None),
            (LOOPBACK, &Access::Nobody, &[JSON], Some((Why::ReadOnly, 403))),
            (LOOPBACK, &Access::NobodyKnown, &[JSON], Some((Why::ReadOnly, 403))),
            (LOOPBACK, &known, &[JSON], Some((Why::NoToken, 401))),
            (LOOPBACK, &known, &[JSON, right], None),
            (REMOTE, &Access::Loopback, &[JSON], Some((Why::ReadOnly, 403))),
            (REMOTE, &Access::NobodyKnown, &[JSON], Some((Why::ReadOnly, 403))),
            (REMOTE, &Access::NobodyKnown, &[JSON, right], Some((Why::ReadOnly, 403))),
            (REMOTE, &Access::Nobody, &[JSON, right], Some((Why::ReadOnly, 403))),
            (REMOTE, &known, &[JSON], Some((Why::NoToken, 401))),
            (REMOTE, &known, &[JSON, right], None),
            (REMOTE, &known, &[JSON, ("authorization", "bearer  0123456789abcdef")], None),
            (REMOTE, &known, &[JSON, ("authorization", "Bearer 0123456789abcdeF")], Some((Why::WrongToken, 401))),
            (REMOTE, &known, &[JSON, ("authorization", "Bearer")], Some((Why::WrongToken, 401))),
            (REMOTE, &known, &[JSON, ("authorization", "Basic 0123456789abcdef")], Some((Why::WrongToken, 401))),
            (REMOTE, &known, &[JSON, right, right], Some((Why::NoToken, 401))),
        ] {
            assert_eq!(refused(door, access, fields), expected, "{door:?} {access:?} {fields:?}");
            if fields == [JSON] {
                let needs = Needs::of(door, access).map(|needs| needs.token);
                let is_told = expected.map(|(why, _)| why == Why::NoToken);
                assert_eq!(needs, is_told, "the page knows before it asks: {door:?} {access:?}");
            }
        }
    }

    #[test]
    fn a_page_of_another_site_changes_nothing() {
        for (fields, expected) in [
            (&[][..], None),
            (&[("origin", "http://127.0.0.1:9900"), ("sec-fetch-site", "same-origin")][..], None),
            (&[("origin", "https://127.0.0.1:9900")], None),
            (&[("sec-fetch-site", "none")], None),
            (&[("origin", "http://127.0.0.1:9901")], Some(Why::OtherSite)),
            (&[("origin", "http://127.0.0.1")], Some(Why::OtherSite)),
            (&[("origin", "http://evil.test")], Some(Why::OtherSite)),
            (&[("origin", "null")], Some(Why::OtherSite)),
            (&[("origin", "127.0.0.1:9900")], Some(Why::OtherSite)),
            (&[("origin", "http://127.0.0.1:9900"), ("origin", "http://evil.test")], Some(Why::OtherSite)),
            (&[("sec-fetch-site", "same-site")], Some(Why::OtherSite)),
            (&[("sec-fetch-site", "cross-site")], Some(Why::OtherSite)),
            (&[("origin", "http://127.0.0.1:9900"), ("sec-fetch-site", "cross-site")], Some(Why::OtherSite)),
        ] {
            let fields = [&[JSON], fields].concat();
            let refused = refused(LOOPBACK, &Access::Loopback, &fields);
            assert_eq!(refused, expected.map(|why| (why, 403)), "{fields:?}");
        }
    }

    #[test]
    fn what_a_form_can_send_is_not_json() {
        for (kind, is_good) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("text/plain; application/json", false),
            ("application/x-www-form-urlencoded", false),
            ("application/jsonp", false),
        ] {
            let refused = refused(LOOPBACK, &Access::Loopback, &[("content-type", kind)]);
            assert_eq!(refused, (!is_good).then_some((Why::ContentType, 415)), "{kind}");
        }
        assert_eq!(refused(LOOPBACK, &Access::Loopback, &[]), Some((Why::ContentType, 415)));
    }
}
