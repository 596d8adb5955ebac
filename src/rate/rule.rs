//! How often something may happen: the generic cell rate algorithm (GCRA, ITU-T I.371), which is a token bucket kept as
//! one instant.
//!
//! The instant is the *theoretical arrival time*, TAT: when the bucket will be full again. Each allowed request moves
//! it on by one interval. A request is refused while the TAT is so far ahead that the bucket is empty. A TAT that has
//! passed says no more than no TAT at all, so whoever keeps TATs may forget those.
//!
//! Instants are counted in ticks of the rule, a power of two of which make up one interval. So an interval is exact,
//! and only the present is rounded, down to a tick: what a rule allows in excess is 2 % of one request, once.

use std::num::NonZeroU32;
use std::time::Duration;

/// An interval has at most 2 to the power of this many ticks. It has fewer if the burst is above 33 million.
const TICK_BITS_MAX: u32 = 6;
/// A whole burst has fewer than 2 to the power of this many ticks.
const BURST_BITS: u32 = 31;
/// How much later than ours the clock of another worker may have been read when it wrote a TAT that we read. A decision
/// that is held up for longer, between its look at the clock and at the TAT, could take that TAT for one that has
/// passed.
const SKEW: Duration = Duration::from_secs(1);

/// A rate and a burst, checked and ready for [`Rule::decide`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Ticks per nanosecond, in units of 2^-64. Rounded down, so no more is allowed than was written.
    speed: u64,
    /// An interval has 2 to the power of this many ticks.
    tick_bits: u32,
    /// How many requests a full bucket allows at once; not 0.
    capacity: u32,
}

/// The present, as the clock of the process says it and in ticks of one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    ns: u64,
    pub(super) ticks: u64,
}

/// What is decided about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may go on. The TAT is this from now on.
    Allowed {
        /// In ticks of the rule.
        tat: u64,
    },
    /// It must not go on. The TAT stays as it is.
    Refused(RetryAfter),
}

/// How long a refused client has to wait until its next request is allowed, if it sends none meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RetryAfter(pub(super) Duration);

impl RetryAfter {
    /// The time to wait.
    pub fn duration(self) -> Duration {
        self.0
    }

    /// The value of `Retry-After` (RFC 9110 section 10.2.3): whole seconds, rounded up, at least 1.
    pub fn seconds(self) -> u64 {
        self.0.as_secs().saturating_add(u64::from(self.0.subsec_nanos() > 0)).max(1)
    }
}

impl Rule {
    /// `requests` in each `per` on average, and at most `burst` at once; a burst of 0 counts as 1. So in any time of
    /// length t no more than `burst + t * requests / per` are allowed.
    ///
    /// Each combination is a rule. More than 15 million requests per second count as 15 million, a burst of more than 2
    /// billion as 2 billion.
    pub fn new(requests: NonZeroU32, per: Duration, burst: u32) -> Self {
        let capacity = burst.clamp(1, (1 << BURST_BITS) - 1);
        let tick_bits = TICK_BITS_MAX.min(BURST_BITS - (u32::BITS - capacity.leading_zeros()));
        let per_ns = per.as_nanos().max(1);
        let speed = (u128::from(requests.get()) << (u64::BITS + tick_bits)) / per_ns;
        Self { speed: u64::try_from(speed).unwrap_or(u64::MAX).max(1), tick_bits, capacity }
    }

    /// The present of this rule. `now_ns` counts from any fixed point of the process.
    #[inline]
    pub fn moment(&self, now_ns: u64) -> Moment {
        Moment { ns: now_ns, ticks: self.ticks(now_ns) }
    }

    /// Decides about a request that arrives `now`. A TAT of 0, or any that has passed, is that of a client that has not
    /// been seen.
    #[inline]
    pub fn decide(&self, tat: u64, now: Moment) -> Verdict {
        let tolerance = self.burst_ticks() - self.interval();
        let allowed_from = tat.saturating_sub(tolerance);
        if now.ticks < allowed_from {
            return Verdict::Refused(self.wait(allowed_from, now));
        }
        Verdict::Allowed { tat: tat.max(now.ticks).saturating_add(self.interval()) }
    }

    /// How far ahead of the present a TAT of this rule can lie, in ticks. Less than 2^32.
    pub(super) fn horizon(&self) -> u64 {
        let skew = self.ticks(u64::try_from(SKEW.as_nanos()).unwrap_or(u64::MAX));
        self.burst_ticks() + skew.min((1 << BURST_BITS) - 1)
    }

