//! Requests that wait because every endpoint has as many requests as it may have (`max_requests`).
//!
//! There is one queue per pool for all workers. Its length and the time in it are bounded. Requests are served in the
//! order in which they came: a new request goes to the back.

use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;

use crate::sync::{AtomicUsize, Notify};

/// See the module.
#[derive(Debug, Default)]
pub struct WaitQueue {
    waiting: AtomicUsize,
    freed: Notify,
}

impl WaitQueue {
    /// Enters the queue. `None` if `size` requests wait already.
    pub fn enter(&self, size: usize) -> Option<Place<'_>> {
        let one_more = |waiting| (waiting < size).then_some(waiting + 1);
        let before = self.waiting.fetch_update(SeqCst, SeqCst, one_more).ok()?;
        // A request that comes while others wait lets them go first. A later look at the number could not tell that:
        // of two that come together each would see both, and wait for the other.
        Some(Place { queue: self, turn: if before == 0 { Turn::Own } else { Turn::Others } })
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// An endpoint has finished a request. Wakes the request that has waited longest.
    pub fn freed(&self) {
        if self.waiting() > 0 {
            self.freed.notify_one();
        }
    }
}

/// A place in the queue, from [`WaitQueue::enter`]. Dropping it leaves the queue.
#[derive(Debug)]
pub struct Place<'a> {
    queue: &'a WaitQueue,
    turn: Turn,
}

/// Whose turn it is, as seen by a request in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It may take what room there is.
    Own,
    /// It has just come, and others were there before it.
    Others,
}

impl Place<'_> {
    /// Waits until `look` has found something, and leaves the queue. It looks at once, whenever an endpoint has
    /// finished a request and this one is next, and whenever `is_due`, which is asked at each poll.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place, and passes a call that it has not followed on to the next request.
    pub async fn wait<T>(self, mut look: impl FnMut(Turn) -> ControlFlow<T>, mut is_due: impl FnMut() -> bool) -> T {
        let (queue, mut turn) = (self.queue, self.turn);
        let mut called = pin!(queue.freed.notified());
        // From here on every end of a request is noticed, also one between the look and the wait.
        called.as_mut().enable();
        let found = loop {
            if let ControlFlow::Break(found) = look(turn) {
                break found;
            }
            let was_called = poll_fn(|cx| match called.as_mut().poll(cx) {
                Poll::Pending if is_due() => Poll::Ready(false),
                polled => polled.map(|()| true),
            })
            .await;
            if was_called {
                // A waiter that was woken and found no room goes to the back; one that only polled keeps its place.
                called.set(queue.freed.notified());
                called.as_mut().enable();
            }
            turn = Turn::Own;
        };
        drop(self);
        // Several requests may have ended but woken only one waiter, so the next one is woken.
        queue.freed();
        found
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.waiting.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_two_that_come_at_once_the_first_looks_at_once() {
        let queue = WaitQueue::default();
        let (first, second) = (queue.enter(2).unwrap(), queue.enter(2).unwrap());
        for (place, expected) in [(first, Turn::Own), (second, Turn::Others)] {
            assert_eq!(place.wait(ControlFlow::Break, || false).await, expected);
        }
    }

    #[tokio::test]
    async fn places_are_bounded_and_given_up() {
        let queue = WaitQueue::default();
        let first = queue.enter(2);
        let second = queue.enter(2);
        assert!(first.is_some() && second.is_some() && queue.enter(2).is_none());
        drop(second);
        assert_eq!(queue.waiting(), 1);
        let mut looks = 0;
        let look = |turn| {
            looks += 1;
            assert_eq!(turn, Turn::Own, "nobody else waits");
            queue.freed();
            if looks < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        first.unwrap().wait(look, || false).await;
        assert_eq!(looks, 3, "each end of a request is a reason to look");
        assert!(queue.enter(0).is_none());
    }
}
