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
    let any_repeated = headers.len() > headers.keys_len();
    let is_single = || !any_repeated || headers.get_all(CONTENT_LENGTH).iter().nth(1).is_none();
    match headers.get(CONTENT_LENGTH) {
        None => true,
        Some(length) if is_number(length.as_bytes()) && is_single() => true,
        Some(_) => merge_lengths(headers),
    }
}

fn is_number(length: &[u8]) -> bool {
    // Every number of so many digits fits into 64 bits; a longer one may.
    let fits = || std::str::from_utf8(length).is_ok_and(|length| length.parse::<u64>().is_ok());
    length.iter().all(u8::is_ascii_digit) && ((1..=19).contains(&length.len()) || fits())
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
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http::HeaderName;
    use http_body::{Frame, SizeHint};
    use http_body_util::Full;

    use super::*;

    /// A body of which only this much is known: its exact length, if there is one.
    struct OfLength(Option<u64>);

    impl Body for OfLength {
        type Data = &'static [u8];
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
            Poll::Ready(None)
        }

        fn size_hint(&self) -> SizeHint {
            self.0.map_or_else(SizeHint::default, SizeHint::with_exact)
        }
    }

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn only_a_single_chunked_is_plain() {
        for (codings, expected) in [
            (&[][..], true),
            (&["chunked"], true),
            (&[" Chunked "], true),
            (&["gzip"], false),
            (&["gzip, chunked"], false),
            (&["gzip", "chunked"], false),
            (&["chunked", "gzip"], false),
            (&["chunked", "chunked"], false),
        ] {
            let fields: Vec<_> = codings.iter().map(|coding| (TRANSFER_ENCODING, *coding)).collect();
            assert_eq!(is_plainly_chunked(&headers(&fields)), expected, "{codings:?}");
        }
    }

    #[test]
    fn chunks_are_announced_in_one_field() {
        for before in [&[][..], &[(TRANSFER_ENCODING, "gzip"), (TRANSFER_ENCODING, "chunked")]] {
            let mut map = headers(before);
            announce_chunks(&mut map);
            assert_eq!(map, headers(&[(TRANSFER_ENCODING, "chunked")]), "{before:?}");
        }
    }

    #[test]
    fn an_end_that_is_open_to_doubt() {
        const LENGTH: (HeaderName, &str) = (CONTENT_LENGTH, "5");
        const CHUNKED: (HeaderName, &str) = (TRANSFER_ENCODING, "chunked");
        const GZIP: (HeaderName, &str) = (TRANSFER_ENCODING, "gzip");
        for (fields, body, expected) in [
            (&[][..], None, false),
            (&[], Some(0), false),
            (&[CHUNKED], None, false),
            (&[CHUNKED], Some(0), false),
            (&[LENGTH], Some(5), false),
            (&[LENGTH], Some(0), false),
            (&[GZIP], None, true),
            (&[GZIP], Some(0), true),
            (&[CHUNKED, LENGTH], None, true),
            (&[CHUNKED, LENGTH], Some(0), true),
            (&[(CONTENT_LENGTH, "x")], Some(0), true),
            (&[(CONTENT_LENGTH, "x")], None, true),
            // hyper has read the length, and nothing else.
            (&[CHUNKED, LENGTH], Some(5), false),
        ] {
            let mut response = Response::new(OfLength(body));
            *response.headers_mut() = headers(fields);
            assert_eq!(is_ambiguous(&mut response), expected, "{fields:?} {body:?}");
        }
    }

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
