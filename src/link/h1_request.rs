//! A request on its way to an endpoint over HTTP/1.1: its head, and its body in the framing that the head announces.
//!
//! What is small (the head, the lines of chunks, short parts of the body) is collected as text; a longer part of the
//! body is written from where it was read. At most one such part is held, so an upload has only as much in hand as one
//! write takes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::header::{CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Request};
use http_body::{Body as _, Frame};
use tokio::io::AsyncWrite as _;

use super::added::Added;
use super::error::Http1Error;
use super::record::UpstreamIo;
use super::request_body::{BrokenOff, RequestBody};
use crate::fields::{LINE_END, NAME_END};

/// Room for the text of an ordinary head, in bytes.
const HEAD_ROOM: usize = 1024;

/// Shorter parts of a body are copied into the text, so that they leave with what precedes and follows them.
const SHORT: usize = 2048;

/// With so much text in hand it is written before more of the body is asked for.
const TEXT_MAX: usize = 16 * 1024;

/// The last chunk, which has no data (RFC 9112 section 7.1), and the end of a chunk in front of one without trailers.
const LAST_CHUNK: &[u8] = b"0\r\n";
const LAST_END: &[u8] = b"\r\n0\r\n\r\n";

/// A request that is being written; see the module.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    text: Vec<u8>,
    /// How much of `text` has been taken.
    taken: usize,
    /// What follows `text`.
    data: Bytes,
    /// What follows `data`.
    end: &'static [u8],
    body: RequestBody,
    framing: Framing,
    /// Whether these hold the end of the request.
    is_last: bool,
    /// Whether the layer below has nothing left of what it has taken.
    is_flushed: bool,
    /// Whether the body has broken off. What follows must not look like its end.
    is_broken: bool,
}

/// How the body is delimited (RFC 9112 section 6).
#[derive(Debug)]
enum Framing {
    /// So many bytes of it are still to come.
    Length(u64),
    Chunked {
        /// The fields that the head announces in `Trailer`. Others do not stand in the trailers.
        trailers: Box<[HeaderName]>,
    },
}

impl Default for Framing {
    fn default() -> Self {
        Self::Length(0)
    }
}

impl Outgoing {
    /// A request of which the body is taken. What is `added` follows its fields.
    pub(super) fn new(request: &mut Request<RequestBody>, added: &Added) -> Self {
        let body = std::mem::take(request.body_mut());
        let is_last = body.is_empty();
        let framing = if is_last { Framing::default() } else { Framing::of(request.headers(), &body) };
        let mut text = Vec::with_capacity(HEAD_ROOM);
        write_head(&mut text, request, Some(&framing).filter(|_| !is_last), added);
        Self {
            text,
            taken: 0,
            data: Bytes::new(),
            end: &[],
            body,
            framing,
            is_last,
            is_flushed: false,
            is_broken: false,
        }
    }

    /// Whether the layer below has taken the whole request, and has nothing left of it.
    pub(super) fn is_out(&self) -> bool {
        self.is_last && self.is_flushed && !self.has_more()
    }

    /// What is left to be written of a request that has no more to come; `None` if more of its body may come.
    pub(super) fn into_rest(self) -> Option<Bytes> {
        if !self.is_last {
            return None;
        }
        let mut text = self.text;
        text.extend_from_slice(&self.data);
        text.extend_from_slice(self.end);
        Some(Bytes::from(text).slice(self.taken..))
    }

