//! The admin port: the dashboard, `/healthz`, `/readyz`, `/status` (JSON), `/events`, `/metrics` (Prometheus). It is
//! served over TCP, over a Unix socket, or both.
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
mod places;
mod renderer;
mod requests;
mod route;
mod seats;
mod socket;
mod stalled;
mod steer;
mod turns;
mod view;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::path::Path;
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
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local, yield_now};
use tokio::time::{Instant, sleep, timeout};

use self::answer::{Caller, answer, is_probe};
use self::door::Door;
use self::feed::Feed;
use self::places::{Peer, Places};
use self::renderer::Renderer;
pub(super) use self::socket::{Opened, Sockets, UnixSocket};
use self::stalled::Impatient;
use self::turns::Turns;
use super::status::Status;
use crate::listen::socket::{Listener, StdListener};
use crate::net::Stream;

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
    tcp: Option<Tcp>,
    unix: Option<UnixSocket>,
    served: Served,
    accepting: Vec<JoinHandle<()>>,
    feeding: JoinHandle<()>,
    /// Tells the connections that no more requests are taken.
    closing: watch::Sender<()>,
}

/// Its address, and a copy of its socket for a process that takes over.
struct Tcp(SocketAddr, StdTcpListener);

/// What all connections share.
#[derive(Clone)]
struct Served {
    feed: Rc<Feed>,
    renderer: Rc<Renderer>,
    turns: Rc<Turns>,
    closing: watch::Receiver<()>,
}

impl Admin {
    /// An admin port that is served nowhere yet.
    pub(crate) fn new(status: Arc<Status>) -> Self {
        let (closing, closed) = watch::channel(());
        let feed = Rc::new(Feed::new(status));
        let feeding = spawn_local(Rc::clone(&feed).run());
        let served =
            Served { feed, renderer: Rc::new(Renderer::start()), turns: Rc::new(Turns::new()), closing: closed };
        Self { tcp: None, unix: None, served, accepting: Vec::new(), feeding, closing }
    }

    /// Serves it on this socket too from now on.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub(crate) fn serve(&mut self, socket: Opened) -> io::Result<()> {
        let listener = match socket {
            Opened::Tcp(listener) => {
                self.tcp = Some(Tcp(listener.local_addr()?, listener.try_clone()?));
                StdListener::Tcp(listener)
            }
            Opened::Unix(socket) => {
                let (listener, socket) = socket.serve()?;
                self.unix = Some(socket);
                listener
            }
        };
        let listener = Listener::from_std(listener)?;
        self.accepting.push(spawn_local(accept(listener, self.served.clone())));
        Ok(())
    }

    /// The real address, if it is served over TCP.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().map(|Tcp(address, _)| *address)
    }

    /// The file of the Unix socket, if it is served over one.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.unix.as_ref().map(|socket| &**socket.file())
    }

    /// The TCP socket for a process that takes over.
    ///
    /// # Errors
    /// There are no more file descriptors.
    pub(super) fn offer_tcp(&self) -> io::Result<Option<StdListener>> {
        self.tcp.as_ref().map(|Tcp(_, socket)| socket.try_clone().map(StdListener::Tcp)).transpose()
    }

    /// The Unix socket for a process that takes over, with its file.
    ///
    /// # Errors
    /// There are no more file descriptors.
    pub(super) fn offer_unix(&self) -> io::Result<Option<(StdListener, Arc<Path>)>> {
        let Some(socket) = &self.unix else { return Ok(None) };
        Ok(socket.offer()?.map(|listener| (listener, Arc::clone(socket.file()))))
    }

    /// Another process has the file of the Unix socket now.
    pub(super) fn leave_file(&mut self) {
        self.unix.iter_mut().for_each(UnixSocket::leave);
    }

    /// Closes the sockets, so that another process can have the address. Responses under way are finished; events end.
    pub(crate) async fn close(self) {
        drop(self.unix);
        self.feeding.abort();
        for accepting in self.accepting {
            accepting.abort();
            // The socket is closed when the task is gone, and not before.
            accepting.await.ok();
        }
        drop(self.closing);
    }
}

async fn accept(listener: Listener, served: Served) {
    let places = Rc::new(Places::default());
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let door = match &stream {
                    Stream::Unix(_) => Door::Unix,
                    _ => Door::of(peer),
                };
                bound_kernel_buffer(&stream);
                let peer = Peer::at(door);
                let caller = Caller {
                    feed: Rc::clone(&served.feed),
                    renderer: Rc::clone(&served.renderer),
                    closing: served.closing.clone(),
                    door,
                    peer: Rc::clone(&peer),
                    events_until: Instant::now() + EVENTS_AGE_MAX,
                };
                let serving = connection(stream, caller, Rc::clone(&served.turns), Rc::clone(&places));
                let task = spawn_local(async move { _ = timeout(CONNECTION_AGE_MAX, serving).await });
                places.add(peer, &task);
                served.turns.accepted();
                // It reads what has come already before a further one can take its place.
                yield_now().await;
            }
            Err(error) => {
                tracing::warn!(%error, "admin port: cannot accept, trying again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A socket that keeps the size that the kernel gives it works too.
fn bound_kernel_buffer(stream: &Stream) {
    let socket = match stream {
        Stream::Tcp(stream) => SockRef::from(stream),
        Stream::Unix(stream) => SockRef::from(stream),
        #[cfg(feature = "sim")]
        Stream::Sim(_) => return,
    };
    socket.set_send_buffer_size(BUFFER_MAX).ok();
}

/// Serves one connection until it ends or the admin port is given up.
async fn connection(stream: Stream, caller: Caller, turns: Rc<Turns>, places: Rc<Places>) {
    let (mut closing, door, caller) = (caller.closing.clone(), caller.door, Rc::new(caller));
    let service = service_fn(move |request: Request<Incoming>| {
        let is_probe = is_probe(&request);
        places.heard(&caller.peer, is_probe);
        let (caller, turns) = (Rc::clone(&caller), Rc::clone(&turns));
        async move {
            if !is_probe {
                turns.pass().await;
            }
            Ok::<_, Infallible>(answer(request, &caller).await)
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(BUFFER_MAX).half_close(true);
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
