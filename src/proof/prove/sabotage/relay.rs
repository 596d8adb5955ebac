//! A relay between the users and a proxy, that makes the proxy look as if it did what a sabotage says.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, SET_COOKIE};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};

use super::part::Part;
use super::{Planted, Sabotage};

/// One request in so many.
const REFUSED_ONE_IN: u64 = 500;
const CUT_ONE_IN: u64 = 300;
const STALLED_ONE_IN: u64 = 200;
const SWAPPED_ONE_IN: u64 = 100;
const HUNG_UP_ONE_IN: u64 = 50;
const PATH_ONE_IN: u64 = 500;
const FIELD_ONE_IN: u64 = 100;
const BODY_ONE_IN: u64 = 300;
const COOKIE_ONE_IN: u64 = 200;
/// One connection in so many sticks to a replica.
const STICKS_ONE_IN: usize = 10;
/// How long a request is stalled, or the world stops.
const STALL: Duration = Duration::from_secs(3);
const STOP: Duration = Duration::from_secs(1);
/// How much longer everything takes after an edit, or always; and how much longer what one replica responds.
const SLOWNESS: Duration = Duration::from_millis(450);
const ALL_SLOW: Duration = Duration::from_millis(250);
const ONE_SLOW: Duration = Duration::from_millis(400);
/// How old what a cache of the proxy has may be, and how long that is used after a kill.
const CACHED: Duration = Duration::from_millis(50);
const STALE: Duration = Duration::from_secs(1);

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Whether a sabotage needs a relay.
pub(in crate::prove) fn is_needed(planted: Planted) -> bool {
    [
        Sabotage::PostsTwice,
        Sabotage::BarePostsRepeated,
        Sabotage::KeyRemoved,
        Sabotage::AddressSticks,
        Sabotage::CookieSticks,
        Sabotage::SomeRefused,
        Sabotage::BodiesCut,
        Sabotage::Stalls,
        Sabotage::WorldStops,
        Sabotage::ResponsesSwapped,
        Sabotage::HangsUp,
        Sabotage::SlowAfterEdit,
        Sabotage::GetsRepeated,
        Sabotage::RetryStorm,
        Sabotage::PathSwapped,
        Sabotage::FieldDropped,
        Sabotage::BodyRepeated,
        Sabotage::CookieOfAnother,
        Sabotage::ConnectionsClosed,
        Sabotage::StaleAfterKill,
        Sabotage::ProxyCache,
        Sabotage::AllSlow,
        Sabotage::OneSlow,
        Sabotage::SomeStick,
    ]
    .into_iter()
    .any(|sabotage| planted.is(sabotage))
}

/// A relay that runs. Dropping it ends it.
#[derive(Debug)]
pub(in crate::prove) struct Relay {
    /// Where users reach it.
    pub(in crate::prove) address: SocketAddr,
    shared: Rc<Shared>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    planted: Planted,
    proxy: SocketAddr,
    /// How many replicas have a pool of their own.
    replicas: Cell<usize>,
    /// Requests and connections so far.
    requests: Cell<u64>,
    connections: Cell<usize>,
    /// When the world goes on.
    stopped_until: Cell<Instant>,
    is_edited: Cell<bool>,
    /// The latest response to a GET.
    kept: Mutex<Option<Response<Bytes>>>,
    /// The latest cookie that a response has set.
    cookie: RefCell<Option<HeaderValue>>,
    /// Responses to GETs by path and cookie, and when they came.
    cache: RefCell<HashMap<Place, (Instant, Response<Bytes>)>>,
    /// Until when old responses are used.
    stale_until: Cell<Instant>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// Starts one in front of a proxy.
    pub(in crate::prove) async fn start(planted: Planted, proxy: SocketAddr, replicas: usize) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Rc::new(Shared {
            planted,
            proxy,
            replicas: Cell::new(replicas),
            requests: Cell::default(),
            connections: Cell::default(),
            stopped_until: Cell::new(Instant::now()),
            is_edited: Cell::default(),
            kept: Mutex::default(),
            cookie: RefCell::default(),
            cache: RefCell::default(),
            stale_until: Cell::new(Instant::now()),
        });
        let task = spawn_local(accept(listener, Rc::clone(&shared))).abort_handle();
        Ok(Self { address, shared, task })
    }

    /// The file was edited.
    pub(in crate::prove) fn edited(&self, replicas: usize) {
        self.shared.replicas.set(replicas);
        self.shared.is_edited.set(true);
        if self.shared.planted.is(Sabotage::WorldStops) {
            self.shared.stopped_until.set(Instant::now() + STOP);
        }
    }

    /// A replica was killed.
    pub(in crate::prove) fn killed(&self) {
        self.shared.stale_until.set(Instant::now() + STALE);
    }
}

