//! Where a chunked body ends (RFC 9112 section 7.1).
//!
//! hyper decodes it. This only follows: it takes what hyper takes, so that both agree on the byte with which the next
//! head begins. Of a body that hyper refuses, nothing needs to be known, because its connection ends.

/// Where the next byte of a chunked body belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunks {
    /// To the size of a chunk, of which this has come.
    Size(u64),
    /// To what follows a size in its line.
    Extension(u64),
    /// It is the LF behind this size.
    SizeLf(u64),
    /// To a chunk that goes on for this many bytes, and for the CR and LF behind it.
    Data(u64),
    /// To a trailer, or to the blank line that ends the body.
    Line,
    Trailer,
    TrailerLf,
    EndLf,
    /// Behind the body.
    End,
    /// The body is malformed.
    Broken,
}

impl Chunks {
    pub(super) const START: Self = Self::Size(0);

    /// Goes on with these bytes, and returns how many of them belong to the body. They are all, unless it ends.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while let (Some((&byte, behind)), false) = (rest.split_first(), *self == Self::End) {
            (*self, rest) = match *self {
                Self::Data(left) => skip(left, rest),
                Self::Extension(_) | Self::Trailer if byte != b'\r' => (*self, to_cr(rest)),
                state => (state.then(byte), behind),
            };
        }
        bytes.len() - rest.len()
    }

    fn then(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Size(size), b'\r') => Self::SizeLf(size),
            (Self::Size(size), b';' | b' ' | b'\t') => Self::Extension(size),
            (Self::Size(size), _) => {
                let digit = char::from(byte).to_digit(16).map(u64::from);
                let size = size.checked_mul(16).zip(digit).and_then(|(size, digit)| size.checked_add(digit));
                size.map_or(Self::Broken, Self::Size)
            }
            (Self::Extension(size), b'\r') => Self::SizeLf(size),
            (Self::SizeLf(0), b'\n') | (Self::TrailerLf, b'\n') => Self::Line,
            // The CR and LF behind the chunk count with it.
            (Self::SizeLf(size), b'\n') => size.checked_add(2).map_or(Self::Broken, Self::Data),
            (Self::Line, b'\r') => Self::EndLf,
            (Self::Line, _) => Self::Trailer,
            (Self::Trailer, b'\r') => Self::TrailerLf,
            (Self::EndLf, b'\n') => Self::End,
            _ => Self::Broken,
        }
    }
}

fn skip(left: u64, bytes: &[u8]) -> (Chunks, &[u8]) {
    let now = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    let left = left.saturating_sub(now as u64);
    let state = if left == 0 { Chunks::START } else { Chunks::Data(left) };
    (state, bytes.get(now..).unwrap_or_default())
}

fn to_cr(bytes: &[u8]) -> &[u8] {
    let at = bytes.iter().position(|&byte| byte == b'\r').unwrap_or(bytes.len());
    bytes.get(at..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_where_it_ends_in_any_pieces() {
        for body in [
            &b"0\r\n\r\n"[..],
            b"000\r\n\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
            b"A;x=\"\n\";y\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n",
            b"1 \t;x\r\n\n\r\n0;x\r\nX-Sum: 1\r\nX: \"<\n\r\n\r\n",
        ] {
            let all = [body, b"GET / HTTP/1.1\r\n\r\n"].concat();
            for cut in 0..=all.len() {
                let (one, other) = all.split_at(cut);
                let mut chunks = Chunks::START;
                let read = chunks.follow(one) + chunks.follow(other);
                assert_eq!((chunks, read), (Chunks::End, body.len()), "{:?}", String::from_utf8_lossy(body));
            }
        }
    }

    #[test]
    fn a_malformed_body_has_no_end() {
        for body in [&b"x\r\n"[..], b"0\n\n", b"0\r\r\n", b"0\r\nx\rx\r\n\r\n", b"10000000000000000\r\n"] {
            let mut chunks = Chunks::START;
            assert_eq!((chunks.follow(body), chunks), (body.len(), Chunks::Broken));
        }
    }
}
