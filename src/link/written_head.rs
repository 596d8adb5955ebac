//! The head of the latest request of a connection of HTTP/1.1, on its way from hyper to the socket.
//!
//! hyper writes the fields of the client. The lines of [`Added`] are put behind them, before the empty line that ends
//! the head. hyper does not know of them, so it is told only of what it has written itself.

use std::io::{self, ErrorKind, IoSlice};

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::added::Added;

/// The last line of a head, and the end of the one before it (RFC 9112 section 2.1).
const END: &[u8] = b"\r\n\r\n";

/// The empty line at the end of a head.
const LAST_LINE: usize = 2;

/// The most parts of a head and of what comes behind it that are written at once. hyper writes the rest next.
const PARTS: usize = 6;

/// See the module. It is kept for as long as the request may have to be sent again.
#[derive(Debug, Default)]
pub(super) struct WrittenHead {
    /// What is added, and then the head as hyper has written it, once it has.
    bytes: Vec<u8>,
    /// Where hyper's head begins.
    begin: usize,
    /// Where the empty line at its end begins.
    last_line: usize,
    /// How much has been written of the whole head, in the order of the wire.
    written: usize,
    /// Whether something is added, and not all of the head has been written.
    is_due: bool,
}

impl WrittenHead {
    /// A request is about to be written.
    pub(super) fn begin(&mut self, added: &Added) {
        self.bytes.clear();
        added.write(&mut self.bytes);
        (self.begin, self.written) = (self.bytes.len(), 0);
        self.is_due = self.begin > 0;
    }

    /// Takes what hyper writes, if it is the head: hyper writes that before anything else, and as one slice. It returns
    /// whether the head must be written from here.
    ///
    /// # Errors
    /// It is no whole head.
    #[inline]
    pub(super) fn take(&mut self, slice: &[u8]) -> io::Result<bool> {
        if self.bytes.len() == self.begin {
            self.bytes.extend_from_slice(slice);
            if self.is_due {
                self.last_line = self.find_last_line().ok_or(ErrorKind::InvalidData)?;
            }
        }
        Ok(self.is_due)
    }

    fn find_last_line(&self) -> Option<usize> {
        let head = &self.bytes[self.begin..];
        let end = if head.ends_with(END) {
            head.len()
        } else {
            head.windows(END.len()).position(|it| it == END)? + END.len()
        };
        Some(self.begin + end - LAST_LINE)
    }

    /// What is to be written: what is left of the head, and `behind`.
    #[inline]
    pub(super) fn parts<'a>(&'a self, behind: &'a [IoSlice<'a>]) -> [IoSlice<'a>; PARTS] {
        let (before, last_line) = self.bytes.split_at(self.last_line);
        let (added, head) = before.split_at(self.begin);
        let mut parts = [IoSlice::new(&[]); PARTS];
        let mut written = self.written;
        for (place, part) in parts.iter_mut().zip([head, added, last_line]) {
            let skipped = written.min(part.len());
            written -= skipped;
            *place = IoSlice::new(&part[skipped..]);
        }
        parts.iter_mut().skip(3).zip(behind).for_each(|(place, slice)| *place = IoSlice::new(slice));
        parts
    }

    /// Notes that so many bytes of [`Self::parts`] were written. It returns how many bytes hyper has written so far, or
    /// `None` if its head is not out yet.
    #[inline]
    pub(super) fn wrote(&mut self, bytes: usize) -> Option<usize> {
        self.written += bytes;
        let behind = self.written.checked_sub(self.bytes.len())?;
        self.is_due = false;
        Some(self.bytes.len() - self.begin + behind)
    }

    /// Whether not all of it has been written.
    pub(super) fn is_due(&self) -> bool {
        self.is_due
    }

    /// Whether its last line is the end of the request too.
    pub(super) fn is_all(&self) -> bool {
        self.fields().is_some_and(|fields| {
            let length = fields.get(CONTENT_LENGTH);
            !fields.contains_key(TRANSFER_ENCODING) && length.is_none_or(|length| length == "0")
        })
    }

    /// The fields that hyper has written; `None` if it has written no head.
    pub(super) fn fields(&self) -> Option<HeaderMap> {
        parse_fields(&self.bytes[self.begin..])
    }
}

