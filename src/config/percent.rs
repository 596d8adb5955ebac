//! Bytes of a target that no URL may contain (RFC 3986 section 2), but that clients send and people write all the same:
//! `"`, `<`, `>`, `` ` ``, and what is not ASCII. They are percent-encoded, as browsers do.

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// Whether no URL may contain this byte.
#[inline(always)]
pub fn is_odd(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'`') | !byte.is_ascii()
}

/// Whether any of these is such a byte. It has no branch per byte, so that several are looked at in one step.
#[inline]
pub fn has_odd(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, &byte| found | is_odd(byte))
}

/// Appends `bytes`, each of the odd ones encoded by itself (RFC 3986 section 2.1).
pub fn encode(bytes: &[u8], into: &mut Vec<u8>) {
    for &byte in bytes {
        if is_odd(byte) {
            let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or(b'0');
            into.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        } else {
            into.push(byte);
        }
    }
}
