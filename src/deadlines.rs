//! The deadlines of one client connection: one slot per kind of wait, one timer for all.
//!
//! A request passes half a dozen waits, each with its deadline. A timer for each would cost more than the waits are
//! worth. So waiting code only notes its deadline in a slot ([`Deadlines::arm`]: one store), and the connection's
//! outermost future keeps a single timer at or before the earliest of them. In steady traffic deadlines only move
//! later, so that timer is touched about once per timeout, not once per request.
//!
//! When a slot runs out, the outermost future marks it as expired and polls what it contains once more. The waiting
//! code finds the mark ([`Deadlines::expired`]) and ends its wait in its own way.

use std::cell::Cell;
use std::future::Future as _;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep};

/// What a connection may be waiting for. Several waits may be under way at once, each with a slot of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Wait {
    /// The client's next request, or the rest of its head.
    Client,
    /// More of the client's request body.
    RequestBody,
    /// The client's reading of what was written.
    ClientWrite,
    /// The endpoint: a connection, the response head, more of the response body.
    Upstream,
    /// The response head, over all attempts.
    Request,
    /// The end of a response whose endpoint or listener is draining.
    Drain,
    /// The client's next request, while buffers are kept ready for it. Then the connection is parked.
    Park,
    /// The time until a silent peer is pinged, or until it must have acknowledged the ping.
    Ping,
}

const WAITS: [Wait; 8] = [
    Wait::Client,
    Wait::RequestBody,
    Wait::ClientWrite,
    Wait::Upstream,
    Wait::Request,
    Wait::Drain,
    Wait::Park,
    Wait::Ping,
];

/// How often [`Alarm::poll_step`] polls again before others have their turn.
const RINGS_AT_ONCE: usize = WAITS.len();

/// The deadlines of one connection; see the module. Everything that serves the connection shares it, within one task.
#[derive(Debug, Default)]
pub struct Deadlines {
    at: [Cell<Option<Instant>>; WAITS.len()],
    expired: Cell<u16>,
    /// At or before the earliest of `at`. Without it, each poll would have to look through all of them.
    bound: Cell<Option<Instant>>,
}

impl Deadlines {
    /// `wait` begins, and must end before `at`. A mark of its earlier expiry is removed.
    pub fn arm(&self, wait: Wait, at: Instant) {
        self.at[wait as usize].set(Some(at));
        self.expired.set(self.expired.get() & !bit(wait));
        if self.bound.get().is_none_or(|bound| at < bound) {
            self.bound.set(Some(at));
        }
    }

    /// Like [`Self::arm`], with a deadline `timeout` from now.
    pub fn arm_in(&self, wait: Wait, timeout: Duration) {
        self.arm(wait, Instant::now() + timeout);
    }

    /// Whether `wait` is under way.
    pub fn is_armed(&self, wait: Wait) -> bool {
        self.at[wait as usize].get().is_some()
    }

    /// `wait` has ended. A mark of its expiry is removed too.
    pub fn disarm(&self, wait: Wait) {
        self.at[wait as usize].set(None);
        self.expired.set(self.expired.get() & !bit(wait));
    }

    /// As [`Self::disarm`], of several.
    #[inline]
    pub fn disarm_all<const N: usize>(&self, waits: [Wait; N]) {
        let mut bits = 0;
        for wait in waits {
            self.at[wait as usize].set(None);
            bits |= bit(wait);
        }
        self.expired.set(self.expired.get() & !bits);
    }

    /// Whether `wait` has run out, and was neither disarmed nor armed again since.
    pub fn expired(&self, wait: Wait) -> bool {
        self.expired.get() & bit(wait) != 0
    }

    /// The earliest deadline of all waits that are under way.
    pub fn next(&self) -> Option<Instant> {
        let next = self.at.iter().filter_map(Cell::get).min();
        self.bound.set(next);
        next
    }

    /// Whether there may be a deadline before `instant`. It may be true without one, never false with one.
    fn any_before(&self, instant: Instant) -> bool {
        self.bound.get().is_some_and(|bound| bound < instant)
    }

    /// Marks every wait that has run out by `now`, and returns whether there was one.
    pub fn expire(&self, now: Instant) -> bool {
        let mut any = false;
        for wait in WAITS {
            let slot = &self.at[wait as usize];
            if slot.get().is_some_and(|at| at <= now) {
                slot.set(None);
                self.expired.set(self.expired.get() | bit(wait));
                any = true;
            }
        }
        any
    }
}

/// The only timer of a connection.
#[derive(Default)]
pub(crate) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// When `sleep` fires; never later than the earliest deadline.
    rings_at: Option<Instant>,
}

