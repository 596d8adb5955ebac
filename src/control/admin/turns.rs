//! One document at a time.
//!
//! All of the admin port runs on one thread, and `/metrics` of a thousand endpoints takes it for milliseconds. Many who
//! ask at one time must not keep that thread from the sockets: between any two documents it looks at these, and
//! responds to the probes that have come.

use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// See the module.
#[derive(Debug)]
pub(super) struct Turns(Semaphore);

impl Turns {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(1))
    }

    /// Waits for a turn, in order of arrival. It is over when the thread has looked at the sockets.
    pub(super) async fn pass(&self) {
        // It is never closed.
        let _turn = self.0.acquire().await;
        yield_now().await;
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
