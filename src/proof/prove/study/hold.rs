//! What a replica does that is to be killed: it holds back what comes, so that its end meets something. Half of what it
//! holds has been done, and nobody hears of it; the other half has not been begun.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// How long a replica waits for enough to hold.
const LIMIT: Duration = Duration::from_secs(3);

/// In which state something is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// It is done, but for the word that it is.
    Done,
    /// It has not been begun.
    Undone,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Hold {
    is_on: AtomicBool,
    /// Places that were given out, and what is in them.
    given: AtomicU32,
    taken: Mutex<Vec<String>>,
    news: Notify,
}

impl Hold {
    /// In which state what has come now is to be held; `None`: it is not.
    pub(super) fn place(&self) -> Option<Held> {
        if !self.is_on.load(Relaxed) {
            return None;
        }
        let place = self.given.fetch_add(1, Relaxed);
        Some(if place.is_multiple_of(2) { Held::Done } else { Held::Undone })
    }

    /// Something is in the state in which it is held. It stays there until the end of the process.
    pub(super) async fn keep(&self, what: String) -> ! {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        self.news.notify_one();
        std::future::pending().await
    }

    /// Holds from now on. What it has as soon as that is enough, or when the time is over.
    pub(super) async fn begin(&self, enough: usize) -> Vec<String> {
        self.is_on.store(true, Relaxed);
        let deadline = Instant::now() + LIMIT;
        loop {
            let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if taken.len() >= enough || timeout_at(deadline, self.news.notified()).await.is_err() {
                return taken;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn half_of_what_is_held_is_done() {
        let hold = Arc::new(Hold::default());
        assert_eq!(hold.place(), None, "nobody has asked for it");
        assert!(hold.begin(0).await.is_empty());
        assert_eq!([hold.place(), hold.place(), hold.place()], [Held::Done, Held::Undone, Held::Done].map(Some));
        let kept = Arc::clone(&hold);
        let task = tokio::spawn(async move { kept.keep("a".into()).await });
        assert_eq!(hold.begin(1).await, ["a"], "it waits until there is one");
        task.abort();
    }
}
