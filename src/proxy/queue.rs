//! Waiting for an endpoint that has room for one more request.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::cause::Cause;
use crate::deadlines::{Deadlines, Wait};
use crate::pool::pick::Acquired;
use crate::pool::{Pool, Tried};

/// How often a waiting request looks for room even if no request has ended: room also appears when an endpoint becomes
/// healthy.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Waits until an endpoint has room and has counted the request.
///
/// # Errors
/// No endpoint may take requests, the queue is full, or the wait took too long.
///
/// # Cancel safety
/// Dropping the future gives up the place in the queue.
pub(super) async fn wait<'p>(
    pool: &'p Pool,
    tried: &Tried,
    deadlines: &Deadlines,
    now: Instant,
) -> Result<Acquired<'p>, Cause> {
    if !pool.is_full() {
        return Err(Cause::NoEndpoint);
    }
    let queue = &pool.shared.queue;
    let Some(place) = queue.enter(pool.config.queue.size) else { return Err(Cause::Overloaded) };
    let ends = now + pool.config.queue.timeout;
    // A request that comes while others wait lets them go first.
    let mut is_my_turn = queue.waiting() == 1;
    let mut turn = pin!(place.turn());
    // From here on every end of a request is noticed, also one between the look and the wait.
    turn.as_mut().enable();
    let result = loop {
        if is_my_turn && let Some(acquired) = pool.acquire_in_turn(tried) {
            break Ok(acquired);
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
    queue.freed();
    deadlines.disarm(Wait::Upstream);
    result
}
