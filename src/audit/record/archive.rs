//! What was kept in the form that the import takes, which reads it as it reads the archive of a browser.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::BODY_KEPT_MAX;
use super::log::{Body, Exchange, Side};
use crate::journey::Recorded;

/// The most notes about single exchanges.
const NOTES_MAX: usize = 20;

/// The exchanges, and what to know of what is not in them.
pub(super) fn recorded(exchanges: Vec<Exchange>) -> (Vec<Recorded>, Vec<String>) {
    let (mut all, mut notes) = (Vec::new(), Vec::new());
    for exchange in exchanges {
        let path = exchange.target.split('?').next().unwrap_or_default();
        let what = format!("{} {path}", exchange.method);
        let why = match &exchange.response {
            _ if exchange.body.is_too_long => Some(format!("its body has more than {} MiB", BODY_KEPT_MAX >> 20)),
            None => Some("it got no response".to_owned()),
            Some(_) => None,
        };
        if let Some(why) = why {
            notes.push(format!("{what} is left out: {why}"));
            continue;
        }
        let (one, note) = one(exchange);
        all.push(one);
        notes.extend(note.map(|why| format!("nothing is taken from the response to {what}: its body {why}")));
    }
    notes.dedup();
    let surplus = notes.len().saturating_sub(NOTES_MAX);
    notes.truncate(NOTES_MAX);
    if surplus > 0 {
        notes.push(format!("and {surplus} more of these"));
    }
    (all, notes)
}

/// An exchange, and why the body of its response is not in it.
fn one(exchange: Exchange) -> (Recorded, Option<String>) {
    let (status, response_fields) = exchange.response.unwrap_or_default();
    let (response_content, note) = content(exchange.response_body, &response_fields);
    let sent = exchange.messages.into_iter().filter(|message| message.from == Side::Request);
    let recorded = Recorded {
        method: exchange.method,
        target: exchange.target,
        fields: exchange.headers,
        content: exchange.body.bytes.into(),
        sent: sent.filter_map(|message| message.text).collect(),
        status,
        response_fields,
        response_content,
    };
    (recorded, note)
}

fn content(body: Body, fields: &HeaderMap) -> (Bytes, Option<String>) {
    let text = |name| fields.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let encoding = text(&CONTENT_ENCODING);
    let note = if body.is_too_long {
        format!("has more than {} MiB", BODY_KEPT_MAX >> 20)
    } else if !matches!(encoding, "" | "identity") && !body.bytes.is_empty() {
        format!("is compressed ({encoding}), although that was not asked for")
    } else {
        return (body.bytes.into(), None);
    };
    (Bytes::new(), Some(note).filter(|_| !is_static(text(&CONTENT_TYPE))))
}

/// Nobody misses a value in a film.
fn is_static(media_type: &str) -> bool {
    let kinds = ["image/", "audio/", "video/", "font/", "text/css", "text/javascript", "application/javascript"];
    kinds.iter().any(|kind| media_type.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};

    use super::*;

    fn exchange(pairs: &[(&'static str, &str)], response_body: Body) -> Exchange {
        let pairs = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Exchange {
            method: Method::GET,
            target: "/a?secret=1".into(),
            headers: HeaderMap::new(),
            body: Body::default(),
            response: Some((StatusCode::OK, pairs.collect())),
            response_body,
            is_websocket: false,
            messages: Vec::new(),
        }
    }

    fn body() -> Body {
        Body { bytes: b"text".to_vec(), is_too_long: false }
    }

    #[test]
    fn what_is_missing_is_told() {
        let long = || Body { bytes: Vec::new(), is_too_long: true };
        let unread = "nothing is taken from the response to GET /a: its body ";
        for (given, kept, note) in [
            (exchange(&[], body()), Some("text"), None),
            (exchange(&[("content-encoding", "identity")], body()), Some("text"), None),
            (
                exchange(&[("content-encoding", "br")], body()),
                Some(""),
                Some(format!("{unread}is compressed (br), although that was not asked for")),
            ),
            (exchange(&[("content-encoding", "br"), ("content-type", "image/svg+xml")], body()), Some(""), None),
            (exchange(&[], long()), Some(""), Some(format!("{unread}has more than 4 MiB"))),
            (
                Exchange { body: long(), ..exchange(&[], body()) },
                None,
                Some("GET /a is left out: its body has more than 4 MiB".to_owned()),
            ),
            (
                Exchange { response: None, ..exchange(&[], Body::default()) },
                None,
                Some("GET /a is left out: it got no response".to_owned()),
            ),
        ] {
            let asked = format!("{given:?}");
            let (all, notes) = recorded(vec![given]);
            let found = all.first().map(|one| one.response_content.as_ref());
            assert_eq!((found, notes.first()), (kept.map(str::as_bytes), note.as_ref()), "{asked}");
        }
    }

    #[test]
    fn notes_are_bounded() {
        let exchanges = (0..30).map(|number| Exchange {
            target: format!("/{number}"),
            response: None,
            ..exchange(&[], Body::default())
        });
        let (all, notes) = recorded(exchanges.collect());
        assert_eq!((all.len(), notes.len(), notes[NOTES_MAX].as_str()), (0, 21, "and 10 more of these"));
    }
}