    fn has_more(&self) -> bool {
        self.taken < self.text.len() || !self.data.is_empty() || !self.end.is_empty()
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
            _ = filled?;
            if self.has_more() {
                let parts = [&self.text[self.taken..], &self.data, self.end].map(IoSlice::new);
                let parts = if self.data.is_empty() && self.end.is_empty() { &parts[..1] } else { &parts[..] };
                let taken = ready!(Pin::new(&mut *io).poll_write_vectored(cx, parts))?;
                if taken == 0 {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into()));
                }
                self.take(taken);
                continue;
            }
            self.is_flushed = Pin::new(&mut *io).poll_flush(cx)?.is_ready();
            return if self.is_out() { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
    }

    /// So many bytes were taken. Memory that is no longer needed is given back: the next request is as well off with
    /// what another one has just used.
    fn take(&mut self, bytes: usize) {
        self.is_flushed = false;
        let of_text = bytes.min(self.text.len() - self.taken);
        self.taken += of_text;
        let of_data = (bytes - of_text).min(self.data.len());
        self.data.advance(of_data);
        self.end = self.end.get(bytes - of_text - of_data..).unwrap_or_default();
        if self.taken == self.text.len() {
            (self.text, self.taken) = (Vec::new(), 0);
        }
        if self.data.is_empty() {
            self.data = Bytes::new();
        }
    }

    /// Takes what there is of the body, until there is enough for a write. Pending if more of it is awaited.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Http1Error>> {
        while !self.is_last && self.data.is_empty() && self.end.is_empty() && self.text.len() < TEXT_MAX {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => self.add(frame)?,
                Some(Err(BrokenOff)) => return Poll::Ready(Err(Http1Error::RequestBody)),
                None => self.end(None)?,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn add(&mut self, frame: Frame<Bytes>) -> Result<(), Http1Error> {
        match frame.into_data() {
            Ok(data) => self.add_data(data)?,
            Err(frame) => return self.end(frame.into_trailers().ok()),
        }
        if self.body.is_end_stream() { self.end(None) } else { Ok(()) }
    }

    fn add_data(&mut self, data: Bytes) -> Result<(), Http1Error> {
        if data.is_empty() {
            // A chunk without data would be the last.
            return Ok(());
        }
        let end = match &mut self.framing {
            // More than was announced would be read as another request.
            Framing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Http1Error::RequestBody)?;
                &[]
            }
            Framing::Chunked { .. } => {
                write_size(&mut self.text, data.len());
                LINE_END.as_bytes()
            }
        };
        if data.len() <= SHORT {
            self.text.extend_from_slice(&data);
            self.text.extend_from_slice(end);
        } else {
            (self.data, self.end) = (data, end);
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Http1Error> {
        match &mut self.framing {
            Framing::Length(0) => {}
            Framing::Length(_) => return Err(Http1Error::RequestBody),
            Framing::Chunked { .. } if !self.end.is_empty() => self.end = LAST_END,
            Framing::Chunked { trailers: announced } => {
                self.text.extend_from_slice(LAST_CHUNK);
                for (name, value) in trailers.iter().flatten().filter(|(name, _)| announced.contains(name)) {
                    write_line(&mut self.text, name.as_str(), value.as_bytes());
                }
                self.text.extend_from_slice(LINE_END.as_bytes());
            }
        }
        self.is_last = true;
        Ok(())
    }
}

impl Framing {
    /// How the head is going to say that the body ends. What the client has said of it does not count.
    fn of(headers: &HeaderMap, body: &RequestBody) -> Self {
        match body.size_hint().exact() {
            Some(length) => Self::Length(length),
            None => Self::chunked(headers),
        }
    }

    #[cold]
    fn chunked(headers: &HeaderMap) -> Self {
        let names = headers.get_all(TRAILER).iter().flat_map(|list| list.as_bytes().split(|&byte| byte == b','));
        let trailers = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect();
        Self::Chunked { trailers }
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
        None => {}
    }
    added.write(out);
    out.extend_from_slice(LINE_END.as_bytes());
}

#[inline]
fn write_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(NAME_END.as_bytes());
    out.extend_from_slice(value);
    out.extend_from_slice(LINE_END.as_bytes());
}

