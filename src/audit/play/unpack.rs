//! Bodies that come packed, although no request of an audit asks for it unless its journey does (RFC 9110 section 8.4).
//! They are compared as what is in them: packed, a token in a page makes all of it another one.

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use super::BODY_KEPT_MAX;
use crate::outcome::{Body, Hash};

/// Bytes that a body is unpacked to at most. Of one with more in it, these count.
const UNPACKED_MAX: u64 = 64 << 20;
/// So much is unpacked at once.
const CHUNK: usize = 64 << 10;

/// What is in a body. One that cannot be unpacked, by its kind or because it is broken, stays as it came.
pub(super) fn unpacked(headers: &HeaderMap, body: Body) -> Body {
    let Body::Whole(packed) = &body else { return body };
    let kind = headers.get(CONTENT_ENCODING).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let found = match kind.trim().to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => read(MultiGzDecoder::new(&packed[..])),
        "deflate" => read(ZlibDecoder::new(&packed[..])),
        _ => None,
    };
    found.unwrap_or(body)
}

fn read(decoder: impl std::io::Read) -> Option<Body> {
    let mut decoder = decoder.take(UNPACKED_MAX);
    let (mut kept, mut length, mut hash, mut chunk) = (Vec::new(), 0, Hash::default(), vec![0; CHUNK]);
    loop {
        let read = decoder.read(&mut chunk).ok()?;
        let data = &chunk[..read];
        if data.is_empty() {
            break;
        }
        length += data.len() as u64;
        hash.add(data);
        kept.extend_from_slice(&data[..data.len().min(BODY_KEPT_MAX - kept.len())]);
    }
    let kept = Bytes::from(kept);
    Some(if length > kept.len() as u64 { Body::Long(kept, length, hash.value()) } else { Body::Whole(kept) })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(text: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap().into()
    }

    fn found(kind: &str, packed: Bytes) -> Body {
        unpacked(&HeaderMap::from_iter([(CONTENT_ENCODING, kind.parse().unwrap())]), Body::Whole(packed))
    }

    #[test]
    fn a_packed_body_is_what_is_in_it_and_a_broken_one_what_it_is() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(b"hello").unwrap();
        let zlib = Bytes::from(zlib.finish().unwrap());
        let whole = gzip(b"hello");
        let twice = Bytes::from([&whole[..], &whole[..]].concat());
        for (kind, packed, expected) in [
            ("gzip", whole.clone(), &b"hello"[..]),
            (" X-GZIP", whole.clone(), b"hello"),
            ("deflate", zlib, b"hello"),
            ("gzip", twice, b"hellohello"),
            ("br", whole.clone(), &whole),
            ("gzip", whole.slice(..10), &whole[..10]),
            ("gzip", Bytes::from_static(b"hello"), b"hello"),
            ("gzip", Bytes::new(), b""),
        ] {
            let Body::Whole(found) = found(kind, packed) else { panic!("{kind}") };
            assert_eq!(found, expected, "{kind}");
        }
    }

    #[test]
    fn what_has_no_end_in_it_has_one_here() {
        for (megabytes, expected) in [(8, 8), (9, 9), (65, 64)] {
            let packed = gzip(&vec![0; megabytes << 20]);
            match found("gzip", packed) {
                Body::Whole(bytes) => assert_eq!((bytes.len(), expected), (megabytes << 20, megabytes)),
                Body::Long(bytes, length, _) => {
                    assert_eq!((bytes.len(), length), (BODY_KEPT_MAX, (expected as u64) << 20));
                }
            }
        }
    }
}
