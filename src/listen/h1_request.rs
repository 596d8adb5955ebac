//! The head of a request over HTTP/1.1 (RFC 9112 sections 2, 3 and 6), and how it says that its body ends.
//!
//! A target may have bytes that no URL may contain, but that clients send all the same; they are percent-encoded before
//! the head is parsed, see [`crate::config::percent`].

use std::borrow::Cow;
use std::io::BufRead as _;
use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use httparse::{ParserConfig, Status};

use crate::config::percent;
use crate::fields;
use crate::net::h1_decode::{ChunkLimits, Decoder, FIELDS_MAX};

/// The most bytes of a target: what [`Uri`] can hold.
const TARGET_BYTES_MAX: usize = (u16::MAX - 1) as usize;

/// The most bytes of extensions of all chunks of a body.
const EXTENSIONS_MAX: usize = 16 * 1024;

/// A length up to which a body is counted; more is no length of anything.
const LENGTH_MAX: u64 = u64::MAX - 2;

/// The head of a request.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) request: Request<()>,
    /// How its body ends, if it has one.
    pub(super) body: Option<Decoder>,
    /// Whether the client sends no other request behind it (RFC 9112 section 9.3).
    pub(super) is_last: bool,
    /// Whether the client says that it keeps trailers (RFC 9110 section 6.5.1).
    pub(super) takes_trailers: bool,
    /// Whether the client waits to be told that it may send the body (RFC 9110 section 10.1.1).
    pub(super) expects_continue: bool,
}

/// The bounds of a head, from the config.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadLimits {
    pub(super) bytes: usize,
    pub(super) fields: usize,
}

impl HeadLimits {
    /// The bounds of a body in chunks: trailers are fields as those of the head.
    fn of_chunks(self) -> ChunkLimits {
        ChunkLimits { extensions: EXTENSIONS_MAX, trailers: self.bytes, fields: self.fields }
    }
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadHead {
    #[error("the head of the request is too large")]
    TooLarge,
    #[error("{0}")]
    Malformed(&'static str),
}

impl BadHead {
    const METHOD: Self = Self::Malformed("the method is malformed");
    const TARGET: Self = Self::Malformed("the target is malformed");
    const FIELD: Self = Self::Malformed("a field is malformed");
    const LENGTH: Self = Self::Malformed("the length is not one number");
    const CODING: Self = Self::Malformed("the last transfer coding is not chunked");
    const OLD_CODING: Self = Self::Malformed("a request of HTTP/1.0 has a transfer coding");
}

impl From<httparse::Error> for BadHead {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::TooLarge,
            httparse::Error::HeaderName | httparse::Error::HeaderValue => Self::FIELD,
            httparse::Error::Version => Self::Malformed("the version is not HTTP/1.1 or HTTP/1.0"),
            httparse::Error::NewLine => Self::Malformed("a line does not end as lines do"),
            httparse::Error::Token | httparse::Error::Status => Self::Malformed("the first line is malformed"),
        }
    }
}

/// Parses the head with which `bytes` begin. It returns the head and its length, or `None` if it is not whole.
///
/// The fields share one allocation.
///
/// # Errors
/// It is not valid, or exceeds the `limits`.
pub(super) fn parse(bytes: &[u8], limits: HeadLimits) -> Result<Option<(Head, usize)>, BadHead> {
    let line = first_line(bytes);
    if !percent::has_odd(line) {
        return parse_plain(Cow::Borrowed(bytes), limits);
    }
    // The method may have such bytes too. They stay, and most of them are refused.
    let Some(space) = line.iter().position(|&byte| byte == b' ') else {
        return parse_plain(Cow::Borrowed(bytes), limits);
    };
    let fields = bytes.get(line.len()..).unwrap_or_default();
    let fields = fields.get(..fields_end(fields)).unwrap_or(fields);
    let mut encoded = Vec::with_capacity(line.len() + fields.len() + 64);
    let (method, rest) = line.split_at(space);
    encoded.extend_from_slice(method);
    percent::encode(rest, &mut encoded);
    let added = encoded.len() - line.len();
    encoded.extend_from_slice(fields);
    let parsed = parse_plain(Cow::Owned(encoded), limits)?;
    Ok(parsed.map(|(head, length)| (head, length - added)))
}

