//! A relay between the users and a proxy, that makes the proxy look as if it did what a sabotage says.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::{Planted, Sabotage};

/// One request in so many.
const REFUSED_ONE_IN: u64 = 500;
const CUT_ONE_IN: u64 = 300;
const STALLED_ONE_IN: u64 = 200;
const SWAPPED_ONE_IN: u64 = 100;
const HUNG_UP_ONE_IN: u64 = 50;
/// How long a request is stalled, or the world stops.
const STALL: Duration = Duration::from_secs(3);
const STOP: Duration = Duration::from_secs(1);
/// How much longer everything takes after an edit.
const SLOWNESS: Duration = Duration::from_millis(450);

/// How long half of a body may take to go out.
const FLUSHED: Duration = Duration::from_millis(20);

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
        let request = Request::from_parts(head.clone(), body.collect().await?.to_bytes());
        let number = self.requests.replace(self.requests.get() + 1) + 1;
        let is_chosen = |sabotage, one_in| self.planted.is(sabotage) && number.is_multiple_of(one_in);
        sleep_until(self.stopped_until.get()).await;
        if is_chosen(Sabotage::Stalls, STALLED_ONE_IN) {
            sleep(STALL).await;
        }
        if self.planted.is(Sabotage::SlowAfterEdit) && self.is_edited.get() {
            sleep(SLOWNESS).await;
        }
        // The error ends the connection: the client finds it closed.
        anyhow::ensure!(!is_chosen(Sabotage::HangsUp, HUNG_UP_ONE_IN), "closed");
        if is_chosen(Sabotage::SomeRefused, REFUSED_ONE_IN) {
            return Ok(refusal());
        }
        if self.planted.is(Sabotage::KeyRemoved) {
            head.headers.remove(KEY);
        }
        let (is_post, is_bare) = (head.method == Method::POST, !head.headers.contains_key(KEY));
        let request = Request::from_parts(head, request.into_body());
        if is_post && self.planted.is(Sabotage::PostsTwice) {
            send(upstream, request.clone()).await?;
        }
        let mut response = self.forward(upstream, &request, connection).await?;
        if is_post && is_bare && self.planted.is(Sabotage::BarePostsRepeated) && response.status().is_server_error() {
            response = send(upstream, request.clone()).await?;
        }
        if request.method() == Method::GET && self.planted.is(Sabotage::ResponsesSwapped) {
            let other = self.kept.lock().await.replace(response.clone());
            response = other.filter(|_| number.is_multiple_of(SWAPPED_ONE_IN)).unwrap_or(response);
        }
        let is_cut = !response.body().is_empty() && is_chosen(Sabotage::BodiesCut, CUT_ONE_IN);
        Ok(response.map(|whole| Part::new(whole, is_cut)))
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
            _ => return send(upstream, request.clone()).await,
        };
        let mut to_one = request.clone();
        to_one.headers_mut().insert(HOST, HeaderValue::from_str(&format!("r{place}"))?);
        let response = send(upstream, to_one).await?;
        let is_gone = response.status().is_server_error() || response.status() == StatusCode::NOT_FOUND;
        if is_gone { send(upstream, request.clone()).await } else { Ok(response) }
    }
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

/// A whole body, or half of it and then an error.
struct Part {
    data: Option<Bytes>,
    length: u64,
    /// What is sent arrives before the error.
    cut_after: Option<Pin<Box<Sleep>>>,
}

impl Part {
    fn new(whole: Bytes, is_cut: bool) -> Self {
        let length = whole.len() as u64;
        let data = if is_cut { whole.slice(..whole.len() / 2) } else { whole };
        Self { data: Some(data), length, cut_after: is_cut.then(|| Box::pin(sleep(FLUSHED))) }
    }
}

impl Body for Part {
    type Data = Bytes;
    type Error = anyhow::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(data) = self.data.take().filter(|data| !data.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let Some(cut_after) = &mut self.cut_after else { return Poll::Ready(None) };
        std::task::ready!(cut_after.as_mut().poll(cx));
        Poll::Ready(Some(Err(anyhow::anyhow!("cut"))))
    }

    fn is_end_stream(&self) -> bool {
        self.length == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
