//! The client's connection as HTTP reads and writes it, in plain text or TLS. Only the socket sees some of the waits;
//! their deadlines are set here.

use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::listener::Speaks;
use crate::deadlines::Wait;
use crate::net::socket_io::SocketIo;
use crate::proxy::client::{Client, Proxy};

/// How long a closed connection goes on discarding what the client still sends. If we closed at once, the kernel would
/// send a reset, and the client might never read the response that it was sent.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// How many bytes are discarded at most. A client that still sends after this will not read our response.
pub(super) const LINGER_BYTES_MAX: usize = 8 << 20;

/// The transport of a client connection. It has a TLS session if the listener speaks TLS.
pub(super) type ClientTransport = crate::net::transport::Transport<TlsStream<SocketIo>>;

/// The connection of one client; see the module.
pub(super) struct ClientIo {
    transport: ClientTransport,
    client: Rc<Client>,
    proxy: Rc<Proxy>,
    speaks: Speaks,
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
        Self { transport, client, proxy, speaks, written: Cell::new(0), is_shut: false, discarded: 0 }
    }

    /// The address of the client.
    pub(super) fn peer(&self) -> IpAddr {
        self.client.connection.peer
    }

    /// Notes that the client has sent something. The first bytes after an idle time start the deadline of the head. The
    /// requests of HTTP/2 have deadlines of their own.
    fn heard(&self) {
        self.client.note_read();
        if self.speaks == Speaks::Http1 {
            self.await_rest_of_head();
        }
    }

    /// What the client has sent was no beginning of a head, but empty lines: it is as idle as before. A fresh one still
    /// has to send its head in time.
    #[inline]
    pub(super) fn await_head(&self) {
        if self.client.is_in_head() && !self.client.is_fresh() {
            self.client.set_in_head(false);
            self.client.deadlines.disarm(Wait::Client);
        }
    }

    /// The client has sent the beginning of a head, unless it is to send something else first.
    pub(super) fn await_rest_of_head(&self) {
        if !self.client.is_busy() && !self.client.owes_body() && !self.client.set_in_head(true) {
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

    /// Whether the kernel has not taken everything that was written.
    #[inline]
    pub(super) fn has_unsent(&self) -> bool {
        self.transport.socket.has_unsent()
    }

    /// The transport, for whoever needs nothing else.
    pub(super) fn into_transport(self) -> ClientTransport {
        self.transport
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
        let result = self.transport.poll_read(cx, buf);
        if result.is_ready() {
            self.heard();
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
        let result = self.transport.poll_write(cx, bufs);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.transport.poll_flush(cx);
        self.wrote(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
