//! Where a request is in a trace, as a replica hears it: `traceparent` and `tracestate` (W3C Trace Context, level 1).

use http::{HeaderMap, HeaderValue};

use crate::fields::{LINE_END, TRACEPARENT, TRACESTATE, push_line};

/// The length of a `traceparent` of version 00.
pub(crate) const TRACEPARENT_LENGTH: usize = 55;

/// The place of a request in a trace.
#[derive(Debug)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: u128,
    /// The span of the request. Those of its attempts follow from it, see [`attempt_span`].
    pub span_id: u64,
    /// Whether its spans are recorded.
    pub is_sampled: bool,
    /// `tracestate`, as it came.
    pub state: Option<HeaderValue>,
    /// How many attempts have begun.
    pub attempts: u32,
}

/// The span of the attempt with this number, counted from 1, of the request with the span `request`. It follows from
/// these, so that a request carries no list of identifiers.
pub(crate) fn attempt_span(request: u64, number: u32) -> u64 {
    // All zeros would be invalid.
    request.wrapping_add(u64::from(number)).max(1)
}

impl TraceContext {
    /// Another attempt begins. The replica hears its span as the parent of its own.
    #[inline]
    pub(crate) fn begin_attempt(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
    }

    /// The value of `traceparent`.
    fn parent(&self) -> [u8; TRACEPARENT_LENGTH] {
        // Nobody records the attempts of a request that is not recorded.
        let span = if self.is_sampled { attempt_span(self.span_id, self.attempts) } else { self.span_id };
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(self.trace_id, &mut text[3..35]);
        write_hex(u128::from(span), &mut text[36..52]);
        text[54] = if self.is_sampled { b'1' } else { b'0' };
        text
    }

    /// Appends the lines of HTTP/1.1.
    #[cold]
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"traceparent: ");
        out.extend_from_slice(&self.parent());
        out.extend_from_slice(LINE_END.as_bytes());
        if let Some(state) = &self.state {
            push_line(out, &TRACESTATE, state);
        }
    }

    /// Appends the fields.
    pub(super) fn extend(&self, headers: &mut HeaderMap) {
        let parent = HeaderValue::from_bytes(&self.parent());
        parent.into_iter().for_each(|parent| _ = headers.append(TRACEPARENT, parent));
        self.state.iter().for_each(|state| _ = headers.append(TRACESTATE, state.clone()));
    }
}

/// Writes the last digits of `number` in hexadecimal, as many as there is room for.
fn write_hex(mut number: u128, room: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for digit in room.iter_mut().rev() {
        *digit = DIGITS[(number & 15) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(is_sampled: bool, attempts: u32) -> TraceContext {
        let state = Some(HeaderValue::from_static("a=b"));
        TraceContext { trace_id: 0xab << 120 | 1, span_id: 0xff, is_sampled, state, attempts }
    }

    #[test]
    fn a_replica_hears_the_span_of_its_attempt() {
        for (is_sampled, attempts, span) in
            [(true, 1, "0000000000000100-01"), (true, 2, "0000000000000101-01"), (false, 2, "00000000000000ff-00")]
        {
            let (mut lines, mut headers) = (Vec::new(), HeaderMap::new());
            context(is_sampled, attempts).write(&mut lines);
            context(is_sampled, attempts).extend(&mut headers);
            let parent = format!("00-ab000000000000000000000000000001-{span}");
            let lines = String::from_utf8(lines).unwrap();
            assert_eq!(lines, format!("traceparent: {parent}\r\ntracestate: a=b\r\n"));
            assert_eq!(headers[TRACEPARENT], parent);
            assert_eq!(headers[TRACESTATE], "a=b");
        }
    }

    #[test]
    fn no_span_is_all_zeros() {
        assert_eq!([attempt_span(u64::MAX, 1), attempt_span(u64::MAX, 2), attempt_span(7, 0)], [1, 1, 7]);
    }
}
