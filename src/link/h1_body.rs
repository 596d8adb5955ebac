//! The body of a response over HTTP/1.1 as its framing delimits it (RFC 9112 sections 6 and 7). Nothing here reads.

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use httparse::Status;

use super::error::Http1Error;
use super::h1_response::FIELDS_MAX;

/// The most bytes of a line that tells the size of a chunk, with its extensions, and of all trailers together.
const LINES_MAX: usize = 16 * 1024;

/// What is known of the end of a body.
#[derive(Debug)]
pub(super) enum Decoder {
    /// So many bytes are still to come.
    Length(u64),
    Chunked(Chunks),
    /// It ends with the connection.
    UntilClose,
}

/// Where in a chunked body the next byte belongs.
#[derive(Debug)]
pub(super) enum Chunks {
    /// To the size of a chunk, at whose beginning the body now is.
    Size,
    /// To the data of a chunk, of which so many bytes are still to come.
    Data(u64),
    /// To the end of the line behind the data of a chunk.
    DataEnd,
    /// To the trailers, of which so many bytes are known not to hold the end.
    Trailers(usize),
    /// Nowhere: the body has ended.
    Over,
}

/// What comes next in a body.
#[derive(Debug)]
pub(super) enum Next {
    Data(Bytes),
    Trailers(HeaderMap),
    /// More must be read first.
    Unread,
    End,
}

impl Decoder {
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunks::Size)
    }

    /// Whether the body is known to have ended.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunks::Over))
    }

    /// The most bytes that may be read for this body alone; `None` if it does not tell.
    pub(super) fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Takes what comes next from what was `read`.
    ///
    /// # Errors
    /// The framing is broken.
    #[inline]
    pub(super) fn next(&mut self, read: &mut BytesMut) -> Result<Next, Http1Error> {
        match self {
            Self::Length(0) | Self::Chunked(Chunks::Over) => Ok(Next::End),
            _ if read.is_empty() => Ok(Next::Unread),
            Self::Length(left) => Ok(Next::Data(take(read, left))),
            Self::Chunked(chunks) => chunks.next(read),
            Self::UntilClose => Ok(Next::Data(std::mem::take(read).freeze())),
        }
    }
}

/// Takes as much of `read` as belongs to the next `left` bytes.
#[inline]
fn take(read: &mut BytesMut, left: &mut u64) -> Bytes {
    let data = match usize::try_from(*left) {
        Ok(most) if most < read.len() => read.split_to(most),
        _ => std::mem::take(read),
    };
    *left -= data.len() as u64;
    data.freeze()
}

impl Chunks {
    fn next(&mut self, read: &mut BytesMut) -> Result<Next, Http1Error> {
        loop {
            match self {
                Self::Size => {
                    let Some((size, length)) = size(read)? else { return Ok(Next::Unread) };
                    read.advance(length);
                    *self = if size == 0 { Self::Trailers(0) } else { Self::Data(size) };
                }
                Self::Data(_) if read.is_empty() => return Ok(Next::Unread),
                Self::Data(left) => {
                    let data = take(read, left);
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    return Ok(Next::Data(data));
                }
                Self::DataEnd => match &read[..] {
                    [b'\r', b'\n', ..] => {
                        read.advance(2);
                        *self = Self::Size;
                    }
                    [] | [b'\r'] => return Ok(Next::Unread),
                    _ => return Err(Http1Error::CHUNK),
                },
                Self::Trailers(known) => {
                    let next = trailers(read, known)?;
                    if !matches!(next, Next::Unread) {
                        *self = Self::Over;
                    }
                    return Ok(next);
                }
                Self::Over => return Ok(Next::End),
            }
        }
    }
}

/// The size that a chunk begins with, and the length of the line that tells it; `None` if that is not whole. Chunk
/// extensions are read over. A line may not end with LF alone: others would see another end.
fn size(bytes: &[u8]) -> Result<Option<(u64, usize)>, Http1Error> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let size = bytes[..digits].iter().try_fold(0u64, |size, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        size.checked_mul(16)?.checked_add(digit.into())
    });
    let size = size.ok_or(Http1Error::CHUNK)?;
    let rest = &bytes[digits..];
    let blanks = rest.iter().take_while(|&&byte| matches!(byte, b' ' | b'\t')).count();
    match rest.get(blanks) {
        _ if digits == 0 && !bytes.is_empty() => return Err(Http1Error::CHUNK),
        None | Some(b'\r' | b';') => {}
        Some(_) => return Err(Http1Error::CHUNK),
    }
    let end = rest.iter().position(|&byte| matches!(byte, b'\r' | b'\n'));
    if digits + end.unwrap_or(rest.len()) > LINES_MAX {
        return Err(Http1Error::LINES);
    }
    match end.map(|end| &rest[end..]) {
        Some([b'\r', b'\n', ..]) => Ok(Some((size, digits + end.unwrap_or_default() + 2))),
        None | Some([b'\r']) => Ok(None),
        Some(_) => Err(Http1Error::CHUNK),
    }
}

