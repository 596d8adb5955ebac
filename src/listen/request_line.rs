//! Targets with bytes that no URL may contain, but that clients send all the same: `"`, `<`, `>`, `` ` ``, and what is
//! not ASCII. hyper would refuse most of them. They are percent-encoded (RFC 3986 section 2.1) before it reads them,
//! each by itself: what becomes of a target must not depend on the pieces it comes in.
//!
//! Only the first line of a head is looked at, where it lies in hyper's own buffer: requests without such bytes pay for
//! a look at some dozen bytes, and nothing is copied. A head that comes right behind another one, in the same read, or
//! behind a body is not looked at.

use std::io::{self, BufRead as _};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::ReadBuf;

use super::client_io::ClientTransport;

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// A part of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Its beginning.
    Start,
    /// More of its first line.
    Line,
    /// The rest: it is not looked at.
    Fields,
}

/// Reads a `part` of a head, and says which part comes next. What does not fit into `buf` any more is put into `ahead`.
/// It returns whether what was read ends with the end of a head.
#[inline(always)]
pub(super) fn poll_read(
    transport: &mut ClientTransport,
    part: &mut Part,
    ahead: &mut Bytes,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<bool>> {
    let before = buf.filled().len();
    ready!(transport.poll_read(cx, buf))?;
    let read = buf.filled().get(before..).unwrap_or_default();
    let ends_head = read.ends_with(b"\r\n\r\n");
    let has_begun = *part == Part::Line;
    let line = first_line(read, has_begun);
    let next = if line.len() == read.len() { Part::Line } else { Part::Fields };
    if needs_encoding(line) {
        let encoded = encode(read, line, has_begun);
        buf.set_filled(before);
        let (now, later) = encoded.split_at(encoded.len().min(buf.remaining()));
        buf.put_slice(now);
        *ahead = Bytes::copy_from_slice(later);
    }
    *part = next;
    Poll::Ready(Ok(ends_head))
}

/// The first line with something in it, as far as it has come, without its end.
#[inline]
fn first_line(bytes: &[u8], has_begun: bool) -> &[u8] {
    let blank = if has_begun { 0 } else { bytes.iter().take_while(|byte| b"\r\n".contains(byte)).count() };
    let mut rest = bytes.get(blank..).unwrap_or_default();
    // Several bytes are looked at in one step. Reading from memory does not fail.
    let line = rest.skip_until(b'\n').unwrap_or_default();
    let end = if rest.is_empty() { line } else { line.saturating_sub(1) };
    // Together with the blank lines before it, so that what was read is as long as its line if that has not ended.
    bytes.get(..blank + end).unwrap_or_default()
}

/// Without a branch per byte, so that several bytes are looked at in one step.
#[inline]
fn needs_encoding(line: &[u8]) -> bool {
    line.iter().fold(false, |found, &byte| found | is_odd(byte))
}

#[inline(always)]
fn is_odd(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'`') | !byte.is_ascii()
}

/// What was read, with the target encoded. The method, which is the first word of a line, may contain a backtick.
#[cold]
fn encode(read: &[u8], line: &[u8], has_begun: bool) -> Vec<u8> {
    let method = if has_begun { 0 } else { line.iter().position(|&byte| byte == b' ').unwrap_or(line.len()) };
    let mut encoded = Vec::with_capacity(read.len() + 16);
    for (at, &byte) in read.iter().enumerate() {
        let is_in_target = (method..line.len()).contains(&at);
        if is_in_target && is_odd(byte) {
            let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or(b'0');
            encoded.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        } else {
            encoded.push(byte);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_target_is_encoded() {
        for (read, expected) in [
            (&b"GET /a HTTP/1.1\r\nX: \"<>`\r\n\r\n"[..], None),
            (b"GET /\"<>` HTTP/1.1\r\nX: \"\r\n\r\n", Some(&b"GET /%22%3C%3E%60 HTTP/1.1\r\nX: \"\r\n\r\n"[..])),
            (b"\r\n\r\nGET /<", Some(b"\r\n\r\nGET /%3C")),
            (b"G`T /<", Some(b"G`T /%3C")),
            (b"GET /\xc3\xa9", Some(b"GET /%C3%A9")),
            (b"GET /\xe9\xff", Some(b"GET /%E9%FF")),
            (b"", None),
            (b"\r\n", None),
        ] {
            let line = first_line(read, false);
            let found = needs_encoding(line).then(|| encode(read, line, false));
            assert_eq!(found.as_deref(), expected, "{:?}", String::from_utf8_lossy(read));
        }
        assert_eq!(first_line(b"\nX: \"", true), b"", "the end of a line that has begun");
        assert_eq!(first_line(b"\r\nX: \"", true), b"\r");
        assert_eq!(encode(b"a`b HTTP", b"a`b HTTP", true), b"a%60b HTTP");
    }
}
