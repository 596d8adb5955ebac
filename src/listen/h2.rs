//! A client connection that speaks HTTP/2 (RFC 9113): many requests at once, each in a task of its own.
//!
//! h2 speaks the protocol. This file adds the waits of the connection (see [`crate::deadlines`]), the bounds of what a
//! client may do, and the end when the listener drains: the client gets GOAWAY, every open stream is finished, and the
//! connection is closed when the client has read everything. `h2_stream.rs` has the life of one stream.

use std::cell::{Cell, RefCell};
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{self, Handshake, SendResponse};
use http::Request;
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::Connections;
use super::client_io::{ClientIo, ClientTransport};
use super::conn::Accepted;
use super::h2_io::{Watch, WatchedIo};
use super::h2_stream::{self, Open};
use super::listener::{ListenerState, Speaks};
use crate::config::model::{Limits, Timeouts};
use crate::deadlines::{Alarm, Wait};
use crate::net::h2::Pings;
use crate::net::h2_values::OwnValues;
use crate::proxy::client::{Client, Proxy};
use crate::proxy::connection::Connection;
use crate::proxy::exchange::ENDED_BY;

/// Bytes of a response that h2 holds until the socket takes them, per stream.
pub(crate) const SEND_BUFFER: usize = 64 * 1024;

/// How long a client that has had no response lately may take to acknowledge GOAWAY, and to close its half of the
/// connection.
const GOING: Duration = Duration::from_secs(5);

/// How long frames are ignored that come for a stream which was reset, and for how many streams: the client has sent
/// them before it heard of the reset.
const RESET_KEPT: Duration = Duration::from_secs(10);
const RESETS_KEPT: usize = 256;

/// What small DATA frames may cost that no replica has taken yet: 256 less their length for each. It is a bound for the
/// memory of one connection, 16 MiB; with h2's own, clients that stream small messages to a slow replica would lose
/// all their other requests.
const SMALL_FRAMES: usize = 16 << 20;

/// What all streams of one connection share.
pub(super) struct Shared {
    /// It stands for the connection's own waits; each stream has a client of its own.
    pub(super) client: Rc<Client>,
    pub(super) proxy: Rc<Proxy>,
    pub(super) watch: Rc<Watch>,
    pub(super) connections: Rc<Connections>,
    /// The number of open streams.
    pub(super) open: Cell<usize>,
    /// Values of fields that h2 keeps.
    pub(super) values: OwnValues,
    /// The task of the connection.
    pub(super) waker: RefCell<Option<Waker>>,
    /// When the latest part of a response went out.
    pub(super) sent_at: Cell<Option<Instant>>,
}

impl Shared {
    /// How long a client may take until it lets out more of a response, as the settings are now.
    pub(super) fn client_write(&self) -> Duration {
        self.proxy.viewer.timeout(|timeouts| timeouts.client_write)
    }
}

/// Serves requests until either side closes.
pub(super) async fn serve(accepted: Accepted, transport: ClientTransport, connection: Rc<Connection>) {
    let Accepted { peer, listener, proxy, registration, .. } = accepted;
    let view = proxy.viewer.current();
    let (limits, timeouts) = (&view.snapshot.limits, view.snapshot.timeouts.clone());
    let streams = view.snapshot.capacity.h2_streams;
    let client = Rc::new(Client::new(connection));
    let shared = Rc::new(Shared {
        client: Rc::clone(&client),
        proxy: Rc::clone(&proxy),
        watch: Watch::new(streams),
        connections: registration.connections(),
        open: Cell::new(0),
        values: OwnValues::default(),
        waker: RefCell::default(),
        sent_at: Cell::default(),
    });
    let io = ClientIo::new(transport, client, Rc::clone(&shared.proxy), Speaks::Http2);
    let handshake = builder(limits, streams).handshake(WatchedIo::new(io, Rc::clone(&shared.watch)));
    drop(view);
    let mut lifecycle = Lifecycle {
        shared,
        listener,
        timeouts,
        going_since: None,
        is_broken: false,
        reads_at_poll: 0,
        reads_at_ping: 0,
    };
    let mut alarm = Alarm::default();
    let deadlines = Rc::clone(&lifecycle.shared.client.deadlines);
    // It ends before the connection begins, so that both take the same room.
    let opened = {
        let mut handshake = pin!(handshake);
        poll_fn(|cx| {
            registration.follow(cx);
            alarm.poll_step(&deadlines, cx, |cx| lifecycle.poll_handshake(handshake.as_mut(), cx))
        })
        .await
    };
    let ended = match opened {
        Ok(mut connection) => {
            let mut pings = Pings::new(connection.ping_pong(), Some(lifecycle.timeouts.h2_ping), &deadlines);
            poll_fn(|cx| alarm.poll_step(&deadlines, cx, |cx| lifecycle.poll(&mut connection, &mut pings, cx))).await
        }
        Err(ended) => ended,
    };
    match ended {
        Ended::Closed => {}
        Ended::Broken(error) => tracing::debug!(%peer, %error, "client connection ended"),
        Ended::Silent => tracing::debug!(%peer, "client connection closed: the client was silent for too long"),
    }
}

