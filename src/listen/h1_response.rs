//! The head of a response over HTTP/1.1 (RFC 9112 section 4), and the framing of its body.

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRAILER, TRANSFER_ENCODING};
use http::{HeaderValue, Response, StatusCode, Version};
use http_body::Body;
use hyper::ext::ReasonPhrase;

use super::date;
use crate::fields::{self, LINE_END};
use crate::net::h1_encode::{Framing, write_line};

/// What of a request decides how its response is written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    pub(super) is_head: bool,
    pub(super) version: Version,
    /// Whether the client says that it keeps trailers (RFC 9110 section 6.5.1).
    pub(super) takes_trailers: bool,
    /// Whether the client is not going to send another request.
    pub(super) is_last: bool,
}

/// Writes the head of `response`. It returns the framing of its body, if one follows, and whether the connection ends
/// behind it.
pub(super) fn write_head<B: Body>(out: &mut Vec<u8>, response: &Response<B>, asked: Asked) -> (Option<Framing>, bool) {
    let (status, headers) = (response.status(), response.headers());
    write_status(out, response, asked.version);
    let framing = framing(response, asked);
    let mut said = Said::default();
    for (name, value) in headers {
        match *name {
            CONTENT_LENGTH if !keeps_length(framing.as_ref(), asked, status) => continue,
            TRANSFER_ENCODING => continue,
            TRAILER if !matches!(framing, Some(Framing::Chunked { .. })) => continue,
            CONTENT_LENGTH => said.length = true,
            CONNECTION => said.note_connection(value),
            DATE => said.date = true,
            _ => {}
        }
        write_line(out, name.as_str(), value.as_bytes());
    }
    match &framing {
        Some(Framing::Chunked { .. }) => write_line(out, TRANSFER_ENCODING.as_str(), b"chunked"),
        Some(Framing::Length(length)) if !said.length => {
            write_line(out, CONTENT_LENGTH.as_str(), length.to_string().as_bytes());
        }
        None if !said.length && !is_bodiless(status) => write_unsent_length(out, response, asked),
        _ => {}
    }
    let is_switch = status == StatusCode::SWITCHING_PROTOCOLS;
    let is_until_close = matches!(framing, Some(Framing::UntilClose));
    let is_last = asked.is_last || said.close || is_until_close || is_switch;
    if let Some(option) = said.missing(asked, is_last && !is_switch) {
        write_line(out, CONNECTION.as_str(), option);
    }
    if !said.date {
        // RFC 9110 section 6.6.1: whoever has a clock adds the time to a response that has none.
        date::with(|date| write_line(out, DATE.as_str(), date));
    }
    out.extend_from_slice(LINE_END.as_bytes());
    (framing, is_last)
}