impl Alarm {
    /// Polls `step`, and again each time that a deadline has run out, which `step` finds marked
    /// ([`Deadlines::expired`]). Ready when `step` is. A step that arms again and again what is over already waits for
    /// something that only the runtime can tell it, so the task then gives way.
    #[inline]
    pub(crate) fn poll_step<T>(
        &mut self,
        deadlines: &Deadlines,
        cx: &mut Context<'_>,
        mut step: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        for _ in 0..RINGS_AT_ONCE {
            if let Poll::Ready(value) = step(cx) {
                return Poll::Ready(value);
            }
            ready!(Pin::new(&mut *self).poll_ring(deadlines, cx));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ready when a deadline has run out; it is marked as expired then.
    fn poll_ring(mut self: Pin<&mut Self>, deadlines: &Deadlines, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(rings_at) = self.rings_at
                && !deadlines.any_before(rings_at)
                && self.sleep.as_ref().is_some_and(|sleep| !sleep.is_elapsed())
            {
                return Poll::Pending;
            }
            let Some(next) = deadlines.next() else { return Poll::Pending };
            if self.rings_at.is_none_or(|rings_at| rings_at > next) {
                match &mut self.sleep {
                    Some(sleep) => sleep.as_mut().reset(next),
                    None => self.sleep = Some(Box::pin(tokio::time::sleep_until(next))),
                }
                self.rings_at = Some(next);
                // The timer is polled only here. Once registered, it wakes the task without being polled again. It is
                // polled outside of the task's budget: without budget left it would be pending and not registered.
                if let Some(sleep) = &mut self.sleep {
                    ready!(pin!(unconstrained(sleep.as_mut())).poll(cx));
                }
            } else if self.sleep.as_ref().is_some_and(|sleep| !sleep.is_elapsed()) {
                return Poll::Pending;
            }
            self.rings_at = None;
            if deadlines.expire(Instant::now()) {
                return Poll::Ready(());
            }
        }
    }
}

fn bit(wait: Wait) -> u16 {
    1 << wait as usize
}

#[cfg(test)]
mod tests {
    use tokio::task::consume_budget;
    use tokio::task::coop::has_budget_remaining;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_alarm_rings_for_every_deadline_and_not_before() {
        let (deadlines, start) = (Deadlines::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut alarm = std::pin::pin!(Alarm::default());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut rings = |deadlines: &Deadlines| alarm.as_mut().poll_ring(deadlines, &mut cx).is_ready();
        assert!(!rings(&deadlines), "nothing is armed");
        deadlines.arm(Wait::Client, at(10));
        assert!(!rings(&deadlines));
        // An earlier deadline counts at once, and one that has moved to a later time does not ring.
        deadlines.arm(Wait::Upstream, at(5));
        assert!(!rings(&deadlines));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(rings(&deadlines) && deadlines.expired(Wait::Upstream) && !deadlines.expired(Wait::Client));
        deadlines.arm(Wait::Client, at(30));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(!rings(&deadlines));
        deadlines.disarm(Wait::Client);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(!rings(&deadlines), "nothing is armed any more");
        deadlines.arm(Wait::Drain, at(50));
        assert!(!rings(&deadlines));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(rings(&deadlines) && deadlines.expired(Wait::Drain));
    }

    /// A task whose budget is spent when its deadline is armed: every poll of tokio's is pending from then on.
    #[tokio::test(start_paused = true)]
    async fn the_alarm_rings_for_a_task_that_has_used_up_its_budget() {
        let (deadlines, start, mut alarm) = (Deadlines::default(), Instant::now(), Alarm::default());
        deadlines.arm_in(Wait::Upstream, Duration::from_secs(5));
        let task = std::future::poll_fn(|cx| {
            alarm.poll_step(&deadlines, cx, |cx| {
                while has_budget_remaining() {
                    assert!(pin!(consume_budget()).poll(cx).is_ready());
                }
                if deadlines.expired(Wait::Upstream) { Poll::Ready(()) } else { Poll::Pending }
            })
        });
        tokio::time::timeout(Duration::from_secs(60), task).await.expect("nothing woke the task");
        assert_eq!(start.elapsed(), Duration::from_secs(5));
    }

    /// The step waits for what another task does, and each time arms what is over already.
    #[tokio::test(start_paused = true)]
    async fn a_step_that_arms_what_is_over_gives_way_to_others() {
        let (deadlines, start, mut alarm) = (Deadlines::default(), Instant::now(), Alarm::default());
        let (told, mut polls) = (std::rc::Rc::new(Cell::new(false)), 0);
        let other = std::rc::Rc::clone(&told);
        let step = std::future::poll_fn(|cx| {
            alarm.poll_step(&deadlines, cx, |_| {
                polls += 1;
                assert!(polls < 1000, "the other task has no turn");
                deadlines.arm(Wait::Client, start);
                if told.get() { Poll::Ready(()) } else { Poll::Pending }
            })
        });
        tokio::join!(step, async move {
            tokio::task::yield_now().await;
            other.set(true);
        });
        assert!(polls > 1);
    }

    #[test]
    fn the_earliest_wait_counts_and_expires_alone() {
        let deadlines = Deadlines::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(deadlines.next(), None);
        deadlines.arm(Wait::Upstream, at(60));
        deadlines.arm(Wait::RequestBody, at(30));
        assert_eq!(deadlines.next(), Some(at(30)));
        assert!(!deadlines.expire(at(29)));
        assert!(deadlines.expire(at(30)));
        assert!(deadlines.expired(Wait::RequestBody) && !deadlines.expired(Wait::Upstream));
        assert_eq!(deadlines.next(), Some(at(60)));
        deadlines.disarm(Wait::RequestBody);
        assert!(!deadlines.expired(Wait::RequestBody), "a wait that is over cannot be late");
        deadlines.disarm(Wait::Upstream);
        assert_eq!(deadlines.next(), None);
    }
}
