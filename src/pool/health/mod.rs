//! The health of one endpoint: a pure state machine that takes the verdicts of probes.
//!
//! ```text
//!                 first pass                    fall failures in a row
//!   Unchecked ------------------> Healthy ---------------------------------> Unhealthy
//!       |                            ^                                           |
//!       | first failure              |  rise passes in a row                     |
//!       +--------> Unhealthy         +-------------------------------------------+
//!                                       (one pass, if it never was healthy before)
//! ```
//!
//! *Unchecked* is a new endpoint without traffic. An endpoint that has never passed needs only one pass: its replica is
//! still starting, it has not just failed.

pub mod passive;

use std::time::{Duration, SystemTime};

use crate::config::model::HealthCheck;

/// The health of an endpoint according to its probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Health {
    /// Not probed yet.
    Unchecked = 0,
    /// It takes traffic.
    Healthy = 1,
    /// It takes traffic only while its pool fails open.
    Unhealthy = 2,
}

impl Health {
    /// The inverse of `as u8`. Unknown values become `Unchecked`.
    pub fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Healthy,
            2 => Self::Unhealthy,
            _ => Self::Unchecked,
        }
    }

    /// The word used in logs, metrics and `/status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// The result of one probe. A failure gives its reason in a few words.
pub type ProbeResult = Result<(), String>;

/// The streaks behind a [`Health`].
#[derive(Debug)]
pub struct Machine {
    health: Health,
    /// Verdicts in a row that contradict `health`.
    streak: u32,
    has_passed: bool,
    /// When `health` last changed; `None` before the first verdict.
    since: Option<SystemTime>,
    /// Why the last probe failed; empty after a pass.
    reason: String,
}

impl Machine {
    /// Starts in `health`.
    pub fn new(health: Health) -> Self {
        Self { health, streak: 0, has_passed: health == Health::Healthy, since: None, reason: String::new() }
    }

    /// The state it is in.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Why the last probe failed; empty after a pass.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// When the state last changed; `None` before the first verdict.
    pub fn since(&self) -> Option<SystemTime> {
        self.since
    }

    /// Verdicts in a row that contradict the state.
    pub fn streak(&self) -> u32 {
        self.streak
    }

    /// Applies a verdict that came at `at`. Returns the new state if it has changed.
    pub fn observe(&mut self, verdict: ProbeResult, check: &HealthCheck, at: SystemTime) -> Option<Health> {
        let passed = verdict.is_ok();
        self.reason = verdict.err().unwrap_or_default();
        let needed = match (self.health, passed) {
            (Health::Healthy, true) | (Health::Unhealthy, false) => {
                self.streak = 0;
                return None;
            }
            (Health::Unchecked, _) => 1,
            (Health::Unhealthy, true) => {
                if self.has_passed {
                    check.rise
                } else {
                    1
                }
            }
            (Health::Healthy, false) => check.fall,
        };
        self.streak += 1;
        if self.streak < needed {
            return None;
        }
        self.streak = 0;
        self.has_passed |= passed;
        self.since = Some(at);
        self.health = if passed { Health::Healthy } else { Health::Unhealthy };
        Some(self.health)
    }

    /// Time until the next probe; `jitter` is a draw from `[-1, 1]`.
    ///
    /// A settled endpoint is probed every interval ± 20 %, so that the proxies of a fleet do not probe at the same
    /// time. During a streak probes come twice as often. So a dead replica is out within `fall × interval` even for the
    /// worst jitter (1.2 + 2 × 0.6 intervals for `fall = 3`).
    pub fn next_probe_in(&self, check: &HealthCheck, jitter: f64) -> Duration {
        let spread = 1.0 + 0.2 * jitter.clamp(-1.0, 1.0);
        let settled = self.streak == 0;
        check.interval.mul_f64(if settled { spread } else { spread / 2.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Probe;

    fn check(rise: u32, fall: u32) -> HealthCheck {
        let (interval, timeout) = (Duration::from_secs(2), Duration::from_secs(1));
        HealthCheck { probe: Probe::Tcp, interval, timeout, rise, fall }
    }

    /// In `verdicts`, `+` is a pass and `-` a failure. The result has the state after each.
    fn walk(start: Health, rise: u32, fall: u32, verdicts: &str) -> String {
        let mut machine = Machine::new(start);
        verdicts
            .chars()
            .map(|c| {
                let verdict = if c == '+' { Ok(()) } else { Err("refused".to_owned()) };
                machine.observe(verdict, &check(rise, fall), SystemTime::UNIX_EPOCH);
                match machine.health() {
                    Health::Unchecked => '?',
                    Health::Healthy => 'H',
                    Health::Unhealthy => 'U',
                }
            })
            .collect()
    }

    #[test]
    fn states_follow_the_picture() {
        use Health::{Healthy, Unchecked};
        for (start, rise, fall, verdicts, states) in [
            (Unchecked, 2, 3, "+", "H"),
            (Unchecked, 2, 3, "-", "U"),
            (Unchecked, 2, 3, "--+", "UUH"),
            (Unchecked, 3, 1, "+-+++", "HUUUH"),
            (Healthy, 2, 3, "---", "HHU"),
            (Healthy, 2, 3, "--+---", "HHHHHU"),
            (Healthy, 2, 3, "---+-++", "HHUUUUH"),
            (Healthy, 1, 1, "-+-+", "UHUH"),
        ] {
            assert_eq!(walk(start, rise, fall, verdicts), states, "{start:?} rise={rise} fall={fall} {verdicts}");
        }
    }

    #[test]
    fn a_dead_endpoint_is_out_within_fall_intervals_whatever_the_jitter() {
        for fall in 2..10 {
            let check = check(2, fall);
            let mut machine = Machine::new(Health::Healthy);
            // The worst case: it dies just after a probe, and every draw delays the next probe by the maximum.
            let mut elapsed = machine.next_probe_in(&check, 1.0);
            while machine.observe(Err("refused".into()), &check, SystemTime::UNIX_EPOCH).is_none() {
                elapsed += machine.next_probe_in(&check, 1.0);
            }
            assert!(elapsed <= check.interval * fall, "fall = {fall}: {elapsed:?}");
        }
    }

    #[test]
    fn a_reason_stays_until_the_next_pass() {
        let mut machine = Machine::new(Health::Healthy);
        machine.observe(Err("connection refused".into()), &check(2, 3), SystemTime::UNIX_EPOCH);
        assert_eq!(machine.reason(), "connection refused");
        machine.observe(Ok(()), &check(2, 3), SystemTime::UNIX_EPOCH);
        assert_eq!(machine.reason(), "");
    }

    #[test]
    fn a_state_lasts_since_the_verdict_that_changed_it() {
        let mut machine = Machine::new(Health::Healthy);
        assert_eq!(machine.since(), None);
        // Passes and failures, and the second in which the state that follows began.
        for (second, passed, since) in [
            (1, true, None),
            (2, false, None),
            (3, false, None),
            (4, false, Some(4)),
            (5, false, Some(4)),
            (6, true, Some(4)),
            (7, true, Some(7)),
            (8, true, Some(7)),
        ] {
            let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            let verdict = if passed { Ok(()) } else { Err("refused".to_owned()) };
            machine.observe(verdict, &check(2, 3), at(second));
            assert_eq!(machine.since(), since.map(at), "after second {second}");
        }
    }
}
