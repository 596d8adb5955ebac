//! Several requests as one message: `ExportTraceServiceRequest` of OTLP.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::attributes::Attributes;
use super::protobuf::{Message, Value, fields};
use super::spans;
use crate::proxy::story::Story;

/// The most requests that wait for the collector, and the most bytes that they take. Beyond that they are dropped.
const WAITING_MAX: usize = 4096;
const WAITING_BYTES_MAX: usize = 8 << 20;

/// A batch is closed when it has so many requests, spans or bytes. The last request may bring it over the latter two.
pub(super) const REQUESTS_MAX: usize = 512;
const SPANS_MAX: usize = 2048;
const BYTES_MAX: usize = 1 << 20;

/// The requests that wait to be exported, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    stories: VecDeque<Arc<Story>>,
    bytes: usize,
    /// When the oldest one came, or the batch before it was closed.
    since: Option<Instant>,
}

/// What is sent at once.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) message: Bytes,
    pub(super) requests: u64,
}

impl Waiting {
    /// Adds a request. Returns whether there was room.
    pub(super) fn add(&mut self, story: Arc<Story>, now: Instant) -> bool {
        let bytes = story.size();
        if self.stories.len() >= WAITING_MAX || self.bytes + bytes > WAITING_BYTES_MAX {
            return false;
        }
        self.bytes += bytes;
        self.since.get_or_insert(now);
        self.stories.push_back(story);
        true
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.stories.len()
    }

    /// Since when the oldest one waits.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Takes as many as one batch may have.
    pub(super) fn take(&mut self, service: &str, now: Instant) -> Batch {
        let (mut written, mut spans, mut requests) = (Message::default(), 0, 0);
        while requests < REQUESTS_MAX as u64
            && spans < SPANS_MAX
            && written.len() < BYTES_MAX
            && let Some(story) = self.stories.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(story.size());
            spans += spans::write(&story, &mut written);
            requests += 1;
        }
        self.since = (!self.stories.is_empty()).then_some(now);
        Batch { message: request(service, &written).into(), requests }
    }

    /// Forgets all of them, and says how many there were.
    pub(super) fn clear(&mut self) -> u64 {
        let count = self.stories.len() as u64;
        *self = Self::default();
        count
    }
}

/// The message with these spans.
fn request(service: &str, spans: &Message) -> Vec<u8> {
    let mut request = Message::default();
    request.message(1, |of_resource| {
        of_resource.message(1, |resource| {
            let mut attributes = Attributes { message: resource, field: 1 };
            attributes.text("service.name", service);
            attributes.text("service.version", env!("CARGO_PKG_VERSION"));
            attributes.number("process.pid", std::process::id().into());
        });
        of_resource.message(2, |of_scope| {
            of_scope.message(1, |scope| {
                scope.bytes(1, b"unstick");
                scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
            });
            of_scope.append(spans);
        });
    });
    request.into_bytes()
}

/// What `ExportTraceServiceResponse` says of spans that were not taken: how many, and why.
pub(super) fn rejected(response: &[u8]) -> Option<(u64, String)> {
    let (mut count, mut why) = (0, String::new());
    let partial = fields(response).find_map(|field| match field {
        (1, Value::Bytes(partial)) => Some(partial),
        _ => None,
    })?;
    for field in fields(partial) {
        match field {
            (1, Value::Number(rejected)) => count = rejected,
            (2, Value::Bytes(text)) => why = String::from_utf8_lossy(text).into_owned(),
            _ => {}
        }
    }
    (count > 0).then_some((count, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::story::{Kinds, Trace, test_story};

    fn traced(path: &str) -> Arc<Story> {
        let trace = Trace { trace_id: 1, span_id: 2, parent_id: None, state: None, is_tls: false };
        Arc::new(Story { trace: Some(Box::new(trace)), ..test_story(Kinds::default(), "a", path) })
    }

    #[test]
    fn what_waits_is_bounded_and_comes_in_batches() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let taken = (0..10_000).filter(|_| waiting.add(traced("/"), now)).count();
        assert_eq!((taken, waiting.len()), (WAITING_MAX, WAITING_MAX));
        let sizes: Vec<u64> = std::iter::from_fn(|| {
            let batch = (waiting.len() > 0).then(|| waiting.take("a", now));
            batch.map(|batch| batch.requests)
        })
        .collect();
        assert_eq!((sizes, waiting.bytes, waiting.since), (vec![REQUESTS_MAX as u64; 8], 0, None));
        let long = "x".repeat(100_000);
        let taken = (0..1000).filter(|_| waiting.add(traced(&long), now)).count();
        assert!((50..100).contains(&taken) && waiting.bytes <= WAITING_BYTES_MAX, "{taken}");
        assert!(waiting.take("a", now).message.len() < BYTES_MAX + 200_000);
        assert_eq!(waiting.clear() as usize, taken - 11);
    }

    #[test]
    fn what_was_rejected_is_read() {
        let mut response = Message::default();
        response.message(1, |partial| {
            partial.number(1, 7);
            partial.bytes(2, b"too old");
        });
        assert_eq!(rejected(&response.into_bytes()), Some((7, "too old".into())));
        for nothing in [&b""[..], &[0x0a, 0], &[0x0a, 0xff], &[0xff; 20]] {
            assert_eq!(rejected(nothing), None);
        }
    }
}
