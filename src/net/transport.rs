//! The bytes between HTTP and a socket: in plain text or in TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::Socket;

/// A socket with or without TLS; `S` is the TLS session of a client or of a server. The session is boxed, so that a
/// connection in plain text stays small.
#[derive(Debug)]
pub(crate) struct Transport<S> {
    pub(crate) socket: Rc<Socket>,
    session: Option<Box<S>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport<S> {
    /// A transport over `socket`. If there was a handshake, `session` holds its TLS and uses the same socket.
    pub(crate) fn new(socket: Rc<Socket>, session: Option<S>) -> Self {
        Self { socket, session: session.map(Box::new) }
    }

    /// Whether the connection is in TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.session.is_some()
    }

    /// See [`AsyncRead::poll_read`].
    #[inline(always)]
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.session {
            Some(session) => Pin::new(session).poll_read(cx, buf),
            None => self.socket.poll_read(cx, buf),
        }
    }

    /// See [`AsyncWrite::poll_write_vectored`].
    #[inline]
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut self.session {
            Some(session) => Pin::new(session).poll_write_vectored(cx, bufs),
            None => self.socket.poll_write(cx, bufs),
        }
    }

    /// See [`AsyncWrite::poll_flush`].
    #[inline]
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.session {
            Some(session) => Pin::new(session).poll_flush(cx),
            None => self.socket.poll_flush(cx),
        }
    }

    /// See [`AsyncWrite::poll_shutdown`].
    #[inline]
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.session {
            Some(session) => Pin::new(session).poll_shutdown(cx),
            None => self.socket.poll_shutdown(cx),
        }
    }
}
