//! A worker: takes orders from the queue, one at a time, and over from workers who are dead.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::desk::report;
use super::queue::{Order, Queue};
use crate::prove::sabotage::{Planted, Sabotage};
use crate::prove::study::hold::{Held, Hold};

/// How long a report takes.
pub(super) const WORK: Duration = Duration::from_millis(20);
/// How long a worker waits for a new order before it looks for one to take over.
const WAIT: Duration = Duration::from_millis(100);
/// Pause after the queue could not be reached.
const AGAIN: Duration = Duration::from_millis(50);
/// One report in so many says what another one should say, under sabotage.
const CONFUSED_ONE_IN: u64 = 20;

/// See the module.
pub(super) struct Worker<Q> {
    pub(super) queue: Q,
    pub(super) name: String,
    pub(super) hold: Arc<Hold>,
    pub(super) planted: Planted,
}

impl<Q: Queue> Worker<Q> {
    /// Works, without end.
    pub(super) async fn run(self) {
        let mut look_at = Instant::now();
        loop {
            let is_time = look_at <= Instant::now();
            if is_time {
                look_at = Instant::now() + WAIT;
            }
            if self.turn(is_time).await.is_err() {
                sleep(AGAIN).await;
            }
        }
    }

    /// Takes an order and does it. If that fails, the order is taken over when its time is over.
    async fn turn(&self, looks: bool) -> anyhow::Result<()> {
        let old = if looks { self.queue.take_over(&self.name).await? } else { None };
        let order = match old {
            Some(order) => order,
            None => match self.queue.next(&self.name, WAIT).await? {
                Some(order) => order,
                None => return Ok(()),
            },
        };
        self.make(&order).await
    }

    async fn make(&self, order: &Order) -> anyhow::Result<()> {
        self.queue.begin(order, &self.name).await?;
        let held = self.hold.place();
        if held == Some(Held::Undone) {
            self.hold.keep(order.id.clone()).await;
        }
        sleep(WORK).await;
        let is_confused = self.planted.is(Sabotage::ReportOfAnother) && order.number % CONFUSED_ONE_IN == 1;
        let is_first = self.queue.finish(order, report(order.number + u64::from(is_confused))).await?;
        // Between the two a death has the order done again; it is not sent out again.
        if held == Some(Held::Done) {
            self.hold.keep(order.id.clone()).await;
        }
        if is_first && self.planted.is(Sabotage::SentSeparately) {
            self.queue.send(order).await?;
        }
        self.queue.acknowledge(order).await
    }
}
