//! Uploads, and a limit of requests per user.

use http::{Method, StatusCode};

use super::http::{Asked, Responding, error, no_such_page, respond, text};
use super::store::{Store, is_name};

/// So many requests of a user are permitted. The limit is never lifted: a run of a journey is a new user.
const REQUESTS_MAX: u64 = 3;

/// `PUT /files/NAME` and `GET /files/NAME`.
pub(super) fn upload(store: &Store, asked: &Asked) -> Responding {
    match (asked.method(), asked.path().as_slice()) {
        (&Method::PUT, ["files", name]) if is_name(name) => {
            store.put(&format!("file-{name}"), asked.content())?;
            text(StatusCode::CREATED, "stored")
        }
        (&Method::GET, ["files", name]) if is_name(name) => match store.get(&format!("file-{name}"))? {
            Some(file) => Ok(respond(StatusCode::OK, "application/octet-stream", file)),
            None => error(StatusCode::NOT_FOUND, "there is no such file"),
        },
        _ => no_such_page(),
    }
}

/// `GET /hit` with `X-User` is refused from the fourth time on.
pub(super) fn limit(store: &Store, asked: &Asked) -> Responding {
    let Some(user) = asked.field("x-user").filter(|user| is_name(user)) else {
        return error(StatusCode::BAD_REQUEST, "X-User is missing");
    };
    match store.append(&format!("hits-{user}"), b"x")? {
        count if count <= REQUESTS_MAX => text(StatusCode::OK, "ok"),
        _ => error(StatusCode::TOO_MANY_REQUESTS, "that was too often"),
    }
}
