//! One HTTP/1.1 connection to an endpoint: a value, driven by the request that uses it.
//!
//! A request is written from the fields that the proxy has prepared, which stay where they are: if the attempt fails,
//! they are still there. The head of a response is read into memory that all connections share, and only what it says
//! is kept. So a connection holds memory only while an exchange is under way.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Frame;
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::added::Added;
use super::error::Http1Error;
use super::h1_awaited::Awaited;
use super::h1_request::Outgoing;
use super::record::{Record, UpstreamIo};
use super::request_body::RequestBody;
use crate::pool::idle;
use crate::pool::protocol::Session;

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
    io: UpstreamIo,
    record: Rc<Record>,
    outgoing: Outgoing,
    awaited: Awaited,
    idle_since: Instant,
    /// When it was last known to be open.
    seen_open: Instant,
    is_reused: bool,
    /// Bytes that had been written when the present exchange began.
    written_before: u64,
    /// How long the endpoint keeps it when it is unused, less a margin, as its latest response says.
    idle_limit: Duration,
    is_last: bool,
    /// Whether it serves one client only, see [`super::private`].
    is_private: bool,
}

impl UpstreamConnection {
    /// Starts HTTP/1.1 over the socket of `record`, in TLS if `session` holds a finished handshake.
    pub(super) async fn open(record: Rc<Record>, session: Option<Session>) -> io::Result<Box<Self>> {
        let mut io = record.over(session).await?;
        io.read_on_after_failed_writes();
        let idle_since = Instant::now();
        Ok(Box::new(Self {
            io,
            record,
            outgoing: Outgoing::default(),
            awaited: Awaited::default(),
            idle_since,
            seen_open: idle_since,
            is_reused: false,
            written_before: 0,
            idle_limit: Duration::MAX,
            is_last: false,
            is_private: false,
        }))
    }

    /// Whether another exchange can follow the present one, which is complete.
    pub(super) fn can_go_on(&mut self) -> bool {
        let is_whole = self.awaited.is_over() && self.is_out() && !self.record.socket.has_failed();
        is_whole && !self.is_last && !self.has_ended()
    }

    /// Whether the endpoint has the whole request.
    fn is_out(&mut self) -> bool {
        // Often one more turn is enough.
        let is_out = self.outgoing.is_out() || matches!(unwatched(|cx| self.poll_request(cx)), Some(Ok(())));
        is_out && !self.has_unsent()
    }

    /// Whether something of the request waits until the endpoint takes it.
    pub(super) fn has_unsent(&self) -> bool {
        self.record.socket.has_unsent()
    }

    /// The connection is unused from now on.
    pub(super) fn begin_idling(&mut self, now: Instant) {
        self.outgoing = Outgoing::default();
        self.awaited.forget();
        self.record.socket.forget_task();
        self.idle_since = now;
        self.seen_open = now;
        self.is_reused = true;
    }

    /// Checks whether the endpoint has closed it while it was unused, or sent what nobody asked for.
    pub(super) fn look(&mut self, now: Instant) -> Look {
        let is_over = self.has_ended();
        let known_open_for = self.known_open_for(now);
        self.seen_open = now;
        if is_over { Look::Closed { known_open_for } } else { Look::Open }
    }

    /// Whether the endpoint has closed it, or sent what nobody asked for: behind a response, or before the next request
    /// is out, such bytes would be taken for the next response. TLS may hold them, and also what is none of HTTP.
    fn has_ended(&mut self) -> bool {
        let may_be_more = self.io.is_tls() || !self.record.socket.is_silent_so_far();
        may_be_more && unwatched(|cx| self.awaited.poll_end(&mut self.io, cx)).is_some()
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

    /// The record of what was written. It stays readable when the connection is gone.
    pub fn record(&self) -> &Rc<Record> {
        &self.record
    }

    /// Begins to send `request`, of which the body is taken, and to which `added` is added. It is written when the
    /// response is polled, unless the connection has ended meanwhile.
    pub fn begin(&mut self, request: &mut Request<RequestBody>, added: &Added) {
        if !(self.is_reused && self.has_ended()) {
            self.awaited.begin(*request.method() == Method::HEAD);
        }
        self.written_before = self.record.bytes_written();
        self.outgoing = Outgoing::new(request, added);
    }

    /// Whether anything of the present request is out.
    pub(super) fn has_written(&self) -> bool {
        self.record.bytes_written() > self.written_before
    }

    /// Sends the request, and reads the head of its response. What comes before it is given to `pass_interim`.
    ///
    /// # Errors
    /// The connection failed, or was not silent before anything of the request was out; what came is not valid; or the
    /// request broke off.
    pub fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        pass_interim: &mut dyn FnMut(Response<()>),
    ) -> Poll<Result<Response<()>, Http1Error>> {
        if self.awaited.is_end_stream() {
            return Poll::Ready(Err(Http1Error::Incomplete));
        }
        // What the endpoint says before the request is out is read too, so the one does not wait for the other.
        if let Poll::Ready(Err(error)) = self.poll_request(cx) {
            return Poll::Ready(Err(error));
        }
        if self.is_reused && !self.has_written() {
            // What comes now is no response to it.
            return self.awaited.poll_end(&mut self.io, cx).map(|()| Err(Http1Error::Incomplete));
        }
        self.awaited.poll_head(&mut self.io, cx, pass_interim).map_ok(|(response, is_last)| {
            self.is_last |= is_last;
            response
        })
    }

