//! A replica with rooms, in Redis or in its memory: its HTTP side.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::memory::InMemory;
use super::stay::Stay;
use super::store::Rooms;
use super::stream::InRedis;
use crate::prove::arm::Work;
use crate::prove::sabotage::Planted;
use crate::prove::study::hold::Hold;
use crate::prove::study::part::{PartBody, PartReplica, Responder, Responding, text};

/// One replica whose rooms are in Redis.
pub(in crate::prove::study) fn in_redis(replica: PartReplica) -> Work<'static, ()> {
    Box::pin(async move {
        let (scope, planted) = (replica.directory.display().to_string(), replica.planted);
        open(replica, InRedis::connect(scope, planted).await?, planted).await
    })
}

/// One replica whose rooms are in its memory. A control is as it is.
pub(in crate::prove::study) fn in_memory(replica: PartReplica) -> Work<'static, ()> {
    Box::pin(open(replica, InMemory::default(), Planted::NOTHING))
}

async fn open(replica: PartReplica, rooms: impl Rooms, planted: Planted) -> anyhow::Result<()> {
    let door = Door { name: replica.name.clone(), rooms: Arc::new(rooms), hold: Arc::default(), planted };
    replica.serve(door).await
}

struct Door<R> {
    name: String,
    rooms: Arc<R>,
    hold: Arc<Hold>,
    planted: Planted,
}

impl<R: Rooms> Responder for Door<R> {
    fn respond(&self, request: Request<Incoming>) -> Responding<'_> {
        Box::pin(async move {
            let response = self.response_to(request).await;
            response.unwrap_or_else(|error| text(StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")))
        })
    }
}

impl<R: Rooms> Door<R> {
    async fn response_to(&self, request: Request<Incoming>) -> anyhow::Result<Response<PartBody>> {
        let path = request.uri().path().trim_start_matches('/').to_owned();
        match *path.split('/').collect::<Vec<_>>() {
            ["control", "hold", enough] => {
                let held = self.hold.begin(enough.parse()?).await;
                Ok(text(StatusCode::OK, &serde_json::to_string(&held)?))
            }
            ["rooms", room, "messages"] => {
                let all = self.rooms.after(room, 0).await?;
                Ok(text(StatusCode::OK, &serde_json::to_string(&all)?))
            }
            ["rooms", room] => self.enter(room, request),
            _ => Ok(text(StatusCode::NOT_FOUND, "there is no such place")),
        }
    }

    /// Accepts a WebSocket (RFC 6455 section 4.2.2). The query says who it is: `member` and `after`.
    fn enter(&self, room: &str, mut request: Request<Incoming>) -> anyhow::Result<Response<PartBody>> {
        let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
            return Ok(text(StatusCode::UPGRADE_REQUIRED, "a room is entered by a WebSocket"));
        };
        let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()))?;
        let query = request.uri().query().unwrap_or_default();
        let values: HashMap<_, _> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let value = |name| values.get(name).with_context(|| format!("the query has no {name}"));
        let stay = Stay {
            rooms: Arc::clone(&self.rooms),
            hold: Arc::clone(&self.hold),
            replica: self.name.clone(),
            room: room.to_owned(),
            member: value("member")?.parse()?,
            last: value("after")?.parse()?,
            planted: self.planted,
            late: None,
        };
        let upgrade = hyper::upgrade::on(&mut request);
        // It ends with the connection. What ends that concerns the member, who comes again.
        tokio::spawn(async move { anyhow::Ok(stay.run(TokioIo::new(upgrade.await?)).await?) });
        let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
        Ok(response)
    }
}
