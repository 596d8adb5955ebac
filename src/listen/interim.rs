//! Interim responses for a client of HTTP/1.1 (RFC 9110 section 15.2).

use http::Response;

use crate::fields::LINE_END;
use crate::net::h1_encode::write_line;

/// Writes these heads (RFC 9112 section 4).
#[cold]
pub(super) fn write(out: &mut Vec<u8>, heads: &[Response<()>]) {
    for head in heads {
        let status = head.status();
        let reason = status.canonical_reason().unwrap_or_default();
        for part in ["HTTP/1.1 ", status.as_str(), " ", reason, LINE_END] {
            out.extend_from_slice(part.as_bytes());
        }
        for (name, value) in head.headers() {
            write_line(out, name.as_str(), value.as_bytes());
        }
        out.extend_from_slice(LINE_END.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_written_one_after_the_other() {
        let hints = Response::builder().status(103).header("link", "</a>").header("link", "</b>").body(()).unwrap();
        let other = Response::builder().status(199).body(()).unwrap();
        let expected = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nlink: </b>\r\n\r\nHTTP/1.1 199 \r\n\r\n";
        let mut out = Vec::new();
        write(&mut out, &[hints, other]);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
