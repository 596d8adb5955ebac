//! Waiting for an endpoint that has room for one more request.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use tokio::time::Instant;

use super::error::Cause;
use crate::deadlines::{Deadlines, Wait};
use crate::upstream::{Pool, Tried};

/// Waits, if the pool has a queue and a place in it, until an endpoint has counted the request; returns its index.
pub(super) async fn wait(pool: &Pool, tried: &Tried, deadlines: &Deadlines, now: Instant) -> Result<usize, Cause> {
    if !pool.is_full() {
        return Err(Cause::NoEndpoint);
    }
    let Some(place) = pool.shared.queue.enter(pool.queue.size) else { return Err(Cause::Overloaded) };
    deadlines.arm(Wait::Upstream, now + pool.queue.timeout);
    let result = loop {
        let mut turn = pin!(place.turn());
        // From here on no end of a request is missed, so one between the look and the wait is seen.
        turn.as_mut().enable();
        if let Some(index) = pool.acquire_in_turn(tried) {
            break Ok(index);
        }
        let is_late = || deadlines.expired(Wait::Upstream) || deadlines.expired(Wait::Request);
        let turn = poll_fn(|cx| match turn.as_mut().poll(cx) {
            Poll::Pending if is_late() => Poll::Ready(Err(Cause::Overloaded)),
            polled => polled.map(Ok),
        });
        if let Err(cause) = turn.await {
            break Err(cause);
        }
    };
    deadlines.disarm(Wait::Upstream);
    result
}