    /// Whether a TAT of `former` means the same here, and is nowhere beyond the horizon.
    pub(super) fn continues(&self, former: &Self) -> bool {
        let Self { speed, tick_bits, capacity } = *self;
        (speed, tick_bits) == (former.speed, former.tick_bits) && capacity >= former.capacity
    }

    /// Of a TAT that is `ahead` ticks of `former` from the present: how many ticks of this rule it is ahead. A client
    /// that has used so many requests of its former burst has used as many of this one, at most all.
    pub(super) fn ahead_from(&self, former: &Self, ahead: u64) -> u64 {
        let ahead = (u128::from(ahead) << self.tick_bits) >> former.tick_bits;
        u64::try_from(ahead).unwrap_or(u64::MAX).min(self.burst_ticks())
    }

    fn interval(&self) -> u64 {
        1 << self.tick_bits
    }

    /// The ticks until an empty bucket is full.
    fn burst_ticks(&self) -> u64 {
        u64::from(self.capacity) << self.tick_bits
    }

    fn ticks(&self, ns: u64) -> u64 {
        // The product of two numbers below 2^64 is below 2^128, so the result is below 2^64.
        ((u128::from(ns) * u128::from(self.speed)) >> u64::BITS) as u64
    }

    /// The time until the first nanosecond of tick `until`.
    fn wait(&self, until: u64, now: Moment) -> RetryAfter {
        let at_ns = (u128::from(until) << u64::BITS).div_ceil(u128::from(self.speed));
        let at_ns = u64::try_from(at_ns).unwrap_or(u64::MAX);
        RetryAfter(Duration::from_nanos(at_ns.saturating_sub(now.ns)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;
    /// Where the tests' time begins.
    const START: u64 = 3_600_000 * MS;

    fn rule(requests: u32, per_ms: u64, burst: u32) -> Rule {
        Rule::new(NonZeroU32::new(requests).unwrap(), Duration::from_millis(per_ms), burst)
    }

    /// Sends requests of one client to `rule` at these times after [`START`]; the waits, `None` of those allowed.
    fn send(rule: &Rule, arrivals_ns: impl IntoIterator<Item = u64>) -> Vec<Option<Duration>> {
        let mut tat = 0;
        let decide = |at| match rule.decide(tat, rule.moment(START + at)) {
            Verdict::Allowed { tat: next } => {
                tat = next;
                None
            }
            Verdict::Refused(wait) => Some(wait.duration()),
        };
        arrivals_ns.into_iter().map(decide).collect()
    }

    #[test]
    fn a_burst_is_allowed_and_then_one_per_interval() {
        // 10 per second: one in 100 ms, give or take a tick of 1.6 ms. A client that waits gets its burst back and no
        // more.
        for (burst, arrivals_ms, allowed) in [
            (1, &[0, 0, 98, 102, 204, 250, 310][..], &[true, false, false, true, true, false, true][..]),
            (0, &[0, 0, 102], &[true, false, true]),
            (3, &[0, 0, 0, 0, 102, 102, 204], &[true, true, true, false, true, false, true]),
            (2, &[0, 0, 0, 5000, 5000, 5000], &[true, true, false, true, true, false]),
        ] {
            let sent = send(&rule(10, 1000, burst), arrivals_ms.iter().map(|at| at * MS));
            let found: Vec<bool> = sent.iter().map(Option::is_none).collect();
            assert_eq!(found, allowed, "burst {burst}, {arrivals_ms:?}");
        }
    }

    #[test]
    fn extreme_rules_are_rules() {
        let (most, longest) = (u32::MAX, Duration::MAX);
        for (requests, per) in [(1, Duration::ZERO), (most, Duration::ZERO), (1, longest), (most, longest)] {
            for burst in [0, 1, most] {
                let rule = Rule::new(NonZeroU32::new(requests).unwrap(), per, burst);
                assert!(rule.horizon() < 1 << 32, "{rule:?}");
                for now in [0, START, u64::MAX] {
                    let now = rule.moment(now);
                    assert!(matches!(rule.decide(0, now), Verdict::Allowed { .. }), "{rule:?}");
                    _ = rule.decide(u64::MAX, now);
                }
            }
        }
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds() {
        for (wait, seconds) in [
            (Duration::ZERO, 1),
            (Duration::from_nanos(1), 1),
            (Duration::from_secs(1), 1),
            (Duration::from_nanos(1_000_000_001), 2),
            (Duration::from_secs(59), 59),
            (Duration::MAX, u64::MAX),
        ] {
            assert_eq!(RetryAfter(wait).seconds(), seconds, "{wait:?}");
        }
    }

    #[test]
    fn what_a_client_has_used_is_the_same_under_another_rule() {
        let (minute, hour, small) = (rule(100, 60_000, 50), rule(100, 3_600_000, 50), rule(100, 60_000, 5));
        let used = |rule: &Rule, requests: u64| requests * rule.interval();
        assert_eq!(hour.ahead_from(&minute, used(&minute, 30)), used(&hour, 30));
        assert_eq!(small.ahead_from(&minute, used(&minute, 30)), used(&small, 5), "at most all");
        let coarse = rule(100, 60_000, u32::MAX);
        assert_eq!(coarse.ahead_from(&minute, used(&minute, 30)), used(&coarse, 30));
        assert!(rule(100, 60_000, 60).continues(&minute) && minute.continues(&minute));
        assert!(!small.continues(&minute) && !hour.continues(&minute) && !coarse.continues(&minute));
    }

    /// Rules that people write, with up to a million requests per second.
    fn rules() -> impl Strategy<Value = (u64, u64, u32)> {
        (1..1_000_000_u64, 1..86_400_000_u64, 0..40_u32)
            .prop_filter("at most a million per second", |(requests, per_ms, _)| requests / per_ms <= 1000)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// In every window between two allowed requests. A tick is the whole excess.
        #[test]
        fn no_window_has_more_than_the_burst_and_the_rate(
            (requests, per_ms, burst) in rules(),
            gaps in prop::collection::vec((0..4_u8, 0..200_u64), 1..120),
        ) {
            let rule = rule(requests as u32, per_ms, burst);
            let (per_ns, mut at, mut arrivals) = (u128::from(per_ms) * 1_000_000, 0, Vec::new());
            for (kind, percent) in gaps {
                // Many come at once; the others after a part of an interval.
                at += if kind == 0 { (per_ns * u128::from(percent) / (100 * u128::from(requests))) as u64 } else { 0 };
                arrivals.push(at);
            }
            let sent = send(&rule, arrivals.iter().copied());
            let passed: Vec<u64> = arrivals.iter().zip(&sent).filter(|(_, w)| w.is_none()).map(|(at, _)| *at).collect();
            for (first, begin) in passed.iter().enumerate() {
                for (last, end) in passed.iter().enumerate().skip(first) {
                    let (count, window) = (last - first + 1, u128::from(end - begin));
                    let earned = (window * u128::from(requests) * 64 + per_ns) / (per_ns * 64);
                    prop_assert!(count as u128 <= u128::from(burst.max(1)) + earned, "{count} in {window} ns");
                }
            }
        }

        #[test]
        fn after_the_wait_the_next_request_is_allowed(
            (requests, per_ms, burst) in rules(),
            at in 0..1_000_000_000_000_u64,
        ) {
            let rule = rule(requests as u32, per_ms, burst);
            let sent = send(&rule, (0..=u64::from(burst.max(1))).map(|_| at));
            let wait = sent.last().copied().flatten();
            let wait = u64::try_from(wait.expect("the burst is used up").as_nanos()).unwrap();
            let again = |pause| {
                let burst = (0..u64::from(burst.max(1))).map(|_| at);
                send(&rule, burst.chain([at + pause])).last().copied().flatten().is_none()
            };
            prop_assert!(again(wait), "{wait} ns");
            prop_assert!(wait == 0 || !again(wait - 1), "{wait} ns are too long");
        }

        /// A client that always waits as it is told gets 99 % of the rate at least.
        #[test]
        fn who_waits_as_told_gets_the_whole_rate((requests, per_ms, burst) in rules()) {
            let rule = rule(requests as u32, per_ms, burst);
            let (mut tat, mut at, mut allowed) = (0, START, 0_u64);
            while allowed < u64::from(burst) + 200 {
                match rule.decide(tat, rule.moment(at)) {
                    Verdict::Allowed { tat: next } => (tat, allowed) = (next, allowed + 1),
                    Verdict::Refused(wait) => at += wait.duration().as_nanos() as u64,
                }
            }
            let due_ns = u128::from(allowed - u64::from(burst)) * u128::from(per_ms) * 1_000_000 / u128::from(requests);
            prop_assert!(u128::from(at - START) * 99 <= due_ns * 100 + 10_000, "{} ns, not {due_ns}", at - START);
        }
    }
}
