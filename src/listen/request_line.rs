//! Targets with bytes that no URL may contain, but that clients send all the same; see [`crate::config::percent`].
//! hyper would refuse most of them. They are percent-encoded before it reads them, each by itself: what becomes of a
//! target must not depend on the pieces it comes in.
//!
//! Only the first line of a head is looked at, where it lies in hyper's own buffer: requests without such bytes pay for
//! a look at some dozen bytes, and nothing is copied. So it must be known where a head begins, though hyper alone knows
//! what it has read and not used. It has used everything when the latest request is over and what was read ends with a
//! blank line, or with the last byte of a body of known length. Otherwise, in a head that comes in the same read as the
//! one before, nothing is encoded here; what hyper lets pass is encoded later, in `proxy::target`.

use std::io::BufRead as _;

use bytes::Bytes;
use tokio::io::ReadBuf;

use crate::config::percent;

const BLANK_LINE: &[u8] = b"\r\n\r\n";

/// What is known of the latest request when something is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Latest {
    /// It is being served, its head was just taken or is still coming, or its body has not come whole.
    UnderWay,
    /// It has come whole, with a body of this many bytes, if they were announced.
    Over(Option<u64>),
}

/// Where the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A head begins with it, or blank lines before one.
    Start,
    /// The first line of a head goes on.
    Line,
    /// The fields of a head go on.
    Fields,
    /// A head has ended this many bytes before.
    Behind(u64),
    /// Nobody knows.
    Unknown,
}

/// Follows what hyper reads; see the module.
#[derive(Debug)]
pub(super) struct RequestLines {
    place: Place,
    /// How much of [`BLANK_LINE`] the bytes read so far end with.
    matched: u8,
}

impl RequestLines {
    /// For a connection of which nothing was read, or whose buffer has been given back.
    pub(super) fn new() -> Self {
        Self { place: Place::Start, matched: 0 }
    }

    /// Follows what was read into `buf` behind `before`, and encodes what is part of a target. It returns what does not
    /// fit into `buf` any more, to be read next.
    #[inline(always)]
    pub(super) fn pass(&mut self, buf: &mut ReadBuf<'_>, before: usize, latest: Latest) -> Bytes {
        let read = buf.filled().get(before..).unwrap_or_default();
        if read.is_empty() {
            return Bytes::new();
        }
        if let Latest::Over(length) = latest {
            self.place = self.behind_a_request(length);
        }
        let line = match self.place {
            Place::Start => first_line(read, false),
            Place::Line => first_line(read, true),
            Place::Fields | Place::Behind(_) | Place::Unknown => &[],
        };
        let encoded = if percent::has_odd(line) { Some(encode(read, line, self.place == Place::Line)) } else { None };
        self.advance(read);
        match encoded {
            None => Bytes::new(),
            Some(encoded) => {
                buf.set_filled(before);
                let (now, later) = encoded.split_at(encoded.len().min(buf.remaining()));
                buf.put_slice(now);
                Bytes::copy_from_slice(later)
            }
        }
    }

    /// Where the next byte belongs, now that the latest request is over.
    #[inline]
    fn behind_a_request(&self, length: Option<u64>) -> Place {
        match self.place {
            Place::Behind(_) | Place::Unknown if usize::from(self.matched) == BLANK_LINE.len() => Place::Start,
            Place::Behind(bytes) if length == Some(bytes) => Place::Start,
            Place::Behind(_) | Place::Unknown => Place::Unknown,
            in_head => in_head,
        }
    }

    #[inline]
    fn advance(&mut self, read: &[u8]) {
        match self.place {
            Place::Start | Place::Line | Place::Fields if read.ends_with(BLANK_LINE) => {
                (self.place, self.matched) = (Place::Behind(0), BLANK_LINE.len() as u8);
            }
            Place::Start | Place::Line | Place::Fields => self.advance_in_head(read),
            Place::Behind(bytes) => {
                self.place = Place::Behind(bytes.saturating_add(read.len() as u64));
                self.match_end(read);
            }
            Place::Unknown => self.match_end(read),
        }
    }

    /// The read ends within a head, or a body follows the head in it.
    #[cold]
    fn advance_in_head(&mut self, read: &[u8]) {
        let blank = if self.place == Place::Start { blank_before(read) } else { 0 };
        let head = read.get(blank..).unwrap_or_default();
        if self.place == Place::Start {
            self.matched = 0;
        }
        for (at, &byte) in head.iter().enumerate() {
            self.matched = match_next(self.matched, byte);
            if usize::from(self.matched) == BLANK_LINE.len() {
                let body = head.get(at + 1..).unwrap_or_default();
                self.place = Place::Behind(body.len() as u64);
                return self.match_end(body);
            }
        }
        self.place = match self.place {
            Place::Start if head.is_empty() => Place::Start,
            Place::Start | Place::Line if !head.contains(&b'\n') => Place::Line,
            _ => Place::Fields,
        };
    }

    /// A match is as long as the blank line at most, so the last bytes tell it.
    fn match_end(&mut self, read: &[u8]) {
        let end = read.get(read.len().saturating_sub(BLANK_LINE.len())..).unwrap_or_default();
        let before = if end.len() == BLANK_LINE.len() { 0 } else { self.matched };
        self.matched = end.iter().fold(before, |matched, &byte| match_next(matched, byte));
    }
}