/// Writes the first line of a chunk (RFC 9112 section 7.1).
fn write_size(out: &mut Vec<u8>, size: usize) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digits = size.checked_ilog(16).unwrap_or(0) + 1;
    out.extend((0..digits).rev().map(|place| DIGITS[size >> (4 * place) & 15]));
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

    /// What is written of `outgoing` if so much is taken at once.
    fn wire(outgoing: &mut Outgoing, at_once: usize) -> Vec<u8> {
        let mut wire = Vec::new();
        while outgoing.has_more() {
            let parts = [&outgoing.text[outgoing.taken..], &outgoing.data, outgoing.end].concat();
            let taken = at_once.min(parts.len());
            wire.extend_from_slice(&parts[..taken]);
            outgoing.take(taken);
        }
        wire
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

    #[test]
    fn a_body_is_written_in_its_framing_however_little_is_taken_at_once() {
        let long = "x".repeat(3000);
        let chunked = || Framing::Chunked { trailers: ["x-sum".parse().unwrap()].into() };
        let trailers = HeaderMap::from_iter([
            ("x-sum".parse().unwrap(), HeaderValue::from_static("1")),
            ("x-other".parse().unwrap(), HeaderValue::from_static("2")),
        ]);
        for at_once in [1, 2, 7, 100, 5000] {
            for (framing, parts, trailers, expected) in [
                (Framing::Length(6), vec!["abc", "", "def"], None, "abcdef".to_owned()),
                (Framing::Length(3000), vec![&long], None, long.clone()),
                (Framing::Length(0), vec![], None, String::new()),
                (chunked(), vec![], None, "0\r\n\r\n".into()),
                (chunked(), vec!["abc", &long], None, format!("3\r\nabc\r\nBB8\r\n{long}\r\n0\r\n\r\n")),
                // What the head has not announced does not stand in the trailers.
                (chunked(), vec!["abc"], Some(&trailers), "3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n".into()),
            ] {
                let mut outgoing = Outgoing { framing, ..Outgoing::default() };
                let mut written = Vec::new();
                for part in &parts {
                    outgoing.add_data(Bytes::copy_from_slice(part.as_bytes())).unwrap();
                    written.extend(wire(&mut outgoing, at_once));
                }
                outgoing.end(trailers.cloned()).unwrap();
                written.extend(wire(&mut outgoing, at_once));
                assert_eq!(String::from_utf8(written).unwrap(), expected, "{at_once} at once");
                assert!(outgoing.is_last && outgoing.text.capacity() == 0, "nothing is kept");
            }
        }
    }

    #[test]
    fn the_end_leaves_with_the_last_data() {
        let mut outgoing = Outgoing { framing: Framing::Chunked { trailers: Box::default() }, ..Outgoing::default() };
        outgoing.add_data(Bytes::from(vec![b'x'; SHORT + 1])).unwrap();
        outgoing.end(None).unwrap();
        assert!(wire(&mut outgoing, usize::MAX).ends_with(b"x\r\n0\r\n\r\n"));
    }

    #[test]
    fn a_body_of_another_length_than_was_announced_breaks_off() {
        let mut longer = Outgoing { framing: Framing::Length(2), ..Outgoing::default() };
        assert!(longer.add_data(Bytes::from_static(b"abc")).is_err());
        let mut shorter = Outgoing { framing: Framing::Length(2), ..Outgoing::default() };
        shorter.add_data(Bytes::from_static(b"a")).unwrap();
        assert!(shorter.end(None).is_err() && !shorter.is_last);
    }

    #[test]
    fn what_is_left_in_front_of_a_tunnel_is_all_of_it() {
        let mut outgoing = Outgoing::new(&mut request("GET", "/", &[("upgrade", "x")]), &Added::default());
        outgoing.take(4);
        assert_eq!(outgoing.into_rest().unwrap(), "/ HTTP/1.1\r\nupgrade: x\r\n\r\n");
        assert!(Outgoing { framing: Framing::Length(2), ..Outgoing::default() }.into_rest().is_none());
    }

    #[test]
    fn sizes_are_hexadecimal() {
        for (size, expected) in [(1, "1"), (15, "F"), (16, "10"), (255, "FF"), (65_536, "10000")] {
            let mut out = Vec::new();
            write_size(&mut out, size);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\r\n"));
        }
    }
}
