//! The admin port: the dashboard, `/healthz`, `/readyz`, `/status` (JSON), `/events`, `/metrics` (Prometheus).
//!
//! It runs on the control thread, apart from all traffic. It reads what the workers publish. What it changes, the
//! control loop changes (`steer`), for those who may (`authority`).

mod answer;
mod authority;
mod door;
mod feed;
mod format;
mod history;
mod metrics;
mod page;
mod requests;
mod route;
mod stalled;
mod steer;
mod view;

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, timeout};

use self::answer::{Caller, answer};
use self::door::Door;
use self::feed::Feed;
use self::stalled::Impatient;
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
/// How long events go on, on a connection that began with them: they end in order, before the connection is cut.
const EVENTS_AGE_MAX: Duration = Duration::from_secs(290);
/// What is kept in memory of a connection, twice: in the kernel, of what its peer does not take, and here.
const BUFFER_MAX: usize = 64 * 1024;

/// The admin port while it is served.
pub(crate) struct Admin {
    address: SocketAddr,
    /// A copy, for a process that takes over.
    socket: StdTcpListener,
    accepting: JoinHandle<()>,
    feeding: JoinHandle<()>,
    /// Tells the connections that no more requests are taken.
    closing: watch::Sender<()>,
}

impl Admin {
    /// Binds the admin port and serves it from now on.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(crate) fn bind(address: SocketAddr, status: Arc<Status>) -> io::Result<Self> {
        Self::serve(socket::bind_alone(address, BACKLOG)?, status)
    }

    /// Serves the admin port on this socket from now on.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub(crate) fn serve(listener: StdTcpListener, status: Arc<Status>) -> io::Result<Self> {
        let (address, socket) = (listener.local_addr()?, listener.try_clone()?);
        let listener = TcpListener::from_std(listener)?;
        let (closing, closed) = watch::channel(());
        let feed = Rc::new(Feed::new(status));
        let feeding = spawn_local(Rc::clone(&feed).run());
        Ok(Self { address, socket, accepting: spawn_local(accept(listener, feed, closed)), feeding, closing })
    }

    /// The real address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> &StdTcpListener {
        &self.socket
    }

    /// Closes the socket, so that another process can have the address. Responses under way are finished; events end.
    pub(crate) async fn close(self) {
        self.feeding.abort();
        self.accepting.abort();
        // The socket is closed when the task is gone, and not before.
        self.accepting.await.ok();
        drop(self.closing);
    }
}

async fn accept(listener: TcpListener, feed: Rc<Feed>, closing: watch::Receiver<()>) {
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // A socket that keeps the size that the kernel gives it works too.
                SockRef::from(&stream).set_send_buffer_size(BUFFER_MAX).ok();
                connections.add(stream, Door::of(peer), &feed, &closing);
            }
            Err(error) => {
                tracing::warn!(%error, "admin port: cannot accept, trying again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The connections that are open. When there are too many, the one that has been silent for longest makes room: peers
/// that only hold connections must not keep a probe from its answer. Those that listen to events are few, and stay.
#[derive(Default)]
struct Connections(Vec<Connection>);

struct Connection {
    task: JoinHandle<()>,
    peer: Rc<Peer>,
}

/// Who is at the other end of a connection.
struct Peer {
    /// When it was accepted, or its last request came.
    heard_at: Cell<Instant>,
    /// Whether it listens to events.
    listens: Cell<bool>,
}

impl Connections {
    /// Serves a connection that came through `door`.
    fn add<S: Stream>(&mut self, stream: S, door: Door, feed: &Rc<Feed>, closing: &watch::Receiver<()>) {
        self.0.retain(|connection| !connection.task.is_finished());
        if self.0.len() >= CONNECTIONS_MAX
            && let Some(silent) = self.most_silent()
        {
            self.0.swap_remove(silent).task.abort();
        }
        let now = Instant::now();
        let peer = Rc::new(Peer { heard_at: Cell::new(now), listens: Cell::new(false) });
        let caller = Caller {
            feed: Rc::clone(feed),
            closing: closing.clone(),
            door,
            peer: Rc::clone(&peer),
            events_until: now + EVENTS_AGE_MAX,
        };
        let task = spawn_local(async move { _ = timeout(CONNECTION_AGE_MAX, connection(stream, caller)).await });
        self.0.push(Connection { task, peer });
    }

    fn most_silent(&self) -> Option<usize> {
        let others = (0..self.0.len()).filter(|at| !self.0[*at].peer.listens.get());
        others.min_by_key(|at| self.0[*at].peer.heard_at.get())
    }
}

/// What a connection can be served over.
trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Stream for S {}

/// Serves one connection until it ends or the admin port is given up.
async fn connection(stream: impl Stream, caller: Caller) {
    let (mut closing, door, caller) = (caller.closing.clone(), caller.door, Rc::new(caller));
    let service = service_fn(move |request: Request<Incoming>| {
        caller.peer.heard_at.set(Instant::now());
        let caller = Rc::clone(&caller);
        async move { Ok::<_, Infallible>(answer(request, &caller).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(BUFFER_MAX);
    let mut served = pin!(builder.serve_connection(TokioIo::new(Impatient::new(stream)), service));
    let served = tokio::select! {
        served = &mut served => served,
        // It ends when the sender is dropped.
        _ = closing.changed() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    served.inspect_err(|error| tracing::debug!(%error, from = %door, "admin connection ended")).ok();
}
