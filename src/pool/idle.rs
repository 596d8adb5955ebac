//! How long an unused connection to an endpoint can be relied on.
//!
//! The commonest failure of a proxy: the replica closes an idle connection at the moment at which the next request is
//! sent over it. So this side must close first. It knows the time limit of the replica from three sources: the config
//! has a guess; the replica may announce it (`Keep-Alive: timeout=`), which holds for that connection until its next
//! response; and every close that is observed teaches it.
//!
//! A close may also be the end of the replica, and then its age means nothing. So one close is believed for a short
//! time only. A second one at a similar age, at another moment, confirms it. A connection that is refused voids it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::clock::since_epoch_ns;
use tokio::time::Instant;

/// A close before this age teaches nothing. Connections that young close because their replica ended.
const LEARNED_LEAST: Duration = Duration::from_millis(100);
/// How long a close counts that no other has confirmed.
const BELIEVED: Duration = Duration::from_secs(30);
/// How long a confirmed one counts, and how long one is remembered for another to confirm it.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Closes within this time are one event: a replica that ends closes everything at once.
const MOMENT: Duration = Duration::from_secs(2);
/// Ages that differ by less than this factor are similar: when exactly a connection was closed is known only roughly.
const SIMILAR: u64 = 2;
/// The part of an observed age that is relied on, in percent. The next close may come a little earlier.
const TRUSTED_PERCENT: u32 = 80;
/// The most that is taken off an announced time, to allow for messages that are in transit.
const MARGIN_MOST: Duration = Duration::from_secs(1);

/// The idle limit of one endpoint, as its closes have taught so far. Workers may overwrite each other's values; none is
/// better than another.
#[derive(Debug, Default)]
pub struct IdleLimit {
    /// Nanoseconds; 0 if no close is remembered.
    observed_ns: AtomicU64,
    /// When the last close was observed, in the unit of [`since_epoch_ns`].
    observed_at_ns: AtomicU64,
    /// Until when it counts, in the same unit.
    until_ns: AtomicU64,
}

impl IdleLimit {
    /// Records that the endpoint closed a connection which had been unused for `age`, or somewhat less.
    pub fn observed(&self, age: Duration, now: Instant) {
        if age < LEARNED_LEAST {
            return;
        }
        let (seen, now_ns) = (as_ns(age * TRUSTED_PERCENT / 100), since_epoch_ns(now));
        let (known, since_ns) = (self.observed_ns.load(Relaxed), self.age_ns(now_ns));
        let is_known = known != 0 && since_ns < as_ns(REMEMBERED);
        let is_similar = seen <= known.saturating_mul(SIMILAR) && known <= seen.saturating_mul(SIMILAR);
        let (observed, believed) = match (is_known, since_ns < as_ns(MOMENT)) {
            // It is the same event, and the last one was the first.
            (true, true) => {
                self.observed_ns.store(seen.min(known), Relaxed);
                return;
            }
            (true, false) if is_similar => (seen.min(known), REMEMBERED),
            _ => (seen, BELIEVED),
        };
        self.observed_ns.store(observed, Relaxed);
        self.observed_at_ns.store(now_ns, Relaxed);
        self.until_ns.store(now_ns.saturating_add(as_ns(believed)), Relaxed);
    }

    /// The endpoint accepts no connections, or is another process by now: its closes were its end.
    pub fn forget(&self) {
        // The load keeps the cache line shared.
        if self.observed_ns.load(Relaxed) != 0 {
            self.observed_ns.store(0, Relaxed);
        }
    }

    /// How long an unused connection may be kept. Never longer than `configured`.
    pub fn at_most(&self, configured: Duration, now: Instant) -> Duration {
        let observed = self.observed_ns.load(Relaxed);
        if observed == 0 || since_epoch_ns(now) >= self.until_ns.load(Relaxed) {
            return configured;
        }
        configured.min(Duration::from_nanos(observed))
    }

