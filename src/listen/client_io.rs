//! The client's connection as HTTP reads and writes it, in plain text or TLS. Only the socket sees some of the waits;
//! their deadlines are set here.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::interim::Front;
use super::listener::Speaks;
use super::request_line::{Latest, RequestLines};
use crate::deadlines::Wait;
use crate::net::socket_io::SocketIo;
use crate::proxy::client::{Client, Proxy};

/// How long a closed connection goes on discarding what the client still sends. If we closed at once, the kernel would
/// send a reset, and the client might never read the response that it was sent.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// How many bytes are discarded at most. A client that still sends after this will not read our response.
pub(super) const LINGER_BYTES_MAX: usize = 8 << 20;

/// Bytes per read while the client's end is watched for.
const WATCHED_AT_ONCE: usize = 1024;

/// The transport of a client connection. It has a TLS session if the listener speaks TLS.
pub(super) type ClientTransport = crate::net::transport::Transport<TlsStream<SocketIo>>;

/// The I/O object that hyper is given for one client connection; see the module.
pub(super) struct ClientIo {
    transport: ClientTransport,
    /// Bytes that are read first: there was no room for them when they were encoded.
    encoded: Bytes,
    /// Bytes that were read from the transport and given back. They are read next.
    ahead: Bytes,
    /// What is written before anything that hyper writes.
    front: Front,
    client: Rc<Client>,
    proxy: Rc<Proxy>,
    speaks: Speaks,
    lines: RequestLines,
    /// Whether hyper has used everything that was read, and has asked for more.
    is_asked: bool,
    /// Bytes that the socket had taken when a write was last found to wait.
    written: Cell<u64>,
    /// Whether our half of the connection has been closed.
    is_shut: bool,
    /// Bytes discarded since our half was closed.
    discarded: usize,
}

impl ClientIo {
    /// The client of a fresh connection must send a head in time.
    pub(super) fn new(transport: ClientTransport, client: Rc<Client>, proxy: Rc<Proxy>, speaks: Speaks) -> Self {
        if client.is_fresh() {
            client.deadlines.arm_in(Wait::Client, proxy.viewer.timeout(|timeouts| timeouts.request_head));
        }
        Self {
            transport,
            encoded: Bytes::new(),
            ahead: Bytes::new(),
            front: Front::default(),
            client,
            proxy,
            speaks,
            lines: RequestLines::new(),
            is_asked: false,
            written: Cell::new(0),
            is_shut: false,
            discarded: 0,
        }
    }

    /// The address of the client.
    pub(super) fn peer(&self) -> IpAddr {
        self.client.connection.peer
    }

