//! One worker's HTTP/2 connections to one endpoint: several requests at once on each (RFC 9113 section 5).
//!
//! Unlike an HTTP/1.1 connection, which belongs to the request it carries, such a connection is driven by a task of its
//! own. A request takes a [`Lease`] on one. When all have as many streams as they may have, another one is opened.
//!
//! Many clients share a connection, so none of them may cost the others theirs. h2 has limits that end a connection,
//! made for a single hostile peer and counted over its whole life; here they are lifted, or kept from being reached.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use http::uri::Scheme;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep};

use super::h2_io::{FilteredIo, Seen};
use super::record::{Record, UpstreamIo};
use super::slot::Slot;
use crate::deadlines::{Alarm, Deadlines};
use crate::net::h2::Pings;
use crate::net::h2_values::OwnValues;

/// The most streams on one connection; the endpoint may allow fewer.
const STREAMS_MAX: usize = 100;

/// How often a fresh connection is checked for the endpoint's settings.
const SETTINGS_POLL: Duration = Duration::from_millis(1);

/// Bytes of responses that may be on their way before some are passed on: per stream, and per connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX as u32;

/// Bytes of a request body that wait within h2 for the socket to take them, per stream.
const SEND_BUFFER: usize = 64 * 1024;

/// The most bytes that h2 takes for a response head, in the measure of RFC 9113 section 6.5.2. It is more than a head
/// may have, which is `BUFFER_BYTES_MAX`: one that is too large is then refused by name. Beyond this h2 resets its
/// stream, and only beyond four times as much it ends the connection, with the requests of others.
const HEAD_LIST_MAX: u32 = 4 << 20;

/// How long frames are ignored that come for a stream which was cancelled, and for how many streams: the endpoint has
/// sent them before it heard of it.
const CANCELLED_KEPT: Duration = Duration::from_secs(30);
const CANCELS_KEPT: usize = 1024;

/// All HTTP/2 connections of one worker to one endpoint.
#[derive(Debug, Default)]
pub(super) struct Multiplexed {
    connections: RefCell<Vec<Rc<SharedConnection>>>,
    /// Whether a connection is being opened. Requests that come meanwhile wait for it.
    is_opening: Cell<bool>,
    opened: Notify,
}

/// One connection that requests share.
pub(super) struct SharedConnection {
    pub(super) record: Rc<Record>,
    pub(super) sender: RefCell<SendRequest<Bytes>>,
    scheme: Scheme,
    /// The number of open streams.
    streams: Rc<Cell<usize>>,
    /// The number of requests that wait for their response or its end.
    requests: Rc<Cell<usize>>,
    is_over: Rc<Cell<bool>>,
    /// Whether a response on it did not come in time. The whole connection may be stuck, so no new request gets a
    /// stream on it.
    is_suspect: Cell<bool>,
    /// What was seen of its frames.
    pub(super) seen: Rc<Seen>,
    /// Values of fields that h2 keeps.
    pub(super) values: Rc<OwnValues>,
    idle_since: Cell<Instant>,
    was_used: Cell<bool>,
    driver: RefCell<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for SharedConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedConnection").field("streams", &self.streams).finish_non_exhaustive()
    }
}

impl SharedConnection {
    /// How many streams it may have at one time. It is 0 before the endpoint's settings have come.
    fn streams_max(&self) -> usize {
        self.sender.borrow().current_max_send_streams().min(STREAMS_MAX)
    }

    /// Whether it takes no new stream any more: it is over, or the endpoint has sent GOAWAY.
    fn is_going(&self) -> bool {
        // Of this handle no stream ever waits to be opened, so it is ready or has failed.
        let mut cx = Context::from_waker(Waker::noop());
        self.is_over.get() || matches!(self.sender.borrow_mut().poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    fn has_room(&self) -> bool {
        let is_fit = !self.is_suspect.get() && !self.seen.is_worn() && !self.seen.is_full();
        is_fit && self.streams.get() < self.streams_max() && !self.is_going()
    }
}

impl Drop for SharedConnection {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.abort();
        }
        // The connection would stay open for streams whose bodies the endpoint does not read.
        self.record.socket.shut_down();
    }
}

/// One request's share in a connection. Dropping it cancels the stream: the rest of the response is discarded.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) shared: Rc<SharedConnection>,
    is_reused: bool,
    /// The stream that it counts. The upload holds it too.
    pub(super) slot: Rc<Slot>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let requests = self.shared.requests.get() - 1;
        self.shared.requests.set(requests);
        if requests == 0 {
            self.shared.idle_since.set(Instant::now());
        }
    }
}

impl Lease {
    fn on(shared: &Rc<SharedConnection>) -> Box<Self> {
        shared.requests.set(shared.requests.get() + 1);
        Box::new(Self {
            shared: Rc::clone(shared),
            is_reused: shared.was_used.replace(true),
            slot: Rc::new(Slot::take(&shared.streams)),
        })
    }

    /// Whether other requests used the connection before.
    pub(super) fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// A response did not come in time: the connection gets no new requests.
    pub(super) fn suspect(&self) {
        self.shared.is_suspect.set(true);
    }

    /// The scheme of the request URIs.
    pub(super) fn scheme(&self) -> Scheme {
        self.shared.scheme.clone()
    }
}