    /// How long ago the last close was observed.
    fn age_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.observed_at_ns.load(Relaxed))
    }
}

fn as_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What is relied on of the `timeout` parameter of the `Keep-Alive` field of a response (RFC 2068 section 19.7.1.1).
pub fn relied_on(announced: Duration) -> Duration {
    announced - (announced / 5).min(MARGIN_MOST)
}

/// The `timeout` parameter of a `Keep-Alive` field in whole seconds; `None` if it is missing or not a number.
pub fn keep_alive_timeout(field: &[u8]) -> Option<Duration> {
    let parameters = std::str::from_utf8(field).ok()?.split(',');
    let mut pairs = parameters.filter_map(|parameter| parameter.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?;
    Some(Duration::from_secs(value.trim().parse::<u32>().ok()?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURED: Duration = Duration::from_secs(4);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_close_is_believed_for_a_while_and_longer_when_it_is_confirmed() {
        let (limit, start) = (IdleLimit::default(), Instant::now());
        assert_eq!(limit.at_most(CONFIGURED, start), CONFIGURED);
        limit.observed(SECOND, start);
        assert_eq!(limit.at_most(CONFIGURED, start), Duration::from_millis(800));
        limit.observed(3 * SECOND, start + SECOND);
        assert_eq!(limit.at_most(CONFIGURED, start), Duration::from_millis(800), "one event: the shortest counts");
        limit.observed(Duration::from_millis(20), start);
        assert_eq!(limit.at_most(CONFIGURED, start), Duration::from_millis(800), "a crash teaches nothing");
        assert_eq!(limit.at_most(CONFIGURED, start + BELIEVED), CONFIGURED, "nothing has confirmed it");
        let again = start + 2 * BELIEVED;
        limit.observed(SECOND * 11 / 10, again);
        assert_eq!(limit.at_most(CONFIGURED, again + 2 * BELIEVED), Duration::from_millis(800), "confirmed");
        assert_eq!(limit.at_most(CONFIGURED, again + REMEMBERED), CONFIGURED, "but not for ever");
    }

    #[test]
    fn a_close_at_another_age_confirms_nothing() {
        let (limit, start) = (IdleLimit::default(), Instant::now());
        limit.observed(SECOND * 3 / 10, start);
        let later = start + BELIEVED;
        limit.observed(3 * SECOND, later);
        assert_eq!(limit.at_most(CONFIGURED, later), Duration::from_millis(2400), "the latest counts");
        assert_eq!(limit.at_most(CONFIGURED, later + BELIEVED), CONFIGURED);
    }

    #[test]
    fn an_end_is_forgotten_when_it_shows() {
        let (limit, start) = (IdleLimit::default(), Instant::now());
        limit.observed(SECOND, start);
        limit.forget();
        assert_eq!(limit.at_most(CONFIGURED, start), CONFIGURED);
        limit.observed(SECOND, start + 3 * SECOND);
        assert_eq!(limit.at_most(CONFIGURED, start + 3 * SECOND + BELIEVED), CONFIGURED, "no confirmation");
    }

    #[test]
    fn an_announced_time_is_relied_on_with_a_margin() {
        for (announced, expected_ms) in [(0, 0), (2, 1600), (5, 4000), (60, 59_000)] {
            assert_eq!(relied_on(announced * SECOND), Duration::from_millis(expected_ms));
        }
    }

    #[test]
    fn timeouts_are_read_from_the_field() {
        for (field, seconds) in [
            (&b"timeout=5"[..], Some(5)),
            (b"max=100, Timeout = 15", Some(15)),
            (b"timeout=0", Some(0)),
            (b"timeout=-1", None),
            (b"timeout=99999999999", None),
            (b"max=3", None),
            (b"\xff", None),
        ] {
            assert_eq!(keep_alive_timeout(field), seconds.map(Duration::from_secs), "{field:?}");
        }
    }
}