fn write_status<B>(out: &mut Vec<u8>, response: &Response<B>, version: Version) {
    let status = response.status();
    let reason = response.extensions().get::<ReasonPhrase>();
    if status == StatusCode::OK && reason.is_none() && version == Version::HTTP_11 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    let known = || status.canonical_reason().unwrap_or_default().as_bytes();
    out.extend_from_slice(if version == Version::HTTP_11 { b"HTTP/1.1 " } else { b"HTTP/1.0 " });
    for part in [status.as_str().as_bytes(), b" ", reason.map_or_else(known, ReasonPhrase::as_bytes), b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// How the body is delimited, if one is sent (RFC 9112 section 6).
fn framing<B: Body>(response: &Response<B>, asked: Asked) -> Option<Framing> {
    let body = response.body();
    if asked.is_head || is_bodiless(response.status()) || body.is_end_stream() {
        return None;
    }
    Some(match body.size_hint().exact() {
        Some(length) => Framing::Length(length),
        None if asked.version == Version::HTTP_11 && asked.takes_trailers => Framing::chunked(response.headers()),
        None if asked.version == Version::HTTP_11 => Framing::Chunked { trailers: Box::default() },
        None => Framing::UntilClose,
    })
}

/// Whether a response with this status has no body, whatever it was asked by (RFC 9110 section 6.4.1).
fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Whether a length that the head has stays there: it is that of the body, or of the one that GET would bring.
fn keeps_length(framing: Option<&Framing>, asked: Asked, status: StatusCode) -> bool {
    match framing {
        Some(Framing::Length(_)) => true,
        Some(Framing::Chunked { .. } | Framing::UntilClose) => false,
        // RFC 9110 section 8.6: a 204 has none.
        None => asked.is_head && status != StatusCode::NO_CONTENT,
    }
}

/// Tells the length of a body that is not sent: there is none, or it is that of the one that GET would bring, if that
/// is known.
fn write_unsent_length<B: Body>(out: &mut Vec<u8>, response: &Response<B>, asked: Asked) {
    let length = if asked.is_head { response.body().size_hint().lower() } else { 0 };
    if length > 0 || !asked.is_head {
        write_line(out, CONTENT_LENGTH.as_str(), length.to_string().as_bytes());
    }
}

/// What the fields of a head have said.
#[derive(Debug, Default)]
struct Said {
    length: bool,
    date: bool,
    close: bool,
    keep_alive: bool,
}

impl Said {
    fn note_connection(&mut self, value: &HeaderValue) {
        self.close |= fields::has_token(value, "close");
        self.keep_alive |= fields::has_token(value, "keep-alive");
    }

    /// What must be added of `Connection` (RFC 9112 section 9.3): a client of HTTP/1.1 is told of the end, one of
    /// HTTP/1.0 that there is none.
    fn missing(&self, asked: Asked, is_last: bool) -> Option<&'static [u8]> {
        match (asked.version == Version::HTTP_11, is_last) {
            (true, true) if !self.close => Some(b"close"),
            (false, false) if !self.keep_alive => Some(b"keep-alive"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::{Empty, Full};

    use super::*;

    const ASKED: Asked = Asked { is_head: false, version: Version::HTTP_11, takes_trailers: true, is_last: false };

    /// What is written of a response with these fields, without its date, and what follows it.
    fn written<B: Body>(
        status: u16,
        fields: &[(&'static str, &'static str)],
        body: B,
        asked: Asked,
    ) -> (String, String) {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in fields {
            response.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        let mut out = Vec::new();
        let (framing, is_last) = write_head(&mut out, &response, asked);
        let text = String::from_utf8(out).unwrap();
        let lines = text.strip_suffix("\r\n\r\n").unwrap().split("\r\n").filter(|line| !line.starts_with("date: "));
        let follows = match framing {
            None => "nothing".to_owned(),
            Some(Framing::Length(length)) => length.to_string(),
            Some(Framing::Chunked { trailers }) => format!("chunks {trailers:?}"),
            Some(Framing::UntilClose) => "until close".to_owned(),
        };
        (lines.collect::<Vec<_>>().join("|"), if is_last { format!("{follows}, last") } else { follows })
    }

    /// A body of which nothing is known.
    struct Unknown;

    impl Body for Unknown {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Pending
        }
    }

    #[test]
    fn a_response_says_where_its_body_ends() {
        let (old, head) =
            (Asked { version: Version::HTTP_10, is_last: true, ..ASKED }, Asked { is_head: true, ..ASKED });
        let five = || Full::new(Bytes::from_static(b"hello"));
        let none = Empty::<Bytes>::new;
        let is = |(text, follows): (String, String), expected: (&str, &str)| {
            assert_eq!((text.as_str(), follows.as_str()), expected);
        };
        is(written(200, &[], five(), ASKED), ("HTTP/1.1 200 OK|content-length: 5", "5"));
        is(written(200, &[("content-length", "5")], five(), ASKED), ("HTTP/1.1 200 OK|content-length: 5", "5"));
        is(written(200, &[], none(), ASKED), ("HTTP/1.1 200 OK|content-length: 0", "nothing"));
        is(written(205, &[], none(), ASKED), ("HTTP/1.1 205 Reset Content|content-length: 0", "nothing"));
        is(written(204, &[("content-length", "0")], none(), ASKED), ("HTTP/1.1 204 No Content", "nothing"));
        is(written(304, &[("content-length", "7")], none(), ASKED), ("HTTP/1.1 304 Not Modified", "nothing"));
        is(written(200, &[("content-length", "7")], none(), head), ("HTTP/1.1 200 OK|content-length: 7", "nothing"));
        is(written(204, &[("content-length", "7")], none(), head), ("HTTP/1.1 204 No Content", "nothing"));
        is(
            written(304, &[("content-length", "7")], none(), head),
            ("HTTP/1.1 304 Not Modified|content-length: 7", "nothing"),
        );
        is(written(200, &[], none(), head), ("HTTP/1.1 200 OK", "nothing"));
        is(written(200, &[], five(), head), ("HTTP/1.1 200 OK|content-length: 5", "nothing"));
        is(written(200, &[], Unknown, head), ("HTTP/1.1 200 OK", "nothing"));
        let chunked = "HTTP/1.1 200 OK|trailer: x-a, x-b|transfer-encoding: chunked";
        let fields = [("transfer-encoding", "gzip"), ("trailer", "x-a, x-b")];
        is(written(200, &fields, Unknown, ASKED), (chunked, "chunks [\"x-a\", \"x-b\"]"));
        let deaf = Asked { takes_trailers: false, ..ASKED };
        is(written(200, &fields, Unknown, deaf), (chunked, "chunks []"));
        is(written(200, &fields, Unknown, old), ("HTTP/1.0 200 OK", "until close, last"));
        is(written(200, &fields, five(), old), ("HTTP/1.0 200 OK|content-length: 5", "5, last"));
    }

    #[test]
    fn a_response_says_what_becomes_of_the_connection() {
        let old = Asked { version: Version::HTTP_10, ..ASKED };
        let last = Asked { is_last: true, ..ASKED };
        let close = [("connection", "close")];
        for (fields, asked, expected) in [
            (&[][..], ASKED, ("HTTP/1.1 404 Not Found", "nothing")),
            (&[], last, ("HTTP/1.1 404 Not Found|connection: close", "nothing, last")),
            (&close, ASKED, ("HTTP/1.1 404 Not Found|connection: close", "nothing, last")),
            (&close, last, ("HTTP/1.1 404 Not Found|connection: close", "nothing, last")),
            (&[], old, ("HTTP/1.0 404 Not Found|connection: keep-alive", "nothing")),
            (&close, old, ("HTTP/1.0 404 Not Found|connection: close", "nothing, last")),
            (&[], Asked { is_last: true, ..old }, ("HTTP/1.0 404 Not Found", "nothing, last")),
        ] {
            let (text, follows) = written(404, fields, Empty::<Bytes>::new(), asked);
            let text = text.replace("|content-length: 0", "");
            assert_eq!((text.as_str(), follows.as_str()), expected, "{fields:?} {asked:?}");
        }
        let fields = [("connection", "upgrade"), ("upgrade", "x")];
        let (text, follows) = written(101, &fields, Empty::<Bytes>::new(), ASKED);
        let expected = "HTTP/1.1 101 Switching Protocols|connection: upgrade|upgrade: x";
        assert_eq!((text.as_str(), follows.as_str()), (expected, "nothing, last"));
    }

    #[test]
    fn the_reason_of_a_replica_is_passed_on() {
        let mut response = Response::new(Empty::<Bytes>::new());
        response.extensions_mut().insert(ReasonPhrase::from_static(b"Fine"));
        let mut out = Vec::new();
        write_head(&mut out, &response, ASKED);
        assert!(out.starts_with(b"HTTP/1.1 200 Fine\r\ncontent-length: 0\r\ndate: "));
        out.clear();
        *response.status_mut() = StatusCode::from_u16(599).unwrap();
        response.extensions_mut().clear();
        write_head(&mut out, &response, ASKED);
        assert!(out.starts_with(b"HTTP/1.1 599 \r\n"), "a reason may be empty (RFC 9112 section 4)");
    }
}