fn parse_fields(head: &[u8]) -> Option<HeaderMap> {
    let lines = head.iter().filter(|&&byte| byte == b'\n').count();
    let mut fields = vec![httparse::EMPTY_HEADER; lines];
    let mut request = httparse::Request::new(&mut fields);
    if !request.parse(head).is_ok_and(|status| status.is_complete()) {
        return None;
    }
    let pairs = request.headers.iter().filter_map(|field| {
        Some((HeaderName::from_bytes(field.name.as_bytes()).ok()?, HeaderValue::from_bytes(field.value).ok()?))
    });
    let mut map = HeaderMap::with_capacity(lines);
    pairs.for_each(|(name, value)| _ = map.append(name, value));
    Some(map)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const HEAD: &[u8] = b"POST /x?y HTTP/1.1\r\nhost: a\r\nx-two: 1\r\nx-two: \xff2\r\nx-empty:\r\n\r\n";
    const WHOLE: &[u8] =
        b"POST /x?y HTTP/1.1\r\nhost: a\r\nx-two: 1\r\nx-two: \xff2\r\nx-empty:\r\nvia: b\r\n\r\n12345";

    #[test]
    fn the_fields_of_a_request_can_be_read_back() {
        assert!(WrittenHead::default().fields().is_none(), "nothing was handed over");
        for lines in ["", "via: b\r\n"] {
            let mut head = begun(lines);
            assert!(head.fields().is_none(), "nothing was handed over");
            head.take(HEAD).unwrap();
            head.take(b"a body").unwrap();
            let fields = head.fields().unwrap();
            let values = |name| fields.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
            assert_eq!((fields.len(), values("host")), (4, vec![&b"a"[..]]));
            assert_eq!((values("x-two"), values("x-empty")), (vec![&b"1"[..], b"\xff2"], vec![&b""[..]]));
        }
    }

    #[test]
    fn what_is_added_goes_before_the_empty_line_however_little_is_written_at_once() {
        for at_once in 1..=WHOLE.len() {
            let mut head = begun("via: b\r\n");
            let behind = [&b"12"[..], b"345"].map(IoSlice::new);
            let (mut wire, mut of_hyper) = (Vec::new(), None);
            while of_hyper.is_none() {
                assert!(head.take(HEAD).unwrap());
                let parts = head.parts(&behind).iter().flat_map(|part| part.to_vec()).collect::<Vec<_>>();
                let written = &parts[..at_once.min(parts.len())];
                wire.extend_from_slice(written);
                of_hyper = head.wrote(written.len());
            }
            let of_body = of_hyper.unwrap() - HEAD.len();
            assert!(!head.take(&b"12345"[of_body..]).unwrap(), "the rest is hyper's");
            wire.extend_from_slice(&b"12345"[of_body..]);
            assert_eq!(wire, WHOLE, "{at_once} at once");
        }
    }

    #[test]
    fn a_head_is_found_in_front_of_its_body_and_must_be_whole() {
        let mut head = begun("via: b\r\n");
        assert!(head.take(&[HEAD, b"12345"].concat()).unwrap());
        assert_eq!(head.parts(&[]).iter().flat_map(|part| part.to_vec()).collect::<Vec<_>>(), WHOLE);
        assert!(begun("via: b\r\n").take(b"POST / HTTP/1.1\r\n").is_err());
        assert!(!begun("").take(b"POST / HTTP/1.1\r\n").unwrap(), "nothing is added");
    }

    fn begun(lines: &'static str) -> WrittenHead {
        let mut head = WrittenHead::default();
        head.begin(&Added { forwarding: Bytes::from_static(lines.as_bytes()), ..Added::default() });
        head
    }
}
