//! What changes something: `POST /v1/pools/POOL/endpoints/ENDPOINT/drain`, `ready`, `down` and `weight`, and
//! `POST /v1/reload` and `POST /v1/upgrade`. The control loop does it, one after the other, and the response is its
//! result.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::answer::{Body, Caller, respond, with};
use super::authority::{self, Refusal};
use super::requests::decoded;
use super::view::endpoint_as_set;
use crate::config::model::BackendState;
use crate::control::ask::{Ask, Refused, What};
use crate::control::overrides::Setting;
use crate::control::refused::Why;
use crate::control::signals::Order;
use crate::control::status::Status;

/// The most bytes of a body, and how long it may take to come.
const BODY_MAX: usize = 4 * 1024;
const BODY_WITHIN: Duration = Duration::from_secs(5);
/// The most characters that the log has of a path that is refused, and of the reason.
const SHOWN_MAX: usize = 512;
/// How long the control loop may take to get to a change of an endpoint, and how long a reload may take: as the files
/// that it reads, twice, because one may be under way.
pub(super) const CHANGE_WITHIN: Duration = Duration::from_secs(10);
const RELOAD_WITHIN: Duration = Duration::from_secs(30);
/// How long is waited for an upgrade. It goes on after that: `timeouts.upgrade` bounds it.
const UPGRADE_WITHIN: Duration = Duration::from_secs(240);
/// The weights that a file may give.
const WEIGHTS: std::ops::RangeInclusive<u16> = 1..=256;

/// What a path changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Endpoint { pool: String, endpoint: String, verb: Verb },
    Reload,
    Upgrade,
}

/// What is done to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    State(BackendState),
    Weight,
}

/// What the path changes; `None` if it changes nothing.
pub(super) fn target(path: &str) -> Option<Target> {
    if path == "/v1/reload" {
        return Some(Target::Reload);
    }
    if path == "/v1/upgrade" {
        return Some(Target::Upgrade);
    }
    let mut parts = path.strip_prefix("/v1/pools/")?.split('/');
    let (pool, middle, endpoint, verb) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let verb = match verb {
        "drain" => Verb::State(BackendState::Drain),
        "ready" => Verb::State(BackendState::Ready),
        "down" => Verb::State(BackendState::Down),
        "weight" => Verb::Weight,
        _ => return None,
    };
    let is_whole = middle == "endpoints" && parts.next().is_none();
    is_whole.then(|| Target::Endpoint { pool: decoded(pool), endpoint: decoded(endpoint), verb })
}

/// The response to a request for a path that changes something.
pub(super) async fn answer(request: Request<Incoming>, caller: &Caller, target: Target) -> Response<Body> {
    let status = &caller.feed.status;
    let what: String = format!("{} {}", request.method(), request.uri().path()).chars().take(SHOWN_MAX).collect();
    match change(request, caller, target).await {
        Ok(done) => respond(StatusCode::OK, "application/json", text(&Value::Object(done))),
        Err(refusal) => {
            if status.refused.is_news() {
                let by = caller.door;
                let why: String = refusal.error.chars().take(SHOWN_MAX).collect();
                let why = why.replace(char::is_control, " ");
                tracing::warn!(%by, status = refusal.status.as_u16(), "refused: {what}: {why}");
            }
            refuse(status, &refusal)
        }
    }
}

/// The response to a request that is refused, which is counted.
pub(super) fn refuse(status: &Status, refusal: &Refusal) -> Response<Body> {
    status.refused.count(refusal.why);
    self::refusal(refusal)
}

/// The response to a request that is refused.
pub(super) fn refusal(refusal: &Refusal) -> Response<Body> {
    let mut response = respond(refusal.status, "application/json", text(&json!({ "error": refusal.error })));
    let headers = response.headers_mut();
    match refusal.why {
        Why::NoToken | Why::WrongToken => _ = headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
        // The rest of the body is not read.
        Why::Body => _ = headers.insert(CONNECTION, HeaderValue::from_static("close")),
        Why::Method => return with(response, ALLOW, "POST"),
        _ => {}
    }
    response
}

async fn change(request: Request<Incoming>, caller: &Caller, target: Target) -> Result<Map<String, Value>, Refusal> {
    if request.method() != Method::POST {
        return Err(Refusal::new(Why::Method, StatusCode::METHOD_NOT_ALLOWED, "this path takes only POST"));
    }
    let status = &caller.feed.status;
    let access = status.state().access.clone();
    authority::check(caller.door, &access, request.uri(), request.headers())?;
    let body = body(request).await?;
    let (pool, endpoint, verb) = match target {
        Target::Endpoint { pool, endpoint, verb } => (pool, endpoint, verb),
        Target::Reload => {
            read::<Nothing>(&body)?;
            let did = ask(status, caller, What::Reload, RELOAD_WITHIN).await?;
            return Ok(Map::from_iter([("did".to_owned(), format!("reloaded: {did}").into())]));
        }
        Target::Upgrade => {
            read::<Nothing>(&body)?;
            let did = ask(status, caller, What::Upgrade, UPGRADE_WITHIN).await?;
            return Ok(Map::from_iter([("did".to_owned(), did.into())]));
        }
    };
    let setting = match verb {
        Verb::State(state) => {
            read::<Nothing>(&body)?;
            Setting::State(state)
        }
        Verb::Weight => Setting::Weight(weight(&body)?),
    };
    let what = What::Set { pool: pool.clone(), endpoint: endpoint.clone(), setting };
    let did = ask(status, caller, what, CHANGE_WITHIN).await?;
    let mut done = Map::from_iter([("did".to_owned(), did.into())]);
    done.extend(endpoint_as_set(status, &pool, &endpoint).into_iter().flatten());
    Ok(done)
}