    /// Gives back what hyper has read and not used. It is copied, so that the buffer it was read into can be freed.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        self.ahead = [bytes, &self.encoded, &self.ahead].concat().into();
        self.encoded = Bytes::new();
        self.lines = RequestLines::new();
    }

    /// Reads this next, in the place of a head that was refused.
    pub(super) fn go_on_with(&mut self, head: &'static [u8]) {
        self.ahead = Bytes::from_static(head);
        self.encoded = Bytes::new();
        self.lines = RequestLines::new();
    }

    /// Watches for the client's end while hyper reads nothing: ready when the client has closed its half, or with the
    /// error that ended the connection. What the client sends instead is kept; the end behind it is not seen until that
    /// is read.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_ahead() {
            return Poll::Pending;
        }
        let mut space = [MaybeUninit::uninit(); WATCHED_AT_ONCE];
        let mut read = ReadBuf::uninit(&mut space);
        match ready!(self.transport.poll_read(cx, &mut read)) {
            // TCP has ended without a `close_notify` of TLS.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error)),
            Ok(()) if read.filled().is_empty() => Poll::Ready(Ok(())),
            Ok(()) => {
                self.ahead = Bytes::copy_from_slice(read.filled());
                Poll::Pending
            }
        }
    }

    #[inline]
    fn latest(&self) -> Latest {
        let client = &self.client;
        let (body_length, may_become_tunnel) = client.head_taken();
        Latest { is_busy: client.is_busy(), body_length, may_become_tunnel }
    }

    /// Reads what is kept here, if anything is.
    #[cold]
    fn read_ahead(&mut self, buf: &mut ReadBuf<'_>) {
        if self.encoded.is_empty() && self.speaks == Speaks::Http1 {
            let (taken, encoded) = self.lines.pass_ahead(&self.ahead, buf, self.latest());
            self.ahead.advance(taken);
            self.encoded = encoded;
        } else {
            let bytes = if self.encoded.is_empty() { &mut self.ahead } else { &mut self.encoded };
            buf.put_slice(&bytes.split_to(bytes.len().min(buf.remaining())));
        }
    }

    /// Whether a body has ended, and hyper waits for the next head or its rest: it has used all of the body.
    pub(super) fn waits_behind_body(&self) -> bool {
        self.is_asked && self.lines.is_behind_body()
    }

    /// Notes that the client has sent something. The first bytes after an idle time start the deadline of the head. The
    /// requests of HTTP/2 have deadlines of their own.
    fn heard(&self) {
        self.client.note_read();
        if self.speaks == Speaks::Http1
            && !self.client.is_busy()
            && !self.client.owes_body()
            && !self.client.set_in_head(true)
        {
            let patience = self.proxy.viewer.timeout(|timeouts| timeouts.request_head);
            self.client.deadlines.arm_in(Wait::Client, patience);
        }
    }

    /// Arms or disarms the deadline of the client's reading, according to the result of a write.
    fn wrote<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let deadlines = &self.client.deadlines;
        match &result {
            Poll::Pending if self.has_written() || !deadlines.is_armed(Wait::ClientWrite) => {
                if !self.client.is_busy() {
                    // The proxy has written the whole response, but the client has not read it yet: the connection is
                    // not idle.
                    deadlines.disarm(Wait::Client);
                }
                let patience = self.proxy.viewer.timeout(|timeouts| timeouts.client_write);
                deadlines.arm_in(Wait::ClientWrite, patience);
            }
            Poll::Pending => {}
            Poll::Ready(_) if deadlines.is_armed(Wait::ClientWrite) => {
                deadlines.disarm(Wait::ClientWrite);
                if !self.client.is_busy() {
                    self.client.begin_idling();
                }
            }
            Poll::Ready(_) => {}
        }
        result
    }

    /// Whether the socket has taken something since the last call: what waits is being read, though not as a whole.
    fn has_written(&self) -> bool {
        let written = self.transport.socket.bytes_written();
        self.written.replace(written) != written
    }

    /// Sends the interim responses that wait, while the response is awaited. A failure is met again with that.
    #[cold]
    pub(super) fn send_interims(&mut self, cx: &mut Context<'_>) {
        if !self.client.deadlines.is_armed(Wait::ClientWrite) && self.poll_front(cx).is_ready() {
            let flushed = self.transport.poll_flush(cx);
            _ = self.wrote(flushed);
        }
    }

    /// Writes the interim responses that wait.
    #[cold]
    fn poll_front(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.front.poll_write(&mut self.transport, &self.client, cx);
        self.wrote(result)
    }

    /// Whether our half of the connection has been closed.
    pub(super) fn is_shut(&self) -> bool {
        self.is_shut
    }

    /// Whether the client may send something after our half is closed that nobody wants: the rest of a body, or over
    /// HTTP/1.1 the next requests, which it has sent before it was told of the end (RFC 9112 section 9.6). A tunnel
    /// still reads; it keeps its client busy.
    fn lingers(&self) -> bool {
        let client = &self.client;
        let is_read = client.is_busy() || client.is_half_closed();
        client.may_still_send() || (self.speaks == Speaks::Http1 && !is_read)
    }

    /// Whether something was given back that has not been read again.
    fn has_ahead(&self) -> bool {
        !self.ahead.is_empty() || !self.encoded.is_empty()
    }

    /// Whether there is nothing here that somebody has still to read or to be sent.
    pub(super) fn holds_nothing(&self) -> bool {
        !self.has_ahead() && self.front.is_empty() && !self.transport.socket.has_unsent()
    }

    /// Takes the transport, for whoever needs nothing else. What is left here must not be used again.
    pub(super) fn take_transport(&mut self) -> ClientTransport {
        self.transport.take()
    }

    /// Discards what the client still sends, until it closes its half or [`LINGER_BYTES_MAX`] is exceeded. `heard` is
    /// called for each part.
    pub(super) fn poll_linger(&mut self, cx: &mut Context<'_>, heard: impl Fn()) -> Poll<io::Result<()>> {
        let mut scratch = [0u8; 8192];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(self.transport.socket.poll_read(cx, &mut buffer))?;
            heard();
            self.discarded += buffer.filled().len();
            if buffer.filled().is_empty() || self.discarded > LINGER_BYTES_MAX {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncRead for ClientIo {
    #[inline(always)]
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let result = if this.has_ahead() {
            this.read_ahead(buf);
            Poll::Ready(Ok(()))
        } else {
            let result = this.transport.poll_read(cx, buf);
            if result.is_ready() && this.speaks == Speaks::Http1 {
                let latest = this.latest();
                if let Some(left) = this.lines.pass(buf, before, latest) {
                    (this.encoded, this.ahead) = (left.encoded, left.held);
                }
            }
            result
        };
        this.is_asked = result.is_pending();
        if result.is_ready() {
            this.heard();
        }
        result
    }
}

impl AsyncWrite for ClientIo {
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
        if self.speaks == Speaks::Http1 && self.client.is_refused_below() {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        if self.client.has_interims() || !self.front.is_empty() {
            ready!(self.poll_front(cx))?;
        }
        let result = self.transport.poll_write(cx, bufs);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.front.is_empty() {
            ready!(self.poll_front(cx))?;
        }
        let result = self.transport.poll_flush(cx);
        // hyper flushes when it has nothing left to write.
        self.client.has_flushed();
        self.wrote(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.client.was_refused_below() {
            return Poll::Ready(Ok(()));
        }
        if !self.is_shut {
            let result = self.transport.poll_shutdown(cx);
            ready!(self.wrote(result))?;
            self.is_shut = true;
            if self.lingers() {
                self.client.deadlines.arm_in(Wait::Client, LINGER);
            }
        }
        if self.lingers() { self.poll_linger(cx, || ()) } else { Poll::Ready(Ok(())) }
    }
}
