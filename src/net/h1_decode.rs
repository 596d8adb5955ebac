//! The body of a message of HTTP/1.1 as its framing delimits it (RFC 9112 sections 6 and 7). Nothing here reads.

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use httparse::Status;

/// The most header fields of a head, unless the config says so, and of trailers: what is kept on the stack while they
/// are parsed.
pub(crate) const FIELDS_MAX: usize = 100;

/// The most bytes of a line that tells the size of a chunk, with its extensions.
const LINE_MAX: usize = 16 * 1024;

/// The most digits of the size of a chunk, and blanks behind it: some pad their sizes.
const DIGITS_MAX: usize = 32;
const PADDING_MAX: usize = 256;

/// The bounds of what is no data in a chunked body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkLimits {
    /// Bytes of all extensions.
    pub(crate) extensions: usize,
    /// Bytes of all trailers.
    pub(crate) trailers: usize,
    /// The number of trailers.
    pub(crate) fields: usize,
}

impl ChunkLimits {
    /// Of an endpoint: a stream may go on for ever, and each line has its bound.
    pub(crate) const OF_ENDPOINTS: Self = Self { extensions: usize::MAX, trailers: 16 * 1024, fields: FIELDS_MAX };
}

/// What was read is not valid HTTP/1.1 (RFC 9112).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadFraming(pub(crate) &'static str);

impl BadFraming {
    pub(crate) const FIELD: Self = Self("a field is malformed");
    const CHUNK: Self = Self("a chunk is malformed");
    const LINES: Self = Self("chunk extensions or trailers are too long");
}

/// What is known of the end of a body.
#[derive(Debug)]
pub(crate) enum Decoder {
    /// So many bytes are still to come.
    Length(u64),
    Chunked(Chunked),
    /// It ends with the connection.
    UntilClose,
}

/// A body in chunks.
#[derive(Debug)]
pub(crate) struct Chunked {
    place: Place,
    /// Bytes of extensions that have come.
    extensions: usize,
    limits: ChunkLimits,
}

/// Where in a chunked body the next byte belongs.
#[derive(Debug)]
enum Place {
    /// To the size of a chunk, at whose beginning the body now is. So many bytes are known not to hold the end of the
    /// line, but the beginning of an extension.
    Size(usize),
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
pub(crate) enum Next {
    Data(Bytes),
    Trailers(HeaderMap),
    /// More must be read first.
    Unread,
    End,
}

impl Decoder {
    pub(crate) fn chunked(limits: ChunkLimits) -> Self {
        Self::Chunked(Chunked { place: Place::Size(0), extensions: 0, limits })
    }

    /// Whether the body is known to have ended.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunked { place: Place::Over, .. }))
    }

