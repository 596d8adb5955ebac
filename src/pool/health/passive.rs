//! Passive health: what live traffic shows of an endpoint, between two probes and without any.
//!
//! Failures in a row eject an endpoint for a while, each time twice as long; then its share grows back step by step, as that of
//! a new one does (slow start). Besides, each failure counts as a request under way for some seconds, so that a replica which
//! fails fast does not look idle and attract everybody.
//!
//! All of it is a few atomics that a request only reads; they are written when something fails.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::model::Eject;
use crate::pool::clock::since_epoch_ns;

/// How long a failure counts as load; its weight falls evenly to nothing.
const LOAD_LASTS_NS: u64 = 5_000_000_000;
/// Failures that count as load at most.
const LOAD_MOST: u32 = 1000;
/// The share that a returning endpoint begins with.
const SHARE_LEAST: f64 = 0.1;

/// See the module.
#[derive(Debug, Default)]
pub struct Passive {
    /// Failures since the last success; connect failures count twice.
    points: AtomicU32,
    /// From when it takes requests again, with a growing share; 0 when it is fully in.
    admitted_from_ns: AtomicU64,
    recent_failures: AtomicU32,
    failed_at_ns: AtomicU64,
    ejections: Mutex<Ejections>,
}

/// What live traffic lets an endpoint have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Admission {
    /// Its full share.
    Full,
    /// A growing share, from 0.1 to 1.
    Returning(f64),
    /// Nothing, for so long.
    Ejected(Duration),
}

/// How often an endpoint was ejected lately.
#[derive(Debug, Default)]
struct Ejections {
    in_a_row: u32,
    last_end: Option<Instant>,
}

impl Ejections {
    /// How long the next ejection lasts: the first time as configured, then twice as long each time, up to the longest. Who
    /// has behaved for as long as that starts anew.
    fn next(&mut self, now: Instant, config: &Eject) -> Duration {
        if self.last_end.is_none_or(|end| now >= end + config.max_duration) {
            self.in_a_row = 0;
        }
        let duration = config.duration.saturating_mul(1 << self.in_a_row.min(20)).min(config.max_duration);
        self.in_a_row += 1;
        self.last_end = Some(now + duration);
        duration
    }
}

impl Passive {
    /// A request was answered.
    pub fn succeeded(&self) {
        if self.points.load(Relaxed) != 0 {
            self.points.store(0, Relaxed);
        }
    }

    /// An attempt failed by the endpoint's fault; returns the points it has now.
    pub fn failed(&self, points: u32, now: Instant) -> u32 {
        let load = (self.load() + 1).min(LOAD_MOST);
        self.recent_failures.store(load, Relaxed);
        self.failed_at_ns.store(since_epoch_ns(now), Relaxed);
        self.points.fetch_add(points, Relaxed).saturating_add(points)
    }

    /// Takes no requests from now on; returns for how long.
    pub fn eject(&self, now: Instant, config: &Eject) -> Duration {
        self.points.store(0, Relaxed);
        let duration = self.ejections.lock().unwrap_or_else(PoisonError::into_inner).next(now, config);
        self.admitted_from_ns.store(since_epoch_ns(now + duration), Relaxed);
        duration
    }

    /// Its share grows from nothing, beginning now.
    pub fn begin_slowly(&self, now: Instant) {
        self.admitted_from_ns.store(since_epoch_ns(now), Relaxed);
    }

    /// Its full share from now on: a probe has shown that it is well.
    pub fn pardon(&self) {
        self.points.store(0, Relaxed);
        self.admitted_from_ns.store(0, Relaxed);
    }

    /// Whether it is ejected.
    pub fn is_ejected(&self, now: Instant) -> bool {
        self.admitted_from_ns.load(Relaxed) > since_epoch_ns(now)
    }

    /// What it may have; `ramp` is how long its return takes.
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
        // Unless it was ejected again in this very moment.
        self.admitted_from_ns.compare_exchange(from_ns, 0, Relaxed, Relaxed).ok();
        Admission::Full
    }

    /// Requests under way that its recent failures stand for.
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
}
