//! One worker's connections to one endpoint.
//!
//! A connection is a value, not a task: whoever uses it also drives it ([`UpstreamConnection::poll_drive`]), within the task of
//! the client connection that is being served. That saves two task switches and a queue per request, and cancelling needs no
//! message: when the client goes, the value is dropped, and the connection is closed. An unused connection lies in a list and
//! costs nothing; whether it was closed meanwhile shows when it is driven again, before a byte of a request is written.
//!
//! The most recently used connection is taken first, so that surplus ones grow old and are closed.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::endpoint::{Endpoint, EndpointCell};
use super::multiplex::{Lease, Multiplexed};
use super::queue::Queue;
use super::quiet::QuietWaker;
use super::request_body::RequestBody;
use super::wire::{Session, Speech, Wire};
use crate::config::model::ProxyVersion;
use crate::net::Stream;
use crate::outbox::{Outbox, Socket, SocketIo};

/// Bound of the read and the write buffer of a connection to an endpoint, and so of an answer's head.
const BUFFER_BYTES_MAX: usize = 256 * 1024;

/// Reads in a row that find something while an answer is waited for. Each but the last one filled its buffer, which grows up to the
/// bound above: no head needs as many. hyper discards interim answers (RFC 9110 section 15.2) as long as they come, and a
/// flood of them would keep the worker from everything else, deadlines included.
const READS_BEFORE_ANSWER_MAX: u32 = 16;

/// Connections that were used so shortly before are taken without asking the kernel whether they were closed meanwhile; the
/// runtime has heard of it by then.
const KNOWN_SILENT: Duration = Duration::from_millis(1);

/// An endpoint as one worker sees it.
#[derive(Debug)]
pub struct WorkerEndpoint {
    /// What all workers share.
    pub endpoint: Arc<Endpoint>,
    worker: usize,
    outbox: Rc<Outbox>,
    /// Who waits for a request of this pool to end.
    queue: Arc<Queue>,
    /// How it is spoken to.
    speech: RefCell<Speech>,
    /// How often that has changed: connections of before serve nobody new.
    epoch: Cell<u64>,
    /// Whether the endpoint chose HTTP/1.1 when it was offered both.
    prefers_h1: Cell<bool>,
    multiplexed: Multiplexed,
    #[expect(
        clippy::vec_box,
        reason = "the boxes come from and go to requests; moving the connections would cost more"
    )]
    idle: RefCell<Vec<Box<UpstreamConnection>>>,
    idle_max: Cell<usize>,
    draining_since: Cell<Option<Instant>>,
}

impl WorkerEndpoint {
    /// No connections yet; at most `idle_max` unused ones will be kept.
    pub(crate) fn new(
        endpoint: Arc<Endpoint>,
        worker: usize,
        outbox: Rc<Outbox>,
        queue: Arc<Queue>,
        speech: Speech,
        idle_max: usize,
    ) -> Self {
        Self {
            endpoint,
            worker,
            outbox,
            queue,
            speech: RefCell::new(speech),
            epoch: Cell::default(),
            prefers_h1: Cell::default(),
            multiplexed: Multiplexed::default(),
            idle: RefCell::default(),
            idle_max: Cell::new(idle_max),
            draining_since: Cell::default(),
        }
    }

    /// This worker's counters for it.
    pub fn cell(&self) -> &EndpointCell {
        self.endpoint.cell(self.worker)
    }

    /// The unused connection that was used last and is still good, if it is not older than `idle_timeout` or than the
    /// endpoint is known to wait.
    pub fn checkout(&self, idle_timeout: Duration, now: Instant) -> Option<Box<UpstreamConnection>> {
        self.checkout_from(&mut self.idle.borrow_mut(), idle_timeout, now)
    }

    /// The same among those that serve this client.
    pub fn checkout_of(
        &self,
        client: SocketAddr,
        idle_timeout: Duration,
        now: Instant,
    ) -> Option<Box<UpstreamConnection>> {
        let mut idle = self.idle.borrow_mut();
        let mut own: Vec<_> = idle.extract_if(.., |connection| connection.record.client == Some(client)).collect();
        let found = self.checkout_from(&mut own, idle_timeout, now);
        idle.append(&mut own);
        found
    }

