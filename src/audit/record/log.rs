//! What was kept of what passed, within bounds. Bodies come in pieces, each to the exchange that its ticket names.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, Method, StatusCode};

use super::{BODY_KEPT_MAX, EXCHANGES_MAX, KEPT_MAX};

/// The most messages that are kept of one WebSocket.
const MESSAGES_MAX: usize = 1_000;

/// What browsers ask for by themselves, which no user does.
const BY_THEMSELVES: [&str; 4] = [
    "/favicon.ico",
    "/apple-touch-icon.png",
    "/apple-touch-icon-precomposed.png",
    "/.well-known/appspecific/com.chrome.devtools.json",
];

/// What was recorded so far, which all connections share.
#[derive(Debug, Clone, Default)]
pub(super) struct Log(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    exchanges: Vec<Exchange>,
    bytes: usize,
    surplus: usize,
}

/// A request and its response, as the application has seen and sent them.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    /// Status and fields; `None` if there was no response.
    pub(super) response: Option<(StatusCode, HeaderMap)>,
    pub(super) response_body: Body,
    pub(super) is_websocket: bool,
    pub(super) messages: Vec<Message>,
}

/// A body, as far as it was kept.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    /// Nothing is kept: it was too long.
    pub(super) is_too_long: bool,
}

/// Which of the two bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Response,
}

/// A message of a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// [`Side::Request`] if the browser sent it.
    pub(super) from: Side,
    /// `None` if it was no text, or too long.
    pub(super) text: Option<String>,
}

/// Where pieces of an exchange go.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    log: Log,
    number: usize,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins. `None` if it is not recorded.
    pub(super) fn begin(&self, method: Method, target: &str, headers: HeaderMap, is_websocket: bool) -> Option<Ticket> {
        let path = target.split('?').next().unwrap_or_default();
        let is_ahead = headers.contains_key("sec-purpose") || headers.contains_key("x-moz");
        if !target.starts_with('/') || BY_THEMSELVES.contains(&path) || is_ahead {
            return None;
        }
        let mut kept = self.lock();
        if kept.exchanges.len() == EXCHANGES_MAX {
            kept.surplus += 1;
            return None;
        }
        let (body, response_body) = (Body::default(), Body::default());
        let (target, response, messages) = (target.to_owned(), None, Vec::new());
        kept.exchanges.push(Exchange {
            method,
            target,
            headers,
            body,
            response,
            response_body,
            is_websocket,
            messages,
        });
        Some(Ticket { log: self.clone(), number: kept.exchanges.len() - 1 })
    }

    /// Everything, and what to know of what is not there.
    pub(super) fn take(&self) -> (Vec<Exchange>, Vec<String>) {
        let mut kept = self.lock();
        let surplus = std::mem::take(&mut kept.surplus);
        let note =
            (surplus > 0).then(|| format!("the last {surplus} requests are left out: {EXCHANGES_MAX} were kept"));
        (std::mem::take(&mut kept.exchanges), note.into_iter().collect())
    }
}

impl Ticket {
    /// The response begins.
    pub(super) fn responded(&self, status: StatusCode, headers: HeaderMap) {
        if let Some(exchange) = self.log.lock().exchanges.get_mut(self.number) {
            exchange.response = Some((status, headers));
        }
    }

    /// A piece of a body goes by.
    pub(super) fn keep(&self, side: Side, data: &[u8]) {
        let mut kept = self.log.lock();
        let before = kept.bytes;
        let Some(exchange) = kept.exchanges.get_mut(self.number) else { return };
        let body = match side {
            Side::Request => &mut exchange.body,
            Side::Response => &mut exchange.response_body,
        };
        if body.is_too_long || body.bytes.len() + data.len() > BODY_KEPT_MAX || before + data.len() > KEPT_MAX {
            body.is_too_long = true;
            let given_back = std::mem::take(&mut body.bytes).len();
            kept.bytes = before - given_back;
            return;
        }
        body.bytes.extend_from_slice(data);
        kept.bytes = before + data.len();
    }

    /// A message of a WebSocket goes by.
    pub(super) fn message(&self, message: Message) {
        let mut kept = self.log.lock();
        let length = message.text.as_ref().map_or(0, String::len);
        let has_room = kept.bytes + length <= KEPT_MAX;
        let Some(exchange) = kept.exchanges.get_mut(self.number) else { return };
        if has_room && exchange.messages.len() < MESSAGES_MAX {
            exchange.messages.push(message);
            kept.bytes += length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(log: &Log, target: &str) -> Option<Ticket> {
        log.begin(Method::GET, target, HeaderMap::new(), false)
    }

    #[test]
    fn what_is_too_long_is_not_kept_and_takes_no_room() {
        let log = Log::default();
        let (long, short) = (begin(&log, "/long").unwrap(), begin(&log, "/short").unwrap());
        let piece = vec![b'x'; BODY_KEPT_MAX / 4];
        for _ in 0..5 {
            long.keep(Side::Response, &piece);
        }
        short.keep(Side::Response, b"short");
        assert_eq!(log.lock().bytes, 5);
        let (exchanges, _) = log.take();
        let bodies: Vec<_> = exchanges.iter().map(|exchange| &exchange.response_body).collect();
        assert!(bodies[0].is_too_long && bodies[0].bytes.is_empty());
        assert_eq!((bodies[1].is_too_long, bodies[1].bytes.as_slice()), (false, &b"short"[..]));
    }

    #[test]
    fn all_bodies_together_are_bounded() {
        let log = Log::default();
        let piece = vec![b'x'; BODY_KEPT_MAX];
        let fit = KEPT_MAX / BODY_KEPT_MAX;
        for number in 0..=fit {
            begin(&log, &format!("/{number}")).unwrap().keep(Side::Request, &piece);
        }
        let too_long: Vec<_> = log.take().0.iter().map(|exchange| exchange.body.is_too_long).collect();
        assert_eq!(too_long.iter().position(|is| *is), Some(fit));
    }

    #[test]
    fn what_no_user_asks_for_is_not_recorded() {
        let log = Log::default();
        for target in ["/favicon.ico", "/apple-touch-icon.png?x", "*", "http://a/"] {
            assert!(begin(&log, target).is_none(), "{target}");
        }
        let mut ahead = HeaderMap::new();
        ahead.insert("sec-purpose", "prefetch".parse().unwrap());
        assert!(log.begin(Method::GET, "/next", ahead, false).is_none());
        for number in 0..EXCHANGES_MAX {
            assert!(begin(&log, "/").is_some(), "{number}");
        }
        assert!(begin(&log, "/").is_none());
        assert_eq!(log.take().1, [format!("the last 1 requests are left out: {EXCHANGES_MAX} were kept")]);
    }
}
