//! Probes of endpoints. Each probed endpoint has one task on the control thread.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use super::rationed::{BODY_BYTES_MAX, Rationed};
use crate::config::address::{self, Address};
use crate::config::model::{HealthCheck, Probe, StatusRanges};
use crate::net::trust::explained_io;
use crate::net::{Stream, is_own_lack, proxy_protocol};
use crate::pool::endpoint::Endpoint;
use crate::pool::health::{Health, Machine, ProbeResult};
use crate::pool::protocol::{Agreed, ConnectSettings, Offer, PoolProtocol};
use crate::pool::{MemberState, Pool};

/// The `User-Agent` of probes.
const USER_AGENT_SENT: &str = "unstick-health";

/// Called for every verdict, with the endpoint, and with its new health if that has changed.
pub(crate) type OnVerdict = Rc<dyn Fn(&Endpoint, Option<Health>)>;

/// The most probes at one time, over all pools. Each needs a descriptor.
pub(crate) const PROBES_MAX: usize = 256;
/// The pause after a probe that could not be sent, for lack of descriptors for example.
const OWN_TROUBLE_PAUSE: Duration = Duration::from_secs(1);

/// The probing tasks of all pools.
pub(crate) struct Probers {
    tasks: HashMap<(Arc<str>, Address), Prober>,
    on_verdict: OnVerdict,
    places: Rc<Semaphore>,
}

/// Why there is no verdict, or a bad one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The endpoint is not well; why.
    Unwell(String),
    /// This process could not ask, which says nothing about the endpoint.
    Own(String),
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Unwell(why)
    }
}

struct Prober {
    endpoint: Arc<Endpoint>,
    check: HealthCheck,
    settings: ConnectSettings,
    task: JoinHandle<()>,
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Probers {
    /// Starts without tasks.
    pub(crate) fn new(on_verdict: OnVerdict) -> Self {
        Self { tasks: HashMap::new(), on_verdict, places: Rc::new(Semaphore::new(PROBES_MAX)) }
    }

    /// Probes the endpoints of these pools from now on, as their checks say. A new endpoint is probed at once; an
    /// endpoint whose check is unchanged keeps its task; other tasks end.
    pub(crate) fn sync<'a>(&mut self, pools: impl Iterator<Item = &'a Arc<Pool>>) {
        let mut before = std::mem::take(&mut self.tasks);
        for pool in pools {
            let Some(check) = &pool.config.health else { continue };
            for member in pool.members.iter().filter(|member| member.state != MemberState::Down) {
                let key = (Arc::clone(&pool.name), member.endpoint.address.clone());
                let kept = before.remove(&key).filter(|prober| {
                    Arc::ptr_eq(&prober.endpoint, &member.endpoint)
                        && prober.check == *check
                        && prober.settings.is_same(&pool.settings(member))
                });
                let prober = kept.unwrap_or_else(|| self.start(&member.endpoint, check, pool.settings(member)));
                self.tasks.insert(key, prober);
            }
        }
    }

    fn start(&self, endpoint: &Arc<Endpoint>, check: &HealthCheck, settings: ConnectSettings) -> Prober {
        let (endpoint, check) = (Arc::clone(endpoint), check.clone());
        let (on_verdict, places) = (Rc::clone(&self.on_verdict), Rc::clone(&self.places));
        let task = spawn_local(watch(Arc::clone(&endpoint), check.clone(), settings.clone(), on_verdict, places));
        Prober { endpoint, check, settings, task }
    }
}

/// Probes one endpoint until the task is aborted.
async fn watch(
    endpoint: Arc<Endpoint>,
    check: HealthCheck,
    settings: ConnectSettings,
    on_verdict: OnVerdict,
    places: Rc<Semaphore>,
) {
    let mut was_own_trouble = false;
    loop {
        // The semaphore is never closed. Its time begins when it is sent.
        let Ok(place) = places.acquire().await else { return };
        let verdict = match timeout(check.timeout, probe(&endpoint.address, &check.probe, &settings)).await {
            Ok(verdict) => verdict,
            Err(_) => Err(Failure::Unwell(format!("no response within {:?}", check.timeout))),
        };
        drop(place);
        let verdict = match verdict {
            Ok(()) => Ok(()),
            Err(Failure::Unwell(why)) => Err(why),
            Err(Failure::Own(why)) => {
                if !std::mem::replace(&mut was_own_trouble, true) {
                    let (pool, endpoint) = (&endpoint.pool, &endpoint.address);
                    tracing::error!(%pool, %endpoint, "cannot probe, the last verdict stays: {why}");
                }
                sleep(OWN_TROUBLE_PAUSE.min(check.interval)).await;
                continue;
            }
        };
        was_own_trouble = false;
        let (jitter, at) = (fastrand::f64() * 2.0 - 1.0, SystemTime::now());
        let step =
            |machine: &mut Machine| (machine.observe(verdict, &check, at), machine.next_probe_in(&check, jitter));
        let (changed, pause) = endpoint.update_health(step);
        on_verdict(&endpoint, changed);
        sleep(pause).await;
    }
}

