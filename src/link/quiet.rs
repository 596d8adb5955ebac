//! A waker that keeps quiet while its own task is running.
//!
//! hyper's connection and the request that uses it are made to live in two tasks, and wake each other for every step:
//! "send more", "here is a part". Here both live in one task, which polls them one after the other. So each such
//! wake-up would only make the runtime poll that task once more for nothing, about three times per request.
//!
//! Between [`QuietWaker::attach`] and [`QuietWaker::release`] a wake-up is noted, not passed on; the caller then takes
//! another round by itself. After [`ROUNDS_MAX`] rounds (hyper yields in long loops, tokio when a task has used its
//! share) it is passed on after all, so none is ever lost. An unused connection wakes no task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Wake, Waker};

use atomic_waker::AtomicWaker;

/// The rounds that a task takes by itself before the runtime may run others.
const ROUNDS_MAX: u32 = 4;

/// The waker of one connection; see the module.
#[derive(Debug)]
pub(super) struct QuietWaker {
    shared: Arc<WakeState>,
    /// The waker made of `shared`. A no-op takes its place while the connection is being driven.
    waker: Waker,
    /// The task that `shared` wakes. It is kept to tell cheaply whether the task has changed.
    task: Option<Waker>,
    rounds: u32,
}

#[derive(Debug, Default)]
struct WakeState {
    task: AtomicWaker,
    is_quiet: AtomicBool,
    was_woken: AtomicBool,
}

impl Wake for WakeState {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_quiet.load(Relaxed) {
            self.was_woken.store(true, Relaxed);
        } else {
            self.task.wake();
        }
    }
}

impl Default for QuietWaker {
    fn default() -> Self {
        let shared = Arc::new(WakeState::default());
        Self { waker: Waker::from(Arc::clone(&shared)), shared, task: None, rounds: 0 }
    }
}

impl QuietWaker {
    /// Sets the task to wake, but holds wake-ups back until [`Self::release`]. It returns the waker to poll with until
    /// then.
    pub(super) fn attach(&mut self, task: &Waker) -> Waker {
        if !self.task.as_ref().is_some_and(|known| known.will_wake(task)) {
            self.task = Some(task.clone());
        }
        self.rounds = 0;
        self.shared.is_quiet.store(true, Relaxed);
        self.shared.was_woken.store(false, Relaxed);
        std::mem::replace(&mut self.waker, Waker::noop().clone())
    }

    /// Whether there was a wake-up since the last round, and another round is allowed.
    pub(super) fn wants_another_round(&mut self) -> bool {
        self.rounds += 1;
        self.rounds < ROUNDS_MAX && self.shared.was_woken.swap(false, Relaxed)
    }

    /// Passes wake-ups on from now on. A wake-up that was noted is passed on only if the task `is_waiting`: a task with
    /// a result in hand comes back by itself.
    pub(super) fn release(&mut self, waker: Waker, is_waiting: bool) {
        self.waker = waker;
        if let Some(task) = &self.task {
            // Each wake-up takes the waker out, so it must be put in again.
            self.shared.task.register(task);
        }
        self.shared.is_quiet.store(false, Relaxed);
        if is_waiting && self.shared.was_woken.load(Relaxed) {
            self.shared.task.wake();
        }
    }

    /// Wakes no task until it is attached again, and lets go of the present one.
    pub(super) fn detach(&mut self) {
        self.task = None;
        self.shared.task.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn wake_ups_are_held_back_but_never_lost() {
        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        let woken = || count.0.load(Relaxed);
        let mut quiet = QuietWaker::default();

        let waker = quiet.attach(&task);
        waker.wake_by_ref();
        assert!(quiet.wants_another_round(), "noted");
        assert!(!quiet.wants_another_round(), "nothing new");
        let outside = waker.clone();
        quiet.release(waker, true);
        assert_eq!(woken(), 0, "what was answered by another round is not passed on");
        outside.wake_by_ref();
        assert_eq!(woken(), 1, "an event from outside is");

        let waker = quiet.attach(&task);
        while {
            waker.wake_by_ref();
            quiet.wants_another_round()
        } {}
        quiet.release(waker, true);
        assert_eq!(woken(), 2, "after so many rounds the runtime is asked for a new turn");
        outside.wake_by_ref();
        assert_eq!(woken(), 2, "a wake-up takes the waker out until the next round");

        let waker = quiet.attach(&task);
        waker.wake_by_ref();
        quiet.release(waker, false);
        assert_eq!(woken(), 2, "a task that has something in its hands needs no wake-up");
        quiet.detach();
        outside.wake_by_ref();
        assert_eq!(woken(), 2, "a connection that nobody uses wakes nobody");
    }
}
