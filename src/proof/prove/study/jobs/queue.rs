//! What workers want of a queue.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a worker may have an order before another one takes it over: many times what a report takes.
pub(super) const LEASE: Duration = Duration::from_millis(500);

/// An order that a worker has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    /// Its place in the queue.
    pub(super) place: String,
    pub(super) id: String,
    pub(super) number: u64,
}

/// A worker has begun a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) id: String,
    pub(super) worker: String,
    /// When its lease began, in microseconds by the clock of the queue, if that says so.
    pub(super) at_us: Option<u64>,
}

/// See the module.
pub(super) trait Queue: Send + Sync + 'static {
    /// The next order that nobody has, if there is one within a time.
    fn next(&self, worker: &str, within: Duration) -> impl Future<Output = anyhow::Result<Option<Order>>> + Send;
    /// An order that a worker has had for too long: it is probably dead.
    fn take_over(&self, worker: &str) -> impl Future<Output = anyhow::Result<Option<Order>>> + Send;
    /// A worker begins.
    fn begin(&self, order: &Order, worker: &str) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// Keeps a report and sends it out, if nobody has done so. Whether nobody had.
    fn finish(&self, order: &Order, report: u64) -> impl Future<Output = anyhow::Result<bool>> + Send;
    /// Sends a report out, whoever has done so before.
    fn send(&self, order: &Order) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// The worker is done with it.
    fn acknowledge(&self, order: &Order) -> impl Future<Output = anyhow::Result<()>> + Send;
}
