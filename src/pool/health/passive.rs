//! Passive health: what live traffic shows of an endpoint, with or without probes.
//!
//! Failures in a row eject an endpoint for a while, each time for twice as long. Then its share grows back steadily,
//! like that of a new endpoint (slow start). Besides, each failure counts as a request in flight for some seconds.
//! Otherwise a replica that fails fast would look idle and attract all traffic.
//!
//! All of this is a few atomics. A request only reads them; they are written when something fails.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::model::Eject;
use crate::pool::clock::since_epoch_ns;
use crate::sync::{AtomicU32, AtomicU64, Mutex};

/// Nanoseconds for which a failure counts as load. Its weight falls linearly to nothing.
const LOAD_LASTS_NS: u64 = 5_000_000_000;
/// The most failures that count as load.
const LOAD_MOST: u32 = 1000;
/// The share that a returning endpoint starts with.
const SHARE_LEAST: f64 = 0.1;

/// What live traffic has shown of one endpoint.
#[derive(Debug, Default)]
pub struct Passive {
    /// Points for failures since the last success. A failed connect is worth two.
    points: AtomicU32,
    /// When it takes requests again with a growing share, in the unit of [`since_epoch_ns`]; 0 if it has its full
    /// share.
    admitted_from_ns: AtomicU64,
    recent_failures: AtomicU32,
    failed_at_ns: AtomicU64,
    ejections: Mutex<Ejections>,
}

/// The share of requests that live traffic allows an endpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Admission {
    /// Its full share.
    Full,
    /// A growing share, from 0.1 to 1, used as a probability.
    Returning(f64),
    /// No requests for this long.
    Ejected(Duration),
}

/// The recent ejections of an endpoint.
#[derive(Debug, Default)]
struct Ejections {
    in_a_row: u32,
    /// When the last one began and ends.
    last: Option<Ejection>,
}

/// A time without requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// When it began.
    pub begin: Instant,
    /// When requests are admitted again, with a growing share.
    pub end: Instant,
}

impl Ejections {
    /// How long the next ejection lasts: at first `duration`, then twice as long each time, up to `max_duration`. After
    /// `max_duration` without an ejection it starts again with `duration`.
    fn next(&mut self, now: Instant, config: &Eject) -> Duration {
        if self.last.is_none_or(|last| now >= last.end + config.max_duration) {
            self.in_a_row = 0;
        }
        let duration = config.duration.saturating_mul(1 << self.in_a_row.min(20)).min(config.max_duration);
        self.in_a_row += 1;
        self.last = Some(Ejection { begin: now, end: now + duration });
        duration
    }
}

impl Passive {
    /// A request got a response. The load before the store keeps the cache line shared while nothing fails.
    pub fn succeeded(&self) {
        if self.points.load(Relaxed) != 0 {
            self.points.store(0, Relaxed);
        }
    }

    /// An attempt failed through the fault of the endpoint. Returns its points, including `points`.
    pub fn failed(&self, points: u32, now: Instant) -> u32 {
        let load = (self.load() + 1).min(LOAD_MOST);
        self.recent_failures.store(load, Relaxed);
        self.failed_at_ns.store(since_epoch_ns(now), Relaxed);
        self.points.fetch_add(points, Relaxed).saturating_add(points)
    }

    /// Ejects the endpoint from now on. Returns for how long.
    pub fn eject(&self, now: Instant, config: &Eject) -> Duration {
        self.points.store(0, Relaxed);
        let duration = self.ejections.lock().unwrap_or_else(PoisonError::into_inner).next(now, config);
        self.admitted_from_ns.store(since_epoch_ns(now + duration), Relaxed);
        duration
    }

    /// Its share grows from its minimum, beginning at `now`.
    pub fn begin_slowly(&self, now: Instant) {
        self.admitted_from_ns.store(since_epoch_ns(now), Relaxed);
    }

    /// It has its full share from now on, because a probe has found it healthy.
    pub fn pardon(&self) {
        self.points.store(0, Relaxed);
        self.admitted_from_ns.store(0, Relaxed);
    }

    /// Whether it is ejected at `now`.
    pub fn is_ejected(&self, now: Instant) -> bool {
        self.admitted_from_ns.load(Relaxed) > since_epoch_ns(now)
    }

    /// The ejection that lasts at `now`, if one does. It takes a lock, so requests do not call it.
    pub fn ejection(&self, now: Instant) -> Option<Ejection> {
        let last = self.ejections.lock().unwrap_or_else(PoisonError::into_inner).last;
        last.filter(|_| self.is_ejected(now))
    }

    /// The share it may have now. `ramp` is how long its return takes.
    pub fn admission(&self, ramp: Duration) -> Admission {
        let from_ns = self.admitted_from_ns.load(Relaxed);
        if from_ns == 0 {
            return Admission::Full;
        }
        let now_ns = since_epoch_ns(Instant::now());
        if now_ns < from_ns {
            return Admission::Ejected(Duration::from_nanos(from_ns - now_ns));
        }
        let share = (now_ns - from_ns) as f64 / ramp.as_nanos().max(1) as f64;
        if share < 1.0 {
            return Admission::Returning(share.max(SHARE_LEAST));
        }
        // The comparison fails if it was ejected again at this very moment.
        self.admitted_from_ns.compare_exchange(from_ns, 0, Relaxed, Relaxed).ok();
        Admission::Full
    }