/// Serves a stream in a task of its own. It is boxed since its future has some KiB, which tokio would move seven times.
/// Not inlined, so that they are no part of the frame in which the connection is polled.
#[inline(never)]
fn spawn(request: Request<RecvStream>, respond: SendResponse<Bytes>, open: Open) {
    spawn_local(Box::pin(h2_stream::serve(request, respond, open)));
}

/// How much of a head is read, as a multiple of its limit. To one that is larger still h2 responds itself: 431, without
/// the page for it and a line in the access log.
const HEAD_READ: usize = 2;

fn builder(limits: &Limits, streams: u32) -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .enable_connect_protocol()
        .max_concurrent_streams(streams)
        .initial_window_size(limits.h2_window)
        // As large as all stream windows together, so that streams whose bodies are not read do not stop the others.
        .initial_connection_window_size(limits.h2_window.saturating_mul(streams).min(WINDOW_MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(HEAD_READ * limits.request_head).unwrap_or(u32::MAX))
        .max_concurrent_reset_streams(RESETS_KEPT)
        .reset_stream_duration(RESET_KEPT)
        .data_frame_budget(SMALL_FRAMES)
        // The guard has seen every reset before h2, and bounds them over time instead of over the connection's life.
        .max_pending_accept_reset_streams(usize::MAX)
        // What is malformed costs no more than a request, and a proxy in front may share the connection among many. A
        // byte that no name, value or method may contain still ends it: h2 refuses those while it decompresses.
        .max_local_error_reset_streams(None);
    builder
}

/// The largest window that HTTP/2 allows, in bytes (RFC 9113 section 6.9.1).
const WINDOW_MAX: u32 = (1 << 31) - 1;

/// Why a connection is over.
enum Ended {
    /// Both sides have closed it.
    Closed,
    Broken(h2::Error),
    /// The client was silent until its deadline passed.
    Silent,
}

type H2Connection = server::Connection<WatchedIo, Bytes>;

/// The state of a connection between two polls.
struct Lifecycle {
    shared: Rc<Shared>,
    listener: Rc<ListenerState>,
    timeouts: Timeouts,
    /// When the client was told by GOAWAY to begin nothing new.
    going_since: Option<Instant>,
    /// Whether our half was closed although the client had not been told: for an error of the client.
    is_broken: bool,
    /// How often the client had been read from at the last poll, and when it was last pinged.
    reads_at_poll: u64,
    reads_at_ping: u64,
}

