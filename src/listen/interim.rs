//! Interim responses for a client of HTTP/1.1. hyper cannot send any, so they are written beside it, in front of the
//! next bytes that it writes.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::Response;

use super::client_io::ClientTransport;
use crate::deadlines::Wait;
use crate::proxy::client::Client;

/// Their bytes that have not been written.
#[derive(Debug, Default)]
pub(super) struct Front(Bytes);

impl Front {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes the interim responses that wait. They are left out if hyper may have written something in part, as a 100
    /// of its own.
    pub(super) fn poll_write(
        &mut self,
        transport: &mut ClientTransport,
        client: &Client,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if client.has_interims() {
            let waiting = client.take_interims();
            if self.0.is_empty() && !client.deadlines.is_armed(Wait::ClientWrite) {
                self.0 = encode(&waiting);
            }
        }
        while !self.0.is_empty() {
            let written = ready!(transport.poll_write(cx, &[IoSlice::new(&self.0)]))?;
            self.0.advance(written.min(self.0.len()));
        }
        Poll::Ready(Ok(()))
    }
}

/// The bytes of these responses (RFC 9112 section 4).
fn encode(heads: &[Response<()>]) -> Bytes {
    let mut bytes = BytesMut::new();
    for head in heads {
        let status = head.status();
        let reason = status.canonical_reason().unwrap_or_default();
        for part in ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"] {
            bytes.put_slice(part.as_bytes());
        }
        for (name, value) in head.headers() {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                bytes.put_slice(part);
            }
        }
        bytes.put_slice(b"\r\n");
    }
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_written_one_after_the_other() {
        let hints = Response::builder().status(103).header("link", "</a>").header("link", "</b>").body(()).unwrap();
        let other = Response::builder().status(199).body(()).unwrap();
        let expected = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nlink: </b>\r\n\r\nHTTP/1.1 199 \r\n\r\n";
        assert_eq!(encode(&[hints, other]), expected.as_bytes());
    }
}
