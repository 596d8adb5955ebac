//! How many requests a pool may repeat: a share of its traffic, and a few per second in addition.
//!
//! When replicas fail because they are overloaded, repeating failed requests adds to the load. A budget keeps the
//! additional load below a known share. A request that was provably not sent costs a replica nothing, so it is not
//! counted.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::model::Retry;

/// Unused repetitions add up over this time.
const SAVED: Duration = Duration::from_secs(10);

/// A token bucket that traffic and time fill. One token is one repetition.
#[derive(Debug, Default)]
pub(super) struct Budget {
    tokens: f64,
    /// When a token was last asked for, and how many requests had finished by then.
    asked: Option<(Instant, u64)>,
}

impl Budget {
    /// Takes one token if there is one. `requests` is the number of requests finished so far.
    pub(super) fn spend(&mut self, now: Instant, requests: u64, limits: &Retry) -> bool {
        let floor = f64::from(limits.budget_per_second);
        let share = f64::from(limits.budget) / 100.0;
        let (elapsed, new) = match self.asked.replace((now, requests)) {
            // Traffic before the first failure counts as if it had come within the last `SAVED`.
            None => (SAVED, requests),
            Some((then, before)) => (now.saturating_duration_since(then), requests.saturating_sub(before)),
        };
        let earned = elapsed.as_secs_f64() * floor + share * new as f64;
        let rate = if elapsed.is_zero() { 0.0 } else { new as f64 / elapsed.as_secs_f64() };
        // After a long pause only the last `SAVED` of time and traffic counts.
        let most = SAVED.as_secs_f64() * (floor + share * rate);
        // A quiet spell does not take away what was earned before it.
        self.tokens = (self.tokens + earned).min(most.max(self.tokens));
        let may = self.tokens >= 1.0;
        if may {
            self.tokens -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spend_all(budget: &mut Budget, now: Instant, requests: u64) -> usize {
        (0..100_000).take_while(|_| budget.spend(now, requests, &Retry::default())).count()
    }

    #[test]
    fn a_quiet_pool_has_the_free_repetitions_of_ten_seconds() {
        let (mut budget, start) = (Budget::default(), Instant::now());
        assert_eq!(spend_all(&mut budget, start, 0), 100);
        assert_eq!(spend_all(&mut budget, start + Duration::from_secs(1), 0), 10);
        assert_eq!(spend_all(&mut budget, start + Duration::from_secs(3600), 0), 100, "no more is saved up");
    }

    #[test]
    fn a_pool_that_fails_now_and_then_saves_no_more_than_one_that_never_did() {
        let (mut budget, start) = (Budget::default(), Instant::now());
        for pause in 0..50 {
            assert!(budget.spend(start + SAVED * pause, 0, &Retry::default()));
        }
        assert_eq!(spend_all(&mut budget, start + SAVED * 50, 0), 100);
    }

    #[test]
    fn traffic_earns_its_share() {
        let (mut budget, start) = (Budget::default(), Instant::now());
        spend_all(&mut budget, start, 0);
        let second = start + Duration::from_secs(1);
        assert_eq!(spend_all(&mut budget, second, 1_000), 210, "10 per second and 20 % of 1,000");
        assert_eq!(spend_all(&mut budget, second, 1_000), 0);
        assert_eq!(spend_all(&mut budget, second + Duration::from_secs(100), 101_000), 2_100, "of the last 10 s");
    }

    #[test]
    fn a_budget_of_nothing_permits_nothing() {
        let limits = Retry { budget: 0, budget_per_second: 0, ..Retry::default() };
        let (mut budget, start) = (Budget::default(), Instant::now());
        assert!(!budget.spend(start, 1_000_000, &limits));
        assert!(!budget.spend(start + SAVED, 2_000_000, &limits));
    }
}