/// What follows the last chunk. The first `known` bytes are known not to hold the end of the trailers.
fn trailers(read: &mut BytesMut, known: &mut usize) -> Result<Next, Http1Error> {
    const END: &[u8] = b"\r\n\r\n";
    match &read[..] {
        [b'\r', b'\n', ..] => {
            read.advance(2);
            return Ok(Next::End);
        }
        [] | [b'\r'] => return Ok(Next::Unread),
        _ => {}
    }
    let from = known.saturating_sub(END.len() - 1);
    let Some(end) = read[from..].windows(END.len()).position(|bytes| bytes == END) else {
        *known = read.len();
        return if read.len() > LINES_MAX { Err(Http1Error::LINES) } else { Ok(Next::Unread) };
    };
    let end = from + end + END.len();
    if end > LINES_MAX {
        return Err(Http1Error::LINES);
    }
    let mut space = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let fields = match httparse::parse_headers(&read[..end], &mut space) {
        Ok(Status::Complete((length, fields))) if length == end => fields,
        _ => return Err(Http1Error::FIELD),
    };
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Http1Error::FIELD)?;
        map.append(name, HeaderValue::from_bytes(field.value).map_err(|_| Http1Error::FIELD)?);
    }
    read.advance(end);
    Ok(Next::Trailers(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `sent`, which comes in two parts. It returns the data, the trailers, and what is left behind the end;
    /// `None` if the end has not come.
    type Decoded = Result<Option<(String, Option<HeaderMap>, String)>, Http1Error>;

    fn decode(mut decoder: Decoder, sent: &[u8], cut: usize) -> Decoded {
        let (mut data, mut trailers) = (Vec::new(), None);
        let mut read = BytesMut::from(&sent[..cut]);
        let mut parts = [&sent[cut..]].into_iter();
        loop {
            match decoder.next(&mut read)? {
                Next::Data(more) => data.extend(more),
                Next::Unread => match parts.next() {
                    Some(part) => read.extend_from_slice(part),
                    None => return Ok(None),
                },
                Next::Trailers(fields) => trailers = Some(fields),
                Next::End => {}
            }
            if decoder.is_over() {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let behind = [&read[..], &parts.collect::<Vec<_>>().concat()].concat();
                return Ok(Some((text(&data), trailers, text(&behind))));
            }
        }
    }

    fn at_any_cut(decoder: impl Fn() -> Decoder, sent: &str) -> (String, Option<HeaderMap>, String) {
        let all: Vec<_> =
            (0..=sent.len()).map(|cut| decode(decoder(), sent.as_bytes(), cut).unwrap().unwrap()).collect();
        assert!(all.windows(2).all(|two| two[0] == two[1]), "{sent:?}");
        all.into_iter().next().unwrap()
    }

    #[test]
    fn a_length_takes_its_own_bytes_and_no_more() {
        let (data, _, behind) = at_any_cut(|| Decoder::Length(5), "helloHTTP");
        assert_eq!((data.as_str(), behind.as_str()), ("hello", "HTTP"));
        assert!(decode(Decoder::Length(6), b"hello", 2).unwrap().is_none(), "it is not whole");
    }

    #[test]
    fn chunks_are_decoded_wherever_they_are_cut() {
        for (sent, expected, behind) in [
            ("0\r\n\r\n", "", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello", ""),
            ("5\r\nhello\r\n1\r\n!\r\n000\r\n\r\nHTTP/1.1 200", "hello!", "HTTP/1.1 200"),
            ("A ;name=\"v\"\r\n0123456789\r\n0;x\r\n\r\n", "0123456789", ""),
            ("a\t\r\n0\r\n3456789\r\n0 \r\n\r\n", "0\r\n3456789", ""),
        ] {
            let decoded = at_any_cut(Decoder::chunked, sent);
            assert_eq!(decoded, (expected.to_owned(), None, behind.to_owned()), "{sent:?}");
        }
        let (data, trailers, behind) =
            at_any_cut(Decoder::chunked, "1\r\nx\r\n0\r\nX-Sum: 1\r\nx-two:  2 \r\n\r\nnext");
        let trailers = trailers.unwrap();
        assert_eq!((data.as_str(), behind.as_str(), trailers.len()), ("x", "next", 2));
        assert!(trailers["x-sum"] == "1" && trailers["x-two"] == "2");
    }

    #[test]
    fn broken_chunks_are_refused_wherever_they_are_cut() {
        let long = format!("1;{}\r\nx\r\n0\r\n\r\n", "y".repeat(LINES_MAX));
        let zeros = format!("{}\r\n\r\n", "0".repeat(LINES_MAX + 1));
        let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(FIELDS_MAX + 1));
        let flood = format!("0\r\na: {}\r\n\r\n", "b".repeat(LINES_MAX));
        for sent in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "+1\r\nx\r\n",
            "0x1\r\nx\r\n",
            "1\nx\r\n0\r\n\r\n",
            "1\rx\r\n",
            "1;a\nx\r\n0\r\n\r\n",
            "1 1\r\nx\r\n",
            "1\r\nxy\r\n",
            "1\r\nx\n0\r\n\r\n",
            "10000000000000000\r\n",
            "0\r\n: empty\r\n\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\na: b\n\nc: d\r\n\r\n",
            &long,
            &zeros,
            &trailers,
            &flood,
        ] {
            for cut in (0..sent.len()).step_by(1 + sent.len() / 50) {
                assert!(decode(Decoder::chunked(), sent.as_bytes(), cut).is_err(), "{sent:.40?} cut at {cut}");
            }
        }
    }

    #[test]
    fn lines_without_end_have_an_end() {
        for begin in ["1;", "0", "0\r\na: "] {
            let (mut decoder, mut read) = (Decoder::chunked(), BytesMut::from(begin));
            let refused = (0..2 * LINES_MAX).find(|_| {
                read.extend_from_slice(b"0");
                decoder.next(&mut read).is_err()
            });
            assert!(refused.is_some_and(|bytes| bytes <= LINES_MAX), "{begin:?} {refused:?}");
        }
    }
}
