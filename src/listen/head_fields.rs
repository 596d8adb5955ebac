//! What the fields of a head say of the length of its body (RFC 9112 section 6), if they say it in the plainest way.
//! Otherwise it is unknown here, and hyper is asked.

/// The length of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// There is none.
    Zero,
    Sized(u64),
    Chunked,
    Unknown,
}

/// What is known behind this line of a head, without its LF. Field names that hyper takes for another one, or for none,
/// are no matter here: it refuses such heads.
pub(super) fn of_line(before: Length, line: &[u8]) -> Length {
    // Most lines are told apart by their first byte.
    if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T' | b'u' | b'U')) {
        return before;
    }
    let mut parts = line.splitn(2, |&byte| byte == b':');
    let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default().trim_ascii());
    let length = if name.eq_ignore_ascii_case(b"content-length") {
        bytes(value).map_or(Length::Unknown, Length::Sized)
    } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
        if value.eq_ignore_ascii_case(b"chunked") { Length::Chunked } else { Length::Unknown }
    } else if name.eq_ignore_ascii_case(b"upgrade") {
        Length::Unknown
    } else {
        return before;
    };
    if before == Length::Zero { length } else { Length::Unknown }
}

fn bytes(value: &[u8]) -> Option<u64> {
    let is_number = value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_number)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_plain_is_known() {
        for (lines, expected) in [
            (&["Host: a", "X: content-length: 5"][..], Length::Zero),
            (&["content-LENGTH:\t5 \r"], Length::Sized(5)),
            (&["Content-Length: 0"], Length::Sized(0)),
            (&["Content-Length: +5"], Length::Unknown),
            (&["Content-Length:"], Length::Unknown),
            (&["Content-Length: 5", "Content-Length: 5"], Length::Unknown),
            (&["Transfer-Encoding: Chunked\r"], Length::Chunked),
            (&["Transfer-Encoding: gzip, chunked"], Length::Unknown),
            (&["Transfer-Encoding: chunked", "Content-Length: 5"], Length::Unknown),
            (&["Upgrade: websocket"], Length::Unknown),
            (&["Upgrade: h2c", "Content-Length: 5"], Length::Unknown),
        ] {
            let length = lines.iter().fold(Length::Zero, |before, line| of_line(before, line.as_bytes()));
            assert_eq!(length, expected, "{lines:?}");
        }
    }
}
