//! The drafts of one worker, and the queue through which stories leave it.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tokio::time::Instant;

use super::{Draft, Head, Story};
use crate::snapshot::Snapshot;

/// How many stories may wait for the control thread. When there are more, they are dropped and counted.
const QUEUE_MAX: usize = 1024;

/// How many stories a worker tells within one [`WINDOW`]. Otherwise a pool that fails fast would be slowed down by
/// telling of it, when nobody could keep so many.
const TOLD_MAX: u32 = 256;

/// How many stories of traced requests may wait for the control thread. When there are more, they are dropped and
/// counted.
const TRACED_QUEUE_MAX: usize = 2048;

/// How many stories of traced requests a worker makes within one [`WINDOW`].
const TRACED_MAX: u32 = 1024;

/// How long [`TOLD_MAX`] has to do.
const WINDOW: Duration = Duration::from_millis(250);

/// How many drafts a worker keeps for the next requests. While there are more requests than this at one time, drafts
/// are allocated.
const SPARE_MAX: usize = 64;

/// The ends of the queues that workers have. They never wait: nobody sleeps at the other ends, so nobody is woken.
#[derive(Debug, Clone)]
pub(crate) struct Outlet {
    told: SyncSender<Arc<Story>>,
    traced: SyncSender<Arc<Story>>,
}

/// The ends of these queues that the control thread has.
#[derive(Debug)]
pub(crate) struct Arriving {
    /// What is told to whoever asks.
    pub(crate) told: Receiver<Arc<Story>>,
    /// What is to become spans. It has a queue of its own, so that neither pushes out the other.
    pub(crate) traced: Receiver<Arc<Story>>,
}

/// The queues from all workers to the control thread.
pub(crate) fn channel() -> (Outlet, Arriving) {
    let ((told, told_here), (traced, traced_here)) = (sync_channel(QUEUE_MAX), sync_channel(TRACED_QUEUE_MAX));
    (Outlet { told, traced }, Arriving { told: told_here, traced: traced_here })
}

/// The drafts of one worker.
#[derive(Debug)]
pub(crate) struct Stories {
    outlet: Outlet,
    #[expect(clippy::vec_box, reason = "the boxes travel with requests; moving the drafts would cost more")]
    spare: RefCell<Vec<Box<Draft>>>,
    /// How many requests come before the next one of the sample.
    until_sampled: Cell<u32>,
    /// When the present window began, and how many stories were told since.
    told: Window,
    /// The same of those that were traced.
    traced: Window,
}

impl Stories {
    /// Stories that leave through `outlet`.
    pub(crate) fn new(outlet: Outlet) -> Self {
        Self {
            outlet,
            spare: RefCell::default(),
            until_sampled: Cell::new(0),
            told: Cell::default(),
            traced: Cell::default(),
        }
    }

    /// Begins to take notes of a request; `None` if nothing is kept and nothing is traced.
    #[inline]
    pub(in crate::proxy) fn begin<'h>(
        &self,
        snapshot: &Snapshot,
        head: impl FnOnce() -> Head<'h>,
    ) -> Option<Box<Draft>> {
        let explain = &snapshot.explain;
        if explain.keep == 0 && snapshot.traces.is_none() {
            return None;
        }
        let mut draft = self.spare.borrow_mut().pop().unwrap_or_default();
        draft.is_sampled = self.is_sampled(explain.sample);
        draft.begin(head());
        Some(draft)
    }

    /// Whether the next request is one of the sample: the first one, and then every so many.
    #[inline]
    fn is_sampled(&self, every: u32) -> bool {
        let Some(most) = every.checked_sub(1) else { return false };
        let left = self.until_sampled.get().min(most);
        self.until_sampled.set(left.checked_sub(1).unwrap_or(most));
        left == 0
    }

    /// Takes back the draft of a request that is over.
    #[inline]
    pub(in crate::proxy) fn take_back(&self, mut draft: Box<Draft>) {
        draft.clear();
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX {
            spare.push(draft);
        }
    }

    /// Whether a story may be told at `now`.
    #[cold]
    pub(in crate::proxy) fn has_room(&self, now: Instant) -> bool {
        has_room(&self.told, TOLD_MAX, now)
    }

    /// Whether the story of a traced request may be made at `now`.
    #[cold]
    pub(in crate::proxy) fn has_room_for_traced(&self, now: Instant) -> bool {
        has_room(&self.traced, TRACED_MAX, now)
    }

    /// Sends a story to the control thread. Returns `false` if it was dropped because too many wait there.
    #[cold]
    pub(in crate::proxy) fn send(&self, story: Arc<Story>) -> bool {
        count(&self.told);
        self.outlet.told.try_send(story).is_ok()
    }

    /// The same for the story of a traced request.
    #[cold]
    pub(in crate::proxy) fn send_traced(&self, story: Arc<Story>) -> bool {
        count(&self.traced);
        self.outlet.traced.try_send(story).is_ok()
    }
}

/// When a window began, and how many stories were made since.
type Window = Cell<(Option<Instant>, u32)>;

fn has_room(window: &Window, most: u32, now: Instant) -> bool {
    let (since, count) = window.get();
    if since.is_some_and(|since| now < since + WINDOW) {
        return count < most;
    }
    window.set((Some(now), 0));
    true
}

fn count(window: &Window) {
    let (since, count) = window.get();
    window.set((since, count.saturating_add(1)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::story::{Kinds, test_story};

    #[test]
    fn so_many_are_told_within_a_window_and_no_more() {
        let (outlet, arriving) = channel();
        let (stories, start) = (Stories::new(outlet), Instant::now());
        let tell = |after: Duration| {
            let has_room = stories.has_room(start + after);
            has_room && stories.send(Arc::new(test_story(Kinds::default(), "a", "/")))
        };
        for windows in [0, 1, 2, 7] {
            let told = (0..2 * TOLD_MAX).filter(|_| tell(windows * WINDOW)).count();
            assert_eq!(told, TOLD_MAX as usize, "window {windows}");
            assert!(!tell(windows * WINDOW + WINDOW / 2));
        }
        assert_eq!(arriving.told.try_iter().count(), 4 * TOLD_MAX as usize);
        let trace = || stories.send_traced(Arc::new(test_story(Kinds::default(), "a", "/")));
        let traced = (0..10_000).filter(|_| stories.has_room_for_traced(start) && trace()).count();
        assert_eq!(traced, TRACED_MAX as usize, "what is traced has a window and a queue of its own");
        assert_eq!((0..10_000).filter(|_| trace()).count() + traced, TRACED_QUEUE_MAX);
    }

    #[test]
    fn the_first_request_is_sampled_and_then_every_so_many() {
        let stories = Stories::new(channel().0);
        let sampled =
            |every: u32, count: usize| -> Vec<bool> { (0..count).map(|_| stories.is_sampled(every)).collect() };
        assert_eq!(sampled(3, 7), [true, false, false, true, false, false, true]);
        assert_eq!(sampled(0, 3), [false; 3], "none");
        assert_eq!(sampled(1, 3), [true; 3], "all");
        assert_eq!(sampled(64, 2), [true, false]);
        assert!(sampled(2, 2).contains(&true), "an edit does not wait for what was left of 64");
    }
}
