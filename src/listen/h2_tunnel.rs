//! A stream of HTTP/2 as the client's end of a tunnel (RFC 8441 section 5): bytes in both directions.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reads and writes the data of one stream. It writes no more than the client's windows let out.
#[derive(Debug)]
pub(super) struct StreamIo {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// What was received and not read yet.
    ahead: Bytes,
    is_shut: bool,
}

impl StreamIo {
    pub(super) fn new(send: SendStream<Bytes>, receive: RecvStream) -> Self {
        Self { send, receive, ahead: Bytes::new(), is_shut: false }
    }
}

/// A client that cancels its stream has left. Other resets are failures.
fn is_leave(error: &h2::Error) -> bool {
    matches!(error.reason(), Some(Reason::NO_ERROR | Reason::CANCEL))
}

impl AsyncRead for StreamIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.ahead.is_empty() {
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(data)) => self.ahead = data,
                Some(Err(error)) if is_leave(&error) => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead.split_to(length));
        self.receive.flow_control().release_capacity(length).ok();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.send.reserve_capacity(buf.len());
        let mut capacity = self.send.capacity();
        while capacity == 0 {
            capacity = match ready!(self.send.poll_capacity(cx)) {
                Some(capacity) => capacity.map_err(io::Error::other)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
        }
        let now = &buf[..capacity.min(buf.len())];
        self.send.send_data(Bytes::copy_from_slice(now), false).map_err(io::Error::other)?;
        Poll::Ready(Ok(now.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.is_shut, true) {
            self.send.send_data(Bytes::new(), true).map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }
}