async fn accept(listener: TcpListener, shared: Rc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        spawn_local(connection(stream, Rc::clone(&shared)));
    }
}

async fn connection(stream: TcpStream, shared: Rc<Shared>) {
    let number = shared.connections.replace(shared.connections.get() + 1);
    let Ok(upstream) = connect(shared.proxy).await else { return };
    stream.set_nodelay(true).ok();
    let upstream = Rc::new(Mutex::new(upstream));
    let service = service_fn(move |request| {
        let (shared, upstream) = (Rc::clone(&shared), Rc::clone(&upstream));
        async move { shared.respond(request, &mut *upstream.lock().await, number).await }
    });
    // A connection that breaks concerns its user alone.
    let _ = server::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

type Upstream = client::SendRequest<Full<Bytes>>;

async fn connect(address: SocketAddr) -> anyhow::Result<Upstream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true).ok();
    let (sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    spawn_local(connection);
    Ok(sender)
}

impl Shared {
    async fn respond(
        &self,
        request: Request<Incoming>,
        upstream: &mut Upstream,
        connection: usize,
    ) -> anyhow::Result<Response<Part>> {
        let (mut head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let number = self.requests.replace(self.requests.get() + 1) + 1;
        let is_chosen = |sabotage, one_in| self.planted.is(sabotage) && number.is_multiple_of(one_in);
        sleep_until(self.stopped_until.get()).await;
        sleep(self.delay(&is_chosen)).await;
        // The error ends the connection: the client finds it closed.
        anyhow::ensure!(!is_chosen(Sabotage::HangsUp, HUNG_UP_ONE_IN), "closed");
        if is_chosen(Sabotage::SomeRefused, REFUSED_ONE_IN) {
            return Ok(refusal());
        }
        if self.planted.is(Sabotage::KeyRemoved) {
            head.headers.remove(KEY);
        }
        if is_chosen(Sabotage::PathSwapped, PATH_ONE_IN) {
            head.uri = Uri::from_static(if head.uri.path() == "/cart" { "/login" } else { "/cart" });
        }
        let request = Request::from_parts(head, body);
        let mut response = self.exchange(upstream, &request, connection).await?;
        if request.method() == Method::GET && self.planted.is(Sabotage::ResponsesSwapped) {
            let other = self.kept.lock().await.replace(response.clone());
            response = other.filter(|_| number.is_multiple_of(SWAPPED_ONE_IN)).unwrap_or(response);
        }
        self.spoil(&mut response, &is_chosen);
        let is_cut = !response.body().is_empty() && is_chosen(Sabotage::BodiesCut, CUT_ONE_IN);
        Ok(response.map(|whole| Part::new(whole, is_cut)))
    }

    /// How long a request waits.
    fn delay(&self, is_chosen: &dyn Fn(Sabotage, u64) -> bool) -> Duration {
        match self.planted {
            _ if is_chosen(Sabotage::Stalls, STALLED_ONE_IN) => STALL,
            planted if planted.is(Sabotage::SlowAfterEdit) && self.is_edited.get() => SLOWNESS,
            planted if planted.is(Sabotage::AllSlow) => ALL_SLOW,
            _ => Duration::ZERO,
        }
    }

    /// Gets a response, and whatever comes of the request besides.
    async fn exchange(
        &self,
        upstream: &mut Upstream,
        request: &Request<Bytes>,
        connection: usize,
    ) -> anyhow::Result<Response<Bytes>> {
        let (is_post, is_bare) = (request.method() == Method::POST, !request.headers().contains_key(KEY));
        if is_post && self.planted.is(Sabotage::PostsTwice) {
            send(upstream, request.clone()).await?;
        }
        for _ in 0..self.repeats(request.method() == Method::GET, is_bare) {
            send(upstream, request.clone()).await?;
        }
        if let Some(response) = self.cached(request) {
            return Ok(response);
        }
        let mut response = self.forward(upstream, request, connection).await?;
        self.keep(request, &response);
        if is_post && is_bare && self.planted.is(Sabotage::BarePostsRepeated) && response.status().is_server_error() {
            response = send(upstream, request.clone()).await?;
        }
        if self.planted.is(Sabotage::OneSlow) && response.headers().get("x-replica").is_some_and(|name| name == "r1") {
            sleep(ONE_SLOW).await;
        }
        Ok(response)
    }

    /// How often a request is sent besides.
    fn repeats(&self, is_get: bool, is_bare: bool) -> usize {
        let may_be_repeated = is_get || !is_bare;
        match self.planted {
            planted if planted.is(Sabotage::GetsRepeated) && is_get => 1,
            planted if planted.is(Sabotage::RetryStorm) && self.is_edited.get() && may_be_repeated => 2,
            _ => 0,
        }
    }

    /// What the cache has for a request.
    fn cached(&self, request: &Request<Bytes>) -> Option<Response<Bytes>> {
        let is_stale = self.planted.is(Sabotage::StaleAfterKill) && Instant::now() < self.stale_until.get();
        let oldest = if is_stale { STALE } else { CACHED };
        if request.method() != Method::GET || !(is_stale || self.planted.is(Sabotage::ProxyCache)) {
            return None;
        }
        let cache = self.cache.borrow();
        cache.get(&place_of(request)).filter(|(at, _)| at.elapsed() <= oldest).map(|(_, response)| response.clone())
    }

    fn keep(&self, request: &Request<Bytes>, response: &Response<Bytes>) {
        let has_cache = self.planted.is(Sabotage::StaleAfterKill) || self.planted.is(Sabotage::ProxyCache);
        if has_cache && request.method() == Method::GET {
            self.cache.borrow_mut().insert(place_of(request), (Instant::now(), response.clone()));
        }
    }

    /// Changes a response.
    fn spoil(&self, response: &mut Response<Bytes>, is_chosen: &dyn Fn(Sabotage, u64) -> bool) {
        if is_chosen(Sabotage::FieldDropped, FIELD_ONE_IN) {
            response.headers_mut().remove("x-store-trips");
        }
        if is_chosen(Sabotage::BodyRepeated, BODY_ONE_IN) {
            let twice = [&response.body()[..], &response.body()[..]].concat();
            *response.body_mut() = twice.into();
            response.headers_mut().remove(CONTENT_LENGTH);
        }
        if let Some(cookie) = response.headers().get(SET_COOKIE).cloned() {
            let other = self.cookie.borrow_mut().replace(cookie);
            if let Some(other) = other.filter(|_| is_chosen(Sabotage::CookieOfAnother, COOKIE_ONE_IN)) {
                response.headers_mut().insert(SET_COOKIE, other);
            }
        }
        if self.planted.is(Sabotage::ConnectionsClosed) && self.is_edited.get() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// Sends it to any replica, or to the one that the sabotage says, while that one is there.
    async fn forward(
        &self,
        upstream: &mut Upstream,
        request: &Request<Bytes>,
        connection: usize,
    ) -> anyhow::Result<Response<Bytes>> {
        let place = match self.planted {
            planted if planted.is(Sabotage::AddressSticks) => 0,
            planted if planted.is(Sabotage::CookieSticks) => connection % self.replicas.get().max(1),
            planted if planted.is(Sabotage::SomeStick) && connection.is_multiple_of(STICKS_ONE_IN) => {
                connection / STICKS_ONE_IN % self.replicas.get().max(1)
            }
            _ => return send(upstream, request.clone()).await,
        };
        let mut to_one = request.clone();
        to_one.headers_mut().insert(HOST, HeaderValue::from_str(&format!("r{place}"))?);
        let response = send(upstream, to_one).await?;
        let is_gone = response.status().is_server_error() || response.status() == StatusCode::NOT_FOUND;
        if is_gone { send(upstream, request.clone()).await } else { Ok(response) }
    }
}

/// What a cache knows a request by: its path and cookie.
type Place = (String, Option<HeaderValue>);

fn place_of(request: &Request<Bytes>) -> Place {
    (request.uri().path().to_owned(), request.headers().get(COOKIE).cloned())
}

fn refusal() -> Response<Part> {
    let mut response = Response::new(Part::new(Bytes::new(), false));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}

async fn send(upstream: &mut Upstream, request: Request<Bytes>) -> anyhow::Result<Response<Bytes>> {
    upstream.ready().await?;
    let (head, body) = upstream.send_request(request.map(Full::new)).await?.into_parts();
    Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
}