impl Multiplexed {
    /// A lease on an open connection with a free stream.
    pub(super) fn lease(&self) -> Option<Box<Lease>> {
        let connections = self.connections.borrow();
        connections.iter().find(|shared| shared.has_room()).map(Lease::on)
    }

    /// Waits for a connection that another request is opening; `false` if none is being opened.
    pub(super) async fn wait_for_other(&self) -> bool {
        if !self.is_opening.get() {
            return false;
        }
        let opened = self.opened.notified();
        opened.await;
        true
    }

    /// Marks a connection as being opened, until the guard is dropped.
    pub(super) fn begin_opening(&self) -> Opening<'_> {
        self.is_opening.set(true);
        Opening(self)
    }

    /// Starts HTTP/2 over an established connection, and waits for the endpoint's settings. While responses are
    /// awaited and nothing has come for `ping`, a PING is sent, and the endpoint has as long to acknowledge it. `None`
    /// means never.
    pub(super) async fn open(&self, io: UpstreamIo, scheme: Scheme, ping: Option<Duration>) -> io::Result<Box<Lease>> {
        let (record, seen) = (Rc::clone(io.record()), Rc::<Seen>::default());
        let handshake = builder().handshake(FilteredIo::new(io, Rc::clone(&seen)));
        let (sender, connection) = handshake.await.map_err(io::Error::other)?;
        let shared = Rc::new(SharedConnection {
            record,
            sender: RefCell::new(sender),
            scheme,
            streams: Rc::default(),
            requests: Rc::default(),
            is_over: Rc::default(),
            is_suspect: Cell::new(false),
            seen,
            values: Rc::default(),
            idle_since: Cell::new(Instant::now()),
            was_used: Cell::new(false),
            driver: RefCell::default(),
        });
        *shared.driver.borrow_mut() = Some(spawn_local(drive(connection, ping, &shared)));
        while shared.streams_max() == 0 {
            if shared.is_over.get() {
                // In TLS 1.3 a client learns only now that its certificate was refused.
                let why = shared.record.tls_failure();
                return Err(why.map_or(io::ErrorKind::ConnectionAborted.into(), io::Error::other));
            }
            sleep(SETTINGS_POLL).await;
        }
        let lease = Lease::on(&shared);
        self.connections.borrow_mut().push(shared);
        Ok(lease)
    }

    /// Closes connections that take no new stream, or are unused for longer than `idle_timeout`, and all but `idle_max`
    /// of the unused ones. Requests under way keep theirs. Streams whose bodies the endpoint never read end with their
    /// connection.
    pub(super) fn reap(&self, idle_timeout: Duration, idle_max: usize, now: Instant) {
        let mut idle = 0;
        self.connections.borrow_mut().retain(|shared| {
            if shared.is_going() || shared.seen.is_worn() {
                return false;
            }
            if shared.requests.get() > 0 {
                return true;
            }
            idle += 1;
            idle <= idle_max && now.saturating_duration_since(shared.idle_since.get()) < idle_timeout
        });
    }

    /// New requests use none of the present connections. Streams under way keep theirs.
    pub(super) fn clear(&self) {
        self.connections.borrow_mut().clear();
    }
}

fn builder() -> client::Builder {
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        // No stream before the endpoint has said how many it allows: a refused one would count as an attempt.
        .initial_max_send_streams(0)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(HEAD_LIST_MAX)
        // Frames that come late for cancelled streams are no offence, and no number of them ends the connection.
        .max_concurrent_reset_streams(CANCELS_KEPT)
        .reset_stream_duration(CANCELLED_KEPT)
        .max_local_error_reset_streams(None)
        // Small frames that a client does not read are bounded by the window of its stream.
        .data_frame_budget(usize::MAX);
    builder
}

/// Drives a connection until it is over.
fn drive(
    mut connection: client::Connection<FilteredIo, Bytes>,
    ping: Option<Duration>,
    shared: &SharedConnection,
) -> impl Future<Output = ()> + use<> {
    let (is_over, requests, seen) = (Rc::clone(&shared.is_over), Rc::clone(&shared.requests), Rc::clone(&shared.seen));
    let (deadlines, mut alarm, mut reads_at_ping) = (Deadlines::default(), Alarm::default(), 0);
    async move {
        let mut pings = Pings::new(connection.ping_pong(), ping, &deadlines);
        let mut step = |cx: &mut Context<'_>| {
            let reads = seen.reads();
            let is_quiet = || std::mem::replace(&mut reads_at_ping, reads) == reads && requests.get() > 0;
            if let Some(pings) = &mut pings
                && let Err(error) = pings.poll(cx, &deadlines, is_quiet)
            {
                return Poll::Ready(Err(io::Error::other(error)));
            }
            Pin::new(&mut connection).poll(cx).map_err(io::Error::other)
        };
        let ended = poll_fn(|cx| alarm.poll_step(&deadlines, cx, &mut step)).await;
        ended.inspect_err(|error| tracing::debug!(%error, "connection to an endpoint ended")).ok();
        is_over.set(true);
    }
}

/// Wakes the waiting requests when it is dropped; see [`Multiplexed::begin_opening`].
pub(super) struct Opening<'a>(&'a Multiplexed);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.is_opening.set(false);
        self.0.opened.notify_waiters();
    }
}
