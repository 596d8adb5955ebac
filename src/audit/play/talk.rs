//! What is said on a WebSocket (RFC 6455) or an event stream (HTML Standard, "server-sent events"), which stays open.

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use regex::Regex;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use unstick_proof::trial::pairs::journey::Values;

use super::connection::{Connector, Stream};
use super::exchange::respond;
use super::{BODY_KEPT_MAX, MESSAGES_BYTES_MAX, MESSAGES_MAX, REQUEST_DEADLINE};
use crate::journey::{Receive, Talk, fill};
use crate::outcome::{Body, Received, filled};
use crate::replicas::Origin;

/// Something that a step has opened.
pub(super) enum Channel {
    /// Boxed: it is much larger than the other.
    WebSocket(Box<WebSocketStream<Box<dyn Stream>>>),
    EventStream(Incoming, Events),
}

/// What came of a step that talks.
pub(super) struct Said {
    /// All messages that came meanwhile; the last one is that which was awaited.
    pub(super) messages: Vec<String>,
    /// Why what was awaited did not come.
    pub(super) broken_off: Option<String>,
}

/// Opens a WebSocket. If the replica refuses, there is its response only.
///
/// # Errors
/// Why there is no response.
pub(super) async fn open_websocket(
    connector: &Connector,
    origin: &Origin,
    request: Request<Bytes>,
) -> Result<(Received, Option<Channel>), String> {
    let until = Instant::now() + REQUEST_DEADLINE;
    let (mut parts, _) = request.into_parts();
    let host = parts.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    parts.uri = format!("ws://{host}{}", parts.uri).parse().map_err(|error| format!("{}: {error}", parts.uri))?;
    for (name, value) in [(CONNECTION, "Upgrade"), (UPGRADE, "websocket"), (SEC_WEBSOCKET_VERSION, "13")] {
        parts.headers.insert(name, HeaderValue::from_static(value));
    }
    let key = HeaderValue::try_from(generate_key()).map_err(|error| error.to_string())?;
    parts.headers.insert(SEC_WEBSOCKET_KEY, key);
    let open = async {
        let stream = connector.stream(origin).await?;
        match client_async_with_config(Request::from_parts(parts, ()), stream, Some(bounds())).await {
            Ok((socket, response)) => Ok((whole(response), Some(Channel::WebSocket(Box::new(socket))))),
            Err(Error::Http(response)) => Ok((whole(*response), None)),
            Err(error) => Err(format!("no WebSocket: {error}")),
        }
    };
    timeout_at(until, open).await.unwrap_or_else(|_| Err("no WebSocket in time".into()))
}

/// One message is no longer than a body that is kept.
fn bounds() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(Some(BODY_KEPT_MAX)).max_frame_size(Some(BODY_KEPT_MAX))
}

fn whole(response: Response<Option<Vec<u8>>>) -> Received {
    let (parts, body) = response.into_parts();
    let body = Body::Whole(body.unwrap_or_default().into());
    Received { status: parts.status, headers: parts.headers, body, broken_off: None }
}

/// Opens an event stream. If the response is none, it is read as any other.
///
/// # Errors
/// Why there is no response.
pub(super) async fn open_event_stream(
    connector: &Connector,
    origin: &Origin,
    request: Request<Bytes>,
) -> Result<(Received, Option<Channel>), String> {
    let until = Instant::now() + REQUEST_DEADLINE;
    let response = timeout_at(until, respond(connector, origin, request)).await;
    let response = response.unwrap_or_else(|_| Err("no event stream in time".into()))?;
    if response.status() != StatusCode::OK {
        return Ok((super::exchange::received(response, until).await, None));
    }
    let (parts, body) = response.into_parts();
    let empty = Body::Whole(Bytes::new());
    let received = Received { status: parts.status, headers: parts.headers, body: empty, broken_off: None };
    Ok((received, Some(Channel::EventStream(body, Events::default()))))
}

/// Sends what is to be sent, then awaits what is awaited.
///
/// # Errors
/// A value is missing, or what is awaited is no regular expression with these values.
pub(super) async fn talk(channel: &mut Channel, talk: &Talk, values: &Values) -> Result<Said, String> {
    let made = |template: &String| filled(template, values).map_err(|name| format!("no response has brought {name}"));
    let sent: Vec<String> = talk.send.iter().map(made).collect::<Result<_, _>>()?;
    let within = talk.receive.as_ref().map_or(REQUEST_DEADLINE, |receive| receive.within);
    let until = Instant::now() + within;
    let mut said = Said { messages: Vec::new(), broken_off: None };
    if let Channel::WebSocket(socket) = channel {
        for text in sent {
            let result = timeout_at(until, socket.send(Message::text(text))).await;
            if !matches!(result, Ok(Ok(()))) {
                said.broken_off = Some("the WebSocket was closed before everything was sent".into());
                return Ok(said);
            }
        }
    }
    let Some(receive) = &talk.receive else { return Ok(said) };
    let wanted = pattern(receive, values)?;
    let mut bytes = 0;
    while said.messages.len() < MESSAGES_MAX && bytes < MESSAGES_BYTES_MAX {
        match timeout_at(until, next(channel)).await {
            Err(_) => {
                said.broken_off = Some(format!("nothing that matches {wanted} came within {within:?}"));
                return Ok(said);
            }
            Ok(None) => {
                said.broken_off = Some(format!("it was closed before anything that matches {wanted} came"));
                return Ok(said);
            }
            Ok(Some(message)) => {
                let is_wanted = wanted.is_match(&message);
                bytes += message.len();
                said.messages.push(message);
                if is_wanted {
                    return Ok(said);
                }
            }
        }
    }
    let many = if bytes < MESSAGES_BYTES_MAX {
        format!("{MESSAGES_MAX} messages")
    } else {
        format!("{} MiB of messages", MESSAGES_BYTES_MAX >> 20)
    };
    said.broken_off = Some(format!("nothing that matches {wanted} was among {many}"));
    Ok(said)
}

