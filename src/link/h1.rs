//! One HTTP/1.1 connection to an endpoint: a value, driven by the request that uses it.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::added::Added;
use super::quiet::QuietWaker;
use super::record::{BUFFER_BYTES_MAX, Record, UpstreamIo};
use super::request_body::RequestBody;
use crate::pool::idle;
use crate::pool::protocol::Session;

/// The most header fields of a response. It is what hyper keeps on the stack; any other bound would cost an allocation
/// for each response.
pub(super) const FIELDS_MAX: usize = 100;

/// The PROXY header with which a connection begins that serves one client only.
#[derive(Debug)]
pub struct Preamble {
    /// The bytes of the header.
    pub header: Vec<u8>,
    /// The only client whose requests may use the connection.
    pub client: SocketAddr,
}

/// What a look at an unused connection has shown.
pub(super) enum Look {
    Open,
    Closed {
        /// How long it had been unused when it was last known to be open, see [`UpstreamConnection::known_open_for`].
        known_open_for: Duration,
    },
}

/// One HTTP/1.1 connection to an endpoint.
#[derive(Debug)]
pub struct UpstreamConnection {
    sender: http1::SendRequest<RequestBody>,
    driver: http1::Connection<TokioIo<UpstreamIo>, RequestBody>,
    waker: QuietWaker,
    record: Rc<Record>,
    idle_since: Instant,
    /// When it was last known to be open.
    seen_open: Instant,
    is_reused: bool,
    /// How long the endpoint keeps it when it is unused, less a margin, as its latest response says.
    idle_limit: Duration,
    is_last: bool,
    /// Whether it serves one client only, see [`super::private`].
    is_private: bool,
    is_done: bool,
}

impl UpstreamConnection {
    /// Starts HTTP/1.1 over the socket of `record`, in TLS if `session` holds a finished handshake.
    pub(super) async fn open(record: Rc<Record>, session: Option<Session>) -> io::Result<Box<Self>> {
        let mut io = record.over(session).await?;
        io.read_on_after_failed_writes();
        let handshake = http1::Builder::new().max_buf_size(BUFFER_BYTES_MAX).handshake(TokioIo::new(io)).await;
        let (sender, driver) = handshake.map_err(io::Error::other)?;
        let idle_since = Instant::now();
        let waker = QuietWaker::default();
        Ok(Box::new(Self {
            sender,
            driver,
            waker,
            record,
            idle_since,
            seen_open: idle_since,
            is_reused: false,
            idle_limit: Duration::MAX,
            is_last: false,
            is_private: false,
            is_done: false,
        }))
    }

    /// Whether another exchange can follow the present one, which is complete.
    pub(super) fn can_go_on(&mut self) -> bool {
        if !self.sender.is_ready() {
            // Often one more turn makes it ready.
            self.drive_unwatched();
        }
        let is_whole = !self.has_unsent() && !self.record.socket.has_failed();
        !self.is_last && !self.is_done && self.sender.is_ready() && is_whole
    }

    /// Whether something of the request waits until the endpoint takes it.
    pub(super) fn has_unsent(&self) -> bool {
        self.record.socket.has_unsent()
    }

    /// The connection is unused from now on.
    pub(super) fn begin_idling(&mut self, now: Instant) {
        self.waker.detach();
        self.idle_since = now;
        self.seen_open = now;
        self.is_reused = true;
    }

    /// Checks whether the endpoint has closed it while it was unused.
    pub(super) fn look(&mut self, now: Instant) -> Look {
        let is_over = self.drive_unwatched();
        let known_open_for = self.known_open_for(now);
        self.seen_open = now;
        if is_over { Look::Closed { known_open_for } } else { Look::Open }
    }

    /// Whether it has carried another exchange before.
    pub fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Makes the present exchange the last one.
    pub fn set_last(&mut self) {
        self.is_last = true;
    }

    /// From now on it serves the client of the present exchange only.
    pub fn set_private(&mut self) {
        self.is_private = true;
    }

    /// Whether it serves one client only.
    pub fn is_private(&self) -> bool {
        self.is_private
    }

    /// Notes how long the endpoint keeps it, if its latest response says so. An earlier announcement is void.
    pub fn set_idle_limit(&mut self, announced: Option<Duration>) {
        self.idle_limit = announced.map_or(Duration::MAX, idle::relied_on);
    }

