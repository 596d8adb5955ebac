//! A request on its way to an endpoint over HTTP/1.1: its head, then its body.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Request};
use http_body::Body as _;

use super::added::Added;
use super::error::Http1Error;
use super::record::UpstreamIo;
use super::request_body::{BrokenOff, RequestBody};
use crate::fields::LINE_END;
use crate::net::h1_encode::{Encoder, Framing, WrongLength, write_line};

/// A request that is being written; see the module.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    encoder: Encoder,
    body: RequestBody,
    /// Whether the body has broken off. What follows must not look like its end.
    is_broken: bool,
}

impl Outgoing {
    /// A request of which the body is taken. What is `added` follows its fields.
    pub(super) fn new(request: &mut Request<RequestBody>, added: &Added) -> Self {
        let body = std::mem::take(request.body_mut());
        let framing = (!body.is_empty()).then(|| framing(request.headers(), &body));
        let mut encoder = Encoder::default();
        write_head(encoder.text(), request, framing.as_ref(), added);
        encoder.begin_body(framing);
        Self { encoder, body, is_broken: false }
    }

    /// Whether the layer below has taken the whole request, and has nothing left of it.
    pub(super) fn is_out(&self) -> bool {
        self.encoder.is_out()
    }

    /// What is left to be written of a request that has no more to come; `None` if more of its body may come.
    pub(super) fn into_rest(self) -> Option<Bytes> {
        self.encoder.into_rest()
    }

    /// Writes what can be written. Ready when all of it is out, at least for the outbox of the worker.
    #[inline]
    pub(super) fn poll(&mut self, io: &mut UpstreamIo, cx: &mut Context<'_>) -> Poll<Result<(), Http1Error>> {
        if self.is_out() && !io.record().socket.has_unsent() {
            return Poll::Ready(Ok(()));
        }
        self.poll_out(io, cx)
    }

    fn poll_out(&mut self, io: &mut UpstreamIo, cx: &mut Context<'_>) -> Poll<Result<(), Http1Error>> {
        loop {
            // What is there is written, whether or not more is awaited.
            let filled = if self.is_broken { Poll::Ready(Err(Http1Error::RequestBody)) } else { self.fill(cx) };
            self.is_broken = matches!(filled, Poll::Ready(Err(_)));
            let filled = filled?;
            if self.encoder.has_more() {
                ready!(self.encoder.poll_write(io, cx))?;
            }
            if filled.is_ready() && !self.encoder.is_last() {
                continue;
            }
            _ = self.encoder.poll_flush(io, cx)?;
            return if self.is_out() { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
    }

    /// Takes what there is of the body, until there is enough for a write. Pending if more of it is awaited.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Http1Error>> {
        while self.encoder.wants_more() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => self.encoder.add(frame, self.body.is_end_stream())?,
                Some(Err(BrokenOff)) => return Poll::Ready(Err(Http1Error::RequestBody)),
                None => self.encoder.end(None)?,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl From<WrongLength> for Http1Error {
    fn from(WrongLength: WrongLength) -> Self {
        Self::RequestBody
    }
}

/// How the head is going to say that the body ends. What the client has said of it does not count.
fn framing(headers: &HeaderMap, body: &RequestBody) -> Framing {
    match body.size_hint().exact() {
        Some(length) => Framing::Length(length),
        None => Framing::chunked(headers),
    }
}

/// Writes the head: request line, fields, the framing of the body if there is one, and what is added.
fn write_head(out: &mut Vec<u8>, request: &Request<RequestBody>, body: Option<&Framing>, added: &Added) {
    let uri = request.uri();
    out.extend_from_slice(request.method().as_str().as_bytes());
    out.push(b' ');
    match (uri.scheme(), uri.authority(), uri.path_and_query()) {
        (None, None, Some(target)) => out.extend_from_slice(target.as_str().as_bytes()),
        _ => out.extend_from_slice(uri.to_string().as_bytes()),
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in request.headers() {
        // There is one framing, which is ours. Without a body its length may be told, a coding may not.
        if *name == TRANSFER_ENCODING || body.is_some() && *name == CONTENT_LENGTH {
            continue;
        }
        write_line(out, name.as_str(), value.as_bytes());
    }
    match body {
        Some(Framing::Chunked { .. }) => write_line(out, TRANSFER_ENCODING.as_str(), b"chunked"),
        Some(Framing::Length(length)) => write_line(out, CONTENT_LENGTH.as_str(), length.to_string().as_bytes()),
        Some(Framing::UntilClose) | None => {}
    }
    added.write(out);
    out.extend_from_slice(LINE_END.as_bytes());
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn request(method: &str, target: &str, fields: &[(&'static str, &'static str)]) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::default());
        *request.method_mut() = method.parse().unwrap();
        *request.uri_mut() = target.parse().unwrap();
        for (name, value) in fields {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        request
    }

    fn text(request: &Request<RequestBody>, body: Option<&Framing>) -> String {
        let added = Added { forwarding: Bytes::from_static(b"via: b\r\n"), ..Added::default() };
        let mut out = Vec::new();
        write_head(&mut out, request, body, &added);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_head_has_one_framing_and_ends_with_what_is_added() {
        let fields = [("host", "a"), ("transfer-encoding", "chunked"), ("x-two", "1"), ("x-two", "2")];
        let (chunked, five) = (Framing::Chunked { trailers: Box::default() }, Framing::Length(5));
        let both = [("content-length", "7"), ("transfer-encoding", "chunked")];
        for (request, body, expected) in [
            // A transfer coding without a body would announce one.
            (request("GET", "/x?y", &fields), None, "GET /x?y HTTP/1.1\r\nhost: a\r\nx-two: 1\r\nx-two: 2\r\n"),
            (request("POST", "/", &[("content-length", "0")]), None, "POST / HTTP/1.1\r\ncontent-length: 0\r\n"),
            (request("OPTIONS", "*", &[]), None, "OPTIONS * HTTP/1.1\r\n"),
            (request("POST", "/", &both), Some(&chunked), "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n"),
            (request("PUT", "/", &both), Some(&five), "PUT / HTTP/1.1\r\ncontent-length: 5\r\n"),
            (request("PUT", "/", &[]), Some(&five), "PUT / HTTP/1.1\r\ncontent-length: 5\r\n"),
        ] {
            assert_eq!(text(&request, body), format!("{expected}via: b\r\n\r\n"));
        }
    }
}
