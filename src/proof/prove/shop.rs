//! The shop as its users see it: `POST /login`, `GET /cart`, `POST /cart`, `POST /checkout`, `POST /logout`, and guest
//! books that all share: `GET /book/N`, `POST /book/N`. The other side is [`super::replica`].
//!
//! Every POST bears an `Idempotency-Key`, but for half of what is put into the cart or ordered, and entries of books.
//! The session is in the cookie `session`. `X-Step` names the step that a request is made for, so that replicas can
//! write down what they saw.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use serde::Deserialize;

use super::sabotage::{Planted, Sabotage};
use super::sum;
use crate::trial::application::{Application, Ask, Reply};
use crate::trial::history::{Action, Kind, StepOutcome, Value};

/// Puts something into the cart.
const PUT: Kind = "writes";
/// Orders; this is a write too.
const CHECKOUT: Kind = "checks out";

/// Where guest books are; the number of one follows.
pub(super) const BOOK: &str = "/book/";

/// The name of the cookie.
pub(super) const SESSION: &str = "session";

/// Names the step: the session, a dash, and the number of the step in it.
pub(super) const STEP: &str = "x-step";

/// How many of 100 steps are writes of which kind.
pub(super) const WRITES: [(Kind, u32); 2] = [(PUT, 45), (CHECKOUT, 10)];

/// See the module.
pub(super) struct Shop {
    pub(super) planted: Planted,
}

#[derive(Deserialize)]
struct Cart {
    values: Vec<Value>,
}

impl Application for Shop {
    fn request(&self, ask: &Ask<'_>) -> Request<Bytes> {
        let (path, body) = line(ask.action, &ask.session.to_string());
        let mut request = Request::builder().uri(&*path).header(STEP, step(ask));
        if let Some(token) = ask.token {
            request = request.header(COOKIE, format!("session={token}"));
        }
        if let Some(body) = &body {
            request = request.method("POST").header(CONTENT_LENGTH, body.len());
            if ask.action.bears_key() {
                request = request.header("idempotency-key", format!("{}{path}/{body}", ask.session));
            }
        }
        let mut request = request.body(Bytes::from(body.unwrap_or_default())).expect("made of valid parts");
        let sum = sum::of_request(request.method(), request.uri().path(), request.headers(), request.body());
        request.headers_mut().insert(sum::SUM, HeaderValue::try_from(sum).expect("hexadecimal digits"));
        request
    }

    fn reply(&self, ask: &Ask<'_>, response: &Response<Bytes>) -> Reply {
        let headers = response.headers();
        let sum = sum::of_response(&step(ask), response.status(), headers, response.body());
        // What the proxy says itself comes from no replica.
        let is_of_proxy = headers.contains_key("x-unstick-error");
        let outcome = match response.status() {
            StatusCode::OK => match serde_json::from_slice::<Cart>(response.body()) {
                Ok(cart) => StepOutcome::Values(cart.values.into()),
                Err(error) => StepOutcome::Failed(format!("the response is no cart: {error}")),
            },
            StatusCode::NO_CONTENT => StepOutcome::Done,
            StatusCode::UNAUTHORIZED if self.planted.is(Sabotage::BlindClient) => StepOutcome::Done,
            StatusCode::UNAUTHORIZED => StepOutcome::Forgotten,
            status => {
                let why = text(headers, "x-unstick-error").unwrap_or("by the replica");
                StepOutcome::Failed(format!("{} {why}", status.as_u16()))
            }
        };
        Reply {
            outcome,
            replica: text(headers, "x-replica").map(Arc::from),
            store_trips: text(headers, "x-store-trips").and_then(|trips| trips.parse().ok()).unwrap_or_default(),
            is_altered: !is_of_proxy && !sum::is_borne(headers, &sum),
            token: text(headers, SET_COOKIE.as_str()).and_then(session_in),
        }
    }
}

/// The name of a step.
fn step(ask: &Ask<'_>) -> String {
    format!("{}-{}", ask.session, ask.number)
}

