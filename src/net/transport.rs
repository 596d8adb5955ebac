//! The bytes of a connection between hyper and the socket: as they are, or in TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::outbox::Socket;

/// See the module; `S` is the TLS of a client or of a server.
#[derive(Debug)]
pub(crate) struct Transport<S> {
    pub(crate) socket: Rc<Socket>,
    session: Option<Box<TokioIo<S>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport<S> {
    /// Over `socket`, and over `session` if there was a handshake.
    pub(crate) fn new(socket: Rc<Socket>, session: Option<S>) -> Self {
        Self { socket, session: session.map(|session| Box::new(TokioIo::new(session))) }
    }

    /// Whether there was a handshake.
    pub(crate) fn is_tls(&self) -> bool {
        self.session.is_some()
    }

    /// See [`Read::poll_read`].
    #[inline(always)]
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match &mut self.session {
            Some(session) => Pin::new(session).poll_read(cx, buf),
            None => self.socket.poll_read(cx, buf),
        }
    }

    /// See [`Write::poll_write_vectored`].
    #[inline]
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut self.session {
            Some(session) => Pin::new(session).poll_write_vectored(cx, bufs),
            None => self.socket.poll_write(cx, bufs),
        }
    }

    /// See [`Write::poll_flush`].
    #[inline]
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.session {
            Some(session) => Pin::new(session).poll_flush(cx),
            None => self.socket.poll_flush(cx),
        }
    }

    /// See [`Write::poll_shutdown`].
    #[inline]
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.session {
            Some(session) => Pin::new(session).poll_shutdown(cx),
            None => self.socket.poll_shutdown(cx),
        }
    }
}