    #[expect(clippy::vec_box, reason = "see `idle`")]
    fn checkout_from(
        &self,
        idle: &mut Vec<Box<UpstreamConnection>>,
        idle_timeout: Duration,
        now: Instant,
    ) -> Option<Box<UpstreamConnection>> {
        while let Some(connection) = idle.pop() {
            let age = connection.idle_for(now);
            if age >= self.endpoint.idle_limit().at_most(idle_timeout, now) {
                // All others are older still.
                idle.clear();
                break;
            }
            if age < KNOWN_SILENT || connection.record.socket.is_silent() {
                return Some(connection);
            }
            self.endpoint.idle_limit().observed(connection.known_open_for(now), now);
        }
        None
    }

    /// Takes back a connection whose exchange is complete; closes it if it cannot serve another one.
    pub fn checkin(&self, mut connection: Box<UpstreamConnection>, now: Instant) {
        if !connection.sender.is_ready() {
            // Often one more turn makes it ready. Nobody waits for it meanwhile, so nobody is woken.
            connection.poll_drive(&mut Context::from_waker(Waker::noop()));
        }
        let mut idle = self.idle.borrow_mut();
        if connection.is_last
            || connection.is_done
            || !connection.sender.is_ready()
            || connection.record.socket.has_unsent()
            || connection.record.epoch != self.epoch.get()
            || idle.len() >= self.idle_max.get()
        {
            return;
        }
        connection.waker.detach();
        connection.idle_since = now;
        connection.seen_open = now;
        connection.is_reused = true;
        idle.push(connection);
    }

    /// A place on a connection that others use as well, if there is one.
    pub fn lease(&self) -> Option<Lease> {
        self.multiplexed.lease()
    }

    /// Whether connections to it begin with a header of the PROXY protocol, and so serve one client only.
    pub fn proxy_protocol(&self) -> Option<ProxyVersion> {
        self.speech.borrow().proxy_protocol
    }

    /// Is spoken to like this from now on.
    pub(crate) fn speak(&self, speech: Speech) {
        if !self.speech.borrow().is_same(&speech) {
            *self.speech.borrow_mut() = speech;
            self.epoch.set(self.epoch.get() + 1);
            self.prefers_h1.set(false);
            self.idle.borrow_mut().clear();
            self.multiplexed.clear();
        }
    }

    /// Closes unused connections that are older than `idle_timeout` or were closed by the endpoint.
    pub fn reap(&self, idle_timeout: Duration, now: Instant) {
        let mut cx = Context::from_waker(Waker::noop());
        let idle_limit = self.endpoint.idle_limit();
        let idle_timeout = idle_limit.at_most(idle_timeout, now);
        self.multiplexed.reap(idle_timeout, self.idle_max.get(), now);
        self.idle.borrow_mut().retain_mut(|connection| {
            let is_over = connection.poll_drive(&mut cx);
            if is_over {
                idle_limit.observed(connection.known_open_for(now), now);
            }
            connection.seen_open = now;
            !is_over && connection.idle_for(now) < idle_timeout
        });
    }

    /// Says whether it is going: drained, down, or no longer part of its pool.
    pub fn set_draining(&self, is_draining: bool, now: Instant) {
        let since = self.draining_since.get().unwrap_or(now);
        self.draining_since.set(is_draining.then_some(since));
        self.endpoint.set_going(is_draining);
    }

    /// Since when it has been going, if it is.
    pub fn draining_since(&self) -> Option<Instant> {
        // One that came back has another worker's half now, but answers of before still hold this one.
        self.draining_since.get().filter(|_| self.endpoint.is_going())
    }

    /// Keeps at most `idle_max` unused connections from now on; 0 when the endpoint has left its pool.
    pub fn limit_idle(&self, idle_max: usize) {
        self.idle_max.set(idle_max);
        self.idle.borrow_mut().truncate(idle_max);
        if idle_max == 0 {
            self.multiplexed.clear();
        }
    }

