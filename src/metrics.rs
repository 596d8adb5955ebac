//! The counters of the request path: one cell per worker, summed when they are read.
//!
//! A cell has one writer, its worker. So counting is a plain load, add and store without a locked instruction. Readers
//! may see a value that is one step old. The admin port turns the sums into metrics.

mod histogram;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crossbeam_utils::CachePadded;

pub use histogram::{BUCKETS, Buckets, COARSE_BUCKETS, CoarseHistogram, Histogram, HistogramSum};

/// A count that one thread increases and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the worker that owns the cell may call this, because two writers would lose counts.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The present count.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that one thread increases and decreases, and any thread reads.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds one. Only the worker that owns the cell may call this, as with [`Counter::add`].
    pub fn raise(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Takes away one that was added before. Only the worker that owns the cell may call this.
    pub fn lower(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(1), Relaxed);
    }

    /// The present number.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// How a request ended for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The client got a whole response with this status.
    Answered(u16),
    /// The response broke off after its head.
    Cut,
    /// The client closed before the response was whole.
    ClientGone,
}

/// The label values of [`Outcome`], in the order of the cells.
pub const OUTCOMES: [&str; 7] = ["1xx", "2xx", "3xx", "4xx", "5xx", "cut", "client_gone"];

impl Outcome {
    fn index(self) -> usize {
        match self {
            Self::Answered(status) => usize::from((status / 100).clamp(1, 5)) - 1,
            Self::Cut => 5,
            Self::ClientGone => 6,
        }
    }
}

/// Why an attempt was followed by another one: a cause, or a response with a status that the pool takes for a failure.
pub const RETRY_CAUSES: [&str; 8] = [
    "connect-failed",
    "tls-failed",
    "connect-timeout",
    "upstream-closed",
    "connection-curbed",
    "upstream-invalid",
    "upstream-timeout",
    "status",
];

/// What one worker has counted for one pool.
#[derive(Debug, Default)]
pub struct PoolCell {
    requests: [Counter; OUTCOMES.len()],
    /// Times from the request head to the end of the response.
    pub duration: Histogram,
    /// Times from the end of a request to the response head.
    pub first_byte: Histogram,
    /// Times to open a connection to an endpoint, TLS included.
    pub connect: CoarseHistogram,
    /// Times of TLS handshakes with endpoints.
    pub tls_handshake: CoarseHistogram,
    /// Times that requests waited because every endpoint was full.
    pub queued: CoarseHistogram,
    /// Attempts after the first one of a request, by why the one before had failed.
    retries: [Counter; RETRY_CAUSES.len()],
    /// Requests that were not repeated because the retry budget was used up.
    pub retries_refused: Counter,
}

impl PoolCell {
    /// Counts one finished request.
    pub fn finished(&self, outcome: Outcome, duration: Duration) {
        self.requests[outcome.index()].add(1);
        self.duration.record(duration);
    }

    /// The attempts after one that had failed because of `RETRY_CAUSES[index]`.
    ///
    /// # Panics
    /// If there is no such cause.
    pub fn retries(&self, index: usize) -> &Counter {
        &self.retries[index]
    }

    /// The attempts after the first one of a request.
    pub fn retries_count(&self) -> u64 {
        self.retries.iter().map(Counter::value).sum()
    }

    /// The number of finished requests.
    pub fn finished_count(&self) -> u64 {
        self.requests.iter().map(Counter::value).sum()
    }

    /// The number of requests that ended like `OUTCOMES[index]`.
    ///
    /// # Panics
    /// If there is no such outcome.
    pub fn requests(&self, index: usize) -> &Counter {
        &self.requests[index]
    }
}

/// What one worker has counted for the rate limit of one route.
#[derive(Debug, Default)]
pub struct RateCell {
    /// Requests that were within the rate.
    pub allowed: Counter,
    /// Requests that were over the rate.
    pub refused: Counter,
    /// Clients that were forgotten before their bucket was full again, because the table was at its bound.
    pub evicted: Counter,
}

/// The number of causes for which the proxy responds in place of the application.
pub const OWN_RESPONSES: usize = 36;

/// Responses that the proxy made itself, one counter for each cause.
#[derive(Debug)]
pub struct OwnResponses([Counter; OWN_RESPONSES]);

impl Default for OwnResponses {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl OwnResponses {
    /// The counter of the cause with this number.
    ///
    /// # Panics
    /// If there is no such cause.
    pub fn of(&self, cause: usize) -> &Counter {
        &self.0[cause]
    }
}

/// What one worker has counted apart from pools.
#[derive(Debug, Default)]
pub struct WorkerCell {
    /// The number of its thread, by the kernel.
    pub thread: Counter,
    /// How often the worker has kept house, which shows that it does not hang.
    pub beats: Counter,
    /// Client connections accepted.
    pub accepted: Counter,
    /// Client connections given to a worker that had fewer of them.
    pub handed_over: Counter,
    /// Client connections that are parked.
    pub parked: Gauge,
    /// Client connections closed because their address has too many of them.
    pub connections_refused: Counter,
    /// Requests that reached no pool, because they had no route or were not valid. The proxy responded itself.
    pub refused: Counter,
    /// Requests of routes that respond themselves, or redirect.
    pub local: Counter,
    /// Responses that the proxy made itself, by their cause.
    pub own_responses: OwnResponses,
    /// Access-log lines that were dropped because the queue was full.
    pub access_log_dropped: Counter,
    /// Requests that are not explained because too many came at once.
    pub stories_dropped: Counter,
    /// Traced requests whose spans are not exported because too many came at once.
    pub traces_dropped: Counter,
    /// Failed `accept` calls.
    pub accept_errors: Counter,
    /// Connections that ended in a panic. Each is a bug.
    pub panics: Counter,
}

impl WorkerCell {
    /// Counts a response that the proxy made itself, for the cause with this number.
    pub fn own_response(&self, cause: usize) {
        self.own_responses.of(cause).add(1);
    }
}

/// One cell per worker, each on cache lines of its own.
pub fn cells<T: Default>(workers: usize) -> Box<[CachePadded<T>]> {
    (0..workers).map(|_| CachePadded::default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_have_their_own_labels() {
        let cell = PoolCell::default();
        for outcome in [Outcome::Answered(204), Outcome::Answered(503), Outcome::Answered(999), Outcome::ClientGone] {
            cell.finished(outcome, Duration::ZERO);
        }
        let counts: Vec<u64> = (0..OUTCOMES.len()).map(|index| cell.requests(index).value()).collect();
        assert_eq!(counts, [0, 1, 0, 0, 2, 0, 1]);
    }
}
