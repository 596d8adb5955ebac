//! A client connection that speaks HTTP/2 (RFC 9113): many requests at once, each in a task of its own.
//!
//! hyper and h2 speak the protocol. This file adds the deadlines of each stream (see [`crate::deadlines`]), the bounds
//! of what a client may do, and the end when the listener drains: the client gets GOAWAY, and every open stream is
//! finished.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::client_io::{ClientIo, ClientTransport, LINGER, LINGER_BYTES_MAX};
use super::conn::Accepted;
use super::h2_guard::Guard;
use super::{Connections, Registration};
use crate::config::model::{Limits, Timeouts};
use crate::deadlines::{Alarm, Wait};
use crate::proxy;
use crate::proxy::client::{Client, Connection};

/// Bytes of a response that wait within hyper for the client to read them, per stream.
const SEND_BUFFER: usize = 64 * 1024;

/// How long a client may take to acknowledge GOAWAY once no stream is open any more.
const GOING: Duration = Duration::from_secs(5);

/// Serves requests until either side closes.
pub(super) async fn serve(accepted: Accepted, transport: ClientTransport, connection: Rc<Connection>) {
    let Accepted { peer, listener, proxy, registration, .. } = accepted;
    let view = proxy.viewer.current();
    let Timeouts { request_head, client_write, client_idle, .. } = view.snapshot.timeouts;
    // This client stands for the connection's own waits; each stream has a client of its own.
    let client = Rc::new(Client::new(Rc::clone(&connection)));
    let guard = Rc::new(RefCell::new(Guard::new(Instant::now(), view.snapshot.limits.h2_streams)));
    let streams = Streams(Rc::new(StreamsState {
        client: Rc::clone(&client),
        guard: Rc::clone(&guard),
        connections: registration.connections(),
        write_timeout: client_write,
        open: Cell::new(0),
        next: RefCell::default(),
    }));
    let builder = builder(streams.clone(), &view.snapshot.limits, &view.snapshot.timeouts);
    drop(view);
    let io = ClientIo::h2(transport, Rc::clone(&client), client_write, guard);
    client.deadlines.arm_in(Wait::Client, request_head);
    let service = service_fn(move |request| proxy::handle(Rc::clone(&proxy), streams.begin(), request));
    let mut connection = pin!(builder.serve_connection(io, service));
    let (mut alarm, mut is_draining) = (Alarm::default(), false);
    let deadlines = &client.deadlines;
    let mut step = |cx: &mut Context<'_>| {
        if deadlines.expired(Wait::ClientWrite) || (deadlines.expired(Wait::Client) && is_draining) {
            tracing::debug!(%peer, "client connection closed: the client was silent for too long");
            return Poll::Ready(());
        }
        if deadlines.expired(Wait::Client) {
            // A client that asks for something at this moment gets it, or is told that it was not begun.
            deadlines.disarm(Wait::Client);
            is_draining = true;
            client.begin_idling();
            connection.as_mut().graceful_shutdown();
        }
        loop {
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                result.inspect_err(|error| tracing::debug!(%peer, %error, "client connection ended")).ok();
                return Poll::Ready(());
            }
            if !listener.is_draining() || std::mem::replace(&mut is_draining, true) {
                break;
            }
            // Earlier waits are void: from now on the client has as long as it takes to acknowledge GOAWAY.
            deadlines.disarm(Wait::Client);
            client.begin_idling();
            connection.as_mut().graceful_shutdown();
        }
        let is_writing = deadlines.is_armed(Wait::ClientWrite);
        if !client.is_busy() && !is_writing && !deadlines.is_armed(Wait::Client) {
            let patience = if is_draining { GOING } else { client_idle };
            deadlines.arm(Wait::Client, client.idle_since() + patience);
        }
        Poll::Pending
    };
    poll_fn(|cx| {
        registration.follow(cx);
        alarm.poll_step(deadlines, cx, &mut step)
    })
    .await;
}

