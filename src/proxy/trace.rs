//! The place of a request in a trace: that of its client is gone on with, or a new one is begun (W3C Trace Context,
//! level 1).
//!
//! Whether the spans of a request are recorded is decided by the one who is in front, if that is a trusted proxy.
//! Of all others the trace goes on, since its number hurts nobody; but their wish to be recorded does not count, or one
//! client could have every request of its own recorded, at the cost of the others.

use http::{HeaderMap, HeaderValue};

use super::connection::Connection;
use super::story::{Draft, Trace};
use crate::config::model::Traces;
use crate::fields::{TRACEPARENT, TRACESTATE};
use crate::link::added::Added;
use crate::link::trace_context::{TRACEPARENT_LENGTH, TraceContext};

/// The most bytes of `tracestate` that go on; the specification asks for 512 at least.
const STATE_BYTES_MAX: usize = 512;
/// The most members of `tracestate`. With more of them it is not valid.
const STATE_MEMBERS_MAX: usize = 32;
/// The bit of the flags that says that the caller may have recorded spans.
const SAMPLED: u8 = 1;
/// How many numbers a sample draws from.
const DRAWN_FROM: u32 = 1_000_000;

/// The span of whoever called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parent {
    trace_id: u128,
    span_id: u64,
    is_sampled: bool,
}

/// Puts a request into a trace: `added` gets what the replica hears in place of the client's fields, and the story its
/// place if its spans are recorded.
#[cold]
pub(super) fn begin(
    traces: &Traces,
    headers: &mut HeaderMap,
    connection: &Connection,
    added: &mut Added,
    story: Option<&mut Draft>,
) {
    let (context, parent) = context(traces, headers, connection);
    headers.remove(TRACEPARENT);
    headers.remove(TRACESTATE);
    if let Some(draft) = story.filter(|_| context.is_sampled) {
        draft.trace = Some(place(&context, parent, connection));
    }
    added.trace = Some(Box::new(context));
}

/// The place of a request that no replica gets, if its spans are recorded.
#[cold]
pub(super) fn of_refused(traces: &Traces, headers: &HeaderMap, connection: &Connection) -> Option<Box<Trace>> {
    let (context, parent) = context(traces, headers, connection);
    context.is_sampled.then(|| place(&context, parent, connection))
}

fn context(traces: &Traces, headers: &HeaderMap, connection: &Connection) -> (TraceContext, Option<Parent>) {
    let parent = parent(headers);
    let is_sampled = match parent {
        Some(parent) if connection.is_trusted() => parent.is_sampled,
        _ => traces.sample.takes(fastrand::u32(..DRAWN_FROM)),
    };
    let context = TraceContext {
        trace_id: parent.map_or_else(|| fastrand::u128(1..), |parent| parent.trace_id),
        span_id: fastrand::u64(1..),
        is_sampled,
        state: parent.and_then(|_| state(headers)),
        attempts: 0,
    };
    (context, parent)
}

fn place(context: &TraceContext, parent: Option<Parent>, connection: &Connection) -> Box<Trace> {
    let state = context.state.as_ref().and_then(|state| state.to_str().ok());
    Box::new(Trace {
        trace_id: context.trace_id,
        span_id: context.span_id,
        parent_id: parent.map(|parent| parent.span_id),
        state: state.map(Into::into),
        is_tls: connection.scheme() == "https",
    })
}

/// The span of the client. Of several fields none is believed.
fn parent(headers: &HeaderMap) -> Option<Parent> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let only = all.next().filter(|_| all.next().is_none())?;
    parse(only.as_bytes())
}

/// Reads a `traceparent`. A version that is not known may have more behind a hyphen.
fn parse(text: &[u8]) -> Option<Parent> {
    let (known, rest) = text.split_first_chunk::<TRACEPARENT_LENGTH>()?;
    let version = hex(&known[..2])?;
    let ends = if version == 0 { rest.is_empty() } else { rest.first().is_none_or(|&byte| byte == b'-') };
    if version == 0xff || !ends || [2, 35, 52].iter().any(|&at| known[at] != b'-') {
        return None;
    }
    let (trace_id, span_id, flags) = (hex(&known[3..35])?, hex(&known[36..52])?, hex(&known[53..55])?);
    let is_sampled = flags & u128::from(SAMPLED) != 0;
    (trace_id != 0 && span_id != 0).then_some(Parent { trace_id, span_id: u64::try_from(span_id).ok()?, is_sampled })
}

