//! Where a message ends, and whether its head says so without doubt (RFC 9112 section 6).

use http::Response;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http_body::Body;

/// Whether a single `chunked` is the only transfer coding of a message, if it has one (RFC 9112 section 6.1). hyper
/// accepts any list that ends in `chunked`, and in a response any list at all. What the other codings mean to the
/// sender would be lost here.
pub(crate) fn is_plainly_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let first = codings.next();
    first.is_none_or(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
        && codings.next().is_none()
}

/// Announces a chunked body. Without this field or a length, hyper would leave out the body of a GET.
pub(crate) fn announce_chunks(headers: &mut HeaderMap) {
    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
}

/// Whether a response has two framings, `Content-Length` and a transfer coding (RFC 9112 section 6.3). It may be an
/// attempt to make proxy and client disagree about its end.
fn has_two_framings(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH)
}

/// Whether `Content-Length` is a single number, or absent (RFC 9110 section 8.6).
fn has_plain_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter().map(HeaderValue::as_bytes);
    let is_number = |length: &[u8]| {
        length.iter().all(u8::is_ascii_digit)
            && std::str::from_utf8(length).is_ok_and(|length| length.parse::<u64>().is_ok())
    };
    lengths.next().is_none_or(is_number) && lengths.next().is_none()
}

/// Whether the end of the response is open to doubt. hyper has framed a body of known length by its length alone.
/// Without a body (a response to HEAD, say) the length was never read here, but the client will read it.
pub(crate) fn is_ambiguous<B: Body>(response: &Response<B>) -> bool {
    let headers = response.headers();
    let is_doubtful = || !is_plainly_chunked(headers) || has_two_framings(headers);
    match response.body().size_hint().exact() {
        None => is_doubtful(),
        Some(0) => is_doubtful() || !has_plain_length(headers),
        Some(_) => false,
    }
}
