//! The admin port: `/healthz`, `/readyz`, `/status` (JSON), `/metrics` (Prometheus).
//!
//! It runs on the control thread, apart from all traffic. It reads what the workers publish and changes nothing.

mod metrics;
mod view;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use super::status::Status;

/// The most connections at one time. Further ones wait in the kernel.
const CONNECTIONS_MAX: usize = 64;
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
    pub(crate) async fn serve(address: SocketAddr, status: Arc<Status>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
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
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (status, closing) = (Arc::clone(&status), closing.clone());
                spawn_local(async move {
                    let _permit = permit;
                    timeout(CONNECTION_AGE_MAX, connection(stream, status, closing)).await.ok();
                });
            }
            Err(error) => {
                tracing::warn!(%error, "admin port: cannot accept, trying again");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, status: Arc<Status>, mut closing: watch::Receiver<()>) {
    let service = service_fn(move |request: Request<Incoming>| {
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
            Ok(text) => respond(StatusCode::OK, metrics::CONTENT_TYPE, text),
            Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        _ => respond(StatusCode::NOT_FOUND, TEXT, INDEX.into()),
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
