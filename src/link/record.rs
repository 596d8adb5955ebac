//! What was written to an endpoint: *provably unsent* is known, not guessed.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;

use super::error::{InterimFlood, tls_error};
use crate::net::outbox::{Socket, SocketIo};
use crate::net::transport::Transport;
use crate::pool::wire::Session;

/// Bound of the read and the write buffer of a connection to an endpoint, and so of an answer's head.
pub(super) const BUFFER_BYTES_MAX: usize = 256 * 1024;

/// Reads in a row that find something while an answer is waited for. Each but the last one filled its buffer, which grows up to the
/// bound above: no head needs as many. hyper discards interim answers (RFC 9110 section 15.2) as long as they come, and a
/// flood of them would keep the worker from everything else, deadlines included.
const READS_BEFORE_ANSWER_MAX: u32 = 16;

/// Bytes that are read when a write has failed.
const LAST_READ: usize = 512;

/// What was written to an endpoint.
#[derive(Debug)]
pub struct Record {
    pub(super) socket: Rc<Socket>,
    /// The only client that it serves, if there is one.
    pub(super) client: Option<SocketAddr>,
    /// Of which epoch of its endpoint it is.
    pub(super) epoch: u64,
    /// The head of the latest request, as it was handed to the socket; kept for the case that it must be sent again.
    head: RefCell<Vec<u8>>,
    /// Reads in a row that found something since the latest request was sent; `None` once its answer is there.
    reads_before_answer: Cell<Option<u32>>,
    /// Why TLS ended, if it was TLS that did. h2 keeps of an error only its text.
    tls_failure: RefCell<Option<rustls::Error>>,
}

impl Record {
    /// The socket as something that TLS can run over.
    pub(super) fn io(&self) -> TokioIo<SocketIo> {
        TokioIo::new(SocketIo(Rc::clone(&self.socket)))
    }

    /// What is to be read and written, after the handshake if there was one.
    pub(super) async fn over(self: &Rc<Self>, session: Option<Session>) -> io::Result<UpstreamIo> {
        // What belongs to the handshake must not be taken for a part of the request.
        poll_fn(|cx| self.socket.poll_all(cx)).await?;
        Ok(UpstreamIo { record: Rc::clone(self), transport: Transport::new(Rc::clone(&self.socket), session) })
    }

    pub(super) fn new(socket: Rc<Socket>, client: Option<SocketAddr>, epoch: u64) -> Self {
        Self {
            socket,
            client,
            epoch,
            head: RefCell::default(),
            reads_before_answer: Cell::default(),
            tls_failure: RefCell::default(),
        }
    }

    /// A request is going to be written.
    pub(super) fn begin(&self) {
        self.head.borrow_mut().clear();
        self.reads_before_answer.set(Some(0));
    }

    /// The head of the answer has come.
    pub fn answered(&self) {
        self.reads_before_answer.set(None);
    }

    /// Counts reads while the answer is waited for.
    fn read(&self, found_something: bool) -> io::Result<()> {
        let Some(reads) = self.reads_before_answer.get() else { return Ok(()) };
        self.reads_before_answer.set(Some(if found_something { reads + 1 } else { 0 }));
        if reads < READS_BEFORE_ANSWER_MAX { Ok(()) } else { Err(io::Error::other(InterimFlood)) }
    }

    /// Why TLS ended, if it was TLS that did.
    pub(super) fn tls_failure(&self) -> Option<rustls::Error> {
        self.tls_failure.borrow().clone()
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

/// The bytes of a connection to an endpoint, on record.
#[derive(Debug)]
pub struct UpstreamIo {
    record: Rc<Record>,
    transport: Transport<Session>,
}

impl UpstreamIo {
    /// What is known of it, also when it is gone.
    pub(super) fn record(&self) -> &Rc<Record> {
        &self.record
    }

    /// Notes why TLS ended, if it is TLS that did.
    #[cold]
    fn note(&self, error: io::Error) -> io::Error {
        if let Some(why) = tls_error(&error) {
            self.record.tls_failure.borrow_mut().get_or_insert(why);
        }
        error
    }

    /// After a failed write the socket is read once more: in TLS an alert that says why may have come before the end (RFC 8446
    /// section 6.2). The end of the connection is about to be heard, if it has not been yet, so waiting for it is not for long.
    #[cold]
    fn reason(&mut self, cx: &mut Context<'_>, error: io::Error) -> Poll<io::Error> {
        if !self.transport.is_tls() || tls_error(&error).is_some() {
            return Poll::Ready(self.note(error));
        }
        let mut space = [MaybeUninit::uninit(); LAST_READ];
        let mut read = ReadBuf::uninit(&mut space);
        let told = match ready!(self.transport.poll_read(cx, read.unfilled())) {
            Err(told) if tls_error(&told).is_some() => told,
            _ => error,
        };
        Poll::Ready(self.note(told))
    }

    #[inline]
    fn written<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(Err(error)) => self.reason(cx, error).map(Err),
            polled => polled,
        }
    }
}

impl Drop for UpstreamIo {
    fn drop(&mut self) {
        // Nobody waits for the answer any more.
        self.record.socket.cancel();
    }
}

impl Read for UpstreamIo {
    #[inline(always)]
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let polled = self.transport.poll_read(cx, buf);
        self.record.read(polled.is_ready())?;
        polled.map_err(|error| self.note(error))
    }
}

impl Write for UpstreamIo {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    #[inline]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(first) = bufs.first() {
            self.record.handed_over(first);
        }
        let polled = self.transport.poll_write(cx, bufs);
        self.written(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.transport.poll_flush(cx);
        self.written(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.poll_shutdown(cx)
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