    /// Opens a connection, or gets a place on one that is being opened; with `only_h1`, one that can be upgraded, and with a
    /// `preamble`, one that begins with it.
    ///
    /// # Errors
    /// The connection does not stand, or the endpoint is not who it should be.
    pub async fn connect(&self, only_h1: bool, h2_ping: Duration, preamble: Option<Preamble>) -> io::Result<Link> {
        let Speech { wire, backend, .. } = self.speech.borrow().clone();
        match wire {
            Wire::Http1 => self.stream(preamble).await?.h1(None).await,
            Wire::H2c if only_h1 => Err(io::ErrorKind::Unsupported.into()),
            Wire::Tls(tls) if only_h1 || preamble.is_some() => {
                let record = self.stream(preamble).await?;
                let (session, _) = tls.connect(record.io(), &backend, true).await?;
                record.h1(Some(session)).await
            }
            Wire::H2c | Wire::Tls(_) => {
                while !self.prefers_h1.get() && self.multiplexed.wait_for_other().await {
                    if let Some(lease) = self.lease() {
                        return Ok(Link::Multiplexed(lease));
                    }
                }
                let opening = if self.prefers_h1.get() { None } else { Some(self.multiplexed.begin_opening()) };
                let epoch = self.epoch.get();
                let record = self.stream(None).await?;
                let (session, scheme) = match wire {
                    Wire::Tls(tls) => (Some(tls.connect(record.io(), &backend, false).await?), Scheme::HTTPS),
                    _ => (None, Scheme::HTTP),
                };
                match session {
                    Some((session, false)) => {
                        self.prefers_h1.set(epoch == self.epoch.get());
                        drop(opening);
                        record.h1(Some(session)).await
                    }
                    session => {
                        let io = record.over(session.map(|(session, _)| session)).await?;
                        let lease = self.multiplexed.open(io, scheme, h2_ping).await?;
                        self.prefers_h1.set(false);
                        if epoch != self.epoch.get() {
                            self.multiplexed.clear();
                        }
                        Ok(Link::Multiplexed(lease))
                    }
                }
            }
        }
    }

    async fn stream(&self, preamble: Option<Preamble>) -> io::Result<Rc<Record>> {
        self.cell().connects.add(1);
        let mut stream = Stream::connect(&self.endpoint.address).await?;
        let client = match preamble {
            Some(Preamble { header, client }) => {
                stream.write_all(&header).await?;
                Some(client)
            }
            None => None,
        };
        Ok(Rc::new(Record::new(Socket::new(stream, Rc::clone(&self.outbox)), client, self.epoch.get())))
    }
}

/// What a connection begins with that serves one client only.
#[derive(Debug)]
pub struct Preamble {
    /// The header.
    pub header: Vec<u8>,
    /// The client.
    pub client: SocketAddr,
}

/// A way to send a request to an endpoint.
#[derive(Debug)]
pub enum Link {
    /// A connection of its own, of HTTP/1.1.
    Own(Box<UpstreamConnection>),
    /// A stream on one of HTTP/2.
    Multiplexed(Lease),
}

/// One HTTP/1.1 connection to an endpoint.
#[derive(Debug)]
pub struct UpstreamConnection {
    sender: http1::SendRequest<RequestBody>,
    driver: http1::Connection<UpstreamIo, RequestBody>,
    waker: QuietWaker,
    record: Rc<Record>,
    idle_since: Instant,
    /// When it was looked at last, and was open.
    seen_open: Instant,
    is_reused: bool,
    is_last: bool,
    is_done: bool,
}

impl UpstreamConnection {
    /// Whether it served another exchange before.
    pub fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Serves no other exchange after this one.
    pub fn retire(&mut self) {
        self.is_last = true;
    }

