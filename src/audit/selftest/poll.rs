//! A session of long-polling, as Engine.IO has it: an id in the query, messages by POST, what comes by GET.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::http::{Asked, Responding, data, error, no_such_page, text};
use super::store::{Store, random_name};

/// A GET waits so long for a message.
const MESSAGE_WAIT: Duration = Duration::from_secs(2);

/// It looks for one this often.
const LOOK: Duration = Duration::from_millis(20);

/// `GET /poll` opens a session; with `sid`, it waits for messages, and `POST` sends one, which comes back.
pub(super) async fn poll(store: &Store, asked: &Asked) -> Responding {
    if asked.path() != ["poll"] {
        return no_such_page();
    }
    let Some(sid) = asked.query("sid") else {
        let sid = random_name();
        store.put(&format!("sid-{sid}"), b"")?;
        return data(StatusCode::OK, &json!({ "sid": sid }));
    };
    if store.get(&format!("sid-{sid}"))?.is_none() {
        return error(StatusCode::BAD_REQUEST, "the session is unknown");
    }
    let messages = format!("messages-{sid}");
    if asked.method() == Method::POST {
        store.append(&messages, asked.content())?;
        return text(StatusCode::OK, "ok");
    }
    let deadline = Instant::now() + MESSAGE_WAIT;
    loop {
        match store.take(&messages)? {
            Some(messages) => return text(StatusCode::OK, messages),
            None if Instant::now() > deadline => return text(StatusCode::OK, ""),
            None => sleep(LOOK).await,
        }
    }
}
