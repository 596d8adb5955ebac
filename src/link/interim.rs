//! Interim responses of an endpoint over HTTP/1.1 (RFC 9110 section 15.2), which come before its response.

use http::{Response, StatusCode};

use super::error::Http1Error;
use super::h1_response;
use super::record::BUFFER_BYTES_MAX;

/// The most bytes of interim responses (RFC 9110 section 15.2) to one request. They are read for as long as they come,
/// but no real server sends as many.
const INTERIM_FLOOD: usize = 1024 * 1024;

/// The most interim responses to one request that are passed on, and the most bytes they may have.
const INTERIM_MAX: usize = 16;
const INTERIM_BYTES_MAX: usize = 64 * 1024;

/// What has come before a response.
#[derive(Debug, Default)]
pub(super) struct Interims {
    count: usize,
    bytes: usize,
}

impl Interims {
    /// Finds the head of the response in `bytes`, behind those of interim responses, which are passed on. It returns
    /// the head, if it is whole, and how many bytes are used up.
    pub(super) fn read_over(
        &mut self,
        bytes: &[u8],
        pass_interim: &mut dyn FnMut(Response<()>),
    ) -> Result<(Option<Response<()>>, usize), Http1Error> {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let Some((response, length)) = h1_response::parse(rest)? else {
                if rest.len() > BUFFER_BYTES_MAX {
                    return Err(Http1Error::HeadTooLarge);
                }
                // Empty lines before a head are none of it. They must not gather, nor come without end.
                let empty = rest.len() - rest.trim_ascii_start().len();
                self.count_in(empty)?;
                return Ok((None, used + empty));
            };
            if length > BUFFER_BYTES_MAX {
                return Err(Http1Error::HeadTooLarge);
            }
            used += length;
            if !response.status().is_informational() || response.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Ok((Some(response), used));
            }
            self.count += 1;
            self.count_in(length)?;
            if self.count <= INTERIM_MAX && self.bytes <= INTERIM_BYTES_MAX {
                pass_interim(response);
            }
        }
    }

    fn count_in(&mut self, bytes: usize) -> Result<(), Http1Error> {
        self.bytes += bytes;
        if self.bytes <= INTERIM_FLOOD { Ok(()) } else { Err(Http1Error::InterimFlood) }
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    fn hints(number: usize) -> String {
        format!("HTTP/1.1 103 Early Hints\r\nLink: </{number}>\r\n\r\n")
    }

    #[test]
    fn interim_responses_are_found_wherever_they_are_cut() {
        let body = hints(3);
        let last = format!("HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n{body}");
        let sent = format!("{}HTTP/1.1 100 Continue\r\n\r\n{}{last}", hints(1), hints(2));
        for at in 0..sent.len() {
            let (mut interims, mut rest, mut links, mut found) = (Interims::default(), Vec::new(), vec![], None);
            for part in [&sent.as_bytes()[..at], &sent.as_bytes()[at..]] {
                rest.extend_from_slice(part);
                if found.is_none() {
                    let link =
                        |head: &Response<()>| head.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
                    let mut pass = |head| links.push(link(&head).unwrap_or_default());
                    let (head, used) = interims.read_over(&rest, &mut pass).unwrap();
                    found = head;
                    rest.drain(..used);
                }
            }
            assert_eq!(links, ["</1>", "", "</2>"], "cut at {at}");
            assert_eq!((found.unwrap().status(), &rest[..]), (StatusCode::OK, body.as_bytes()), "cut at {at}");
        }
    }

    #[test]
    fn empty_lines_before_a_head_do_not_gather() {
        let (mut interims, mut pass) = (Interims::default(), |_| unreachable!());
        assert!(matches!(interims.read_over(b"\r\n\n\r", &mut pass), Ok((None, 4))));
        let flood = b"\r\n".repeat(INTERIM_FLOOD / 4);
        let many = (0..3).find(|_| Interims::read_over(&mut interims, &flood, &mut pass).is_err());
        assert!(many.is_some(), "nor do they come without end");
        let mut interims = Interims::default();
        assert!(matches!(interims.read_over(b"\r\nHTTP", &mut pass), Ok((None, 2))));
        assert!(matches!(interims.read_over(b"\r\nHTTP/1.1 200 OK\r\n\r\nx", &mut pass), Ok((Some(_), 21))));
    }

    #[test]
    fn there_is_an_end_to_interim_responses() {
        let (mut interims, mut passed) = (Interims::default(), 0);
        let many = hints(0).repeat(1000);
        let ended = iter::repeat_with(|| interims.read_over(many.as_bytes(), &mut |_| passed += 1))
            .take(2 * INTERIM_FLOOD / many.len())
            .find(Result::is_err);
        assert!(matches!(ended, Some(Err(Http1Error::InterimFlood))));
        assert_eq!(passed, INTERIM_MAX);
        let mut switched = 0;
        let two = b"HTTP/1.1 101 Other\r\n\r\nHTTP/1.1 103 Not HTTP\r\n\r\n";
        let head = Interims::default().read_over(two, &mut |_| switched += 1).unwrap();
        assert_eq!((head.0.unwrap().status(), switched), (StatusCode::SWITCHING_PROTOCOLS, 0));
    }
}