    /// How long it has been unused.
    pub fn idle_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.idle_since)
    }

    /// How long it had been unused when the endpoint closed it, which shows only now: at least until the last look, and
    /// probably half of the time until now.
    fn known_open_for(&self, now: Instant) -> Duration {
        self.seen_open.saturating_duration_since(self.idle_since).max(self.idle_for(now) / 2)
    }

    /// Bytes written to the endpoint so far.
    pub fn bytes_written(&self) -> u64 {
        self.record.bytes_written()
    }

    /// The record of what was written, readable when the connection is gone.
    pub fn record(&self) -> &Rc<Record> {
        &self.record
    }

    /// Hands over a request; it goes out when the connection is driven. The error of the returned future holds the request
    /// if nothing of it was taken.
    pub fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<> {
        self.record.head.borrow_mut().clear();
        self.record.reads_before_answer.set(Some(0));
        self.sender.try_send_request(request)
    }

    /// Reads and writes what can be read and written; whether the connection is over.
    pub fn poll_drive(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.is_done {
            self.is_done = Pin::new(&mut self.driver).poll(cx).is_ready();
        }
        self.is_done
    }

    /// Runs `step`, which drives this connection and polls what comes over it, without the wake-ups by which the two halves
    /// of the connection would tell the current task what it is just doing itself. See [`QuietWaker`].
    pub fn poll_quietly<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut step: impl FnMut(&mut Self, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let waker = self.waker.attach(cx.waker());
        let mut quiet_cx = Context::from_waker(&waker);
        let polled = loop {
            match step(self, &mut quiet_cx) {
                Poll::Pending if self.waker.wants_another_round() => {}
                polled => break polled,
            }
        };
        self.waker.release(waker, polled.is_pending());
        polled
    }

    /// The bare connection and what was read of it, after the endpoint has agreed to another protocol; `None` if hyper is not
    /// done with it.
    pub fn into_raw(mut self) -> Option<(UpstreamIo, Bytes)> {
        if !self.poll_drive(&mut Context::from_waker(Waker::noop())) {
            return None;
        }
        let parts = self.driver.into_parts();
        Some((parts.io, parts.read_buf))
    }

    /// The half that drives, for an exchange that must go on while nobody reads its answer.
    pub fn into_driver(self) -> impl Future<Output = ()> + 'static {
        let Self { driver, sender, is_done, .. } = self;
        async move {
            let _sender = sender;
            if !is_done {
                // How it ended shows in the answer's body.
                driver.await.ok();
            }
        }
    }
}

/// A request counted on an endpoint; dropping it ends the count, whatever happened.
#[derive(Debug)]
pub struct InFlight(Rc<WorkerEndpoint>);

impl InFlight {
    /// Takes over a request that [`super::Pool::acquire`] has counted on `endpoint`.
    pub fn adopt(endpoint: Rc<WorkerEndpoint>) -> Self {
        Self(endpoint)
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Rc<WorkerEndpoint> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.endpoint.end();
        self.0.queue.freed();
    }
}

/// What was written to an endpoint.
#[derive(Debug)]
pub struct Record {
    socket: Rc<Socket>,
    /// The only client that it serves, if there is one.
    client: Option<SocketAddr>,
    /// Of which epoch of its endpoint it is.
    epoch: u64,
    /// The head of the latest request, as it was handed to the socket; kept for the case that it must be sent again.
    head: RefCell<Vec<u8>>,
    /// Reads in a row that found something since the latest request was sent; `None` once its answer is there.
    reads_before_answer: Cell<Option<u32>>,
}

impl Record {
    /// The socket as something that TLS can run over.
    fn io(&self) -> TokioIo<SocketIo> {
        TokioIo::new(SocketIo(Rc::clone(&self.socket)))
    }

    /// What is to be read and written, after the handshake if there was one.
    async fn over(self: &Rc<Self>, session: Option<Session>) -> io::Result<UpstreamIo> {
        // What belongs to the handshake must not be taken for a part of the request.
        poll_fn(|cx| self.socket.poll_all(cx)).await?;
        let session = session.map(|session| Box::new(TokioIo::new(session)));
        Ok(UpstreamIo { record: Rc::clone(self), session })
    }

    /// Speaks HTTP/1.1.
    async fn h1(self: Rc<Self>, session: Option<Session>) -> io::Result<Link> {
        let io = self.over(session).await?;
        let handshake = http1::Builder::new().max_buf_size(BUFFER_BYTES_MAX).handshake(io).await;
        let (sender, driver) = handshake.map_err(io::Error::other)?;
        let idle_since = Instant::now();
        let waker = QuietWaker::default();
        Ok(Link::Own(Box::new(UpstreamConnection {
            sender,
            driver,
            waker,
            record: self,
            idle_since,
            seen_open: idle_since,
            is_reused: false,
            is_last: false,
            is_done: false,
        })))
    }

