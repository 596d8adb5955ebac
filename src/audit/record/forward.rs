//! One request of a browser: it goes to the application, and its response comes back, both as they come.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc::Sender;
use tokio::time::timeout;

use super::RESPONSE_DEADLINE;
use super::log::{Log, Side, Ticket};
use super::rewrite::{Names, is_websocket};
use super::tap::Tap;
use crate::play::Connector;
use crate::replicas::Origin;

/// What all connections share.
pub(super) struct Shared {
    pub(super) connector: Connector,
    pub(super) backend: Origin,
    pub(super) names: Names,
    pub(super) log: Log,
    pub(super) say: Sender<String>,
}

impl Shared {
    /// Says a line to the person who records.
    pub(super) async fn say(&self, line: String) {
        // Nobody listens any more when the recording has ended.
        let _ = self.say.send(line).await;
    }
}

/// What a browser gets.
pub(super) type Responding = Response<UnsyncBoxBody<Bytes, hyper::Error>>;

/// A WebSocket after its handshake: both ends, and where its messages are kept.
pub(super) struct Opened {
    pub(super) browser: OnUpgrade,
    pub(super) application: OnUpgrade,
    pub(super) ticket: Option<Ticket>,
}

/// The response, and the WebSocket that it opens.
pub(super) async fn forward(shared: &Shared, mut request: Request<Incoming>) -> (Responding, Option<Opened>) {
    let browser = is_websocket(request.headers()).then(|| hyper::upgrade::on(&mut request));
    let asked = shared.names.asked(request.headers());
    let target = request.uri().path_and_query().map_or_else(|| "*".to_owned(), ToString::to_string);
    let path = target.split('?').next().unwrap_or_default();
    let line = format!("{} {path}", request.method());
    let Ok(uri) = target.parse() else { return (refused(&format!("{target} is no target")), None) };
    *request.uri_mut() = uri;
    shared.names.to_application(request.headers_mut(), &asked);
    let (method, headers) = (request.method().clone(), request.headers().clone());
    let ticket = shared.log.begin(method, &target, headers, browser.is_some());
    let mut response = match exchange(shared, request, ticket.as_ref()).await {
        Ok(response) => response,
        Err(why) => {
            shared.say(format!("{line}  no response: {why}")).await;
            return (refused(&format!("unstick audit record: the application gave no response: {why}")), None);
        }
    };
    shared.say(format!("{line}  {}", response.status().as_u16())).await;
    if let Some(ticket) = &ticket {
        ticket.responded(response.status(), response.headers().clone());
    }
    let is_opened = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let application = is_opened.then(|| hyper::upgrade::on(&mut response));
    shared.names.to_browser(response.headers_mut(), &asked);
    let opened = browser.zip(application);
    let opened = opened.map(|(browser, application)| Opened { browser, application, ticket: ticket.clone() });
    (response.map(|body| Tap::new(body, Side::Response, ticket).boxed_unsync()), opened)
}

/// Sends a request on a connection of its own, which ends with its response.
async fn exchange(
    shared: &Shared,
    request: Request<Incoming>,
    ticket: Option<&Ticket>,
) -> Result<Response<Incoming>, String> {
    let stream = shared.connector.stream(&shared.backend).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("cannot connect: {error}"))?;
    tokio::spawn(connection.with_upgrades());
    let request = request.map(|body| Tap::new(body, Side::Request, ticket.cloned()));
    match timeout(RESPONSE_DEADLINE, sender.send_request(request)).await {
        Ok(response) => response.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it took more than {} s", RESPONSE_DEADLINE.as_secs())),
    }
}

/// A response of the recorder itself.
fn refused(why: &str) -> Responding {
    let body = Full::new(Bytes::from(format!("{why}\n"))).map_err(|never: Infallible| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