fn parse_plain(bytes: Cow<'_, [u8]>, limits: HeadLimits) -> Result<Option<(Head, usize)>, BadHead> {
    let mut few = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut many;
    let space = match limits.fields {
        ..=FIELDS_MAX => few.get_mut(..limits.fields).unwrap_or_default(),
        most => {
            many = vec![MaybeUninit::uninit(); most];
            &mut many[..]
        }
    };
    let mut parsed = httparse::Request::new(&mut []);
    let status = ParserConfig::default().parse_request_with_uninit_headers(&mut parsed, &bytes, space);
    let length = match status? {
        Status::Complete(length) => length,
        Status::Partial if bytes.len() <= limits.bytes => return Ok(None),
        Status::Partial => return Err(BadHead::TooLarge),
    };
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Ok(None);
    };
    if length > limits.bytes || target.len() > TARGET_BYTES_MAX {
        return Err(BadHead::TooLarge);
    }
    let head = Bytes::copy_from_slice(bytes.get(..length).unwrap_or_default());
    let part = |part: &[u8]| {
        let begin = part.as_ptr().addr() - bytes.as_ptr().addr();
        head.slice(begin..begin + part.len())
    };
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).map_err(|_| BadHead::METHOD)?;
    *request.uri_mut() = Uri::from_maybe_shared(part(target.as_bytes())).map_err(|_| BadHead::TARGET)?;
    *request.version_mut() = if version == 1 { Version::HTTP_11 } else { Version::HTTP_10 };
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    let mut framing = Fields::default();
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| BadHead::FIELD)?;
        let value = HeaderValue::from_maybe_shared(part(field.value)).map_err(|_| BadHead::FIELD)?;
        if framing.note(&name, &value, version == 1)? {
            headers.append(name, value);
        }
    }
    if framing.has_coding {
        headers.remove(CONTENT_LENGTH);
    }
    *request.headers_mut() = headers;
    Ok(Some((framing.head(request, limits)?, length)))
}

/// What the fields say of the message and its connection.
#[derive(Debug, Default)]
struct Fields {
    length: Option<u64>,
    has_length: bool,
    has_coding: bool,
    is_chunked: bool,
    says_close: bool,
    says_keep_alive: bool,
    /// Whether the client waits to be told to continue; `Some(false)` if it expects something else too.
    expects_continue: Option<bool>,
    takes_trailers: bool,
}

impl Fields {
    /// Takes in a field, and returns whether it stays.
    #[inline]
    fn note(&mut self, name: &HeaderName, value: &HeaderValue, is_http_11: bool) -> Result<bool, BadHead> {
        match *name {
            CONTENT_LENGTH => {
                let length = number(value.as_bytes()).filter(|length| *length <= LENGTH_MAX);
                self.has_length = true;
                if self.has_coding {
                    return Ok(false);
                }
                let length = length.ok_or(BadHead::LENGTH)?;
                match self.length.replace(length) {
                    None => {}
                    Some(before) if before == length => return Ok(false),
                    Some(_) => return Err(BadHead::LENGTH),
                }
            }
            TRANSFER_ENCODING if !is_http_11 => return Err(BadHead::OLD_CODING),
            TRANSFER_ENCODING => {
                let last = value.as_bytes().rsplit(|&byte| byte == b',').next().unwrap_or_default();
                self.has_coding = true;
                self.is_chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
            }
            CONNECTION => {
                self.says_close |= fields::has_token(value, "close");
                self.says_keep_alive |= fields::has_token(value, "keep-alive");
            }
            TE => self.takes_trailers |= fields::has_token(value, "trailers"),
            EXPECT => {
                let is_plain = self.expects_continue != Some(false) && fields::is_continue(value);
                self.expects_continue = Some(is_plain);
            }
            _ => {}
        }
        Ok(true)
    }

    fn head(self, request: Request<()>, limits: HeadLimits) -> Result<Head, BadHead> {
        let body = match self.length {
            _ if self.has_coding && !self.is_chunked => return Err(BadHead::CODING),
            _ if self.has_coding => Some(Decoder::chunked(limits.of_chunks())),
            None | Some(0) => None,
            Some(length) => Some(Decoder::Length(length)),
        };
        let is_http_11 = request.version() == Version::HTTP_11;
        // With two framings the client, or somebody on the way, may see the end elsewhere (RFC 9112 section 6.1).
        let has_doubt = self.has_coding && self.has_length;
        let is_last = self.says_close || has_doubt || !is_http_11 && !self.says_keep_alive;
        let expects_continue = self.expects_continue == Some(true) && is_http_11 && body.is_some();
        Ok(Head { request, body, is_last, takes_trailers: self.takes_trailers, expects_continue })
    }
}

