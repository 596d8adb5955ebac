//! Where a message ends, and whether it says so without doubt (RFC 9112 section 6).

use http::Response;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http_body::Body;

/// Whether `chunked`, once, is the only transfer coding of a message that has one (RFC 9112 section 6.1). hyper takes any list
/// that ends in it, and for an answer any at all; what a replica or client did with the other codings would be lost here.
pub(crate) fn is_plainly_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let first = codings.next();
    first.is_none_or(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
        && codings.next().is_none()
}

/// Says that the body comes in chunks: hyper would leave out the body of a GET that has neither this nor a length.
pub(crate) fn announce_chunks(headers: &mut HeaderMap) {
    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
}

/// Whether an answer says twice where it ends, in different ways (RFC 9112 section 6.3): somebody wants us to disagree.
fn has_two_framings(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH)
}

/// Whether `Content-Length` is one number, or not there (RFC 9110 section 8.6).
fn has_plain_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter().map(HeaderValue::as_bytes);
    let is_number = |length: &[u8]| {
        length.iter().all(u8::is_ascii_digit)
            && std::str::from_utf8(length).is_ok_and(|length| length.parse::<u64>().is_ok())
    };
    lengths.next().is_none_or(is_number) && lengths.next().is_none()
}

/// Whether it is open to doubt where the answer ends. One with a body of known length was framed by that alone; nobody has read
/// the length of one without a body (of HEAD, say), but the client will.
pub(crate) fn is_ambiguous<B: Body>(response: &Response<B>) -> bool {
    let headers = response.headers();
    let is_doubtful = || !is_plainly_chunked(headers) || has_two_framings(headers);
    match response.body().size_hint().exact() {
        None => is_doubtful(),
        Some(0) => is_doubtful() || !has_plain_length(headers),
        Some(_) => false,
    }
}
