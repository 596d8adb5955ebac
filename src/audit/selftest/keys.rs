//! Nothing is kept here: what a client brings back is signed, with a key of the process or with one for all.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use http::{Method, StatusCode};
use serde_json::json;

use super::http::{Asked, Responding, data, error, html, no_such_page, text, with_cookie};
use super::store::random_name;
use super::{Planted, Replica};

/// The key of all clean replicas.
const COMMON: &str = "one key for all replicas";

/// What a replica signs with.
pub(super) struct Key(String);

impl Key {
    pub(super) fn of(replica: &Replica) -> Self {
        match replica.planted {
            Planted::Faulty => Self(replica.key.clone()),
            Planted::Clean => Self(COMMON.to_owned()),
        }
    }

    /// A hash with a key. It tells keys apart, which is all that is needed here: nobody forges.
    fn sign(&self, message: &str) -> String {
        let mut hasher = DefaultHasher::new();
        (&self.0, message).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

/// `GET /form` has a token that is bound to a cookie; `POST /form` checks it.
pub(super) fn form(key: &Key, asked: &Asked) -> Responding {
    match (asked.method(), asked.path().as_slice()) {
        (&Method::GET, ["form"]) => {
            let visitor = random_name();
            let token = key.sign(&visitor);
            let fields = format!("<input type=\"hidden\" name=\"csrf\" value=\"{token}\"><input name=\"text\">");
            with_cookie(html(format!("<form method=\"post\">{fields}</form>")), "visitor", &visitor)
        }
        (&Method::POST, ["form"]) => {
            let wanted = asked.cookie("visitor").map(|visitor| key.sign(visitor));
            if wanted.is_none() || wanted.as_deref() != asked.form("csrf") {
                return error(StatusCode::FORBIDDEN, "the token of the form is wrong");
            }
            text(StatusCode::OK, format!("saved {}", asked.form("text").unwrap_or_default()))
        }
        _ => no_such_page(),
    }
}

/// `POST /token` signs who the user is; `GET /private` wants that as a bearer token.
pub(super) fn token(key: &Key, asked: &Asked) -> Responding {
    match (asked.method(), asked.path().as_slice()) {
        (&Method::POST, ["token"]) => {
            let Some(user) = asked.form("user") else { return error(StatusCode::BAD_REQUEST, "who are you?") };
            data(StatusCode::OK, &json!({ "token": format!("{user}.{}", key.sign(user)) }))
        }
        (&Method::GET, ["private"]) => match asked.bearer().and_then(|token| token.split_once('.')) {
            Some((user, signature)) if key.sign(user) == signature => data(StatusCode::OK, &json!({ "user": user })),
            _ => error(StatusCode::UNAUTHORIZED, "the token is not valid"),
        },
        _ => no_such_page(),
    }
}
