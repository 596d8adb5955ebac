//! Logins: a session with a cookie, and the state of OAuth.

use std::io;

use http::header::LOCATION;
use http::{HeaderValue, Method, StatusCode};
use serde_json::json;

use super::http::{Asked, Responding, data, error, no_such_page, respond, text, with_cookie};
use super::store::{Store, random_name};

/// `POST /login` begins a session; `GET /me` says whose it is.
pub(super) fn session(store: &Store, asked: &Asked) -> Responding {
    match (asked.method(), asked.path().as_slice()) {
        (&Method::POST, ["login"]) => {
            let Some(user) = asked.form("user") else { return error(StatusCode::BAD_REQUEST, "who are you?") };
            let id = random_name();
            store.put(&format!("session-{id}"), user.as_bytes())?;
            with_cookie(data(StatusCode::OK, &json!({ "ok": true }))?, "sid", &id)
        }
        (&Method::GET, ["me"]) => {
            let session = asked.cookie("sid").map(|id| store.get(&format!("session-{id}"))).transpose()?;
            match session.flatten() {
                Some(user) => data(StatusCode::OK, &json!({ "user": String::from_utf8_lossy(&user) })),
                None => error(StatusCode::UNAUTHORIZED, "log in first"),
            }
        }
        _ => no_such_page(),
    }
}

/// `GET /oauth/start` sends the user to a provider with a state; `GET /oauth/callback` takes that state once.
pub(super) fn oauth(store: &Store, asked: &Asked) -> Responding {
    match asked.path().as_slice() {
        ["oauth", "start"] => {
            let state = random_name();
            store.put(&format!("state-{state}"), asked.query("user").unwrap_or("nobody").as_bytes())?;
            let target = format!("/provider?state={state}");
            let mut response =
                respond(StatusCode::FOUND, "text/html", format!("<a href=\"{target}\">go to the provider</a>"));
            response.headers_mut().insert(LOCATION, HeaderValue::try_from(target).map_err(io::Error::other)?);
            Ok(response)
        }
        ["oauth", "callback"] => {
            let state = asked.query("state").map(|state| store.take(&format!("state-{state}"))).transpose()?;
            match state.flatten() {
                Some(user) => text(StatusCode::OK, format!("signed in as {}", String::from_utf8_lossy(&user))),
                None => error(StatusCode::BAD_REQUEST, "the state is unknown"),
            }
        }
        _ => no_such_page(),
    }
}
