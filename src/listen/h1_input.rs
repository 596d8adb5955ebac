//! What a client sends over HTTP/1.1: heads, and the bodies that follow them.
//!
//! Whoever wants a body reads it from here, part by part, and through it from the socket: nothing is read ahead, and
//! nothing is handed from one task to another. Once the body has ended the connection goes on with the next head.

mod body;

use std::cell::{RefCell, RefMut};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use body::Reader;

use super::client_io::{ClientIo, ClientTransport};
use super::h1_request::{self, BadHead, Head, HeadLimits};
use crate::link::client_body::ClientBody;
use crate::net::h1_decode::Decoder;
use crate::net::h1_encode::Encoder;
use crate::net::h1_read::{HEAD_READ, ReadBuffer, may_be_whole};

/// Bytes per read while the client's end is watched for, and the most that may have come in front of it.
const WATCHED_AT_ONCE: usize = 1024;
const WATCHED_MAX: usize = HEAD_READ;

/// Bytes that are read at once of a body, at most.
pub(crate) const READ_BYTES_MAX: usize = 64 * 1024;

/// A head of at most so many bytes is looked at whenever more of it comes, so that what is none is refused at once. A
/// longer one is looked at when it may be whole.
const LOOKED_AT_MAX: usize = 4 * 1024;

/// The connection of a client, in the hands of whoever serves it and of whoever reads a body. They may be different
/// tasks of one thread, so neither waits for the other.
#[derive(Clone)]
pub(super) struct Input(Rc<RefCell<Incoming>>);

pub(super) struct Incoming {
    /// The connection; `None` once it is closed.
    io: Option<ClientIo>,
    read: ReadBuffer,
    /// How much of `read` is known to be no whole head.
    looked_at: usize,
    /// Bytes of empty lines that have come in front of the head.
    empty: usize,
    stage: Stage,
    /// Whether the latest head came with a long part of its body.
    comes_large: bool,
    /// The number of heads that have been taken: a body belongs to the latest.
    heads: u64,
    /// Whether the client is to be told that it may send the body.
    wants_continue: bool,
    /// Parts of the body that were taken in one turn.
    in_a_row: usize,
    /// Whether the body breaks off behind what was read of it.
    is_over: bool,
    /// The task of the connection, while another one may read the body.
    task: Option<Waker>,
    /// Who waits for more of the body.
    reader: Option<Waker>,
}

/// What the client sends next.
#[derive(Debug)]
enum Stage {
    Head,
    Body {
        decoder: Decoder,
        /// Whether somebody may still read it.
        is_wanted: bool,
        /// Whether the client waits to be told that it may send it.
        is_held: bool,
    },
    /// Nothing: it has ended within a message, or broken the framing.
    Broken,
}

/// Why there is no next head.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoHead {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The client has closed its half within a head.
    #[error("the client closed its half within the head of a request")]
    Incomplete,
    /// The head is refused. Nothing behind it can be understood.
    #[error("{why}")]
    Refused {
        why: BadHead,
        /// What has come of its first line.
        line: Vec<u8>,
    },
}

impl Input {
    pub(super) fn new(io: ClientIo) -> Self {
        Self(Rc::new(RefCell::new(Incoming { io: Some(io), ..Incoming::closed() })))
    }

    pub(super) fn borrow(&self) -> RefMut<'_, Incoming> {
        self.0.borrow_mut()
    }

    /// The body behind the latest head.
    pub(super) fn body(&self) -> ClientBody {
        let incoming = self.0.borrow();
        match incoming.stage {
            Stage::Body { ref decoder, .. } => {
                let has_length = decoder.left().is_some();
                ClientBody::Http1(Box::new(Reader::new(self, incoming.heads, has_length)))
            }
            Stage::Head | Stage::Broken => ClientBody::Empty,
        }
    }
}

impl Incoming {
    /// Without a connection.
    fn closed() -> Self {
        Self {
            io: None,
            read: ReadBuffer::new(READ_BYTES_MAX),
            looked_at: 0,
            empty: 0,
            stage: Stage::Head,
            comes_large: false,
            heads: 0,
            wants_continue: false,
            in_a_row: 0,
            is_over: false,
            task: None,
            reader: None,
        }
    }