    /// The number of requests in flight that its recent failures count as.
    pub fn load(&self) -> u32 {
        let failures = self.recent_failures.load(Relaxed);
        if failures == 0 {
            return 0;
        }
        let age_ns = since_epoch_ns(Instant::now()).saturating_sub(self.failed_at_ns.load(Relaxed));
        (u64::from(failures) * LOAD_LASTS_NS.saturating_sub(age_ns)).div_ceil(LOAD_LASTS_NS) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: Eject =
        Eject { failures: 5, duration: Duration::from_secs(10), max_duration: Duration::from_secs(300), share: 50 };

    #[test]
    fn ejections_double_up_to_the_longest_and_are_forgotten() {
        let (mut ejections, mut now) = (Ejections::default(), Instant::now());
        let mut lasted = Vec::new();
        for _ in 0..7 {
            let duration = ejections.next(now, &CONFIG);
            lasted.push(duration.as_secs());
            now += duration + Duration::from_secs(1);
        }
        assert_eq!(lasted, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(ejections.next(now + CONFIG.max_duration, &CONFIG), CONFIG.duration);
    }

    #[test]
    fn an_ejected_endpoint_returns_step_by_step() {
        let (passive, now, ramp) = (Passive::default(), Instant::now(), Duration::from_secs(10));
        assert_eq!(passive.admission(ramp), Admission::Full);
        let duration = passive.eject(now, &CONFIG);
        assert!(passive.is_ejected(now) && !passive.is_ejected(now + duration));
        let ejection = Ejection { begin: now, end: now + duration };
        assert_eq!([passive.ejection(now), passive.ejection(now + duration)], [Some(ejection), None]);
        assert!(matches!(passive.admission(ramp), Admission::Ejected(left) if left <= duration));
        passive.begin_slowly(now - Duration::from_secs(5));
        assert!(matches!(passive.admission(ramp), Admission::Returning(share) if (0.5..0.6).contains(&share)));
        assert_eq!(passive.admission(Duration::ZERO), Admission::Full);
        assert_eq!(passive.admission(ramp), Admission::Full, "once in, it stays in");
    }

    #[test]
    fn failures_count_as_load_for_a_while() {
        let (passive, now) = (Passive::default(), Instant::now());
        assert_eq!(passive.load(), 0);
        for expected in [1, 3, 5] {
            assert_eq!(passive.failed(if expected == 1 { 1 } else { 2 }, now), expected);
        }
        assert_eq!(passive.load(), 3);
        passive.failed(1, now - Duration::from_nanos(LOAD_LASTS_NS));
        assert_eq!(passive.load(), 0);
        passive.succeeded();
        assert_eq!(passive.failed(1, now), 1, "an answer ends the row");
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_grows_from_the_end_of_an_ejection_to_the_end_of_the_ramp() {
        let (passive, ramp) = (Passive::default(), Duration::from_secs(10));
        passive.eject(Instant::now(), &CONFIG);
        for (advance, expected) in [
            (0, Admission::Ejected(Duration::from_secs(10))),
            (3, Admission::Ejected(Duration::from_secs(7))),
            (7, Admission::Returning(SHARE_LEAST)),
            (1, Admission::Returning(0.1)),
            (3, Admission::Returning(0.4)),
            (5, Admission::Returning(0.9)),
            (1, Admission::Full),
        ] {
            tokio::time::advance(Duration::from_secs(advance)).await;
            assert_eq!(passive.admission(ramp), expected, "{advance} s later");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_weighs_less_with_time() {
        let passive = Passive::default();
        (0..10).for_each(|_| _ = passive.failed(1, Instant::now()));
        for expected in [10, 8, 6, 4, 2, 0, 0] {
            assert_eq!(passive.load(), expected);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        passive.failed(1, Instant::now());
        assert_eq!(passive.load(), 1, "what is forgotten does not come back");
        (0..2 * LOAD_MOST).for_each(|_| _ = passive.failed(1, Instant::now()));
        assert_eq!(passive.load(), LOAD_MOST);
    }

    #[test]
    fn a_pardon_ends_an_ejection_and_the_row_of_failures() {
        let (passive, now) = (Passive::default(), Instant::now());
        passive.eject(now, &CONFIG);
        passive.failed(2, now);
        passive.pardon();
        assert!(!passive.is_ejected(now));
        assert_eq!(passive.admission(Duration::from_secs(10)), Admission::Full);
        assert_eq!(passive.failed(1, now), 1);
    }

    #[test]
    fn an_ejection_ends_the_row_of_failures() {
        let (passive, now) = (Passive::default(), Instant::now());
        passive.failed(2, now);
        passive.eject(now, &CONFIG);
        assert_eq!(passive.failed(1, now), 1);
    }
}