/// Lets the control loop do something, and waits for what becomes of it.
pub(super) async fn ask(status: &Status, caller: &Caller, what: What, within: Duration) -> Result<String, Refusal> {
    let late = |error: String| Refusal::new(Why::Late, StatusCode::SERVICE_UNAVAILABLE, error);
    let (answer, answered) = oneshot::channel();
    let order = Order::Ask(Ask { what, by: caller.door.to_string(), answer });
    status.orders.try_send(order).map_err(|_| late("too much else is asked for: try again".to_owned()))?;
    match timeout(within, answered).await {
        Ok(Ok(Ok(did))) => Ok(did),
        Ok(Ok(Err(Refused::Unknown(why)))) => Err(Refusal::new(Why::Unknown, StatusCode::NOT_FOUND, why)),
        Ok(Ok(Err(Refused::Busy(why)))) => Err(Refusal::new(Why::Busy, StatusCode::CONFLICT, why)),
        Ok(Ok(Err(Refused::Invalid(why)))) => Err(Refusal::new(Why::Invalid, StatusCode::UNPROCESSABLE_ENTITY, why)),
        Ok(Err(_)) => Err(late("this process is ending: ask the next one".to_owned())),
        Err(_) => Err(late(format!("it was not done within {within:?}: /status says what holds"))),
    }
}

/// The whole body, within its bounds.
async fn body(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    let read = Limited::new(request.into_body(), BODY_MAX).collect();
    let refuse = |status, error: String| Refusal::new(Why::Body, status, error);
    match timeout(BODY_WITHIN, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {BODY_MAX} bytes")))
        }
        Ok(Err(error)) => Err(refuse(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}"))),
        Err(_) => Err(refuse(StatusCode::REQUEST_TIMEOUT, format!("the body did not come within {BODY_WITHIN:?}"))),
    }
}

/// No body, or `{}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Weight {
    weight: u16,
}

fn weight(body: &[u8]) -> Result<u16, Refusal> {
    let (least, most) = (WEIGHTS.start(), WEIGHTS.end());
    let wrong = || {
        let error = format!(
            "the body is {{\"weight\": NUMBER}}, with a number from {least} to {most}; drain an endpoint that is to \
             get nothing"
        );
        Refusal::new(Why::Body, StatusCode::BAD_REQUEST, error)
    };
    let Weight { weight } = serde_json::from_slice(body).map_err(|_| wrong())?;
    if WEIGHTS.contains(&weight) { Ok(weight) } else { Err(wrong()) }
}

fn read<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Refusal> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    let wrong = |error| Refusal::new(Why::Body, StatusCode::BAD_REQUEST, format!("the body is not `{{}}`: {error}"));
    serde_json::from_slice(body).map_err(wrong)
}

fn text(value: &Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_what_it_changes() {
        let endpoint = |pool: &str, endpoint: &str, verb| {
            Some(Target::Endpoint { pool: pool.to_owned(), endpoint: endpoint.to_owned(), verb })
        };
        let drain = Verb::State(BackendState::Drain);
        for (path, expected) in [
            ("/v1/reload", Some(Target::Reload)),
            ("/v1/upgrade", Some(Target::Upgrade)),
            ("/v1/pools/app/endpoints/127.0.0.1:3001/drain", endpoint("app", "127.0.0.1:3001", drain)),
            ("/v1/pools/app/endpoints/127.0.0.1%3A3001/drain", endpoint("app", "127.0.0.1:3001", drain)),
            ("/v1/pools/a%2Fb/endpoints/unix:%2Frun%2Fa+b/drain", endpoint("a/b", "unix:/run/a+b", drain)),
            ("/v1/pools/app/endpoints/[::1]:1/weight", endpoint("app", "[::1]:1", Verb::Weight)),
            ("/v1/pools/app/endpoints/unix:/run/a/drain", None),
            ("/v1/pools/app/endpoints/127.0.0.1:3001/stop", None),
            ("/v1/pools/app/endpoints/127.0.0.1:3001/drain/", None),
            ("/v1/pools/app/endpoints/127.0.0.1:3001", None),
            ("/v1/pools/app/backends/127.0.0.1:3001/drain", None),
            ("/v1/reload/", None),
        ] {
            assert_eq!(target(path), expected, "{path}");
        }
    }

    #[test]
    fn a_weight_is_one_that_a_file_may_give() {
        for (body, expected) in [
            (r#"{"weight": 1}"#, Some(1)),
            (r#" {"weight":256} "#, Some(256)),
            (r#"{"weight": 0}"#, None),
            (r#"{"weight": 257}"#, None),
            (r#"{"weight": -1}"#, None),
            (r#"{"weight": 1.5}"#, None),
            (r#"{"weight": "1"}"#, None),
            (r#"{"weight": 1, "state": "drain"}"#, None),
            ("{}", None),
            ("", None),
        ] {
            assert_eq!(weight(body.as_bytes()).ok(), expected, "{body}");
        }
        assert!(read::<Nothing>(b"").is_ok() && read::<Nothing>(b" {} ").is_ok());
        assert!(read::<Nothing>(br#"{"weight": 1}"#).is_err() && read::<Nothing>(b"drain").is_err());
    }
}
