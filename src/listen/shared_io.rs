//! The I/O object of an HTTP/1.1 client, in the hands of two: hyper reads and writes, and the lifecycle of the
//! connection watches for the end of the client meanwhile. Both belong to one task, so neither waits for the other.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client_io::{ClientIo, ClientTransport};

/// See the module.
#[derive(Clone)]
pub(super) struct SharedIo(Rc<RefCell<ClientIo>>);

impl SharedIo {
    pub(super) fn new(io: ClientIo) -> Self {
        Self(Rc::new(RefCell::new(io)))
    }

    /// See [`ClientIo::unread`].
    pub(super) fn unread(&self, bytes: &[u8]) {
        self.0.borrow_mut().unread(bytes);
    }

    /// See [`ClientIo::holds_nothing`].
    pub(super) fn holds_nothing(&self) -> bool {
        self.0.borrow().holds_nothing()
    }

    /// See [`ClientIo::take_transport`].
    pub(super) fn take_transport(&self) -> ClientTransport {
        self.0.borrow_mut().take_transport()
    }

    /// See [`ClientIo::go_on_with`].
    pub(super) fn go_on_with(&self, head: &'static [u8]) {
        self.0.borrow_mut().go_on_with(head);
    }

    /// See [`ClientIo::waits_behind_body`].
    pub(super) fn waits_behind_body(&self) -> bool {
        self.0.borrow().waits_behind_body()
    }

    /// See [`ClientIo::is_shut`].
    pub(super) fn is_shut(&self) -> bool {
        self.0.borrow().is_shut()
    }

    /// See [`ClientIo::poll_end`].
    pub(super) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_end(cx)
    }

    /// See [`ClientIo::send_interims`].
    pub(super) fn send_interims(&self, cx: &mut Context<'_>) {
        self.0.borrow_mut().send_interims(cx);
    }
}

impl AsyncRead for SharedIo {
    #[inline(always)]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, buf)
    }
}

impl AsyncWrite for SharedIo {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }
}