    /// The most bytes that may be read for this body alone; `None` if it does not tell.
    pub(crate) fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunked(..) | Self::UntilClose => None,
        }
    }

    /// Takes what comes next from what was `read`.
    ///
    /// # Errors
    /// The framing is broken.
    #[inline]
    pub(crate) fn next(&mut self, read: &mut BytesMut) -> Result<Next, BadFraming> {
        match self {
            Self::Length(0) => Ok(Next::End),
            Self::Chunked(chunked) => chunked.next(read),
            _ if read.is_empty() => Ok(Next::Unread),
            Self::Length(left) => Ok(Next::Data(take(read, left))),
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

impl Chunked {
    fn next(&mut self, read: &mut BytesMut) -> Result<Next, BadFraming> {
        loop {
            match &mut self.place {
                Place::Size(known) => {
                    if *known > 0 && !read[*known..].iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
                        *known = read.len();
                        return if *known > LINE_MAX { Err(BadFraming::LINES) } else { Ok(Next::Unread) };
                    }
                    let Some(Size { size, length, extensions }) = size(read)? else {
                        // What is no extension is looked at as a whole: it is short, or refused.
                        *known = if read.contains(&b';') { read.len() - 1 } else { 0 };
                        return Ok(Next::Unread);
                    };
                    read.advance(length);
                    self.extensions = self.extensions.saturating_add(extensions);
                    if self.extensions > self.limits.extensions {
                        return Err(BadFraming::LINES);
                    }
                    self.place = if size == 0 { Place::Trailers(0) } else { Place::Data(size) };
                }
                Place::Data(_) if read.is_empty() => return Ok(Next::Unread),
                Place::Data(left) => {
                    let data = take(read, left);
                    if *left == 0 {
                        self.place = Place::DataEnd;
                    }
                    return Ok(Next::Data(data));
                }
                Place::DataEnd => match &read[..] {
                    [b'\r', b'\n', ..] => {
                        read.advance(2);
                        self.place = Place::Size(0);
                    }
                    [] | [b'\r'] => return Ok(Next::Unread),
                    _ => return Err(BadFraming::CHUNK),
                },
                Place::Trailers(known) => {
                    let next = trailers(read, known, self.limits)?;
                    if !matches!(next, Next::Unread) {
                        self.place = Place::Over;
                    }
                    return Ok(next);
                }
                Place::Over => return Ok(Next::End),
            }
        }
    }
}

/// The line in front of a chunk.
struct Size {
    size: u64,
    /// Bytes of the line.
    length: usize,
    /// Bytes of its extensions.
    extensions: usize,
}

/// The size that a chunk begins with, and the length of the line that tells it; `None` if that is not whole. Chunk
/// extensions are read over. A line may not end with LF alone: others would see another end.
fn size(bytes: &[u8]) -> Result<Option<Size>, BadFraming> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let size = bytes[..digits].iter().try_fold(0u64, |size, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        size.checked_mul(16)?.checked_add(digit.into())
    });
    let size = size.ok_or(BadFraming::CHUNK)?;
    let rest = &bytes[digits..];
    let blanks = rest.iter().take_while(|&&byte| matches!(byte, b' ' | b'\t')).count();
    match rest.get(blanks) {
        _ if digits == 0 && !bytes.is_empty() => return Err(BadFraming::CHUNK),
        None | Some(b'\r' | b';') => {}
        Some(_) => return Err(BadFraming::CHUNK),
    }
    if digits > DIGITS_MAX || blanks > PADDING_MAX {
        return Err(BadFraming::LINES);
    }
    let end = rest.iter().position(|&byte| matches!(byte, b'\r' | b'\n'));
    if digits + end.unwrap_or(rest.len()) > LINE_MAX {
        return Err(BadFraming::LINES);
    }
    match end.map(|end| &rest[end..]) {
        Some([b'\r', b'\n', ..]) => {
            let behind = end.unwrap_or_default();
            Ok(Some(Size { size, length: digits + behind + 2, extensions: behind - blanks }))
        }
        None | Some([b'\r']) => Ok(None),
        Some(_) => Err(BadFraming::CHUNK),
    }
}

