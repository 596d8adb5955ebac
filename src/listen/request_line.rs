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

/// The end of nearly every head.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Methods of requests that hardly ever have a body.
const BODILESS: [&[u8]; 2] = [b"GET ", b"HEAD "];

/// No more than so many bytes tell whether a blank line has ended: a line ends with LF, before which there may be CR.
const END_BYTES: usize = 3;

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
    /// The method goes on.
    Method,
    /// The first line of a head goes on behind the method.
    Target,
    /// The fields of a head go on.
    Fields,
    /// A head has ended this many bytes before, if that is known.
    Behind(Option<u64>),
    /// Nobody knows.
    Unknown,
}

/// What the bytes read so far end with. hyper takes a bare LF for the end of a line as well (RFC 9112 section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// A part of a line.
    InLine,
    /// The end of a line.
    WithLine,
    /// The same and a CR, which may belong to a blank line.
    WithCr,
    /// A blank line.
    WithBlank,
}

impl Ends {
    fn then(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::InLine, b'\n') => Self::WithLine,
            (_, b'\n') => Self::WithBlank,
            (Self::WithLine | Self::WithBlank, b'\r') => Self::WithCr,
            _ => Self::InLine,
        }
    }
}

/// Follows what hyper reads; see the module.
#[derive(Debug)]
pub(super) struct RequestLines {
    place: Place,
    ends: Ends,
}

impl RequestLines {
    /// For a connection of which nothing was read, or whose buffer has been given back.
    pub(super) fn new() -> Self {
        Self { place: Place::Start, ends: Ends::InLine }
    }

    /// Follows what was read into `buf` behind `before`, and encodes what is part of a target. It returns what may not
    /// fit into `buf` any more, to be read next.
    #[inline(always)]
    pub(super) fn pass(&mut self, buf: &mut ReadBuf<'_>, before: usize, latest: Latest) -> Option<Bytes> {
        let read = buf.filled().get(before..).unwrap_or_default();
        if read.is_empty() {
            return None;
        }
        if let Latest::Over(length) = latest {
            self.place = self.behind_a_request(length);
        }
        let place = self.place;
        let line = match place {
            Place::Start => first_line(read, blank_before(read)),
            Place::Method | Place::Target => first_line(read, 0),
            Place::Fields | Place::Behind(_) | Place::Unknown => &[],
        };
        let encoded = if percent::has_odd(line) { Some(encode(read, line, place)) } else { None };
        self.advance(read);
        encoded.map(|encoded| {
            buf.set_filled(before);
            let (now, later) = encoded.split_at(encoded.len().min(buf.remaining()));
            buf.put_slice(now);
            Bytes::copy_from_slice(later)
        })
    }

    /// Where the next byte belongs, now that the latest request is over.
    #[inline]
    fn behind_a_request(&self, length: Option<u64>) -> Place {
        match self.place {
            Place::Behind(_) | Place::Unknown if self.ends == Ends::WithBlank => Place::Start,
            Place::Behind(Some(bytes)) if length == Some(bytes) => Place::Start,
            Place::Behind(_) | Place::Unknown => Place::Unknown,
            in_head => in_head,
        }
    }

    #[inline]
    fn advance(&mut self, read: &[u8]) {
        match self.place {
            // Behind the first head there may be others. How many bytes came behind it matters only if it has a body.
            Place::Start if read.ends_with(HEAD_END) && BODILESS.iter().any(|method| read.starts_with(method)) => {
                (self.place, self.ends) = (Place::Behind(None), Ends::WithBlank);
            }
            Place::Start | Place::Method | Place::Target | Place::Fields => self.advance_in_head(read),
            Place::Behind(bytes) => {
                self.place = Place::Behind(bytes.map(|bytes| bytes.saturating_add(read.len() as u64)));
                self.end_with(read);
            }
            Place::Unknown => self.end_with(read),
        }
    }

