//! The header fields that the proxy adds to a request, apart from those of the client.
//!
//! A field that goes through a map of fields takes some 400 instructions: it is hashed, entered, and written out
//! again. What the proxy adds is mostly the same for all requests of a client or route, so it is kept as the text that
//! HTTP/1.1 has for it, and put behind the client's fields when these are written (see [`super::h1_request`]). HTTP/2
//! gets fields made of it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::trace_context::TraceContext;
use crate::fields::{LINE_END, NAME_END, X_REQUEST_ID};

/// A `X-Request-Id` of ours: 128 random bits in hexadecimal. It is not a secret; it only has to differ every time.
#[derive(Debug, Clone, Copy)]
pub struct RequestId([u8; 32]);

impl RequestId {
    /// A new one.
    pub fn random() -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let bits = fastrand::u128(..).to_be_bytes();
        let mut text = [0u8; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(bits) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Self(text)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The value of a field with it.
    pub fn value(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).unwrap_or_else(|_| HeaderValue::from_static("0"))
    }
}

/// What the proxy adds to a request; see the module. The client's fields have none of the same name that should not be
/// there beside it.
#[derive(Debug, Default)]
pub struct Added {
    /// The lines that tell how the request came. Without them there is no identifier.
    pub forwarding: Bytes,
    /// The identifier of the request, if it is one of ours.
    pub request_id: Option<RequestId>,
    /// The lines of its route.
    pub route: Bytes,
    /// The line that tells which prefix was taken off the path.
    pub prefix: Bytes,
    /// Its place in a trace, if traces are on.
    pub trace: Option<Box<TraceContext>>,
}

impl Added {
    /// Appends all lines.
    #[inline]
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.forwarding);
        if let Some(id) = &self.request_id {
            out.extend_from_slice(b"x-request-id: ");
            out.extend_from_slice(&id.0);
            out.extend_from_slice(LINE_END.as_bytes());
        }
        out.extend_from_slice(&self.route);
        out.extend_from_slice(&self.prefix);
        if let Some(trace) = &self.trace {
            trace.write(out);
        }
    }

    /// Appends all fields.
    pub fn extend(&self, headers: &mut HeaderMap) {
        for lines in [&self.forwarding, &self.route, &self.prefix] {
            append_lines(headers, lines);
        }
        if let Some(id) = &self.request_id {
            headers.append(X_REQUEST_ID, id.value());
        }
        if let Some(trace) = &self.trace {
            trace.extend(headers);
        }
    }
}

fn append_lines(headers: &mut HeaderMap, lines: &Bytes) {
    let mut begin = 0;
    // A value has neither CR nor LF.
    while let Some(length) = lines[begin..].iter().position(|&byte| byte == b'\n') {
        let end = begin + length + 1;
        if let Some((name, value)) = field(lines, begin, end) {
            headers.append(name, value);
        }
        begin = end;
    }
}

fn field(lines: &Bytes, begin: usize, end: usize) -> Option<(HeaderName, HeaderValue)> {
    let line = lines.get(begin..end)?;
    let colon = line.iter().position(|&byte| byte == b':')?;
    let value = begin + colon + NAME_END.len()..end - LINE_END.len();
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    // A part of what is there, not a copy.
    Some((name, HeaderValue::from_maybe_shared(lines.slice(value)).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added() -> Added {
        let lines = |lines: &'static str| Bytes::from_static(lines.as_bytes());
        Added {
            forwarding: lines("via: 1.1 unstick\r\nforwarded: for=192.0.2.7;host=a\r\n"),
            request_id: Some(RequestId::random()),
            route: lines("x-tenant: a\r\nx-empty: \r\nx-tenant: b:c\r\n"),
            prefix: Bytes::new(),
            trace: None,
        }
    }

    #[test]
    fn fields_and_lines_say_the_same() {
        let added = added();
        let mut headers = HeaderMap::from_iter([(HeaderName::from_static("via"), HeaderValue::from_static("1.0 a"))]);
        added.extend(&mut headers);
        let mut text = b"GET / HTTP/1.1\r\nvia: 1.0 a\r\n".to_vec();
        added.write(&mut text);
        text.extend_from_slice(b"\r\n");
        let mut space = [httparse::EMPTY_HEADER; 16];
        let mut parsed = httparse::Request::new(&mut space);
        assert!(parsed.parse(&text).unwrap().is_complete());
        let sorted = |mut fields: Vec<(String, Vec<u8>)>| {
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            fields
        };
        let read = parsed.headers.iter().map(|field| (field.name.to_owned(), field.value.to_vec())).collect();
        let kept = headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
        assert_eq!(sorted(read), sorted(kept));
        assert_eq!(headers.len(), 7);
    }

    #[test]
    fn an_identifier_is_128_bits_and_differs() {
        let [one, other] = [RequestId::random(), RequestId::random()];
        assert!(one.as_str().len() == 32 && one.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one.as_str(), other.as_str());
        // Each digit comes up: 3,200 digits without one of 16 have a probability below 10^-88.
        let digits: String = (0..100).map(|_| RequestId::random().as_str().to_owned()).collect();
        assert!("0123456789abcdef".chars().all(|digit| digits.contains(digit)), "{digits}");
        assert_eq!(one.value(), one.as_str());
    }
}
