//! Connections of browsers. When the recording ends, all that is open ends with it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::forward::{Opened, Responding, Shared, forward};
use super::log::{Side, Ticket};
use super::messages::Messages;

/// Connections served at one time. The next ones wait.
const CONNECTIONS_MAX: usize = 256;

/// How long a browser may take for the head of a request; an idle connection is closed after that.
const HEAD_DEADLINE: Duration = Duration::from_secs(60);

/// Pause after a failed accept, so that a lack of file descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes that are taken from a WebSocket at once.
const PIECE_MAX: usize = 16 << 10;

/// Serves until `stop` is ready.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Shared,
    mut stop: BoxFuture<'_, ()>,
    mut lines: Receiver<String>,
    on_exchange: &(dyn Fn(&str) + Sync),
) {
    let shared = Arc::new(shared);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stop => break,
            Some(line) = lines.recv() => on_exchange(&line),
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&shared)));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    connections.shutdown().await;
    while let Ok(line) = lines.try_recv() {
        on_exchange(&line);
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    stream.set_nodelay(true).ok();
    let opened: Arc<Mutex<Option<Opened>>> = Arc::default();
    let service = service_fn(|request| respond(Arc::clone(&shared), Arc::clone(&opened), request));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE);
    // A connection that breaks concerns its browser alone; so does a WebSocket.
    let _ = server.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    let taken = opened.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Opened { browser, application, ticket }) = taken
        && let (Ok(browser), Ok(application)) = tokio::join!(browser, application)
    {
        tunnel(TokioIo::new(browser), TokioIo::new(application), ticket).await;
    }
}

async fn respond(
    shared: Arc<Shared>,
    place: Arc<Mutex<Option<Opened>>>,
    request: Request<Incoming>,
) -> Result<Responding, Infallible> {
    let (response, opened) = forward(&shared, request).await;
    if opened.is_some() {
        *place.lock().unwrap_or_else(PoisonError::into_inner) = opened;
    }
    Ok(response)
}

/// Carries a WebSocket until one of its ends closes it.
async fn tunnel<S: AsyncRead + AsyncWrite>(browser: S, application: S, ticket: Option<Ticket>) {
    let (mut from_browser, mut to_browser) = split(browser);
    let (mut from_application, mut to_application) = split(application);
    tokio::select! {
        () = pump(&mut from_browser, &mut to_application, Side::Request, ticket.as_ref()) => {}
        () = pump(&mut from_application, &mut to_browser, Side::Response, ticket.as_ref()) => {}
    }
    to_application.shutdown().await.ok();
    to_browser.shutdown().await.ok();
}

async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    side: Side,
    ticket: Option<&Ticket>,
) {
    let mut messages = Messages::new(side);
    let mut piece = vec![0; PIECE_MAX];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let bytes = piece.get(..length).unwrap_or_default();
        if let Some(ticket) = ticket {
            messages.read(bytes, &mut |message| ticket.message(message));
        }
        if to.write_all(bytes).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}