/// Sends one probe to `address`. Its `Host` is the backend as written, unless the check names one.
///
/// # Errors
/// The reason why the probe failed, in a few words.
pub(crate) async fn probe(address: &Address, probe: &Probe, settings: &ConnectSettings) -> Result<(), Failure> {
    let ConnectSettings { protocol, proxy_protocol, backend } = settings;
    let mut stream = Stream::connect(address).await.map_err(|error| {
        let why = format!("connect: {}", plain(&error));
        if is_own_lack(&error) { Failure::Own(why) } else { Failure::Unwell(why) }
    })?;
    if let Some(version) = proxy_protocol {
        let header = proxy_protocol::header(*version, None);
        stream.write_all(&header).await.map_err(|error| format!("connection: {error}"))?;
    }
    let stream = Rationed::new(stream);
    let (io, agreed): (Box<dyn Io>, Agreed) = match (probe, protocol) {
        (Probe::Tcp, _) => return Ok(()),
        (_, PoolProtocol::Http1) => (Box::new(stream), Agreed::Http1),
        (_, PoolProtocol::H2c) => (Box::new(stream), Agreed::H2),
        (_, PoolProtocol::Tls(tls)) => {
            let session = tls.connect(stream, backend, Offer::Any).await;
            let (session, agreed) = session.map_err(|error| format!("TLS: {}", explained_io(&error)))?;
            (Box::new(session), agreed)
        }
    };
    let scheme = if matches!(protocol, PoolProtocol::Tls(_)) { Scheme::HTTPS } else { Scheme::HTTP };
    match probe {
        Probe::Tcp => Ok(()),
        Probe::Http { path, host, status, body } => {
            let host = host.as_deref().map_or_else(|| address::host_field(backend), Cow::from);
            let request = Request::get(path).header(HOST, &*host).header(USER_AGENT, USER_AGENT_SENT);
            let request = request.body(Full::default()).map_err(|error| format!("cannot ask for {path}: {error}"))?;
            exchange(io, agreed, scheme, request, async |response| {
                http_verdict(response, status, body.as_deref()).await
            })
            .await?;
            Ok(())
        }
        Probe::Grpc { .. } if agreed != Agreed::H2 => Err("the replica does not speak HTTP/2".to_owned())?,
        Probe::Grpc { service } => {
            let request = grpc_check().header(HOST, &*address::host_field(backend)).header(USER_AGENT, USER_AGENT_SENT);
            let request = request.body(grpc_message(service)).map_err(|error| format!("cannot ask: {error}"))?;
            exchange(io, agreed, scheme, request, grpc_verdict).await?;
            Ok(())
        }
    }
}

/// A connection that a probe can be sent over.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;

/// Sends one request over a fresh connection and judges its response.
pub(super) async fn exchange<T>(
    io: Box<dyn Io>,
    agreed: Agreed,
    scheme: Scheme,
    mut request: Request<Full<Bytes>>,
    judge: impl AsyncFnOnce(Response<Incoming>) -> Result<T, String>,
) -> Result<T, String> {
    let no_connection = |error: hyper::Error| format!("connection: {error}");
    let (answer, driver): (Boxed<_>, Boxed<_>) = if agreed == Agreed::H2 {
        to_h2(&mut request, scheme)?;
        let (mut sender, connection) =
            http2::handshake(LocalExecutor, TokioIo::new(io)).await.map_err(no_connection)?;
        (Box::pin(async move { sender.send_request(request).await }), Box::pin(connection))
    } else {
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(no_connection)?;
        (Box::pin(async move { sender.send_request(request).await }), Box::pin(connection))
    };
    let verdict = async { judge(answer.await.map_err(|error| format!("no valid response: {}", root(&error)))?).await };
    let (mut verdict, mut driver) = (pin!(verdict), driver);
    tokio::select! {
        biased;
        verdict = &mut verdict => verdict,
        _ = &mut driver => verdict.await,
    }
}

