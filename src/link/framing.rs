//! Where a message ends, and whether its head says so without doubt (RFC 9112 section 6).

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};

/// Whether a single `chunked` is the only transfer coding of a message, if it has one (RFC 9112 section 6.1). What
/// others mean to the sender would be lost here.
pub(crate) fn is_plainly_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let first = codings.next();
    first.is_none_or(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
        && codings.next().is_none()
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

/// Whether the end of a message with these fields is open to doubt. Lengths that are repeated become one. A response
/// without a body, to HEAD for example, is no exception: the client reads the fields too.
pub(crate) fn is_ambiguous(headers: &mut HeaderMap) -> bool {
    !is_plainly_chunked(headers) || has_two_framings(headers) || !has_one_length(headers)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

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
    fn an_end_that_is_open_to_doubt() {
        const LENGTH: (HeaderName, &str) = (CONTENT_LENGTH, "5");
        const CHUNKED: (HeaderName, &str) = (TRANSFER_ENCODING, "chunked");
        const GZIP: (HeaderName, &str) = (TRANSFER_ENCODING, "gzip");
        for (fields, expected) in [
            (&[][..], false),
            (&[CHUNKED], false),
            (&[LENGTH], false),
            (&[LENGTH, LENGTH], false),
            (&[GZIP], true),
            (&[CHUNKED, LENGTH], true),
            (&[(CONTENT_LENGTH, "x")], true),
        ] {
            assert_eq!(is_ambiguous(&mut headers(fields)), expected, "{fields:?}");
        }
    }

    #[test]
    fn lengths_that_are_the_same_become_one() {
        for (lengths, expected) in [
            (&["5"][..], Some("5")),
            (&["5", "5"], Some("5")),
            (&["5, 5"], Some("5")),
            (&["5,5", "5"], Some("5")),
            (&["0", "0"], Some("0")),
            (&["5", "6"], None),
            (&["5, 05"], None),
            (&["5,"], None),
            (&["", ""], None),
            (&["+5", "+5"], None),
            (&["99999999999999999999"], None),
        ] {
            let fields: Vec<_> = lengths.iter().map(|length| (CONTENT_LENGTH, *length)).collect();
            let mut headers = headers(&fields);
            assert_eq!(is_ambiguous(&mut headers), expected.is_none(), "{lengths:?}");
            let values: Vec<_> = headers.get_all(CONTENT_LENGTH).iter().collect();
            assert!(expected.is_none_or(|one| values == [one]), "{lengths:?}: {values:?}");
        }
    }
}
