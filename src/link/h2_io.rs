//! What h2 reads and writes: a connection to an endpoint, without the frames that say nothing.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::record::UpstreamIo;
use crate::net::empty_frames::{EMPTY_MAX, Filter};
use crate::net::h2_backlog::{Backlog, total};

/// What was seen of the frames of a connection.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How often something was read.
    reads: Cell<u64>,
    /// Empty DATA frames that could not be left out, since their heads came in two reads.
    empty: Cell<u32>,
    /// The stream of the latest head in the latest read; 0 if there was none.
    latest_head: Cell<u32>,
    /// What the endpoint has not read.
    backlog: Backlog,
}

impl Seen {
    /// How often something was read from the endpoint.
    pub(super) fn reads(&self) -> u64 {
        self.reads.get()
    }

    /// Whether h2 has ended the connection for a head of another stream than this one. h2 builds names and values while
    /// it decompresses a head, so one with a byte that must not be there is an error of the connection to it.
    pub(super) fn is_ended_for_another(&self, stream: u32, error: &h2::Error) -> bool {
        let latest = self.latest_head.get();
        error.is_library() && error.is_go_away() && latest != 0 && latest != stream
    }

    /// Whether the endpoint reads so little that the connection must get no more requests.
    pub(super) fn is_full(&self) -> bool {
        self.backlog.is_full()
    }

    /// Whether the endpoint has not read all that it was sent.
    pub(super) fn is_behind(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Whether h2 would end the connection before long.
    pub(super) fn is_worn(&self) -> bool {
        self.empty.get() >= EMPTY_MAX
    }
}

/// The I/O object that h2 is given for a connection to an endpoint; see the module.
#[derive(Debug)]
pub(super) struct FilteredIo {
    io: UpstreamIo,
    filter: Filter,
    seen: Rc<Seen>,
}

impl FilteredIo {
    pub(super) fn new(io: UpstreamIo, seen: Rc<Seen>) -> Self {
        Self { io, filter: Filter::default(), seen }
    }
}

impl AsyncRead for FilteredIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { io, filter, seen } = self.get_mut();
        let before = buf.filled().len();
        loop {
            ready!(Pin::new(&mut *io).poll_read(cx, buf))?;
            seen.reads.set(seen.reads.get().wrapping_add(1));
            let read = buf.filled_mut().get_mut(before..).unwrap_or_default();
            let is_end = read.is_empty();
            let (kept, stayed) = filter.pass(read);
            seen.empty.set(seen.empty.get().saturating_add(stayed));
            seen.latest_head.set(filter.latest_head());
            buf.set_filled(before + kept);
            // No bytes would mean the end.
            if kept > 0 || is_end {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for FilteredIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.seen.backlog.wrote(buf.len(), result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.seen.backlog.wrote(total(bufs), result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
