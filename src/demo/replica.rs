//! One replica of the demo's shop as a process of its own: the hidden subcommand `demo-replica`.
//!
//! It belongs to the `unstick demo` that started it and tells it the port on the first line of its standard output. It
//! never outlives it: its standard input is a pipe whose other end only the parent holds and never writes to, so the
//! kernel reports its end however the parent went, `kill -9` included.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use super::cookie::Key;
use super::shop::Shop;

/// Environment variable that holds the key, in hex. Arguments show up in `ps`, the environment only to its owner.
pub(super) const KEY_VARIABLE: &str = "UNSTICK_DEMO_KEY";

/// Connections served at one time; the proxy, our only client, stays far below.
const CONNECTIONS_MAX: usize = 1024;

/// Bytes of a request body.
const BODY_MAX: usize = 4 * 1024;

/// Until a request body must have arrived.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// Pause after a failed accept, so that a lack of file descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the parent says on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Name shown on the page and in `x-replica`.
    pub name: String,
    /// Port on 127.0.0.1; 0 asks the kernel for a free one.
    pub port: u16,
}

/// Serves the shop until SIGTERM or the end of the parent.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let key = std::env::var(KEY_VARIABLE).ok().and_then(|hex| Key::from_hex(&hex));
    let key = key.with_context(|| format!("{KEY_VARIABLE} holds no key; `unstick demo` starts its replicas itself"))?;
    let shop = Shop::new(&options.name, std::process::id(), key).context("this name cannot stand in a header field")?;
    let mut terminate = signal(SignalKind::terminate())?;
    let parent = std::io::stdin().as_fd().try_clone_to_owned().and_then(pipe::Receiver::from_owned_fd);
    let parent = parent.context("standard input is not the pipe that `unstick demo` holds")?;

    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?.port())?;
    tokio::select! {
        () = accept(listener, Arc::new(shop)) => {}
        () = end_of(parent) => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

async fn end_of(mut parent: pipe::Receiver) {
    let mut unused = [0; 64];
    while !matches!(parent.read(&mut unused).await, Ok(0) | Err(_)) {}
}

async fn accept(listener: TcpListener, shop: Arc<Shop>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let shop = shop.clone();
        tokio::spawn(async move {
            serve(stream, shop).await;
            drop(permit);
        });
    }
}

async fn serve(stream: TcpStream, shop: Arc<Shop>) {
    // Answers are small: without this the last segment of one may wait for the acknowledgement of the first.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| handle(shop.clone(), request));
    // A connection that breaks is the proxy's business; the replica has nobody to tell.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn handle(shop: Arc<Shop>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let answer = match tokio::time::timeout(BODY_DEADLINE, Limited::new(body, BODY_MAX).collect()).await {
        Ok(Ok(body)) => shop.answer(&Request::from_parts(head, body.to_bytes())),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            shop.text(StatusCode::PAYLOAD_TOO_LARGE, "a form of this shop is smaller")
        }
        Ok(Err(_)) => shop.text(StatusCode::BAD_REQUEST, "the request body broke off"),
        Err(_) => shop.text(StatusCode::REQUEST_TIMEOUT, "the request body did not arrive"),
    };
    Ok(answer.map(Full::from))
}
