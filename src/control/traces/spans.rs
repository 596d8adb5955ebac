//! What became of a request, as spans: one of the request, below it one of each attempt and of the wait in the queue,
//! and below an attempt those of its connection.
//!
//! The numbers of fields are those of `opentelemetry/proto/trace/v1/trace.proto`.

use std::time::{Duration, SystemTime};

use super::attributes::{Attributes, error_of, error_of_attempt, known};
use super::protobuf::Message;
use crate::link::trace_context::attempt_span;
use crate::proxy::story::{Attempt, Chosen, Story, Trace};

/// `SpanKind`.
const INTERNAL: u64 = 1;
const SERVER: u64 = 2;
const CLIENT: u64 = 3;

/// `STATUS_CODE_ERROR`.
const ERROR: u64 = 2;

/// The flags of a span: it is sampled, and it is known whether its parent is in another process.
const SAMPLED: u32 = 1;
const KNOWS_PARENT: u32 = 1 << 8;
const PARENT_IS_REMOTE: u32 = 1 << 9;

/// The field of `ScopeSpans` that has the spans.
const SPANS: u32 = 2;

/// Writes the spans of a request. Returns how many there are; none if it is not traced.
pub(super) fn write(story: &Story, out: &mut Message) -> usize {
    let Some(trace) = &story.trace else { return 0 };
    let mut spans = Spans { story, trace, out, count: 0 };
    spans.request();
    let (made, told) = (story.attempts_made, story.attempts.len());
    for (attempt, number) in story.attempts.iter().zip(1_u32..) {
        // Of very many attempts the last one is told behind the first ones.
        let is_last = number as usize == told;
        spans.attempt(attempt, if is_last { number.max(made) } else { number });
    }
    spans.queue();
    spans.count
}

struct Spans<'a> {
    story: &'a Story,
    trace: &'a Trace,
    out: &'a mut Message,
    count: usize,
}

/// What all spans have.
struct Head<'a> {
    id: u64,
    parent: Option<u64>,
    is_parent_remote: Remote,
    name: &'a str,
    kind: u64,
    begin: Duration,
    end: Duration,
}

/// Where the parent of a span is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Remote {
    Yes,
    No,
}

impl Spans<'_> {
    fn request(&mut self) {
        let (story, trace) = (self.story, self.trace);
        let method = known(&story.method).unwrap_or("HTTP");
        let name = story.route.as_ref().map(|route| format!("{method} {}", route.path));
        let head = Head {
            id: trace.span_id,
            parent: trace.parent_id,
            is_parent_remote: if trace.parent_id.is_some() { Remote::Yes } else { Remote::No },
            name: name.as_deref().unwrap_or(method),
            kind: SERVER,
            begin: Duration::ZERO,
            end: story.ended,
        };
        self.span(&head, |span| {
            Attributes { message: span, field: 9 }.request(story);
            for (name, at) in [("routed", story.routed), ("response head", story.head)] {
                event(span, name, story, at);
            }
            if error_of(story).is_some() {
                status(span, story.error.as_deref());
            }
        });
    }

    fn attempt(&mut self, attempt: &Attempt, number: u32) {
        let (story, id) = (self.story, attempt_span(self.trace.span_id, number));
        let name = known(&story.method).unwrap_or("HTTP");
        let head = Head { kind: CLIENT, name, ..self.child(id, self.trace.span_id, attempt.began, attempt.ended) };
        self.span(&head, |span| {
            Attributes { message: span, field: 9 }.attempt(story, attempt, number);
            for (name, at) in [("request sent", attempt.sent), ("response head", attempt.head)] {
                event(span, name, story, at);
            }
            if error_of_attempt(attempt).is_some() {
                status(span, attempt.failure.as_ref().map(|failure| &*failure.error));
            }
        });
        let connected = attempt.opening.zip(attempt.connected);
        let secured = attempt.connected.zip(attempt.secured);
        let joined = attempt.opening.zip(attempt.ready).filter(|_| attempt.connected.is_none());
        for (name, step) in [("connect", connected), ("tls", secured), ("await connection", joined)] {
            if let Some((begin, end)) = step {
                self.phase(id, name, begin, end);
            }
        }
    }

    /// The wait in the queue of the pool. It ended with the attempt that was made in turn, or with the request.
    fn queue(&mut self) {
        let story = self.story;
        if !story.queued.is_zero() {
            let in_turn = story.attempts.iter().rfind(|attempt| attempt.chosen == Chosen::Queue);
            let end = in_turn.map_or(story.ended, |attempt| attempt.began);
            self.phase(self.trace.span_id, "queue", end.saturating_sub(story.queued), end);
        }
    }

    fn phase(&mut self, parent: u64, name: &str, begin: Duration, end: Duration) {
        let head = Head { name, ..self.child(fastrand::u64(1..), parent, begin, end) };
        self.span(&head, |_| ());
    }

    fn child(&self, id: u64, parent: u64, begin: Duration, end: Duration) -> Head<'static> {
        Head { id, parent: Some(parent), is_parent_remote: Remote::No, name: "", kind: INTERNAL, begin, end }
    }

    fn span(&mut self, head: &Head<'_>, fill: impl FnOnce(&mut Message)) {
        let (story, trace) = (self.story, self.trace);
        self.count += 1;
        self.out.message(SPANS, |span| {
            span.bytes(1, &trace.trace_id.to_be_bytes());
            span.bytes(2, &head.id.to_be_bytes());
            if let Some(state) = &trace.state {
                span.bytes(3, state.as_bytes());
            }
            if let Some(parent) = head.parent {
                span.bytes(4, &parent.to_be_bytes());
            }
            span.bytes(5, head.name.as_bytes());
            span.number(6, head.kind);
            span.fixed64(7, nanoseconds(story, head.begin));
            span.fixed64(8, nanoseconds(story, head.end.max(head.begin)));
            fill(span);
            let remote = if head.is_parent_remote == Remote::Yes { PARENT_IS_REMOTE } else { 0 };
            span.fixed32(16, SAMPLED | KNOWS_PARENT | remote);
        });
    }
}

fn event(span: &mut Message, name: &str, story: &Story, at: Option<Duration>) {
    if let Some(at) = at {
        span.message(11, |event| {
            event.fixed64(1, nanoseconds(story, at));
            event.bytes(2, name.as_bytes());
        });
    }
}

/// The span is that of an error, of which somebody may have said something.
fn status(span: &mut Message, error: Option<&str>) {
    span.message(15, |status| {
        if let Some(error) = error.filter(|error| !error.is_empty()) {
            status.bytes(2, error.as_bytes());
        }
        status.number(3, ERROR);
    });
}

/// A moment of a request, in nanoseconds since 1970.
fn nanoseconds(story: &Story, at: Duration) -> u64 {
    let began = story.began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(began.saturating_add(at).as_nanos()).unwrap_or(u64::MAX)
}
