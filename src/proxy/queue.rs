//! Waiting for an endpoint that has room for one more request.

use std::ops::ControlFlow::{Break, Continue};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::cause::Cause;
use super::exchange::Exchange;
use crate::deadlines::Wait;
use crate::link::WorkerEndpoint;
use crate::metrics::PoolCell;
use crate::pool::Tried;
use crate::pool::queue::Turn;

/// How often a waiting request looks for room even if no request has ended: room also appears when an endpoint becomes
/// healthy.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A stay in the queue. It is recorded when it ends, in whatever way.
struct Stay<'a> {
    cell: &'a PoolCell,
    began: Instant,
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        self.cell.queued.record(self.began.elapsed());
    }
}

/// Waits until an endpoint has room, and begins an attempt there. Each look is at the pool as it is then: an edit may
/// have changed it meanwhile.
///
/// # Errors
/// No endpoint may take requests, the queue is full, or the wait took too long.
///
/// # Cancel safety
/// Dropping the future gives up the place in the queue.
pub(super) async fn wait(
    exchange: &mut Exchange,
    tried: &mut Tried,
    now: Instant,
) -> Result<Rc<WorkerEndpoint>, Cause> {
    let (deadlines, pool) = (Rc::clone(&exchange.client().deadlines), exchange.pool());
    if !pool.is_full() {
        return Err(Cause::NoEndpoint);
    }
    let ends = now + pool.config.queue.timeout;
    let shared = Arc::clone(&pool.shared);
    let Some(place) = shared.queue.enter(pool.config.queue.size) else { return Err(Cause::Overloaded) };
    let _stay = Stay { cell: exchange.proxy().cell_of(&shared), began: Instant::now() };
    exchange.note_queueing(now);
    let look = |turn| {
        deadlines.disarm(Wait::Upstream);
        if deadlines.expired(Wait::Request) {
            return Break(Err(Cause::RequestTimeout));
        }
        if !exchange.renew(tried) {
            return Break(Err(Cause::NoEndpoint));
        }
        if turn == Turn::Own
            && let Some(endpoint) = exchange.attempt_in_turn(tried)
        {
            return Break(Ok(endpoint));
        }
        let now = Instant::now();
        if now >= ends {
            // Meanwhile its endpoints may have gone down.
            return Break(Err(if exchange.pool().is_full() { Cause::Overloaded } else { Cause::NoEndpoint }));
        }
        deadlines.arm(Wait::Upstream, ends.min(now + LOOK_AGAIN));
        Continue(())
    };
    let is_due = || deadlines.expired(Wait::Upstream) || deadlines.expired(Wait::Request);
    let result = place.wait(look, is_due).await;
    deadlines.disarm(Wait::Upstream);
    exchange.note_turn();
    result
}
