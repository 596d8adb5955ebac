//! Rooms: what a member says over its WebSocket, all members hear.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, interval, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use super::http::{Asked, Responding, error};
use super::store::{Store, is_name};

/// A member stays this long at most.
const STAY_MAX: Duration = Duration::from_secs(120);

/// New messages of a room are looked for this often.
const LOOK: Duration = Duration::from_millis(10);

/// The room that a request wants to enter.
pub(super) fn named(asked: &Asked) -> Option<String> {
    match asked.path().as_slice() {
        ["rooms", name] if is_name(name) => Some(format!("room-{name}")),
        _ => None,
    }
}

/// The response that accepts a WebSocket, or says why it does not.
pub(super) fn accept(asked: &Asked) -> Responding {
    let Some(key) = asked.field(SEC_WEBSOCKET_KEY.as_str()) else {
        return error(StatusCode::UPGRADE_REQUIRED, "a room is entered by a WebSocket");
    };
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).map_err(io::Error::other)?;
    let mut response = Response::new(Full::<Bytes>::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

/// A member of a room, until it leaves. It hears what is said after it has come, its own words too.
pub(super) async fn stay(store: &Store, room: &str, stream: Upgraded) -> io::Result<()> {
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, None).await;
    let mut heard = store.get(room)?.map_or(0, |said| said.len());
    socket.send(Message::text("joined")).await.map_err(io::Error::other)?;
    let (leave, mut look) = (Instant::now() + STAY_MAX, interval(LOOK));
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    store.append(room, format!("{text}\n").as_bytes())?;
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                Some(Ok(_)) => {}
            },
            _ = look.tick() => {
                let said = store.get(room)?.unwrap_or_default();
                for line in String::from_utf8_lossy(said.get(heard..).unwrap_or_default()).lines() {
                    socket.send(Message::text(line)).await.map_err(io::Error::other)?;
                }
                heard = said.len();
            }
            () = sleep_until(leave) => return Ok(()),
        }
    }
}