    /// Reads the next head. `None`: the client has closed its half in front of it.
    ///
    /// # Errors
    /// See [`NoHead`].
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>, limits: HeadLimits) -> Poll<Result<Option<Head>, NoHead>> {
        loop {
            let is_first = self.read.bytes.is_empty();
            if !is_first && let Some(head) = self.take_head(limits)? {
                return Poll::Ready(Ok(Some(self.begin(head))));
            }
            let Some(io) = &mut self.io else { return Poll::Ready(Ok(None)) };
            if self.read.bytes.is_empty() {
                io.await_head();
            } else {
                io.await_rest_of_head();
                if ready!(self.read.poll_more(io, cx, HEAD_READ))? == 0 {
                    return Poll::Ready(Err(NoHead::Incomplete));
                }
                continue;
            }
            if self.comes_large {
                if ready!(self.poll_large(cx))? == 0 {
                    return Poll::Ready(Ok(None));
                }
                continue;
            }
            // Most heads come whole: they are read into memory that all connections share.
            let mut space = [MaybeUninit::uninit(); HEAD_READ];
            let mut new = ReadBuf::uninit(&mut space);
            match ready!(Pin::new(io).poll_read(cx, &mut new)) {
                // TCP has ended without a `close_notify` of TLS.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(None)),
                read => read?,
            }
            if new.filled().is_empty() {
                return Poll::Ready(Ok(None));
            }
            let (is_full, begin) = (new.filled().len() == HEAD_READ, h1_request::empty_lines(new.filled()));
            let new = new.filled().get(begin..).unwrap_or_default();
            self.count_empty(begin, limits)?;
            let parsed = h1_request::parse(new, limits).map_err(|why| NoHead::refused(why, new))?;
            let (head, used) = parsed.map_or((None, 0), |(head, used)| (Some(head), used));
            self.read.bytes.extend_from_slice(new.get(used..).unwrap_or_default());
            if let Some(head) = head {
                self.comes_large = is_full;
                return Poll::Ready(Ok(Some(self.begin(head))));
            }
            self.looked_at = self.read.bytes.len();
        }
    }

    /// Reads into memory from which a body can be passed on as it is.
    #[cold]
    fn poll_large(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Ok(0)) };
        let polled = self.read.poll_more(io, cx, usize::MAX);
        match polled {
            Poll::Ready(Ok(read)) => self.comes_large = read >= HEAD_READ,
            // A connection that waits for its next request holds no memory for it.
            _ => self.read.bytes = BytesMut::new(),
        }
        polled
    }

    /// Takes the head with which what was read begins, if it is whole.
    fn take_head(&mut self, limits: HeadLimits) -> Result<Option<Head>, NoHead> {
        let empty = h1_request::empty_lines(&self.read.bytes);
        self.read.bytes.advance(empty);
        self.looked_at = self.looked_at.saturating_sub(empty);
        self.count_empty(empty, limits)?;
        let (bytes, known) = (&self.read.bytes, self.looked_at);
        if bytes.len() <= known && known > 0 || bytes.is_empty() {
            return Ok(None);
        }
        if bytes.len() > LOOKED_AT_MAX && bytes.len() <= limits.bytes && known > 0 && !may_be_whole(bytes, known) {
            self.looked_at = bytes.len();
            return Ok(None);
        }
        let Some((head, used)) = h1_request::parse(bytes, limits).map_err(|why| NoHead::refused(why, bytes))? else {
            self.looked_at = bytes.len();
            return Ok(None);
        };
        self.read.bytes.advance(used);
        Ok(Some(head))
    }

    /// Empty lines in front of a head are none of it, but there is an end to them.
    fn count_empty(&mut self, bytes: usize, limits: HeadLimits) -> Result<(), NoHead> {
        self.empty += bytes;
        if self.empty > limits.bytes { Err(NoHead::refused(BadHead::TooLarge, b"")) } else { Ok(()) }
    }

    /// What follows the head is its body, if it has one.
    fn begin(&mut self, mut head: Head) -> Head {
        if self.read.bytes.is_empty() {
            self.read.bytes = BytesMut::new();
        }
        (self.looked_at, self.empty) = (0, 0);
        self.heads = self.heads.wrapping_add(1);
        self.in_a_row = 0;
        self.read.begin_message();
        // Many small heads are no reason for large reads.
        self.comes_large &= head.body.is_some();
        if let Some(decoder) = head.body.take() {
            self.stage = Stage::Body { decoder, is_wanted: true, is_held: head.expects_continue };
        }
        head
    }

    /// Wakes the task of the connection, unless it is the present one.
    fn wake(&mut self, cx: &Context<'_>) {
        if let Some(task) = self.task.take_if(|task| !task.will_wake(cx.waker())) {
            task.wake();
        }
    }

    /// The task that `cx` wakes is told when the body has ended, or nobody wants it any more.
    pub(super) fn follow(&mut self, cx: &Context<'_>) {
        follow(&mut self.task, cx);
    }

    /// Whether something was read that nobody has used.
    pub(super) fn holds_unread(&self) -> bool {
        !self.read.bytes.is_empty()
    }

    /// Whether a head can follow.
    pub(super) fn is_at_head(&self) -> bool {
        matches!(self.stage, Stage::Head)
    }

    /// Closes the connection, unless somebody has taken it.
    pub(super) fn close(&mut self) {
        self.end_body();
        self.io = None;
    }

    /// See [`Encoder::poll_write`] and [`Encoder::poll_flush`]. Ready when everything is out, at least for the outbox.
    pub(super) fn poll_out(&mut self, encoder: &mut Encoder, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        if encoder.has_more() {
            ready!(encoder.poll_write(io, cx))?;
        } else if encoder.is_flushed() && !io.has_unsent() {
            return Poll::Ready(Ok(()));
        }
        encoder.poll_flush(io, cx)
    }

    /// Whether the kernel has not taken everything that was written.
    pub(super) fn has_unsent(&self) -> bool {
        self.io.as_ref().is_some_and(ClientIo::has_unsent)
    }

    /// Watches for the client's end while nothing else is read: ready when the client has closed its half, or with the
    /// error that ended the connection. What the client sends instead is kept; behind much of it the end is not seen.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Ok(())) };
        while self.read.bytes.len() < WATCHED_MAX {
            let mut space = [MaybeUninit::uninit(); WATCHED_AT_ONCE];
            let mut new = ReadBuf::uninit(&mut space);
            match ready!(Pin::new(&mut *io).poll_read(cx, &mut new)) {
                // TCP has ended without a `close_notify` of TLS.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(error)),
                Ok(()) if new.filled().is_empty() => return Poll::Ready(Ok(())),
                Ok(()) => self.read.bytes.extend_from_slice(new.filled()),
            }
        }
        Poll::Pending
    }

    /// See [`ClientIo::poll_shutdown`].
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().map_or(Poll::Ready(Ok(())), |io| Pin::new(io).poll_shutdown(cx))
    }

    /// Whether our half of the connection has been closed.
    pub(super) fn is_shut(&self) -> bool {
        self.io.as_ref().is_none_or(ClientIo::is_shut)
    }

    /// The transport, if nothing was read that somebody has still to use, and nothing waits to be sent.
    pub(super) fn take_transport(&mut self) -> Option<ClientTransport> {
        let is_idle = self.read.bytes.is_empty() && self.is_at_head();
        self.io.take_if(|io| is_idle && !io.has_unsent()).map(ClientIo::into_transport)
    }

    /// The connection, and what was read from it and not used.
    pub(super) fn take(&mut self) -> Option<(ClientIo, Bytes)> {
        let ahead = std::mem::take(&mut self.read.bytes).freeze();
        self.io.take().map(|io| (io, ahead))
    }
}

impl NoHead {
    fn refused(why: BadHead, bytes: &[u8]) -> Self {
        Self::Refused { why, line: h1_request::first_line(bytes).to_vec() }
    }
}

/// Remembers the task that `cx` wakes.
fn follow(task: &mut Option<Waker>, cx: &Context<'_>) {
    if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
        *task = Some(cx.waker().clone());
    }
}
