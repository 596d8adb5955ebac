//! What h2 has not got rid of: frames that lie in its write buffer because the peer reads slower than it is sent to.
//!
//! h2 puts every head, and DATA of up to 256 bytes, into that buffer, which grows as it must: nothing bounds it. A peer
//! that begins requests and does not read their responses could make it hold any number. So the one who moves h2's
//! bytes counts what is left after each write, and lets nothing come that would add to it.

use std::cell::{Cell, RefCell};
use std::io::IoSlice;
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

/// The most bytes that may lie there before no more is taken on. Peers that read never come near: what is ready is
/// written at once, and heads lie here only while the kernel takes nothing.
pub(crate) const BACKLOG_MAX: usize = 256 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    bytes: Cell<usize>,
    /// When something of it was last written; not noted while there is none.
    moved_at: Cell<Option<Instant>>,
    /// Who wants to go on when there is less.
    waiting: RefCell<Option<Waker>>,
}

impl Backlog {
    /// Whether so much lies there that nothing may come that adds to it.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.get() > BACKLOG_MAX
    }

    /// Whether everything was written.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.get() == 0
    }

    /// When something was last written of what lay there.
    pub(crate) fn moved_at(&self) -> Option<Instant> {
        self.moved_at.get()
    }

    /// Ready when it is not full.
    #[inline]
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_full() { self.wait(cx) } else { Poll::Ready(()) }
    }

    #[cold]
    fn wait(&self, cx: &mut Context<'_>) -> Poll<()> {
        *self.waiting.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Notes a write of `offered` of which something may have been taken, and passes on its result.
    #[inline]
    pub(crate) fn wrote<E>(&self, offered: usize, result: Poll<Result<usize, E>>) -> Poll<Result<usize, E>> {
        let taken = if let Poll::Ready(Ok(taken)) = &result { *taken } else { 0 };
        let was_full = self.is_full();
        if taken > 0 && !self.is_empty() {
            self.moved_at.set(Some(Instant::now()));
        }
        self.bytes.set(offered.saturating_sub(taken));
        if was_full && !self.is_full() {
            self.wake();
        }
        result
    }

    #[cold]
    fn wake(&self) {
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

/// The bytes of all parts.
#[inline]
pub(crate) fn total(parts: &[IoSlice<'_>]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_room_is_woken_when_there_is_some() {
        let (backlog, wakes) = (Backlog::default(), std::sync::Arc::new(Wakes::default()));
        let waker = Waker::from(std::sync::Arc::clone(&wakes));
        let mut cx = Context::from_waker(&waker);
        let mut wrote = |offered, taken: Option<usize>| {
            let result = taken.map_or(Poll::Pending, |taken| Poll::Ready(Ok::<_, ()>(taken)));
            assert_eq!(backlog.wrote(offered, result), result);
            (backlog.poll_room(&mut cx).is_ready(), wakes.0.load(std::sync::atomic::Ordering::Relaxed))
        };
        assert_eq!(wrote(BACKLOG_MAX, None), (true, 0));
        assert_eq!(wrote(BACKLOG_MAX + 1, None), (false, 0));
        assert_eq!(wrote(BACKLOG_MAX + 9, Some(8)), (false, 0));
        assert_eq!(wrote(BACKLOG_MAX + 1, Some(1)), (true, 1));
        assert_eq!(wrote(BACKLOG_MAX, Some(BACKLOG_MAX)), (true, 1));
    }

    #[derive(Default)]
    struct Wakes(std::sync::atomic::AtomicUsize);

    impl std::task::Wake for Wakes {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}