    /// Whether it has been unused for as long as the endpoint keeps it, according to the endpoint itself.
    pub(super) fn is_spent(&self, age: Duration) -> bool {
        age >= self.idle_limit
    }

    /// How long it has been unused at `now`.
    pub fn idle_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.idle_since)
    }

    /// How long it had been unused when the endpoint closed it, which is noticed only now: at least until the last
    /// look, and probably half of the time until now.
    pub(super) fn known_open_for(&self, now: Instant) -> Duration {
        self.seen_open.saturating_duration_since(self.idle_since).max(self.idle_for(now) / 2)
    }

    /// Bytes written to the endpoint so far.
    pub fn bytes_written(&self) -> u64 {
        self.record.bytes_written()
    }

    /// The record of what was written. It stays readable when the connection is gone.
    pub fn record(&self) -> &Rc<Record> {
        &self.record
    }

    /// Hands over a request, to which `added` is added. It is written when the connection is driven. The error of the
    /// returned future holds the request if nothing of it was taken.
    pub fn send(
        &mut self,
        request: Request<RequestBody>,
        added: &Added,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<> {
        self.record.begin(added);
        self.sender.try_send_request(request)
    }

    /// Reads and writes what can be read and written. It returns whether the connection is over.
    pub fn poll_drive(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.is_done {
            self.is_done = Pin::new(&mut self.driver).poll(cx).is_ready();
        }
        self.is_done
    }

    /// Drives it while no task waits for it, so none is woken. It does so outside of the budget of the present task:
    /// without budget left a connection that the endpoint has closed would look open.
    fn drive_unwatched(&mut self) -> bool {
        let drive = unconstrained(poll_fn(|cx| Poll::Ready(self.poll_drive(cx))));
        pin!(drive).poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(true)
    }

    /// Runs `step`, which drives this connection and polls what comes over it. The two halves of the connection would
    /// wake the current task for steps that it takes anyway; these wake-ups are held back, see [`QuietWaker`].
    pub fn poll_quietly<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut step: impl FnMut(&mut Self, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.record.socket.begin_turn();
        let waker = self.waker.attach(cx.waker());
        let mut quiet_cx = Context::from_waker(&waker);
        let polled = loop {
            match step(self, &mut quiet_cx) {
                Poll::Pending if self.waker.wants_another_round() => {}
                polled => break polled,
            }
        };
        self.waker.release(waker, polled.is_pending());
        self.record.socket.end_turn();
        polled
    }

    /// The bare connection, and the bytes already read from it, after the endpoint has agreed to another protocol. It
    /// is `None` if hyper has not finished with it, or more of the request than its head is left to be written.
    pub fn into_raw(mut self) -> Option<(UpstreamIo, Bytes)> {
        if !self.drive_unwatched() {
            return None;
        }
        let parts = self.driver.into_parts();
        let mut io = parts.io.into_inner();
        io.begin_tunnel().then_some((io, parts.read_buf))
    }

    /// The half that drives, for an exchange that must go on while its response is not read. It ends with the exchange:
    /// without a sender, there is no next one.
    pub(super) fn into_driver(self) -> impl Future<Output = ()> + 'static {
        let Self { driver, is_done, .. } = self;
        async move {
            if !is_done {
                // The response body tells how it ended.
                driver.await.ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::coop::has_budget_remaining;
    use tokio::task::{consume_budget, yield_now};

    use super::*;
    use crate::net::Stream;
    use crate::net::socket::Socket;

    /// Housekeeping looks at more connections in a row than a task has budget for.
    #[tokio::test]
    async fn a_closed_connection_is_seen_when_the_budget_is_spent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        let record = Rc::new(Record::new(Socket::new(Stream::Tcp(ours), Rc::default()), None, 0));
        let mut connection = UpstreamConnection::open(Rc::clone(&record), None).await.unwrap();
        connection.begin_idling(Instant::now());
        assert!(matches!(connection.look(Instant::now()), Look::Open));
        drop(peer);
        while record.socket.is_silent() {
            yield_now().await;
        }
        // The runtime must hear of it too.
        for _ in 0..100 {
            yield_now().await;
        }
        while has_budget_remaining() {
            consume_budget().await;
        }
        assert!(matches!(connection.look(Instant::now()), Look::Closed { .. }));
    }
}