fn builder(streams: Streams, limits: &Limits, timeouts: &Timeouts) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .enable_connect_protocol()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams)
        .initial_stream_window_size(limits.h2_window)
        // As large as all stream windows together, so that streams whose bodies are not read do not stop the others.
        .initial_connection_window_size(limits.h2_window.saturating_mul(limits.h2_streams).min(WINDOW_MAX))
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(limits.request_head).unwrap_or(u32::MAX))
        .keep_alive_interval(timeouts.h2_ping)
        .keep_alive_timeout(timeouts.h2_ping);
    builder
}

/// The largest window that HTTP/2 allows, in bytes (RFC 9113 section 6.9.1).
const WINDOW_MAX: u32 = (1 << 31) - 1;

/// The streams of one connection. It is hyper's service and its executor at once, so that the task of a stream knows
/// its client.
#[derive(Clone)]
struct Streams(Rc<StreamsState>);

struct StreamsState {
    client: Rc<Client>,
    guard: Rc<RefCell<Guard>>,
    connections: Rc<Connections>,
    write_timeout: Duration,
    open: Cell<usize>,
    /// The client of the stream that begins: hyper calls the service first, and then hands its future to the executor.
    next: RefCell<Option<Rc<Client>>>,
}

impl Streams {
    /// Makes the client of a stream that begins.
    fn begin(&self) -> Rc<Client> {
        let client = Rc::new(Client::of_stream(Rc::clone(&self.0.client.connection), self.0.write_timeout));
        *self.0.next.borrow_mut() = Some(Rc::clone(&client));
        client
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Streams {
    fn execute(&self, future: F) {
        match self.0.next.take() {
            Some(client) => _ = spawn_local(run(future, client, Open::begin(self))),
            None => _ = spawn_local(future),
        }
    }
}

/// Runs one stream within its deadlines, then its tunnel, if the request became one.
async fn run(future: impl Future<Output = ()>, client: Rc<Client>, open: Open) {
    let registration = open.0.0.connections.register();
    run_request(future, &client, &open, &registration).await;
    if let Some(tunnel) = client.take_tunnel() {
        tunnel.run_stream(&client).await;
    }
    // If another task reads the request body, it stops at the end of the response or goes on reading; one turn lets it
    // decide.
    tokio::task::yield_now().await;
    if let Some(rest) = client.take_rest() {
        // The rest of the body is discarded instead of resetting the stream: some clients forget the response on a
        // reset, even with NO_ERROR.
        let enough = rest.progress().bytes.get().saturating_add(LINGER_BYTES_MAX as u64);
        tokio::time::timeout(LINGER, poll_fn(|cx| rest.poll_discard(cx, enough))).await.ok();
    }
}

/// Runs the request and its response. A client that does not read in time has its stream reset by dropping the future.
async fn run_request(future: impl Future<Output = ()>, client: &Client, open: &Open, registration: &Registration) {
    let (mut future, mut alarm) = (pin!(future), Alarm::default());
    poll_fn(|cx| {
        registration.follow(cx);
        alarm.poll_step(&client.deadlines, cx, |cx| {
            if client.deadlines.expired(Wait::ClientWrite) {
                tracing::debug!(client = %client.connection.peer, "stream reset: the client does not read it");
                return Poll::Ready(());
            }
            let polled = future.as_mut().poll(cx);
            if polled.is_ready() && client.was_answered() {
                open.0.0.guard.borrow_mut().answered();
            }
            polled
        })
    })
    .await;
}

/// Counts a stream as open until it is dropped.
struct Open(Streams);

impl Open {
    fn begin(streams: &Streams) -> Self {
        let StreamsState { client, open, .. } = &*streams.0;
        open.set(open.get() + 1);
        client.set_busy(true);
        client.deadlines.disarm(Wait::Client);
        Self(streams.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let StreamsState { client, open, .. } = &*self.0.0;
        open.set(open.get() - 1);
        if open.get() == 0 {
            client.set_busy(false);
            client.begin_idling();
        }
    }
}
