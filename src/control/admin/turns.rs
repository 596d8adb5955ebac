//! One document at a time.
//!
//! All of the admin port runs on one thread, and `/metrics` of a thousand endpoints takes it for milliseconds. Many who
//! ask at one time must not keep that thread from the sockets: between any two documents it looks at these, and
//! responds to the probes that have come.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::Instant;

/// How long other threads of the core may have to wait.
const WAY_GIVEN_EVERY: Duration = Duration::from_micros(100);
/// How many connections may be accepted before a document that waits is made.
const ACCEPTED_BEFORE: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Turns {
    turn: Semaphore,
    /// Connections that were accepted so far.
    accepted: Cell<u64>,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { turn: Semaphore::new(1), accepted: Cell::new(0) }
    }

    /// Notes that a connection was accepted: there may be more.
    pub(super) fn accepted(&self) {
        self.accepted.set(self.accepted.get().wrapping_add(1));
    }

    /// Waits for a turn, in order of arrival. It is over when the thread has looked at the sockets, and has accepted
    /// those who wait: a probe may be behind many others.
    pub(super) async fn pass(&self) {
        // It is never closed.
        let _turn = self.turn.acquire().await;
        for _ in 0..ACCEPTED_BEFORE {
            let before = self.accepted.get();
            yield_now().await;
            if self.accepted.get() == before {
                break;
            }
        }
    }
}

/// Lets another thread have this core if one waits for it. Where many connections or documents come at one time, each
/// of them takes tens of microseconds; a worker waits for one of them, and not for all.
///
/// Whatever else is busy on this core gets a slice of it each time, so it is done no more often than it is worth.
pub(super) fn give_way() {
    thread_local!(static LAST: Cell<Option<Instant>> = const { Cell::new(None) });
    if LAST.get().is_none_or(|last| last.elapsed() >= WAY_GIVEN_EVERY) {
        std::thread::yield_now();
        LAST.set(Some(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    #[tokio::test]
    async fn the_thread_looks_at_the_sockets_between_two_documents() {
        const DOCUMENTS: usize = 20;
        let (turns, made) = (Rc::new(Turns::new()), Rc::new(Cell::new(0)));
        let all = async {
            for _ in 0..DOCUMENTS {
                let (turns, made) = (Rc::clone(&turns), Rc::clone(&made));
                spawn_local(async move {
                    turns.pass().await;
                    made.set(made.get() + 1);
                });
            }
            let mut before = 0;
            while before < DOCUMENTS {
                yield_now().await;
                assert!(made.get() <= before + 1, "{} at once", made.get() - before);
                before = made.get();
            }
        };
        LocalSet::new().run_until(all).await;
    }
}