impl Lifecycle {
    fn poll_handshake(
        &self,
        handshake: Pin<&mut Handshake<WatchedIo, Bytes>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<H2Connection, Ended>> {
        let deadlines = &self.shared.client.deadlines;
        if deadlines.expired(Wait::Client) || deadlines.expired(Wait::ClientWrite) {
            return Poll::Ready(Err(Ended::Silent));
        }
        handshake.poll(cx).map_err(Ended::Broken)
    }

    fn poll(&mut self, connection: &mut H2Connection, pings: &mut Option<Pings>, cx: &mut Context<'_>) -> Poll<Ended> {
        self.shared.waker.borrow_mut().get_or_insert_with(|| cx.waker().clone());
        if self.is_silent(connection, pings, cx) {
            return Poll::Ready(Ended::Silent);
        }
        loop {
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    let open = Open::begin(Rc::clone(&self.shared));
                    spawn(request, respond, open);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Ended::Broken(error)),
                Poll::Ready(None) => return Poll::Ready(Ended::Closed),
                Poll::Pending => break,
            }
        }
        self.arm_waits();
        Poll::Pending
    }

    /// Whether the client was silent until a deadline passed that ends the connection. Of others it is told by GOAWAY,
    /// and so it is when its listener drains.
    fn is_silent(&mut self, connection: &mut H2Connection, pings: &mut Option<Pings>, cx: &mut Context<'_>) -> bool {
        let Shared { client, watch, .. } = &*self.shared;
        let deadlines = &client.deadlines;
        let is_late = deadlines.expired(Wait::Client);
        if deadlines.expired(Wait::ClientWrite) || is_late && (self.is_broken || self.going_since.is_some()) {
            return true;
        }
        let ends = is_late || self.listener.is_draining(Speaks::Http2) || watch.is_worn();
        if ends && self.going_since.is_none() {
            // Requests that are on their way still get their response, or are told that they were not begun. Earlier
            // waits are void: from now on the client has as long as it takes to acknowledge GOAWAY.
            deadlines.disarm(Wait::Client);
            self.going_since = Some(Instant::now());
            connection.graceful_shutdown();
        }
        let reads = watch.reads.get();
        // A client that reads slowly acknowledges a ping only after all that was sent before. `client_write` bounds
        // that.
        let shared = &self.shared;
        let is_reading = || {
            deadlines.is_armed(Wait::ClientWrite)
                || shared.sent_at.get().is_some_and(|at| at.elapsed() < shared.client_write())
        };
        let is_quiet = || std::mem::replace(&mut self.reads_at_ping, reads) == reads && !is_reading();
        pings.as_mut().is_some_and(|pings| pings.poll(cx, deadlines, is_quiet).is_err())
    }

    /// Sets the deadline of the client while no stream is open and nothing is being written.
    fn arm_waits(&mut self) {
        let Shared { client, watch, .. } = &*self.shared;
        let deadlines = &client.deadlines;
        let was_heard = std::mem::replace(&mut self.reads_at_poll, watch.reads.get()) != self.reads_at_poll;
        if self.going_since.is_none() && watch.is_shut.get() && !std::mem::replace(&mut self.is_broken, true) {
            deadlines.arm_in(Wait::Client, self.patience());
        }
        if self.is_broken || client.is_busy() || deadlines.is_armed(Wait::ClientWrite) {
            return;
        }
        match self.going_since {
            Some(since) if was_heard || !deadlines.is_armed(Wait::Client) => {
                let at_last = since + self.present().drain.mul_f64(ENDED_BY);
                deadlines.arm(Wait::Client, at_last.min(Instant::now() + self.patience()));
            }
            None if !deadlines.is_armed(Wait::Client) => {
                deadlines.arm(Wait::Client, client.idle_since() + self.present().client_idle);
            }
            _ => {}
        }
    }

    /// The timeouts as they are now; `self.timeouts` are those of the connection's beginning.
    fn present(&self) -> Timeouts {
        self.shared.proxy.viewer.current().snapshot.timeouts.clone()
    }

    /// How long a client that is going may be silent. One that has had a response lately may still be reading it: its
    /// acknowledgement comes behind what it has not read.
    fn patience(&self) -> Duration {
        let client = &self.shared.client;
        let client_write = self.shared.client_write();
        let has_read_all = client.is_fresh() || client.idle_since().elapsed() > client_write;
        if has_read_all { GOING } else { client_write.max(GOING) }
    }
}