/// A number of at most 32 digits, whose letters are small.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// All fields of `tracestate` as one, without the last members if it would be too long; `None` if it is not valid.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let (mut joined, mut members) = (String::new(), 0);
    for value in headers.get_all(TRACESTATE) {
        for member in value.to_str().ok()?.split(',').map(str::trim).filter(|member| !member.is_empty()) {
            members += 1;
            if members > STATE_MEMBERS_MAX || !member.contains('=') {
                return None;
            }
            if joined.len() + 1 + member.len() <= STATE_BYTES_MAX {
                joined.extend((!joined.is_empty()).then_some(','));
                joined.push_str(member);
            }
        }
    }
    HeaderValue::try_from(joined).ok().filter(|state| !state.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        fields.iter().for_each(|(name, value)| _ = map.append(*name, HeaderValue::from_str(value).unwrap()));
        map
    }

    #[test]
    fn what_is_a_parent() {
        let known = |is_sampled| {
            Some(Parent { trace_id: 0x4bf92f3577b34da6a3ce929d0e0e4736, span_id: 0x00f067aa0ba902b7, is_sampled })
        };
        let with = |from: &str, to: &str| PARENT.replacen(from, to, 1);
        for (text, expected) in [
            (PARENT.to_owned(), known(true)),
            (with("-01", "-00"), known(false)),
            (with("-01", "-02"), known(false)),
            (with("-01", "-ff"), known(true)),
            (with("00-", "cc-"), known(true)),
            (with("00-", "cc-") + "-what-comes", known(true)),
            (with("00-", "cc-") + "what", None),
            (with("00-", "ff-"), None),
            (format!("{PARENT}-more"), None),
            (format!("{PARENT},{PARENT}"), None),
            (with("4bf9", "4BF9"), None),
            (with("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)), None),
            (with("00f067aa0ba902b7", &"0".repeat(16)), None),
            (with("4bf9", "xbf9"), None),
            (with("-01", "-1"), None),
            (with("00-", "0-"), None),
            (with("00-4b", "00_4b"), None),
            (with("36-00f", "3600-f"), None),
            (String::new(), None),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(parent(&headers(&[("traceparent", PARENT)])), known(true));
        assert_eq!(parent(&headers(&[("traceparent", PARENT), ("traceparent", PARENT)])), None);
    }

    #[test]
    fn states_are_one_and_bounded() {
        let long = format!("{}={}", "k".repeat(100), "v".repeat(200));
        let many = |count: usize| vec!["a=b"; count].join(",");
        for (fields, expected) in [
            (vec!["a=1", "b=2, c=3"], Some("a=1,b=2,c=3".to_owned())),
            (vec!["a=1,,\t", ""], Some("a=1".to_owned())),
            (vec![""], None),
            (vec![], None),
            (vec!["a=1", "nonsense"], None),
            (vec![&long, "a=1", &long], Some(format!("{long},a=1"))),
            (vec![&many(32)], Some(many(32))),
            (vec![&many(32), "a=b"], None),
        ] {
            let fields: Vec<_> = fields.iter().map(|value| ("tracestate", *value)).collect();
            let found = state(&headers(&fields)).map(|state| state.to_str().unwrap().to_owned());
            assert_eq!(found, expected, "{fields:?}");
        }
    }

    #[test]
    fn a_stranger_goes_on_with_its_trace_and_decides_nothing() {
        let connection = Connection::test();
        let none = crate::config::parse(
            "a.toml",
            "listen.web.address = ':1'\npool.app.backends = ['a:1']\n\
            traces = { endpoint = 'http://a:1/', sample = '0%' }",
        )
        .unwrap()
        .traces;
        let all = Traces { sample: crate::config::model::Sample::ALL, ..none.clone() };
        let asked = headers(&[("traceparent", PARENT), ("tracestate", "a=1")]);
        let unasked = headers(&[("tracestate", "a=1")]);
        for (is_trusted, traces, headers, is_sampled) in [
            (false, &none, &asked, false),
            (false, &all, &asked, true),
            (true, &none, &asked, true),
            (true, &none, &unasked, false),
            (true, &all, &unasked, true),
        ] {
            connection.set_trusted(is_trusted);
            let (context, parent) = context(traces, headers, &connection);
            assert_eq!(context.is_sampled, is_sampled);
            assert_eq!(context.state.is_some(), parent.is_some(), "it belongs to the trace of its parent");
            assert!(parent.is_none_or(|parent| parent.trace_id == context.trace_id) && context.span_id != 0);
        }
    }

    proptest! {
        /// Whatever a client sends, what is believed of it is written as it came.
        #[test]
        fn what_is_believed_has_one_spelling(
            text in "(00|0[0-9a-f]|ff)-[0-9a-fA-F]{31,33}-[0-9a-f]{16}-[0-9a-g]{2}(-.)?",
        ) {
            if let Some(Parent { trace_id, span_id, is_sampled }) = parse(text.as_bytes()) {
                prop_assert_eq!(&text[3..52], format!("{trace_id:032x}-{span_id:016x}"));
                prop_assert_eq!(u8::from_str_radix(&text[53..55], 16).unwrap() & 1 == 1, is_sampled);
                prop_assert!(trace_id != 0 && span_id != 0 && (text.len() == 55 || &text[..2] != "00"));
            }
        }

        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(parse(&bytes).is_none() || bytes.len() >= TRACEPARENT_LENGTH);
        }
    }
}
