//! A form of several pages, whose draft is kept until it is finished.

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::http::{Asked, Responding, data, error, no_such_page, nothing};
use super::store::{Store, is_name, random_name};

/// `POST /wizard` begins a draft, `PUT /wizard/ID/FIELD` fills in a field, `POST /wizard/ID/finish` ends it.
pub(super) fn wizard(store: &Store, asked: &Asked) -> Responding {
    match (asked.method(), asked.path().as_slice()) {
        (&Method::POST, ["wizard"]) => {
            let id = random_name();
            store.put(&format!("draft-{id}"), b"{}")?;
            data(StatusCode::CREATED, &json!({ "draft": id }))
        }
        (&Method::PUT, ["wizard", id, field]) if is_name(id) => {
            let name = format!("draft-{id}");
            let Some(draft) = store.get(&name)? else { return unknown() };
            let mut draft: Map<String, Value> = serde_json::from_slice(&draft)?;
            draft.insert((*field).to_owned(), asked.text().unwrap_or_default().into());
            store.put(&name, Value::from(draft).to_string().as_bytes())?;
            nothing()
        }
        (&Method::POST, ["wizard", id, "finish"]) if is_name(id) => match store.take(&format!("draft-{id}"))? {
            Some(draft) => data(StatusCode::OK, &serde_json::from_slice(&draft)?),
            None => unknown(),
        },
        _ => no_such_page(),
    }
}

fn unknown() -> Responding {
    error(StatusCode::NOT_FOUND, "there is no such draft")
}