    fn new(socket: Rc<Socket>, client: Option<SocketAddr>, epoch: u64) -> Self {
        Self { socket, client, epoch, head: RefCell::default(), reads_before_answer: Cell::default() }
    }

    /// The head of the answer has come.
    pub fn answered(&self) {
        self.reads_before_answer.set(None);
    }

    /// Counts reads while the answer is waited for.
    fn read(&self, found_something: bool) -> io::Result<()> {
        let Some(reads) = self.reads_before_answer.get() else { return Ok(()) };
        self.reads_before_answer.set(Some(if found_something { reads + 1 } else { 0 }));
        if reads < READS_BEFORE_ANSWER_MAX {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "a flood of interim answers"))
        }
    }

    /// Bytes written since the connection stands.
    pub fn bytes_written(&self) -> u64 {
        self.socket.bytes_written()
    }

    /// The header fields of the latest request, `None` if it was not handed to the socket.
    ///
    /// Reading back what was written costs nothing as long as nothing fails; a copy of the fields, made in advance for each
    /// request, would cost two allocations and two counted references per field.
    pub fn header_fields(&self) -> Option<HeaderMap> {
        parse_fields(&self.head.borrow())
    }

    fn handed_over(&self, bytes: &[u8]) {
        let mut head = self.head.borrow_mut();
        if head.is_empty() {
            // hyper writes a head before anything else, and as one slice.
            head.extend_from_slice(&bytes[..bytes.len().min(BUFFER_BYTES_MAX)]);
        }
    }
}

fn parse_fields(head: &[u8]) -> Option<HeaderMap> {
    let lines = head.iter().filter(|&&byte| byte == b'\n').count();
    let mut fields = vec![httparse::EMPTY_HEADER; lines];
    let mut request = httparse::Request::new(&mut fields);
    if !request.parse(head).is_ok_and(|status| status.is_complete()) {
        return None;
    }
    let pairs = request.headers.iter().filter_map(|field| {
        Some((HeaderName::from_bytes(field.name.as_bytes()).ok()?, HeaderValue::from_bytes(field.value).ok()?))
    });
    let mut map = HeaderMap::with_capacity(lines);
    pairs.for_each(|(name, value)| _ = map.append(name, value));
    Some(map)
}

/// A socket, or TLS over it, that keeps record of what is written to it: *provably unsent* is known, not guessed.
#[derive(Debug)]
pub struct UpstreamIo {
    record: Rc<Record>,
    session: Option<Box<TokioIo<Session>>>,
}

impl UpstreamIo {
    /// What it runs over.
    pub(super) fn socket(&self) -> &Rc<Socket> {
        &self.record.socket
    }
}

impl Drop for UpstreamIo {
    fn drop(&mut self) {
        // Nobody waits for the answer any more.
        self.record.socket.cancel();
    }
}

impl Read for UpstreamIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let polled = match &mut self.session {
            Some(session) => Pin::new(session).poll_read(cx, buf),
            None => self.record.socket.poll_read(cx, buf),
        };
        self.record.read(polled.is_ready())?;
        polled
    }
}

impl Write for UpstreamIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(first) = bufs.first() {
            self.record.handed_over(first);
        }
        match &mut self.session {
            Some(session) => Pin::new(session).poll_write_vectored(cx, bufs),
            None => self.record.socket.poll_write(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.session {
            Some(session) => Pin::new(session).poll_flush(cx),
            None => self.record.socket.poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.session {
            Some(session) => Pin::new(session).poll_shutdown(cx),
            None => self.record.socket.poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_request_can_be_read_back() {
        assert!(parse_fields(b"").is_none(), "nothing was handed over");
        let head = b"GET /x?y HTTP/1.1\r\nhost: a\r\nx-two: 1\r\nx-two: \xff2\r\nx-empty:\r\n\r\n";
        let fields = parse_fields(head).unwrap();
        let values = |name| fields.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
        assert_eq!((fields.len(), values("host")), (4, vec![&b"a"[..]]));
        assert_eq!((values("x-two"), values("x-empty")), (vec![&b"1"[..], b"\xff2"], vec![&b""[..]]));
    }
}
