//! What was written to an endpoint, so that *provably unsent* is known, not guessed.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::added::Added;
use super::error::{InterimFlood, tls_error};
use super::interim::Interims;
use super::written_head::WrittenHead;
use crate::net::socket::Socket;
use crate::net::socket_io::SocketIo;
use crate::net::transport::Transport;
use crate::pool::protocol::Session;

/// The largest read and write buffer of a connection to an endpoint, and so the largest response head, in bytes.
pub(crate) const BUFFER_BYTES_MAX: usize = 256 * 1024;

/// Bytes that may come in a row while a response is awaited, with [`READ_COST`] for each read: no head needs as many.
/// hyper discards interim responses (RFC 9110 section 15.2) for as long as they come, and a flood of them would keep
/// the worker from everything else, deadlines included.
const BEFORE_ANSWER_MAX: usize = 16 * BUFFER_BYTES_MAX;

/// What a read costs besides its bytes: one may bring a single byte, as the records of TLS do.
const READ_COST: usize = 4 * 1024;

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
    /// The head of the latest request. It is kept in case the request must be sent again.
    head: RefCell<WrittenHead>,
    /// What was read in a row since the latest request was sent, see [`BEFORE_ANSWER_MAX`]; `None` once its response
    /// has come.
    read_before_answer: Cell<Option<usize>>,
    /// What comes before the response to the latest request.
    interims: RefCell<Interims>,
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
            has_more: false,
            is_tunnel: false,
        })
    }

    pub(super) fn new(socket: Rc<Socket>, client: Option<SocketAddr>, epoch: u64) -> Self {
        Self {
            socket,
            client,
            epoch,
            head: RefCell::default(),
            read_before_answer: Cell::default(),
            interims: RefCell::default(),
            may_be_tunnel: Cell::default(),
            tls_failure: RefCell::default(),
        }
    }

    /// A request is about to be written, with what is added to it.
    pub(super) fn begin(&self, added: &Added) {
        self.head.borrow_mut().begin(added);
        self.read_before_answer.set(Some(0));
        self.interims.borrow_mut().begin();
    }

    /// Sets whether the endpoint may have gone over to another protocol.
    pub(super) fn set_tunnel(&self, may_be_tunnel: bool) {
        self.may_be_tunnel.set(may_be_tunnel);
    }

    /// Takes the interim responses that have come since the last call.
    #[inline]
    pub(super) fn pass_interims(&self, pass_on: &dyn Fn(Response<()>)) {
        if self.interims.borrow().has_any() {
            self.interims.borrow_mut().take().into_iter().for_each(pass_on);
        }
    }

    /// The response head has come.
    pub fn answered(&self) {
        self.read_before_answer.set(None);
    }

    /// Counts what is read while a response is awaited, `None` if there was nothing, and fails on a flood of interim
    /// responses.
    #[inline]
    fn read(&self, bytes: Option<usize>) -> io::Result<()> {
        let Some(before) = self.read_before_answer.get() else { return Ok(()) };
        let read = bytes.map_or(0, |bytes| before + READ_COST + bytes);
        self.read_before_answer.set(Some(read));
        if read <= BEFORE_ANSWER_MAX { Ok(()) } else { Err(io::Error::other(InterimFlood)) }
    }

    /// Why TLS ended, if it was TLS that failed.
    pub(super) fn tls_failure(&self) -> Option<rustls::Error> {
        self.tls_failure.borrow().clone()
    }

    /// Bytes written since the connection was established, those of the handshake included.
    pub fn bytes_written(&self) -> u64 {
        self.socket.bytes_written()
    }

    /// The header fields of the latest request, without those that were added; `None` if its head was not handed to the
    /// socket.
    ///
    /// Reading back what was written costs nothing as long as nothing fails; a copy of the fields, made in advance for
    /// each request, would cost two allocations and two counted references per field.
    pub fn header_fields(&self) -> Option<HeaderMap> {
        self.head.borrow().fields()
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
    /// Whether HTTP may have more to write than was taken: it flushes when everything was.
    has_more: bool,
    is_tunnel: bool,
}

impl UpstreamIo {
    /// The record. It stays readable when this is gone.
    pub(super) fn record(&self) -> &Rc<Record> {
        &self.record
    }

    /// From now on a failed write looks as if it were blocked. What the endpoint sent before it closed, a 413 for
    /// example, is still to be read, and then comes the end. hyper would give up reading. The deadline for the response
    /// bounds the wait.
    pub(super) fn read_on_after_failed_writes(&mut self) {
        self.reads_on = true;
    }

    /// From now on it carries another protocol, and a failed write is reported. An endpoint may have agreed before it
    /// has read the whole request: what is left of the head is written first. Returns whether that is all that is left,
    /// because hyper no longer writes.
    pub(super) fn begin_tunnel(&mut self) -> bool {
        (self.reads_on, self.is_tunnel) = (false, true);
        let head = self.record.head.borrow();
        !self.has_more || head.is_due() && head.is_all()
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

    /// Writes what is left of the head, with what is added to it, and `behind` it what hyper writes too. hyper hears of
    /// it when the whole head is out.
    fn poll_write_head(&mut self, cx: &mut Context<'_>, behind: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let record = Rc::clone(&self.record);
        loop {
            let written = {
                let head = record.head.borrow();
                let parts = head.parts(behind);
                ready!(self.poll_unless_failed(cx, |transport, cx| transport.poll_write(cx, &parts)))?
            };
            match record.head.borrow_mut().wrote(written) {
                Some(of_hyper) => return Poll::Ready(Ok(of_hyper)),
                None if written == 0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                None => {}
            }
        }
    }

    /// Writes what is left of the head in front of a tunnel.
    #[inline]
    fn poll_rest_of_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_tunnel && self.record.head.borrow().is_due() {
            ready!(self.poll_write_head(cx, &[]))?;
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
        let before = buf.filled().len();
        let polled = match self.failed_write {
            Some(_) => self.poll_read_behind_failure(cx, buf),
            None => self.transport.poll_read(cx, buf),
        };
        if polled.is_ready() && self.record.interims.borrow().is_open() {
            self.record.interims.borrow_mut().read(buf.filled().get(before..).unwrap_or_default());
        }
        self.record.read(polled.is_ready().then(|| buf.filled().len().saturating_sub(before)))?;
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
        ready!(self.poll_rest_of_head(cx))?;
        self.has_more = true;
        if let Some((first, behind)) = bufs.split_first()
            && !self.is_tunnel
            && self.record.head.borrow_mut().take(first)?
        {
            return self.poll_write_head(cx, behind);
        }
        self.poll_unless_failed(cx, |transport, cx| transport.poll_write(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rest_of_head(cx))?;
        self.has_more = false;
        self.poll_unless_failed(cx, |transport, cx| transport.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rest_of_head(cx))?;
        self.transport.poll_shutdown(cx)
    }
}
