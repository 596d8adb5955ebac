//! The admin port: `/healthz`, `/readyz`, `/status` (JSON), `/metrics` (Prometheus).
//!
//! It runs on the control thread, apart from all traffic. It reads what the workers publish and changes nothing.

mod format;
mod metrics;
mod view;

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, VARY};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, timeout};

use self::format::Format;
use super::status::Status;
use crate::listen::socket;

/// The most connections at one time. For a further one the most silent one is closed.
const CONNECTIONS_MAX: usize = 64;
/// Connections that the kernel queues until they are accepted.
const BACKLOG: i32 = 1024;
/// The pause after a failed `accept`.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// How long a connection may take for a request head, and how long it may last in all.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);

const TEXT: &str = "text/plain; charset=utf-8";
const INDEX: &str = "unstick admin\n\n\
    /healthz  the process lives\n\
    /readyz   it takes requests: 503 before the first health verdicts and while it drains\n\
    /status   listeners, pools, endpoints, last reload, as JSON\n\
    /metrics  for Prometheus\n";

/// The admin port while it is served.
pub(crate) struct Admin {
    address: SocketAddr,
    accepting: JoinHandle<()>,
    /// Tells the connections that no more requests are taken.
    closing: watch::Sender<()>,
}

impl Admin {
    /// Binds the admin port and serves it from now on.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(crate) fn serve(address: SocketAddr, status: Arc<Status>) -> io::Result<Self> {
        let listener = TcpListener::from_std(socket::bind_alone(address, BACKLOG)?)?;
        let address = listener.local_addr()?;
        let (closing, closed) = watch::channel(());
        Ok(Self { address, accepting: spawn_local(accept(listener, status, closed)), closing })
    }

    /// The real address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the socket, so that another process can have the address. Responses under way are finished.
    pub(crate) async fn close(self) {
        self.accepting.abort();
        // The socket is closed when the task is gone, and not before.
        self.accepting.await.ok();
        drop(self.closing);
    }
}

async fn accept(listener: TcpListener, status: Arc<Status>, closing: watch::Receiver<()>) {
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => connections.add(stream, &status, &closing),
            Err(error) => {
                tracing::warn!(%error, "admin port: cannot accept, trying again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The connections that are open. When there are too many, the one that has been silent for longest makes room: peers
/// that only hold connections must not keep a probe from its answer.
#[derive(Default)]
struct Connections(Vec<Connection>);

struct Connection {
    task: JoinHandle<()>,
    /// When it was accepted, or its last request came.
    heard_at: Rc<Cell<Instant>>,
}

impl Connections {
    fn add(&mut self, stream: TcpStream, status: &Arc<Status>, closing: &watch::Receiver<()>) {
        self.0.retain(|connection| !connection.task.is_finished());
        if self.0.len() >= CONNECTIONS_MAX
            && let Some(silent) = (0..self.0.len()).min_by_key(|at| self.0[*at].heard_at.get())
        {
            self.0.swap_remove(silent).task.abort();
        }
        let heard_at = Rc::new(Cell::new(Instant::now()));
        let served = connection(stream, Arc::clone(status), closing.clone(), Rc::clone(&heard_at));
        let task = spawn_local(async move { _ = timeout(CONNECTION_AGE_MAX, served).await });
        self.0.push(Connection { task, heard_at });
    }
}

async fn connection(
    stream: TcpStream,
    status: Arc<Status>,
    mut closing: watch::Receiver<()>,
    heard_at: Rc<Cell<Instant>>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        heard_at.set(Instant::now());
        let response = answer(&request, &status);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let served = tokio::select! {
        served = &mut served => served,
        // It ends when the sender is dropped.
        _ = closing.changed() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    served.inspect_err(|error| tracing::debug!(%error, "admin connection ended")).ok();
}

fn answer(request: &Request<Incoming>, status: &Arc<Status>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "the admin port takes only GET\n".into());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let is_probe = matches!(request.uri().path(), "/healthz" | "/readyz");
    if let (false, Some(host)) = (is_probe, host(request))
        && !is_own_name(&host, &status.state().admin_hosts)
    {
        let why = format!("the admin port is not called `{host}`: use its address, or add this name to admin.hosts\n");
        return respond(StatusCode::MISDIRECTED_REQUEST, TEXT, why);
    }
    match request.uri().path() {
        "/" => respond(StatusCode::OK, TEXT, INDEX.into()),
        "/healthz" => respond(StatusCode::OK, TEXT, "ok\n".into()),
        "/readyz" if status.is_ready.load(Relaxed) => respond(StatusCode::OK, TEXT, "ready\n".into()),
        "/readyz" => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready\n".into()),
        "/status" => match serde_json::to_string_pretty(&view::StatusView::of(status)) {
            Ok(json) => respond(StatusCode::OK, "application/json", json + "\n"),
            Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        "/metrics" => match metrics::render(status) {
            Ok(page) => {
                let format = Format::of(request.headers());
                let mut response = respond(StatusCode::OK, format.content_type(), format.written(page));
                response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
                response
            }
            Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        _ => respond(StatusCode::NOT_FOUND, TEXT, INDEX.into()),
    }
}

/// The host that a request is for, in lower case, without its port.
fn host(request: &Request<Incoming>) -> Option<String> {
    let field = || String::from_utf8_lossy(request.headers().get(HOST).map_or(b"", HeaderValue::as_bytes)).into_owned();
    let host = request.uri().authority().map_or_else(field, |authority| authority.as_str().to_owned());
    let host = host.to_ascii_lowercase();
    let bare = match host.rsplit_once(':') {
        Some((bare, port)) if !port.contains(']') => bare,
        _ => &host,
    };
    Some(bare.trim_end_matches('.').to_owned()).filter(|host| !host.is_empty())
}

/// Whether the admin port answers to this host. A web page can have a name of its own point here (DNS rebinding), but
/// it cannot make a browser send an address or `localhost` for it.
fn is_own_name(host: &str, names: &[String]) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok() || names.iter().any(|name| name == host)
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_port_answers_to_addresses_localhost_and_its_names() {
        let names = ["admin.test".to_owned()];
        for (host, expected) in [
            ("127.0.0.1", true),
            ("[::1]", true),
            ("192.168.1.7", true),
            ("localhost", true),
            ("admin.test", true),
            ("evil.test", false),
            ("admin.test.evil.test", false),
            ("127.0.0.1.evil.test", false),
            ("localhost.evil.test", false),
        ] {
            assert_eq!(is_own_name(host, &names), expected, "{host}");
        }
    }
}
