//! One worker's HTTP/2 connections to one endpoint: several requests at once on each (RFC 9113 section 5).
//!
//! Unlike an HTTP/1.1 connection, which belongs to the request it carries, such a connection is driven by a task of its
//! own. A request takes a [`Lease`] on one. When all have as many streams as they may have, another one is opened.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::uri::Scheme;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http2};
use hyper::rt::Executor;
use hyper_util::rt::TokioTimer;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep};

use super::record::{Record, UpstreamIo};
use super::request_body::{Recall, RequestBody};
use super::slot::Slot;

/// The most streams on one connection; the endpoint may allow fewer.
const STREAMS_MAX: usize = 100;

/// How often a fresh connection is checked for the endpoint's settings.
const SETTINGS_POLL: Duration = Duration::from_millis(1);

/// Bytes of responses that may be on their way before some are passed on: per stream, and per connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX as u32;

/// Bytes of a request body that wait within hyper for the endpoint to take them, per stream.
const SEND_BUFFER: usize = 64 * 1024;

/// The most bytes that a response head may have.
const HEAD_BYTES_MAX: u32 = 256 * 1024;

/// All HTTP/2 connections of one worker to one endpoint.
#[derive(Debug, Default)]
pub(super) struct Multiplexed {
    connections: RefCell<Vec<Rc<SharedConnection>>>,
    /// Whether a connection is being opened. Requests that come meanwhile wait for it.
    is_opening: Cell<bool>,
    opened: Notify,
}

struct SharedConnection {
    record: Rc<Record>,
    sender: http2::SendRequest<RequestBody>,
    scheme: Scheme,
    /// The number of open streams.
    streams: Rc<Cell<usize>>,
    /// The number of requests that wait for their response or its end.
    requests: Cell<usize>,
    /// `None` when it is over: only its drop makes hyper give back the requests that it has not begun.
    connection: Rc<RefCell<Option<http2::Connection<UpstreamIo, RequestBody, LocalExecutor>>>>,
    is_over: Cell<bool>,
    /// Whether a response on it did not come in time. The whole connection may be stuck, so no new request gets a
    /// stream on it.
    is_suspect: Cell<bool>,
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
    /// How many streams it may have at one time. It is 0 before the endpoint's settings have come, and when the
    /// connection is over.
    fn streams_max(&self) -> usize {
        let connection = self.connection.borrow();
        connection.as_ref().map_or(0, |connection| connection.current_max_send_streams().min(STREAMS_MAX))
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

/// One request's share in a connection. Dropping it cancels the stream: the rest of the response is discarded, the rest
/// of the request body is not sent.
#[derive(Debug)]
pub(super) struct Lease {
    shared: Rc<SharedConnection>,
    is_reused: bool,
    /// The stream that it counts. A request with a body takes it over, see [`RequestBody::leash`].
    slot: Option<Slot>,
    recall: Option<Recall>,
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
            slot: Some(Slot::take(&shared.streams)),
            recall: None,
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

    /// The record of the connection.
    pub(super) fn record(&self) -> &Rc<Record> {
        &self.shared.record
    }

    /// The scheme of the request URIs.
    pub(super) fn scheme(&self) -> Scheme {
        self.shared.scheme.clone()
    }

    /// Sends the request. The error of the returned future holds the request if nothing of it was taken.
    pub(super) fn send(
        &mut self,
        mut request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<> {
        if let Some(slot) = self.slot.take() {
            match request.body_mut().leash(slot) {
                Ok(recall) => self.recall = Some(recall),
                Err(slot) => self.slot = Some(slot),
            }
        }
        self.shared.sender.clone().try_send_request(request)
    }
}

impl Multiplexed {
    /// A lease on an open connection with a free stream.
    pub(super) fn lease(&self) -> Option<Box<Lease>> {
        let connections = self.connections.borrow();
        let has_room = |shared: &&Rc<SharedConnection>| {
            !shared.is_over.get() && !shared.is_suspect.get() && shared.streams.get() < shared.streams_max()
        };
        connections.iter().find(has_room).map(Lease::on)
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

    /// Starts HTTP/2 over an established connection, and waits for the endpoint's settings. While the connection has
    /// streams, a PING is sent every `ping`, and the endpoint has as long to acknowledge it.
    pub(super) async fn open(&self, io: UpstreamIo, scheme: Scheme, ping: Duration) -> io::Result<Box<Lease>> {
        let record = Rc::clone(io.record());
        let (sender, connection) = http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            // No stream before the endpoint has said how many it allows: a refused one would count as an attempt.
            .initial_max_send_streams(0)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(HEAD_BYTES_MAX)
            .keep_alive_interval(ping)
            .keep_alive_timeout(ping)
            .handshake(io)
            .await
            .map_err(io::Error::other)?;
        let connection = Rc::new(RefCell::new(Some(connection)));
        let shared = Rc::new(SharedConnection {
            record,
            sender,
            scheme,
            streams: Rc::default(),
            requests: Cell::new(0),
            connection: Rc::clone(&connection),
            is_over: Cell::new(false),
            is_suspect: Cell::new(false),
            idle_since: Cell::new(Instant::now()),
            was_used: Cell::new(false),
            driver: RefCell::default(),
        });
        let weak = Rc::downgrade(&shared);
        let driver = spawn_local(async move {
            let ended = poll_fn(|cx| match &mut *connection.borrow_mut() {
                Some(connection) => Pin::new(connection).poll(cx),
                None => Poll::Ready(Ok(())),
            })
            .await;
            ended.inspect_err(|error| tracing::debug!(%error, "connection to an endpoint ended")).ok();
            if let Some(shared) = weak.upgrade() {
                shared.is_over.set(true);
            }
            let over = connection.borrow_mut().take();
            drop(over);
        });
        *shared.driver.borrow_mut() = Some(driver);
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

    /// Closes connections that are over, or unused for longer than `idle_timeout`, and all but `idle_max` of the unused
    /// ones. Streams whose bodies the endpoint never read end with their connection.
    pub(super) fn reap(&self, idle_timeout: Duration, idle_max: usize, now: Instant) {
        let mut idle = 0;
        self.connections.borrow_mut().retain(|shared| {
            if shared.is_over.get() || shared.sender.is_closed() {
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

/// Wakes the waiting requests when it is dropped; see [`Multiplexed::begin_opening`].
pub(super) struct Opening<'a>(&'a Multiplexed);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.is_opening.set(false);
        self.0.opened.notify_waiters();
    }
}

/// Runs the tasks of hyper on this worker.
#[derive(Debug, Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}