/// The path of a step, and its body if it is a POST.
pub(super) fn line(action: Action, user: &str) -> (Cow<'static, str>, Option<String>) {
    match action {
        Action::Read | Action::Reuse => ("/cart".into(), None),
        Action::Login => ("/login".into(), Some(user.to_owned())),
        Action::Write { kind: CHECKOUT, value, .. } | Action::Again { kind: CHECKOUT, value } => {
            ("/checkout".into(), Some(value.to_string()))
        }
        Action::Write { value, .. } | Action::Again { value, .. } => ("/cart".into(), Some(value.to_string())),
        Action::Look { object } => (format!("{BOOK}{object}").into(), None),
        Action::Post { object, value } => (format!("{BOOK}{object}").into(), Some(value.to_string())),
        Action::Logout => ("/logout".into(), Some(String::new())),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The value of the session cookie in a `Set-Cookie` field; empty if it is taken away.
fn session_in(field: &str) -> Option<String> {
    let value = field.strip_prefix("session=")?;
    Some(value.split(';').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: Shop = Shop { planted: Planted::NOTHING };

    #[test]
    fn responses_are_read() {
        let reply = |status: u16, headers: &[(&str, &str)], body: &'static str| {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            let ask = Ask { session: 7, number: 3, action: Action::Read, token: None };
            SHOP.reply(&ask, &response.body(Bytes::from(body)).unwrap())
        };
        let read = reply(200, &[("x-replica", "a"), ("x-store-trips", "2")], r#"{"values":[1,2]}"#);
        assert_eq!((read.outcome, read.store_trips), (StepOutcome::Values([1, 2].into()), 2));
        assert_eq!(read.replica.as_deref(), Some("a"));
        assert_eq!(reply(401, &[], "").outcome, StepOutcome::Forgotten);
        assert_eq!(
            reply(502, &[("x-unstick-error", "upstream-closed")], "").outcome,
            StepOutcome::Failed("502 upstream-closed".into())
        );
        assert_eq!(reply(204, &[("set-cookie", "session=abc; Path=/")], "").token.as_deref(), Some("abc"));
        assert_eq!(reply(204, &[("set-cookie", "session=; Max-Age=0")], "").token.as_deref(), Some(""));
        assert!(matches!(reply(200, &[], "<html>").outcome, StepOutcome::Failed(_)));
        assert!(reply(204, &[], "").is_altered && !reply(502, &[("x-unstick-error", "timeout")], "").is_altered);
        let sum = sum::of_response("7-3", StatusCode::NO_CONTENT, &HeaderMap::new(), &Bytes::new());
        assert!(!reply(204, &[(sum::SUM, &sum)], "").is_altered);
        assert!(reply(204, &[(sum::SUM, &sum)], "more").is_altered);
    }

    #[test]
    fn steps_become_requests() {
        let write = |kind, value, is_keyed| Action::Write { kind, value, is_keyed };
        for (action, line, key) in [
            (Action::Login, "POST /login 7", Some("7/login/7")),
            (Action::Read, "GET /cart ", None),
            (write(PUT, 5, true), "POST /cart 5", Some("7/cart/5")),
            (write(PUT, 5, false), "POST /cart 5", None),
            (Action::Again { kind: PUT, value: 5 }, "POST /cart 5", Some("7/cart/5")),
            (write(CHECKOUT, 6, true), "POST /checkout 6", Some("7/checkout/6")),
            (Action::Look { object: 9 }, "GET /book/9 ", None),
            (Action::Post { object: 9, value: 6 }, "POST /book/9 6", None),
            (Action::Logout, "POST /logout ", Some("7/logout/")),
            (Action::Reuse, "GET /cart ", None),
        ] {
            let request = SHOP.request(&Ask { session: 7, number: 3, action, token: Some("abc") });
            let body = std::str::from_utf8(request.body()).unwrap();
            assert_eq!(format!("{} {} {body}", request.method(), request.uri()), line);
            assert_eq!(text(request.headers(), "idempotency-key"), key, "{line}");
            assert_eq!(text(request.headers(), "cookie"), Some("session=abc"), "{line}");
            assert_eq!(text(request.headers(), STEP), Some("7-3"), "{line}");
        }
        let request = SHOP.request(&Ask { session: 7, number: 0, action: Action::Read, token: None });
        assert!(!request.headers().contains_key(COOKIE));
    }
}
