//! The last ten minutes of one endpoint.

use std::collections::VecDeque;

use serde::Serialize;
use tokio::time::Instant;

use super::{SAMPLES_MAX, WINDOW_SECONDS, grown, ms, per_second, push};
use crate::metrics::{COARSE_BUCKETS, CoarseHistogram};
use crate::pool::endpoint::Endpoint;

/// What an endpoint has counted since it exists.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct EndpointTotals {
    /// Attempts.
    pub(super) requests: u64,
    /// Times to the response head.
    pub(super) buckets: [u64; COARSE_BUCKETS],
}

impl EndpointTotals {
    /// The present totals of `endpoint`.
    pub(in super::super) fn of(endpoint: &Endpoint) -> Self {
        Self { requests: endpoint.total(|cell| &cell.attempts), buckets: endpoint.first_bytes().buckets }
    }
}

#[derive(Debug, Default, Serialize)]
pub(super) struct EndpointHistory {
    /// Requests per second.
    requests: VecDeque<f32>,
    /// The 99th percentile of the times to the response head over the last [`WINDOW_SECONDS`]; `null` without any.
    p99_ms: VecDeque<f32>,
    #[serde(skip)]
    p50_ms: f32,
    /// The totals of the last [`WINDOW_SECONDS`] samples.
    #[serde(skip)]
    seen: VecDeque<(Instant, EndpointTotals)>,
}

/// The last sample of an endpoint.
#[derive(Debug, Serialize)]
pub(super) struct EndpointLatest {
    requests: f32,
    p50_ms: f32,
    p99_ms: f32,
}

impl EndpointHistory {
    pub(super) fn observe(&mut self, now: Instant, totals: EndpointTotals) {
        if let (Some((before, last)), Some((_, oldest))) = (self.seen.back(), self.seen.front()) {
            let recent = grown(&totals.buckets, &oldest.buckets);
            let time = now.saturating_duration_since(*before);
            push(&mut self.requests, per_second(totals.requests, last.requests, time), SAMPLES_MAX);
            push(&mut self.p99_ms, ms(CoarseHistogram::quantile(&recent, 0.99)), SAMPLES_MAX);
            self.p50_ms = ms(CoarseHistogram::quantile(&recent, 0.5));
        }
        push(&mut self.seen, (now, totals), WINDOW_SECONDS);
    }

    pub(super) fn latest(&self) -> Option<EndpointLatest> {
        let (requests, p99_ms) = (*self.requests.back()?, *self.p99_ms.back()?);
        Some(EndpointLatest { requests, p50_ms: self.p50_ms, p99_ms })
    }

    /// The bytes that it takes, for a test of the bound.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        let floats = (self.requests.capacity() + self.p99_ms.capacity()) * size_of::<f32>();
        size_of::<Self>() + floats + self.seen.capacity() * size_of::<(Instant, EndpointTotals)>()
    }
}
