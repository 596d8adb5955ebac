//! Interim responses of an endpoint over HTTP/1.1 (RFC 9110 section 15.2).
//!
//! hyper reads over them. It would call somebody for each, but only for a price that every request would pay: two
//! allocations for something that hardly any response has. So they are read here, on their way to hyper, which gets
//! them too. Responses without any pay for a look at their first bytes.

use http::{HeaderName, HeaderValue, Response, StatusCode};
use httparse::Status;

use super::h1::FIELDS_MAX;

/// How every interim response begins, besides 101, which is no interim one here.
const BEGINNING: &[u8] = b"HTTP/1.1 1";

/// The most bytes that interim responses may have, beyond which they are not looked at any more.
const BYTES_MAX: usize = 64 * 1024;

/// The most of them for one request.
const INTERIM_MAX: usize = 16;

/// Reads the heads before that of the final response.
#[derive(Debug, Default)]
pub(super) struct Interims {
    /// What has come of a head that may be one, and is not whole.
    part: Vec<u8>,
    bytes: usize,
    /// Whether what comes next may be such a head.
    is_open: bool,
    found: Vec<Response<()>>,
    count: usize,
}

impl Interims {
    /// A request is about to be sent.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.is_open = true;
        if self.bytes > 0 {
            *self = Self { is_open: true, ..Self::default() };
        }
    }

    /// Whether what comes next is to be shown.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Shows what was read.
    #[inline]
    pub(super) fn read(&mut self, bytes: &[u8]) {
        if self.part.is_empty() && !begins(bytes) {
            self.is_open = false;
        } else {
            self.collect(bytes);
        }
    }

    /// Takes those that have come.
    pub(super) fn take(&mut self) -> Vec<Response<()>> {
        std::mem::take(&mut self.found)
    }

    #[inline]
    pub(super) fn has_any(&self) -> bool {
        !self.found.is_empty()
    }

    #[cold]
    fn collect(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.part.extend_from_slice(bytes);
        let mut used = 0;
        loop {
            let rest = self.part.get(used..).unwrap_or_default();
            self.is_open = begins(rest) && self.bytes <= BYTES_MAX && self.count < INTERIM_MAX;
            let Some((length, head)) = Some(rest).filter(|_| self.is_open).and_then(parse) else { break };
            used += length;
            self.count += 1;
            if head.status() == StatusCode::SWITCHING_PROTOCOLS {
                self.is_open = false;
                break;
            }
            self.found.push(head);
        }
        self.part.drain(..used);
        if !self.is_open {
            self.part = Vec::new();
        }
    }
}

/// Whether these are the first bytes of an interim response, or may become that.
#[inline]
fn begins(bytes: &[u8]) -> bool {
    let length = bytes.len().min(BEGINNING.len());
    bytes.get(..length) == BEGINNING.get(..length)
}

/// The first head, if it is whole, and its length. What is malformed is for hyper to refuse.
fn parse(bytes: &[u8]) -> Option<(usize, Response<()>)> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut fields);
    let Ok(Status::Complete(length)) = parsed.parse(bytes) else { return None };
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::from_u16(parsed.code?).ok()?;
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        head.headers_mut().append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some((length, head))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(number: usize) -> String {
        format!("HTTP/1.1 103 Early Hints\r\nLink: </{number}>\r\n\r\n")
    }

    #[test]
    fn interim_responses_are_found_wherever_they_are_cut() {
        let sent = format!(
            "{}HTTP/1.1 100 Continue\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n{}",
            hints(1),
            hints(2),
            hints(3)
        );
        for at in 0..sent.len() {
            let mut interims = Interims::default();
            interims.begin();
            for part in [&sent.as_bytes()[..at], &sent.as_bytes()[at..]] {
                if interims.is_open() && !part.is_empty() {
                    interims.read(part);
                }
            }
            let found = interims.take();
            let link = |head: &Response<()>| head.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
            let links: Vec<_> = found.iter().map(|head| link(head).unwrap_or_default()).collect();
            assert_eq!(links, ["</1>", "", "</2>"], "cut at {at}");
            assert!(!interims.is_open() && interims.part.is_empty(), "nothing is kept");
        }
    }

    #[test]
    fn there_is_an_end_to_them() {
        let mut interims = Interims::default();
        interims.begin();
        interims.read(hints(0).repeat(1000).as_bytes());
        assert_eq!((interims.take().len(), interims.is_open()), (INTERIM_MAX, false));
        interims.begin();
        for _ in 0..BYTES_MAX {
            if interims.is_open() {
                interims.read(b"HTTP/1.1 103 Early Hints\r\nLink: and so on");
            }
        }
        assert!(!interims.is_open() && interims.part.is_empty());
        interims.begin();
        interims.read(b"HTTP/1.1 101 Other\r\n\r\nHTTP/1.1 103 Not HTTP\r\n\r\n");
        assert!(interims.take().is_empty() && !interims.is_open());
    }
}
