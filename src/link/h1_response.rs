//! The head of a response over HTTP/1.1 (RFC 9112 section 4), and how it says that its body ends.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};
use httparse::{ParserConfig, Status};
use hyper::ext::ReasonPhrase;

use super::error::Http1Error;
use super::framing;
use crate::fields;
use crate::net::h1_decode::{ChunkLimits, Decoder, FIELDS_MAX};

/// Parses the head with which `bytes` begin. It returns the head and its length, or `None` if it is not whole.
///
/// The fields share one allocation.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Response<()>, usize)>, Http1Error> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let status = ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields);
    let length = match status.map_err(Http1Error::from)? {
        Status::Complete(length) => length,
        Status::Partial => return Ok(None),
    };
    let head = Bytes::copy_from_slice(bytes.get(..length).unwrap_or_default());
    let mut response = Response::new(());
    *response.status_mut() = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Http1Error::STATUS)?;
    *response.version_mut() = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let reason = parsed.reason.filter(|&reason| response.status().canonical_reason() != Some(reason));
    if let Some(reason) = reason.and_then(|reason| ReasonPhrase::try_from(reason.as_bytes()).ok()) {
        response.extensions_mut().insert(reason);
    }
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Http1Error::FIELD)?;
        let begin = field.value.as_ptr().addr() - bytes.as_ptr().addr();
        let value = head.slice(begin..begin + field.value.len());
        headers.append(name, HeaderValue::from_maybe_shared(value).map_err(|_| Http1Error::FIELD)?);
    }
    *response.headers_mut() = headers;
    Ok(Some((response, length)))
}

/// How the body ends that follows the head of a final response, which may be one to HEAD (RFC 9112 section 6.3).
///
/// # Errors
/// The head says it in two ways, or not in a way of HTTP.
pub(super) fn decoder(is_to_head: bool, response: &mut Response<()>) -> Result<Decoder, Http1Error> {
    // A response without a body may say how long it would be, and the client reads that too.
    if framing::is_ambiguous(response.headers_mut()) {
        return Err(Http1Error::Ambiguous);
    }
    let (status, headers) = (response.status(), response.headers());
    let is_bodiless = matches!(status.as_u16(), 101 | 204 | 304) || is_to_head;
    if is_bodiless {
        return Ok(Decoder::Length(0));
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        let is_known = response.version() == Version::HTTP_11;
        return if is_known { Ok(Decoder::chunked(ChunkLimits::OF_ENDPOINTS)) } else { Err(Http1Error::CODING) };
    }
    match headers.get(CONTENT_LENGTH) {
        None => Ok(Decoder::UntilClose),
        Some(length) => {
            let length = length.to_str().ok().and_then(|length| length.parse().ok());
            length.map(Decoder::Length).ok_or(Http1Error::LENGTH)
        }
    }
}

/// Whether the endpoint closes the connection after this response (RFC 9112 section 9.3).
pub(super) fn is_last(response: &Response<()>) -> bool {
    let mut options = response.headers().get_all(CONNECTION).iter();
    response.version() < Version::HTTP_11 || options.any(|options| fields::has_token(options, "close"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "HTTP/1.1 200 Fine\r\nContent-Length: 5\r\nX-Two: 1\r\nx-two:  \u{e9}2 \r\nX-Empty:\r\n\r\n";

    fn head(fields: &str) -> Response<()> {
        parse(format!("{fields}\r\n\r\n").as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn a_head_is_parsed_when_it_is_whole() {
        let (response, length) = parse(format!("{HEAD}hello").as_bytes()).unwrap().unwrap();
        assert_eq!((response.status().as_u16(), length, response.headers().len()), (200, HEAD.len(), 4));
        let values: Vec<_> = response.headers().get_all("x-two").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(
            (values, &response.headers()["x-empty"]),
            (vec![&b"1"[..], "\u{e9}2".as_bytes()], &HeaderValue::from_static(""))
        );
        assert_eq!(response.extensions().get::<ReasonPhrase>().unwrap().as_bytes(), b"Fine");
        assert!(head("HTTP/1.1 200 OK").extensions().is_empty(), "the usual reason needs no place");
        for cut in 0..HEAD.len() {
            assert!(parse(&HEAD.as_bytes()[..cut]).unwrap().is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_head_is_refused() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(FIELDS_MAX + 1));
        assert!(matches!(parse(many.as_bytes()), Err(Http1Error::HeadTooLarge)));
        for head in ["hello", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 20\r\n\r\n", "HTTP/1.1 099 Low\r\n\r\n"]
            .into_iter()
            .chain(["HTTP/1.1 200 OK\r\na : b\r\n\r\n", "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n"])
            .chain(["HTTP/1.1 200 OK\r\na: \0\r\n\r\n", "HTTP/1.1 200 OK\r\n: b\r\n\r\n"])
        {
            assert!(matches!(parse(head.as_bytes()), Err(Http1Error::Malformed(_))), "{head:?}");
        }
    }

    #[test]
    fn how_a_body_ends() {
        for (is_to_head, text, expected) in [
            (false, "HTTP/1.1 200 OK\r\nContent-Length: 5", "Ok(Length(5))"),
            (false, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5", "Ok(Length(5))"),
            (false, "HTTP/1.0 200 OK\r\nContent-Length: 5", "Ok(Length(5))"),
            (false, "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked", "Ok(Chunked("),
            (false, "HTTP/1.1 200 OK", "Ok(UntilClose)"),
            (true, "HTTP/1.1 200 OK\r\nContent-Length: 5", "Ok(Length(0))"),
            (true, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", "Ok(Length(0))"),
            (false, "HTTP/1.1 204 No\r\nContent-Length: 5", "Ok(Length(0))"),
            (false, "HTTP/1.1 304 No\r\nContent-Length: 5", "Ok(Length(0))"),
            (false, "HTTP/1.1 101 Go\r\nUpgrade: x", "Ok(Length(0))"),
            (false, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", "Err(Ambiguous)"),
            (true, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", "Err(Ambiguous)"),
            (false, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked", "Err(Ambiguous)"),
            (false, "HTTP/1.1 200 OK\r\nContent-Length: 5, 6", "Err(Ambiguous)"),
            (false, "HTTP/1.1 200 OK\r\nContent-Length: -5", "Err(Ambiguous)"),
            (false, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked", "Err(Malformed("),
        ] {
            let decided = format!("{:?}", decoder(is_to_head, &mut head(text)));
            assert!(decided.starts_with(expected), "{text:?}: {decided}");
        }
    }

    #[test]
    fn the_last_response_of_a_connection() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK", false),
            ("HTTP/1.1 200 OK\r\nConnection: keep-alive", false),
            ("HTTP/1.1 200 OK\r\nConnection: x, Close", true),
            ("HTTP/1.1 200 OK\r\nConnection: x\r\nConnection: close", true),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive", true),
        ] {
            assert_eq!(is_last(&head(text)), expected, "{text:?}");
        }
    }
}