/// A number of digits and nothing else.
fn number(digits: &[u8]) -> Option<u64> {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

/// The first line without its LF, as far as it has come.
#[inline]
pub(super) fn first_line(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    // Several bytes are looked at in one step. Reading from memory does not fail.
    let line = rest.skip_until(b'\n').unwrap_or_default();
    let line = bytes.get(..line).unwrap_or_default();
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// Where the empty line ends that ends the fields, if it has come.
fn fields_end(bytes: &[u8]) -> usize {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let length = |at: usize| match bytes.get(at..) {
        Some([b'\n', ..]) => Some(at + 1),
        Some([b'\r', b'\n', ..]) => Some(at + 2),
        _ => None,
    };
    ends.into_iter().find_map(length).unwrap_or(bytes.len())
}

/// The length of the empty lines in front of a head, which mean nothing (RFC 9112 section 2.2).
#[inline]
pub(super) fn empty_lines(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some(behind) = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")) {
        rest = behind;
    }
    bytes.len() - rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 64 * 1024, fields: FIELDS_MAX };

    /// What is parsed of `sent` with something behind it. It must be the same wherever that is cut.
    fn parsed(sent: &str) -> Result<Head, BadHead> {
        let whole = format!("{sent}GET /next HTTP/1.1\r\n\r\n");
        let (head, length) = parse(whole.as_bytes(), LIMITS)?.expect("it is whole");
        assert_eq!(length, sent.len(), "{sent:?}");
        for cut in 0..sent.len() {
            assert!(parse(&sent.as_bytes()[..cut], LIMITS).unwrap().is_none(), "{sent:?} cut at {cut}");
        }
        Ok(head)
    }

    fn length(head: &Head) -> Option<Option<u64>> {
        head.body.as_ref().map(Decoder::left)
    }

    #[test]
    fn a_head_is_parsed_when_it_is_whole() {
        let head = parsed("PUT /a?b HTTP/1.1\r\nHost: x\r\nX-Two: 1\r\nx-two:\t\u{e9}2 \r\nX-Empty:\r\n\r\n").unwrap();
        let (request, two) = (&head.request, head.request.headers().get_all("x-two").iter());
        assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("PUT", "/a?b"));
        assert_eq!((request.version(), request.headers().len()), (Version::HTTP_11, 4));
        assert_eq!(two.map(HeaderValue::as_bytes).collect::<Vec<_>>(), [&b"1"[..], "\u{e9}2".as_bytes()]);
        assert_eq!(request.headers()["x-empty"], "");
        assert!(length(&head).is_none() && !head.is_last && !head.expects_continue && !head.takes_trailers);
    }

    /// They come with what precedes and follows them, in any pieces.
    #[test]
    fn odd_bytes_of_a_target_are_encoded_and_no_others() {
        for (method, end) in [("GET", "\r\n"), ("G`T", "\r\n"), ("POST", "\n")] {
            let sent = format!("{method} /\"<>`\u{e9}?\u{ff}%41 HTTP/1.1{end}X: \"<\u{e9}{end}{end}");
            let head = parsed(&sent).unwrap();
            assert_eq!(head.request.uri(), "/%22%3C%3E%60%C3%A9?%C3%BF%41", "{sent:?}");
            assert_eq!(head.request.headers()["x"].as_bytes(), "\"<\u{e9}".as_bytes());
            assert_eq!(head.request.method().as_str(), method);
        }
    }

    #[test]
    fn the_fields_say_where_the_body_ends() {
        let (none, chunked) = (None, Some(None));
        for (fields, expected) in [
            ("", none),
            ("content-length: 0\r\n", none),
            ("Content-Length: 5\r\n", Some(Some(5))),
            ("Content-Length:\t005 \r\nContent-Length: 5\r\n", Some(Some(5))),
            ("Transfer-Encoding: chunked\r\n", chunked),
            ("TRANSFER-ENCODING: gzip, Chunked\r\n", chunked),
            ("Transfer-Encoding: gzip\r\ntransfer-encoding:,chunked\r\n", chunked),
        ] {
            let head = parsed(&format!("POST / HTTP/1.1\r\n{fields}\r\n")).unwrap();
            assert_eq!((length(&head), head.is_last), (expected, false), "{fields:?}");
        }
        // With both, the length is not passed on, and nothing follows.
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "transfer-encoding: chunked\r\ncontent-length: x\r\n",
        ] {
            let head = parsed(&format!("POST / HTTP/1.1\r\n{fields}\r\n")).unwrap();
            assert_eq!((length(&head), head.is_last), (chunked, true), "{fields:?}");
            assert!(!head.request.headers().contains_key(CONTENT_LENGTH));
        }
    }

    #[test]
    fn the_fields_say_what_follows() {
        for (version, fields, is_last) in [
            ("1.1", "", false),
            ("1.1", "Connection: close\r\n", true),
            ("1.1", "Connection: keep-alive, CLOSE\r\n", true),
            ("1.1", "Connection: close\r\nConnection: keep-alive\r\n", true),
            ("1.1", "Connection: closed\r\n", false),
            ("1.0", "", true),
            ("1.0", "Connection: x, Keep-Alive\r\n", false),
            ("1.0", "Connection: keep-alive\r\nConnection: close\r\n", true),
        ] {
            let head = parsed(&format!("GET / HTTP/{version}\r\n{fields}\r\n")).unwrap();
            assert_eq!(head.is_last, is_last, "{version} {fields:?}");
        }
        for (version, fields, expected) in [
            ("1.1", "Expect: 100-Continue\r\nContent-Length: 5\r\n", true),
            ("1.1", "Expect: 100-continue\r\n", false),
            ("1.1", "Expect: 100-continue\r\nExpect: x\r\nContent-Length: 5\r\n", false),
            ("1.1", "Expect: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n", false),
            ("1.1", "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n", true),
            ("1.0", "Expect: 100-continue\r\nContent-Length: 5\r\n", false),
        ] {
            let head = parsed(&format!("POST / HTTP/{version}\r\n{fields}\r\n")).unwrap();
            assert_eq!(head.expects_continue, expected, "{version} {fields:?}");
        }
        assert!(parsed("GET / HTTP/1.1\r\nTE: gzip, Trailers\r\n\r\n").unwrap().takes_trailers);
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for (sent, expected) in [
            ("\x16\x03\x01\x02\u{1}", BadHead::from(httparse::Error::Token)),
            ("G\0T / HTTP/1.1\r\n\r\n", httparse::Error::Token.into()),
            ("G\u{e9}T /\u{e9} HTTP/1.1\r\n\r\n", httparse::Error::Token.into()),
            ("GET /a b HTTP/1.1\r\n\r\n", httparse::Error::Version.into()),
            ("GET / HTTP/9\r\n\r\n", httparse::Error::Version.into()),
            ("GET / HTTP/1.1\rX: y\r\n\r\n", httparse::Error::NewLine.into()),
            ("\rGET / HTTP/1.1\r\n\r\n", httparse::Error::NewLine.into()),
            ("GET http://[ HTTP/1.1\r\n\r\n", BadHead::TARGET),
            ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", BadHead::FIELD),
            ("GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n", BadHead::FIELD),
            ("GET / HTTP/1.1\r\nX: \0\r\n\r\n", BadHead::FIELD),
            ("POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n", BadHead::LENGTH),
            ("POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", BadHead::LENGTH),
            ("POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n", BadHead::LENGTH),
            ("POST / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n", BadHead::LENGTH),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", BadHead::LENGTH),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", BadHead::CODING),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", BadHead::CODING),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", BadHead::OLD_CODING),
        ] {
            assert_eq!(parse(sent.as_bytes(), LIMITS).unwrap_err(), expected, "{sent:?}");
        }
    }

    #[test]
    fn a_head_has_bounds_whether_it_is_whole_or_not() {
        let limits = HeadLimits { bytes: 100, fields: 2 };
        let long = |name: &str| format!("GET / HTTP/1.1\r\n{name}: {}", "y".repeat(100));
        for sent in [long("X"), format!("{}\r\n\r\n", long("X")), "GET / HTTP/1.1\r\na:\r\nb:\r\nc:\r\n\r\n".to_owned()]
        {
            assert_eq!(parse(sent.as_bytes(), limits).unwrap_err(), BadHead::TooLarge, "{sent:?}");
        }
        let (most, more) = ("/".repeat(TARGET_BYTES_MAX), HeadLimits { bytes: usize::MAX, fields: 200 });
        let of = |target: &str, fields: &str| parse(format!("GET {target} HTTP/1.1\r\n{fields}\r\n").as_bytes(), more);
        assert!(of(&most, "").unwrap().is_some());
        assert_eq!(of(&format!("{most}/"), "").unwrap_err(), BadHead::TooLarge);
        assert!(of("/", &"a: b\r\n".repeat(200)).unwrap().is_some());
        assert_eq!(of("/", &"a: b\r\n".repeat(201)).unwrap_err(), BadHead::TooLarge);
    }

    #[test]
    fn empty_lines_in_front_of_a_head_are_none_of_it() {
        for (sent, expected) in [("", 0), ("GET", 0), ("\r\n\n\r\nG", 5), ("\r", 0), ("\n\r", 1), ("\r\rG", 0)] {
            assert_eq!(empty_lines(sent.as_bytes()), expected, "{sent:?}");
        }
    }
}
