//! Probes: one task per endpoint on the control plane, alive as long as the endpoint is probed.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use super::{Health, Verdict};
use crate::config::model::{HealthCheck, Probe, StatusRanges};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::{MemberState, Pool};

/// Bytes of a probe's answer that are looked at for the expected text.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Told of every verdict: the endpoint, and its new health if that changed.
pub type OnVerdict = Rc<dyn Fn(&Endpoint, Option<Health>)>;

/// The probing tasks of all pools.
pub struct Probers {
    tasks: HashMap<(Arc<str>, SocketAddr), Prober>,
    on_verdict: OnVerdict,
}

struct Prober {
    endpoint: Arc<Endpoint>,
    check: HealthCheck,
    backend: Arc<str>,
    task: JoinHandle<()>,
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Probers {
    /// No tasks yet.
    pub fn new(on_verdict: OnVerdict) -> Self {
        Self { tasks: HashMap::new(), on_verdict }
    }

    /// Probes what these pools want probed, from now on: new endpoints at once, those that stay as before.
    pub fn sync<'a>(&mut self, pools: impl Iterator<Item = &'a Arc<Pool>>) {
        let mut before = std::mem::take(&mut self.tasks);
        for pool in pools {
            let Some(check) = &pool.health else { continue };
            for member in pool.members.iter().filter(|member| member.state != MemberState::Down) {
                let key = (Arc::clone(&pool.name), member.endpoint.address);
                let kept = before.remove(&key).filter(|prober| {
                    Arc::ptr_eq(&prober.endpoint, &member.endpoint)
                        && prober.check == *check
                        && prober.backend == member.backend
                });
                let prober = kept.unwrap_or_else(|| self.start(&member.endpoint, check, &member.backend));
                self.tasks.insert(key, prober);
            }
        }
    }

    fn start(&self, endpoint: &Arc<Endpoint>, check: &HealthCheck, backend: &Arc<str>) -> Prober {
        let (endpoint, check, backend) = (Arc::clone(endpoint), check.clone(), Arc::clone(backend));
        let task =
            spawn_local(watch(Arc::clone(&endpoint), check.clone(), Arc::clone(&backend), Rc::clone(&self.on_verdict)));
        Prober { endpoint, check, backend, task }
    }
}

/// Probes one endpoint until aborted.
async fn watch(endpoint: Arc<Endpoint>, check: HealthCheck, backend: Arc<str>, on_verdict: OnVerdict) {
    loop {
        let verdict = match timeout(check.timeout, probe(endpoint.address, &check.probe, &backend)).await {
            Ok(verdict) => verdict,
            Err(_) => Err(format!("no answer within {:?}", check.timeout)),
        };
        let jitter = fastrand::f64() * 2.0 - 1.0;
        let (changed, pause) =
            endpoint.update_health(|machine| (machine.observe(verdict, &check), machine.next_probe_in(&check, jitter)));
        on_verdict(&endpoint, changed);
        sleep(pause).await;
    }
}

/// One probe of `address`. `backend` is its address as written, the `Host` unless the check names one.
///
/// # Errors
/// Why it did not pass, in a few words.
pub async fn probe(address: SocketAddr, probe: &Probe, backend: &str) -> Verdict {
    let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {}", plain(&error)))?;
    match probe {
        Probe::Tcp => Ok(()),
        Probe::Http { path, host, status, body } => {
            let host = host.as_deref().unwrap_or(backend);
            http(stream, path, host, status, body.as_deref()).await
        }
    }
}

async fn http(stream: TcpStream, path: &str, host: &str, accepted: &StatusRanges, text: Option<&str>) -> Verdict {
    let request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, HeaderValue::from_static("unstick-health"))
        .header(CONNECTION, HeaderValue::from_static("close"))
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("cannot ask for {path}: {error}"))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("connection: {error}"))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| format!("no valid answer: {error}"))?;
        let status = response.status().as_u16();
        if !accepted.contains(status) {
            return Err(format!("status {status}"));
        }
        match text {
            Some(text) => body_contains(response.into_body(), text).await,
            None => Ok(()),
        }
    };
    let mut driver = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        verdict = &mut exchange => verdict,
        _ = &mut driver => exchange.await,
    }
}

/// Reads until `text` has come; neither the rest of the body nor what is past the bound matters.
async fn body_contains(mut body: Incoming, text: &str) -> Verdict {
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

/// How long the first verdicts of a pool may take at most.
pub fn first_verdict_within(check: &HealthCheck) -> Duration {
    check.timeout + Duration::from_millis(250)
}
