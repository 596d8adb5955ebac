//! What a probe reads: a bounded number of bytes, a part at a time.
//!
//! hyper reads over interim responses in a loop, for as long as the socket has any. A replica that sends them without
//! end, or frames or TLS records that bring nothing, would hold the control thread, and with it every deadline.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most bytes of a head.
const HEAD_BYTES_MAX: usize = 256 * 1024;

/// The most bytes of a body that are searched for the expected text.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;

/// The most bytes that a probe reads from its socket, TLS and all. The last read may bring more.
const BYTES_MAX: usize = HEAD_BYTES_MAX + BODY_BYTES_MAX;

/// A connection of a probe. After each part that it reads all other tasks have their turn, so that deadlines are seen.
pub(super) struct Rationed<T> {
    io: T,
    left: usize,
    /// Whether the others have not had their turn since the last read.
    has_read: bool,
}

impl<T> Rationed<T> {
    pub(super) fn new(io: T) -> Self {
        Self { io, left: BYTES_MAX, has_read: false }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Rationed<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.has_read) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.left == 0 {
            let why = format!("more than {} KiB, or interim responses without end", BYTES_MAX >> 10);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::FileTooLarge, why)));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let read = buf.filled().len().saturating_sub(before);
        self.left = self.left.saturating_sub(read);
        self.has_read = read > 0;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Rationed<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
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