/// What follows the last chunk. The first `known` bytes are known not to hold the end of the trailers.
fn trailers(read: &mut BytesMut, known: &mut usize, limits: ChunkLimits) -> Result<Next, BadFraming> {
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
        return if read.len() > limits.trailers { Err(BadFraming::LINES) } else { Ok(Next::Unread) };
    };
    let end = from + end + END.len();
    if end > limits.trailers {
        return Err(BadFraming::LINES);
    }
    let mut space = vec![httparse::EMPTY_HEADER; limits.fields];
    let fields = match httparse::parse_headers(&read[..end], &mut space) {
        Ok(Status::Complete((length, fields))) if length == end => fields,
        _ => return Err(BadFraming::FIELD),
    };
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| BadFraming::FIELD)?;
        map.append(name, HeaderValue::from_bytes(field.value).map_err(|_| BadFraming::FIELD)?);
    }
    read.advance(end);
    Ok(Next::Trailers(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `sent`, which comes in two parts. It returns the data, the trailers, and what is left behind the end;
    /// `None` if the end has not come.
    fn chunked() -> Decoder {
        Decoder::chunked(ChunkLimits { extensions: 16 * 1024, ..ChunkLimits::OF_ENDPOINTS })
    }

    type Decoded = Result<Option<(String, Option<HeaderMap>, String)>, BadFraming>;

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
            let decoded = at_any_cut(chunked, sent);
            assert_eq!(decoded, (expected.to_owned(), None, behind.to_owned()), "{sent:?}");
        }
        let (data, trailers, behind) = at_any_cut(chunked, "1\r\nx\r\n0\r\nX-Sum: 1\r\nx-two:  2 \r\n\r\nnext");
        let trailers = trailers.unwrap();
        assert_eq!((data.as_str(), behind.as_str(), trailers.len()), ("x", "next", 2));
        assert!(trailers["x-sum"] == "1" && trailers["x-two"] == "2");
    }

    #[test]
    fn broken_chunks_are_refused_wherever_they_are_cut() {
        let long = format!("1;{}\r\nx\r\n0\r\n\r\n", "y".repeat(LINE_MAX));
        let zeros = format!("{}\r\n\r\n", "0".repeat(LINE_MAX + 1));
        let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(FIELDS_MAX + 1));
        let flood = format!("0\r\na: {}\r\n\r\n", "b".repeat(LINE_MAX));
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
                assert!(decode(chunked(), sent.as_bytes(), cut).is_err(), "{sent:.40?} cut at {cut}");
            }
        }
    }

    /// Nothing more may come.
    #[test]
    fn a_size_is_refused_as_soon_as_it_is_none() {
        for (first, second) in [("10", "G"), ("10 ", "x"), ("1", "GGGG"), ("10\t", "1"), ("1;a\r", "x"), ("1;a", "b\n")]
        {
            let (mut decoder, mut read) = (chunked(), BytesMut::from(first));
            assert!(matches!(decoder.next(&mut read), Ok(Next::Unread)), "{first:?}");
            read.extend_from_slice(second.as_bytes());
            assert!(decoder.next(&mut read).is_err(), "{first:?} {second:?}");
        }
    }

    /// A client could send little data in very much. What an endpoint streams has no end. Some pad their sizes.
    #[test]
    fn extensions_are_bounded_over_all_of_a_body_of_a_client() {
        let chunk = format!("1;{}\r\nx\r\n", "y".repeat(1_000));
        let padded = format!("1{}\r\nx\r\n", " ".repeat(PADDING_MAX));
        let wide = format!("1{}\r\nx\r\n", "\t".repeat(PADDING_MAX + 1));
        let of_endpoint = || Decoder::chunked(ChunkLimits::OF_ENDPOINTS);
        for (chunk, decoder, count, is_taken) in [
            (&chunk, chunked(), 16, true),
            (&chunk, chunked(), 17, false),
            (&padded, chunked(), 1_000, true),
            (&wide, chunked(), 1, false),
            (&chunk, of_endpoint(), 50, true),
            (&padded, of_endpoint(), 50, true),
            (&wide, of_endpoint(), 1, false),
        ] {
            let sent = format!("{}0\r\n\r\n", chunk.repeat(count));
            assert_eq!(decode(decoder, sent.as_bytes(), 0).is_ok(), is_taken, "{count} {chunk:.3}");
        }
    }

    #[test]
    fn lines_without_end_have_an_end() {
        for begin in ["1;", "0", "0\r\na: "] {
            let (mut decoder, mut read) = (chunked(), BytesMut::from(begin));
            let refused = (0..2 * LINE_MAX).find(|_| {
                read.extend_from_slice(b"0");
                decoder.next(&mut read).is_err()
            });
            assert!(refused.is_some_and(|bytes| bytes <= LINE_MAX), "{begin:?} {refused:?}");
        }
    }
}
