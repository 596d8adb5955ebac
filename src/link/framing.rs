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

/// Whether `Content-Length` is one number, or absent (RFC 9110 section 8.6). Several that are the same number are made
/// one, as RFC 9112 section 6.3 allows: no two readers may take a different one of them.
fn has_one_length(headers: &mut HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => true,
        (Some(length), None) if is_number(length.as_bytes()) => true,
        _ => merge_lengths(headers),
    }
}

fn is_number(length: &[u8]) -> bool {
    length.iter().all(u8::is_ascii_digit)
        && std::str::from_utf8(length).is_ok_and(|length| length.parse::<u64>().is_ok())
}

#[cold]
fn merge_lengths(headers: &mut HeaderMap) -> bool {
    let mut elements = headers.get_all(CONTENT_LENGTH).iter().flat_map(|value| value.as_bytes().split(|&b| b == b','));
    let first = elements.next().unwrap_or_default().trim_ascii();
    if !is_number(first) || !elements.all(|other| other.trim_ascii() == first) {
        return false;
    }
    let merged = HeaderValue::from_bytes(first);
    merged.is_ok_and(|length| headers.insert(CONTENT_LENGTH, length).is_some())
}

/// Whether the end of the response is open to doubt. hyper has framed a body of known length by its length alone.
/// Without a body (a response to HEAD, say) the length was never read here, but the client will read it.
pub(crate) fn is_ambiguous<B: Body>(response: &mut Response<B>) -> bool {
    let exact = response.body().size_hint().exact();
    let headers = response.headers_mut();
    let is_doubtful = match exact {
        None | Some(0) => !is_plainly_chunked(headers) || has_two_framings(headers),
        Some(_) => false,
    };
    is_doubtful || !has_one_length(headers)
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    #[test]
    fn lengths_that_are_the_same_become_one() {
        for (lengths, body, expected) in [
            (&["5"][..], "hello", Some("5")),
            (&["5", "5"], "hello", Some("5")),
            (&["5, 5"], "hello", Some("5")),
            (&["5,5", "5"], "hello", Some("5")),
            (&["0", "0"], "", Some("0")),
            (&["5, 5"], "", Some("5")),
            (&["5", "6"], "hello", None),
            (&["5, 05"], "hello", None),
            (&["5,"], "hello", None),
            (&["", ""], "", None),
            (&["+5", "+5"], "hello", None),
            (&["99999999999999999999"], "", None),
        ] {
            let mut response = Response::new(Full::<&[u8]>::from(body.as_bytes()));
            lengths
                .iter()
                .for_each(|length| _ = response.headers_mut().append(CONTENT_LENGTH, length.parse().unwrap()));
            let is_ambiguous = is_ambiguous(&mut response);
            let values: Vec<_> = response.headers().get_all(CONTENT_LENGTH).iter().collect();
            assert_eq!(is_ambiguous, expected.is_none(), "{lengths:?}");
            assert!(expected.is_none_or(|one| values == [one]), "{lengths:?}: {values:?}");
        }
    }
}
