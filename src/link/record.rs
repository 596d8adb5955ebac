//! What was written to an endpoint, so that *provably unsent* is known, not guessed.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::error::tls_error;
use crate::net::socket::Socket;
use crate::net::socket_io::SocketIo;
use crate::net::transport::Transport;
use crate::pool::protocol::Session;

/// The largest read and write buffer of a connection to an endpoint, and so the largest response head, in bytes.
pub(crate) const BUFFER_BYTES_MAX: usize = 256 * 1024;

/// Bytes that are read after a write has failed.
const LAST_READ: usize = 512;

/// What is known about one connection to an endpoint. It outlives the connection.
#[derive(Debug)]
pub struct Record {
    pub(super) socket: Rc<Socket>,
    /// The only client that the connection serves, if it began with a PROXY header.
    pub(super) client: Option<SocketAddr>,
    /// The epoch of its endpoint at the time it was opened.
    pub(super) epoch: u64,
    /// Whether the endpoint may have gone over to another protocol, of which a part looks like the whole. Then giving
    /// up the connection is no orderly end.
    may_be_tunnel: Cell<bool>,
    /// Why TLS ended, if it was TLS that failed. It is kept here because h2 keeps only the text of an error.
    tls_failure: RefCell<Option<rustls::Error>>,
}

impl Record {
    /// The socket as an I/O object that TLS can run over.
    pub(super) fn io(&self) -> SocketIo {
        SocketIo(Rc::clone(&self.socket))
    }

    /// The bytes that HTTP reads and writes: those of the TLS session, if there is one.
    pub(super) async fn over(self: &Rc<Self>, session: Option<Session>) -> io::Result<UpstreamIo> {
        // The end of the handshake must not be taken for a part of the request.
        poll_fn(|cx| self.socket.poll_all(cx)).await?;
        Ok(UpstreamIo {
            record: Rc::clone(self),
            transport: Transport::new(Rc::clone(&self.socket), session),
            failed_write: None,
            reads_on: false,
            rest: Bytes::new(),
        })
    }

    pub(super) fn new(socket: Rc<Socket>, client: Option<SocketAddr>, epoch: u64) -> Self {
        Self { socket, client, epoch, may_be_tunnel: Cell::default(), tls_failure: RefCell::default() }
    }

    /// Sets whether the endpoint may have gone over to another protocol.
    pub(super) fn set_tunnel(&self, may_be_tunnel: bool) {
        self.may_be_tunnel.set(may_be_tunnel);
    }

    /// Why TLS ended, if it was TLS that failed.
    pub(super) fn tls_failure(&self) -> Option<rustls::Error> {
        self.tls_failure.borrow().clone()
    }

    /// Bytes written since the connection was established, those of the handshake included.
    pub fn bytes_written(&self) -> u64 {
        self.socket.bytes_written()
    }
}

/// What HTTP reads and writes of a connection to an endpoint. It keeps the record.
#[derive(Debug)]
pub struct UpstreamIo {
    record: Rc<Record>,
    transport: Transport<Session>,
    /// A write that failed, until it is known why.
    failed_write: Option<io::Error>,
    /// Whether a failed write is not reported, because reading tells more; see [`Self::read_on_after_failed_writes`].
    reads_on: bool,
    /// What is left of the request in front of a tunnel.
    rest: Bytes,
}

impl UpstreamIo {
    /// Whether the connection is in TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }

    /// The record. It stays readable when this is gone.
    pub(super) fn record(&self) -> &Rc<Record> {
        &self.record
    }

    /// From now on a failed write looks as if it were blocked. What the endpoint sent before it closed, a 413 for
    /// example, is still to be read, and then comes the end. The deadline for the response bounds the wait.
    pub(super) fn read_on_after_failed_writes(&mut self) {
        self.reads_on = true;
    }

    /// From now on it carries another protocol, and a failed write is reported. An endpoint may have agreed before it
    /// has read the whole request: the `rest` is written first.
    pub(super) fn begin_tunnel(&mut self, rest: Bytes) {
        (self.reads_on, self.rest) = (false, rest);
    }