/// The pattern of what is awaited. Values stand for themselves in it.
fn pattern(receive: &Receive, values: &Values) -> Result<Regex, String> {
    let value = |name: &str| values.get(name).map(regex::escape);
    let pattern = fill(&receive.until, value).map_err(|name| format!("no response has brought {name}"))?;
    Regex::new(&pattern).map_err(|error| error.to_string())
}

/// The next message; `None` if there will be none.
async fn next(channel: &mut Channel) -> Option<String> {
    match channel {
        Channel::WebSocket(socket) => loop {
            match socket.next().await?.ok()? {
                Message::Text(text) => return Some(text.as_str().to_owned()),
                Message::Binary(bytes) => return Some(String::from_utf8_lossy(&bytes).into_owned()),
                Message::Close(_) => return None,
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        },
        Channel::EventStream(body, events) => loop {
            if let Some(event) = events.next() {
                return Some(event);
            }
            let frame = body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data()
                && !events.add(&data)
            {
                return None;
            }
        },
    }
}

/// The bytes of an event stream that make no whole event yet.
#[derive(Debug, Default)]
pub(super) struct Events {
    bytes: Vec<u8>,
    /// Whether the last event ended with a CR, to which an LF may belong that comes later.
    is_behind_cr: bool,
}

impl Events {
    /// Adds what has come. `false`: an event is too long.
    fn add(&mut self, data: &[u8]) -> bool {
        let is_second = std::mem::take(&mut self.is_behind_cr) && data.first() == Some(&b'\n');
        self.bytes.extend_from_slice(&data[usize::from(is_second)..]);
        self.bytes.len() <= BODY_KEPT_MAX
    }

    /// The first event that has come whole: its lines. They end with CR, LF or both.
    fn next(&mut self) -> Option<String> {
        let (mut lines, mut from, mut at) = (Vec::new(), 0, 0);
        while at < self.bytes.len() {
            let end = match self.bytes[at] {
                b'\n' => at + 1,
                b'\r' if self.bytes.get(at + 1) == Some(&b'\n') => at + 2,
                b'\r' => at + 1,
                _ => {
                    at += 1;
                    continue;
                }
            };
            let line = String::from_utf8_lossy(&self.bytes[from..at]).into_owned();
            (from, at) = (end, end);
            if !line.is_empty() {
                lines.push(line);
            } else if !lines.is_empty() {
                self.is_behind_cr = end == self.bytes.len() && self.bytes[end - 1] == b'\r';
                self.bytes.drain(..end);
                return Some(lines.join("\n"));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    #[test]
    fn events_end_with_any_blank_line_and_come_in_any_pieces() {
        for stream in [
            "data: é\n\nid: 2\ndata: b\n\n",
            "data: é\r\n\r\nid: 2\r\ndata: b\r\n\r\n",
            "data: é\r\rid: 2\rdata: b\r\r:",
        ] {
            for cut in 0..stream.len() {
                let (one, other) = stream.as_bytes().split_at(cut);
                let (mut events, mut found) = (Events::default(), Vec::new());
                for part in [one, other] {
                    assert!(events.add(part));
                    found.extend(std::iter::from_fn(|| events.next()));
                }
                assert_eq!(found, ["data: é", "id: 2\ndata: b"], "{stream:?} cut at {cut}");
            }
        }
    }

    /// What comes of waiting on a WebSocket to which messages of this length are sent without end.
    async fn flooded(length: usize) -> Said {
        let (near, far) = tokio::io::duplex(1 << 20);
        let config = Some(bounds());
        let socket = WebSocketStream::from_raw_socket(Box::new(near) as Box<dyn Stream>, Role::Client, config).await;
        let mut server = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
        let flood = tokio::spawn(async move { while server.send(Message::text("x".repeat(length))).await.is_ok() {} });
        let until = Receive { until: "never".into(), within: REQUEST_DEADLINE };
        let wanted = Talk { send: Vec::new(), receive: Some(until) };
        let mut channel = Channel::WebSocket(Box::new(socket));
        let said = talk(&mut channel, &wanted, &Values::of_run("u1")).await.unwrap();
        flood.abort();
        said
    }

    #[tokio::test]
    async fn messages_are_bounded_in_number_and_in_bytes() {
        let many = flooded(1).await;
        assert_eq!(many.messages.len(), MESSAGES_MAX);
        assert!(many.broken_off.is_some_and(|why| why.ends_with("among 10000 messages")));
        let long = flooded(1 << 20).await;
        let bytes: usize = long.messages.iter().map(String::len).sum();
        assert_eq!(bytes, MESSAGES_BYTES_MAX);
        assert!(long.broken_off.is_some_and(|why| why.ends_with("among 32 MiB of messages")));
        let longest = flooded(BODY_KEPT_MAX + 1).await;
        assert!(longest.messages.is_empty() && longest.broken_off.is_some());
    }

    #[test]
    fn an_event_has_a_bound() {
        assert!(!Events::default().add(&vec![b'x'; BODY_KEPT_MAX + 1]));
    }
}