    /// The read may end within a head, or a body may follow the head in it.
    #[cold]
    fn advance_in_head(&mut self, read: &[u8]) {
        let mut rest = read;
        if self.place == Place::Start {
            rest = read.get(blank_before(read)..).unwrap_or_default();
            if rest.is_empty() {
                return;
            }
            (self.place, self.ends) = (Place::Method, Ends::InLine);
        }
        while !rest.is_empty() {
            let line = first_line(rest, 0);
            let has_ended = line.len() < rest.len();
            if self.place == Place::Method && line.contains(&b' ') {
                self.place = Place::Target;
            }
            self.end_with(line);
            if !has_ended {
                return;
            }
            self.ends = self.ends.then(b'\n');
            rest = rest.get(line.len() + 1..).unwrap_or_default();
            if self.ends == Ends::WithBlank {
                self.place = Place::Behind(Some(rest.len() as u64));
                return self.end_with(rest);
            }
            self.place = Place::Fields;
        }
    }

    fn end_with(&mut self, read: &[u8]) {
        let end = read.get(read.len().saturating_sub(END_BYTES)..).unwrap_or_default();
        let before = if end.len() == END_BYTES { Ends::InLine } else { self.ends };
        self.ends = end.iter().fold(before, |ends, &byte| ends.then(byte));
    }
}

/// The bytes of blank lines at the beginning.
fn blank_before(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| b"\r\n".contains(byte)).count()
}

/// The first line behind `blank` bytes, as far as it has come, without its LF. The blank ones belong to it.
#[inline]
fn first_line(bytes: &[u8], blank: usize) -> &[u8] {
    let mut rest = bytes.get(blank..).unwrap_or_default();
    // Several bytes are looked at in one step. Reading from memory does not fail.
    let line = rest.skip_until(b'\n').unwrap_or_default();
    let end = if bytes.get(blank + line - usize::from(line > 0)) == Some(&b'\n') { line - 1 } else { line };
    bytes.get(..blank + end).unwrap_or_default()
}

/// What was read, with the target encoded. The method, which is the first word of a line, may contain a backtick.
#[cold]
fn encode(read: &[u8], line: &[u8], place: Place) -> Vec<u8> {
    let is_behind_method = place == Place::Target;
    let method = if is_behind_method { 0 } else { line.iter().position(|&byte| byte == b' ').unwrap_or(line.len()) };
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
            passed.extend(later.into_iter().flatten());
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
            for cut in 0..read.len() {
                let (one, other) = read.split_at(cut);
                assert_eq!(passed(&[(one, over), (other, Latest::UnderWay)]), expected, "cut at {cut}");
            }
        }
    }

    /// A head with a body, and two requests behind it, cut anywhere. What comes in the same read as the end of the
    /// message before it is left alone, and everything else is encoded or left alone as it must be.
    #[test]
    fn the_next_target_is_found_behind_a_body_and_in_any_pieces() {
        let (none, under_way) = (Latest::Over(Some(0)), Latest::UnderWay);
        for end in ["\r\n", "\n"] {
            let get = format!("GET /\" HTTP/1.1{end}Host: \"{end}{end}").into_bytes();
            let encoded = format!("GET /%22 HTTP/1.1{end}Host: \"{end}{end}").into_bytes();
            let post = format!("POST / HTTP/1.1{end}Content-Length: 9{end}{end}").into_bytes();
            let sized = format!("a\"{end}{end}\"\"\"b\"").into_bytes();
            let blank = format!("abc\"<{end}{end}").into_bytes();
            let chunked = format!("5{end}{end}\"ab\"{end}0{end}{end}").into_bytes();
            for (body, length) in
                [(&sized, Some(sized.len() as u64)), (&blank, Some(blank.len() as u64)), (&chunked, None)]
            {
                let message = [&post[..], body].concat();
                for cut in 1..message.len() {
                    let (one, other) = message.split_at(cut);
                    let in_head = if cut < post.len() { none } else { under_way };
                    for tail in 0..get.len() {
                        let (begun, rest) = get.split_at(tail);
                        let over = Latest::Over(length);
                        // Each message in reads of its own.
                        let reads = [(one, none), (other, in_head), (begun, over), (rest, over), (&get[..], none)];
                        let expected = [&message[..], &encoded, &encoded].concat();
                        assert_eq!(passed(&reads), expected, "cut at {cut}, next at {tail}, {end:?}");
                        // The next one begins in the read that ends the body.
                        if tail > 0 {
                            let both = [other, begun].concat();
                            let passed = passed(&[(one, none), (&both, in_head), (rest, over), (&get[..], none)]);
                            let bytes = &passed[..message.len() + get.len()];
                            assert_eq!(bytes, [&message[..], &get].concat(), "cut at {cut}, next at {tail}, {end:?}");
                        }
                    }
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