    /// A tunnel has ended as it should, so closing the connection is an orderly end.
    pub fn set_whole(&self) {
        self.record.set_tunnel(false);
    }

    /// Notes why TLS ended, if it was TLS that failed.
    #[cold]
    fn note(&self, error: io::Error) -> io::Error {
        if let Some(why) = tls_error(&error) {
            self.record.tls_failure.borrow_mut().get_or_insert(why);
        }
        error
    }

    /// Reads once more after a failed write: in TLS an alert that gives the reason may have come before the end (RFC
    /// 8446 section 6.2). The end that made the write fail is about to be read too, and the deadline for the response
    /// bounds the wait. Nothing more is written meanwhile: TLS has taken what was to be written, and would send it
    /// twice.
    #[cold]
    fn poll_reason(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let has_reason = self.failed_write.as_ref().is_some_and(|error| tls_error(error).is_some());
        let told = if self.transport.is_tls() && !has_reason {
            let mut space = [MaybeUninit::uninit(); LAST_READ];
            let mut read = ReadBuf::uninit(&mut space);
            ready!(self.transport.poll_read(cx, &mut read)).err().filter(|told| tls_error(told).is_some())
        } else {
            None
        };
        let failed = self.failed_write.take().unwrap_or_else(|| ErrorKind::BrokenPipe.into());
        Poll::Ready(self.note(told.unwrap_or(failed)))
    }

    /// Reads what the endpoint sent before a write failed. A reset is reported only once, and the write has heard of
    /// it: what follows looks like an orderly end, and a response without a length would pass for whole. Only a pipe
    /// that is broken had its end before (in `CLOSE_WAIT` Linux reports a reset as EPIPE).
    #[cold]
    fn poll_read_behind_failure(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (before, room) = (buf.filled().len(), buf.remaining());
        ready!(self.transport.poll_read(cx, buf))?;
        let is_end = buf.filled().len() == before && room > 0;
        let failure = self.failed_write.as_ref().map(io::Error::kind).filter(|kind| *kind != ErrorKind::BrokenPipe);
        match failure {
            Some(kind) if is_end => Poll::Ready(Err(kind.into())),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Writes what is left of the request in front of a tunnel.
    #[inline]
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            let rest = self.rest.clone();
            let parts = [io::IoSlice::new(&rest)];
            match ready!(self.poll_unless_failed(cx, |transport, cx| transport.poll_write(cx, &parts)))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                written => self.rest.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Runs `write`, unless a write has failed before.
    #[inline]
    fn poll_unless_failed<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(&mut Transport<Session>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.failed_write.is_none() {
            match write(&mut self.transport, cx) {
                Poll::Ready(Err(error)) => {
                    self.failed_write = Some(self.note(error));
                    // What there is to read may not have been looked for yet.
                    cx.waker().wake_by_ref();
                }
                polled => return polled,
            }
        }
        if self.reads_on { Poll::Pending } else { self.poll_reason(cx).map(Err) }
    }
}

impl Drop for UpstreamIo {
    fn drop(&mut self) {
        // The response is no longer wanted, so what is still queued for the socket is not sent.
        self.record.socket.cancel();
        if self.record.may_be_tunnel.get() {
            self.record.socket.reset_when_closed();
        }
    }
}

impl AsyncRead for UpstreamIo {
    #[inline(always)]
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = match self.failed_write {
            Some(_) => self.poll_read_behind_failure(cx, buf),
            None => self.transport.poll_read(cx, buf),
        };
        polled.map_err(|error| self.note(error))
    }
}

impl AsyncWrite for UpstreamIo {
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
        ready!(self.poll_rest(cx))?;
        self.poll_unless_failed(cx, |transport, cx| transport.poll_write(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(cx))?;
        self.poll_unless_failed(cx, |transport, cx| transport.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(cx))?;
        self.transport.poll_shutdown(cx)
    }
}