/// What went wrong with a socket, if that is the reason of `error`, or what hyper says.
fn root(error: &hyper::Error) -> String {
    let source = std::error::Error::source(error);
    let of_h2 = || source?.downcast_ref::<h2::Error>()?.get_io();
    let io = source.and_then(|source| source.downcast_ref::<io::Error>()).or_else(of_h2);
    io.map_or_else(|| error.to_string(), io::Error::to_string)
}

/// Moves the host from its field to the target, as HTTP/2 has it (`:authority`, RFC 9113 section 8.3.1).
fn to_h2(request: &mut Request<Full<Bytes>>, scheme: Scheme) -> Result<(), String> {
    let host = request.headers_mut().remove(HOST);
    let host = host.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let uri = Uri::builder().scheme(scheme).authority(host).path_and_query(target).build();
    *request.uri_mut() = uri.map_err(|error| format!("cannot ask: {error}"))?;
    Ok(())
}

/// Runs the tasks of hyper on this thread.
#[derive(Debug, Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

async fn http_verdict(response: Response<Incoming>, accepted: &StatusRanges, text: Option<&str>) -> ProbeResult {
    let status = response.status().as_u16();
    match text {
        _ if !accepted.contains(status) => Err(format!("status {status}")),
        Some(text) => body_contains(response.into_body(), text).await,
        None => Ok(()),
    }
}

/// A `grpc.health.v1.Health/Check` request without its message (the gRPC health checking protocol).
fn grpc_check() -> http::request::Builder {
    Request::post("/grpc.health.v1.Health/Check").header(CONTENT_TYPE, "application/grpc").header(TE, "trailers")
}

/// `HealthCheckRequest { service = 1 }` as a gRPC message: a flag, the length, and the only field unless it is empty.
fn grpc_message(service: &str) -> Full<Bytes> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        varint(service.len(), &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(0);
    Full::from([&[0][..], &length.to_be_bytes(), &message].concat())
}

fn varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Passes if the response is `HealthCheckResponse { status = 1 }` with SERVING, which is 1.
async fn grpc_verdict(response: Response<Incoming>) -> ProbeResult {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(format!("status {}", head.status.as_u16()));
    }
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|error| format!("body: {error}"))?;
    let status = |headers: &HeaderMap| headers.get("grpc-status").map(|status| status.as_bytes().to_vec());
    let grpc_status = body.trailers().and_then(status).or_else(|| status(&head.headers));
    match grpc_status.as_deref() {
        Some(b"0") => {}
        Some(b"5") => return Err("grpc-status 5: the replica does not know this service".to_owned()),
        Some(b"12") => return Err("grpc-status 12: the replica has no health service".to_owned()),
        Some(code) => return Err(format!("grpc-status {}", String::from_utf8_lossy(code))),
        None => return Err("no grpc-status".to_owned()),
    }
    match body.to_bytes().get(5..) {
        Some([0x08, 1, ..]) => Ok(()),
        Some([0x08, 2, ..]) => Err("NOT_SERVING".to_owned()),
        _ => Err("not SERVING".to_owned()),
    }
}

/// Reads until `text` is found. The rest of the body is not read, and nothing beyond [`BODY_BYTES_MAX`] is searched.
async fn body_contains(mut body: Incoming, text: &str) -> ProbeResult {
    let mut seen = Vec::new();
    while seen.len() < BODY_BYTES_MAX
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|error| format!("body: {error}"))?;
        let data = frame.data_ref().map_or(&[][..], |data| &data[..data.len().min(BODY_BYTES_MAX - seen.len())]);
        let unsearched = seen.len().saturating_sub(text.len());
        seen.extend_from_slice(data);
        if seen[unsearched..].windows(text.len().max(1)).any(|window| window == text.as_bytes()) {
            return Ok(());
        }
    }
    Err(format!("the body does not contain {text:?}"))
}

fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}

/// The longest time in which the first verdicts of so many endpoints arrive.
pub(crate) fn first_verdicts_within(check: &HealthCheck, endpoints: usize) -> Duration {
    let rounds = u32::try_from(endpoints.div_ceil(PROBES_MAX)).unwrap_or(u32::MAX);
    check.timeout.saturating_mul(rounds) + Duration::from_millis(250)
}
