//! Requests that wait because every endpoint has as many requests as it may have (`max_requests`).
//!
//! There is one queue per pool for all workers. Its length and the time in it are bounded. Requests are served in the
//! order in which they came: a new request goes to the back.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

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
        self.waiting.fetch_update(SeqCst, SeqCst, one_more).ok().map(|_| Place(self))
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
pub struct Place<'a>(&'a WaitQueue);

impl<'a> Place<'a> {
    /// Completes when an endpoint has finished a request. Only what happens after the first poll or
    /// [`Notified::enable`] counts.
    pub fn turn(&self) -> Notified<'a> {
        self.0.freed.notified()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_bounded_and_given_up() {
        let queue = WaitQueue::default();
        let first = queue.enter(2);
        let second = queue.enter(2);
        assert!(first.is_some() && second.is_some() && queue.enter(2).is_none());
        drop(second);
        assert_eq!(queue.waiting(), 1);
        let turn = first.as_ref().unwrap().turn();
        queue.freed();
        turn.await;
        drop(first);
        assert!(queue.enter(0).is_none());
    }
}