    /// Sends what is left of the request. Ready when the endpoint has all of it.
    #[inline]
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Http1Error>> {
        self.outgoing.poll(&mut self.io, cx)
    }

    /// Whether the response is known to be over.
    pub(super) fn is_end_stream(&self) -> bool {
        self.awaited.is_end_stream()
    }

    /// The bytes of the body that are still to come, if that is known.
    pub(super) fn body_left(&self) -> Option<u64> {
        self.awaited.left()
    }

    /// The next part of the body. What is left of the request is sent meanwhile.
    #[inline]
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Http1Error>>> {
        if let Poll::Ready(Err(_)) = self.poll_request(cx) {
            self.break_off();
        }
        self.poll_body(cx)
    }

    /// The next part of the body.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Http1Error>>> {
        self.awaited.poll_body(&mut self.io, cx)
    }

    /// Sends what is left of the request while the response is not read, or is over. Ready when the endpoint has all of
    /// it, or takes no more.
    ///
    /// # Errors
    /// The request broke off.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Http1Error>> {
        match self.poll_request(cx) {
            Poll::Ready(Ok(())) => self.record.socket.poll_all(cx).map(|_| Ok(())),
            Poll::Pending if self.is_end_stream() => self.awaited.poll_closed(&mut self.io, cx).map(Ok),
            polled => polled,
        }
    }

    /// The request has broken off, so the response does.
    pub(super) fn break_off(&mut self) {
        self.awaited.break_off();
    }

    /// Sends what is left of the request when the response is over. There is no next exchange.
    pub(super) async fn finish_request(mut self: Box<Self>) {
        // Whoever looks at the request learns there how it ended.
        poll_fn(|cx| self.poll_rest(cx)).await.ok();
    }

    /// The bare connection, and the bytes already read from it, after the endpoint has agreed to another protocol. It
    /// is `None` if it has not, or if more of the request may be to come.
    pub fn into_raw(self) -> Option<(UpstreamIo, Bytes)> {
        let Self { mut io, outgoing, awaited, .. } = self;
        let ahead = awaited.into_tunnel()?;
        io.begin_tunnel(outgoing.into_rest()?);
        Some((io, ahead))
    }
}

/// Polls while no task waits, so none is woken; `None` is pending. It does so outside of the budget of the present
/// task: without budget left a connection that the endpoint has closed would look open.
fn unwatched<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    let polled = pin!(unconstrained(poll_fn(|cx| poll(cx)))).poll(&mut Context::from_waker(Waker::noop()));
    match polled {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
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

    /// An endpoint that does not read, but speaks.
    #[tokio::test]
    async fn what_comes_before_anything_of_a_request_is_out_is_no_response_to_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        // Nothing more fits into the buffers of the kernel.
        while !matches!(ours.try_write(&[0; 65536]), Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            yield_now().await;
        }
        let outbox = Rc::<crate::net::outbox::Outbox>::default();
        let record = Rc::new(Record::new(Socket::new(Stream::Tcp(ours), Rc::clone(&outbox)), None, 0));
        let mut connection = UpstreamConnection::open(Rc::clone(&record), None).await.unwrap();
        connection.begin_idling(Instant::now());
        connection.begin(&mut Request::new(RequestBody::default()), &Added::default());
        let mut next = async |is_awaited: bool| {
            let polled = poll_fn(|cx| match connection.poll_response(cx, &mut |_| {}) {
                Poll::Pending if !is_awaited => Poll::Ready(None),
                polled => polled.map(Some),
            });
            polled.await
        };
        assert!(next(false).await.is_none());
        outbox.flush();
        tokio::io::AsyncWriteExt::write_all(&mut peer, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        assert!(matches!(next(true).await, Some(Err(Http1Error::Incomplete))));
        assert!(!connection.has_written());
    }
}
