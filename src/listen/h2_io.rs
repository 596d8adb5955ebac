//! What h2 reads and writes: a client's connection, of which the guard sees every frame head, and h2 all frames but
//! those that say nothing.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::client_io::ClientIo;
use super::h2_ends::KeptEnds;
use super::h2_guard::Guard;
use crate::net::empty_frames::{EMPTY_MAX, Filter};
use crate::net::h2_backlog::{Backlog, total};
use crate::net::h2_signals::BodySignals;

/// What is known of a connection from what was read and written.
#[derive(Debug)]
pub(super) struct Watch {
    /// Inspects every frame head.
    pub(super) guard: RefCell<Guard>,
    /// The streams of which h2 does not hear that the client has ended them.
    kept_ends: RefCell<KeptEnds>,
    /// How often something was read from the client.
    pub(super) reads: Cell<u64>,
    /// Empty DATA frames that h2 was given.
    empty: Cell<u32>,
    /// What the client has not read. While it is full, nothing is read from the client, so that nothing adds to it:
    /// `client_write` is the deadline then.
    pub(super) backlog: Backlog,
    /// Whether our half has been closed. What the client still sends is discarded until it closes its half too.
    pub(super) is_shut: Cell<bool>,
}

impl Watch {
    fn heard(&self) {
        self.reads.set(self.reads.get().wrapping_add(1));
    }

    /// From now on h2 does not hear that the client has ended this stream; see [`super::h2_ends`].
    pub(super) fn keep_end(&self, stream: u32, signals: &Rc<BodySignals>) {
        self.kept_ends.borrow_mut().begin(stream, signals);
    }

    /// Whether h2 would end the connection before long.
    pub(super) fn is_worn(&self) -> bool {
        self.empty.get() >= EMPTY_MAX
    }

    /// For a connection whose client may have `streams_max` streams open at once.
    pub(super) fn new(streams_max: u32) -> Rc<Self> {
        Rc::new(Self {
            guard: RefCell::new(Guard::new(Instant::now(), streams_max)),
            kept_ends: RefCell::default(),
            reads: Cell::default(),
            empty: Cell::default(),
            backlog: Backlog::default(),
            is_shut: Cell::default(),
        })
    }
}

/// The I/O object that h2 is given for one client connection; see the module.
pub(super) struct WatchedIo {
    io: ClientIo,
    filter: Filter,
    watch: Rc<Watch>,
}

impl WatchedIo {
    pub(super) fn new(io: ClientIo, watch: Rc<Watch>) -> Self {
        Self { io, filter: Filter::behind_preface(), watch }
    }
}

impl AsyncRead for WatchedIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { io, filter, watch } = self.get_mut();
        ready!(watch.backlog.poll_room(cx));
        let before = buf.filled().len();
        let mut ends = watch.kept_ends.borrow_mut();
        loop {
            ends.pass_on();
            ready!(Pin::new(&mut *io).poll_read(cx, buf))?;
            watch.heard();
            let read = buf.filled_mut().get_mut(before..).unwrap_or_default();
            let seen = watch.guard.borrow_mut().inspect(read, Instant::now(), |stream, at| ends.saw(stream, at));
            seen.map_err(|abuse| {
                tracing::warn!(client = %io.peer(), "connection closed: {}", abuse.name());
                io::Error::new(io::ErrorKind::InvalidData, abuse.name())
            })?;
            let (is_end, without_ends) = (read.is_empty(), ends.remove_from(read));
            let (kept, stayed) = filter.pass(read.get_mut(..without_ends).unwrap_or_default());
            watch.empty.set(watch.empty.get().saturating_add(stayed));
            buf.set_filled(before + kept);
            // No bytes would mean the end.
            if kept > 0 || is_end {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for WatchedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch.backlog.wrote(buf.len(), result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch.backlog.wrote(total(bufs), result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Closes our half, then reads until the client closes its half. A client goes on sending window updates while it
    /// reads a response. If they met a closed socket, the reset would destroy what it has not read yet.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.watch.is_shut.get() {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.watch.is_shut.set(true);
        }
        let Self { io, watch, .. } = self.get_mut();
        io.poll_linger(cx, || watch.heard())
    }
}
