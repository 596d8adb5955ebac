//! Waiting for an endpoint that has room for one more request.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::cause::Cause;
use super::exchange::Exchange;
use crate::deadlines::Wait;
use crate::link::WorkerEndpoint;
use crate::pool::Tried;

/// How often a waiting request looks for room even if no request has ended: room also appears when an endpoint becomes
/// healthy.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

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
    // A request that comes while others wait lets them go first.
    let mut is_my_turn = shared.queue.waiting() == 1;
    let mut turn = pin!(place.turn());
    // From here on every end of a request is noticed, also one between the look and the wait.
    turn.as_mut().enable();
    let result = loop {
        if !exchange.renew(tried) {
            break Err(Cause::NoEndpoint);
        }
        if is_my_turn && let Some(endpoint) = exchange.attempt_in_turn(tried) {
            break Ok(endpoint);
        }
        let now = Instant::now();
        if now >= ends {
            break Err(Cause::Overloaded);
        }
        deadlines.arm(Wait::Upstream, ends.min(now + LOOK_AGAIN));
        let was_called = poll_fn(|cx| match turn.as_mut().poll(cx) {
            Poll::Pending if deadlines.expired(Wait::Upstream) || deadlines.expired(Wait::Request) => {
                Poll::Ready(false)
            }
            polled => polled.map(|()| true),
        })
        .await;
        if was_called {
            // A waiter that was woken and found no room goes to the back; one that only polled keeps its place.
            turn.set(place.turn());
            turn.as_mut().enable();
        }
        deadlines.disarm(Wait::Upstream);
        if deadlines.expired(Wait::Request) {
            break Err(Cause::RequestTimeout);
        }
        is_my_turn = true;
    };
    drop(place);
    // Several requests may have ended but woken only one waiter, so the next one is woken.
    shared.queue.freed();
    deadlines.disarm(Wait::Upstream);
    result
}