/// How much of [`BLANK_LINE`] is matched with one more byte.
fn match_next(matched: u8, byte: u8) -> u8 {
    match (matched, byte) {
        (0 | 1, b'\r') => 1,
        (1, b'\n') => 2,
        (2 | 4, b'\r') => 3,
        (3, b'\n') => 4,
        (_, b'\r') => 1,
        _ => 0,
    }
}

/// The bytes of blank lines at the beginning.
fn blank_before(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| b"\r\n".contains(byte)).count()
}

/// The first line with something in it, as far as it has come, without its end.
#[inline]
fn first_line(bytes: &[u8], has_begun: bool) -> &[u8] {
    let blank = if has_begun { 0 } else { blank_before(bytes) };
    let mut rest = bytes.get(blank..).unwrap_or_default();
    // Several bytes are looked at in one step. Reading from memory does not fail.
    let line = rest.skip_until(b'\n').unwrap_or_default();
    // Together with the blank lines before it.
    bytes.get(..blank + line).unwrap_or_default()
}

/// What was read, with the target encoded. The method, which is the first word of a line, may contain a backtick.
#[cold]
fn encode(read: &[u8], line: &[u8], has_begun: bool) -> Vec<u8> {
    let method = if has_begun { 0 } else { line.iter().position(|&byte| byte == b' ').unwrap_or(line.len()) };
    let mut encoded = Vec::with_capacity(read.len() + 16);
    encoded.extend_from_slice(read.get(..method).unwrap_or_default());
    percent::encode(line.get(method..).unwrap_or_default(), &mut encoded);
    encoded.extend_from_slice(read.get(line.len()..).unwrap_or_default());
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What hyper gets of these reads, each with what is known when it is done.
    fn passed(reads: &[(&[u8], Latest)]) -> Vec<u8> {
        let (mut lines, mut passed) = (RequestLines::new(), Vec::new());
        for (read, latest) in reads {
            let mut space = vec![0; read.len()];
            let mut buf = ReadBuf::new(&mut space);
            buf.put_slice(read);
            let later = lines.pass(&mut buf, 0, *latest);
            passed.extend_from_slice(buf.filled());
            passed.extend_from_slice(&later);
        }
        passed
    }

    #[test]
    fn only_the_target_is_encoded() {
        for (read, expected) in [
            (&b"GET /a HTTP/1.1\r\nX: \"<>`\r\n\r\n"[..], &b"GET /a HTTP/1.1\r\nX: \"<>`\r\n\r\n"[..]),
            (b"GET /\"<>` HTTP/1.1\r\nX: \"\r\n\r\n", b"GET /%22%3C%3E%60 HTTP/1.1\r\nX: \"\r\n\r\n"),
            (b"\r\n\r\nGET /<", b"\r\n\r\nGET /%3C"),
            (b"G`T /<", b"G`T /%3C"),
            (b"GET /\xc3\xa9", b"GET /%C3%A9"),
            (b"GET /\xe9\xff", b"GET /%E9%FF"),
            (b"", b""),
            (b"\r\n", b"\r\n"),
        ] {
            let over = Latest::Over(Some(0));
            assert_eq!(passed(&[(read, over)]), expected, "{:?}", String::from_utf8_lossy(read));
            if let [b'G', ..] = read {
                let (one, other) = read.split_at(5);
                assert_eq!(passed(&[(one, over), (other, over)]), expected, "in two reads");
            }
        }
    }

    /// Heads in any pieces, with bodies of both kinds between them.
    #[test]
    fn the_next_target_is_found_behind_a_body_and_in_any_pieces() {
        let get = b"GET /\" HTTP/1.1\r\nHost: \"\r\n\r\n";
        let encoded = b"GET /%22 HTTP/1.1\r\nHost: \"\r\n\r\n";
        let post = b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n";
        let (sized, chunked) = (b"a\"\r\nb", b"3\r\na\"b\r\n0\r\n\r\n");
        for (body, length) in [(&sized[..], Some(5)), (chunked, None)] {
            let message = [post, body].concat();
            for cut in 1..message.len() {
                let (one, other) = message.split_at(cut);
                let over = Latest::Over(length);
                let in_head = if cut < post.len() { Latest::Over(Some(0)) } else { Latest::UnderWay };
                for tail in 0..get.len() {
                    let (begun, rest) = get.split_at(tail);
                    let reads = [
                        (one, Latest::Over(Some(0))),
                        (other, in_head),
                        (begun, over),
                        (rest, over),
                        (get, Latest::Over(Some(0))),
                    ];
                    let expected = [&message[..], encoded, encoded].concat();
                    assert_eq!(passed(&reads), expected, "cut at {cut}, next at {tail}");
                }
            }
        }
    }

    /// Nobody knows then where the next head begins, until one has ended with a read.
    #[test]
    fn a_head_behind_another_one_in_the_same_read_is_not_touched() {
        let get = &b"GET /\" HTTP/1.1\r\n\r\n"[..];
        let over = Latest::Over(Some(0));
        let reads = [(&[get, &get[..9]].concat()[..], over), (&get[9..], over), (get, over)];
        let expected = b"GET /%22 HTTP/1.1\r\n\r\nGET /\" HTTP/1.1\r\n\r\nGET /%22 HTTP/1.1\r\n\r\n";
        assert_eq!(passed(&reads), expected);
        // The bytes of a body are not, whatever they look like.
        let post = b"POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\n";
        let reads = [(&post[..], over), (get, Latest::UnderWay), (get, Latest::UnderWay)];
        assert_eq!(passed(&reads), [post, get, get].concat());
    }
}
