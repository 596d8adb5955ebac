//! Health of one endpoint: a pure state machine fed with probe verdicts.
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
//! *Unchecked* is new and gets no traffic yet. An endpoint that has never passed needs one pass only: it is a replica that
//! is still starting, not one that has just failed.

pub mod passive;

use std::time::Duration;

use crate::config::model::HealthCheck;

/// What is known of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Health {
    /// Not probed yet.
    Unchecked = 0,
    /// Takes traffic.
    Healthy = 1,
    /// Takes traffic only when its pool fails open.
    Unhealthy = 2,
}

impl Health {
    /// Reads back what `as u8` wrote.
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

/// Result of one probe; a failure says why in a few words.
pub type Verdict = Result<(), String>;

/// The streaks behind a [`Health`].
#[derive(Debug)]
pub struct Machine {
    health: Health,
    /// Verdicts in a row that contradict `health`.
    streak: u32,
    has_passed: bool,
    /// Why the last probe failed; empty after a pass.
    reason: String,
}

impl Machine {
    /// Starts in `health`.
    pub fn new(health: Health) -> Self {
        Self { health, streak: 0, has_passed: health == Health::Healthy, reason: String::new() }
    }

    /// The state it is in.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Why the last probe failed; empty after a pass.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Verdicts in a row that contradict the state.
    pub fn streak(&self) -> u32 {
        self.streak
    }

    /// Takes in a verdict; returns the new state if it changed.
    pub fn observe(&mut self, verdict: Verdict, check: &HealthCheck) -> Option<Health> {
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
        self.health = if passed { Health::Healthy } else { Health::Unhealthy };
        Some(self.health)
    }

    /// Time until the next probe; `jitter` is a draw from `[-1, 1]`.
    ///
    /// Probes of a settled endpoint come every interval ± 20 %, so that a fleet of proxies does not probe in step. While a
    /// streak is under way they come twice as often: that keeps the promise that a dead replica is out within
    /// `fall × interval` even when the jitter falls the wrong way (1.2 + 2 × 0.6 intervals for `fall = 3`).
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

    /// `+` a pass, `-` a failure; the answer holds the state after each.
    fn walk(start: Health, rise: u32, fall: u32, verdicts: &str) -> String {
        let mut machine = Machine::new(start);
        verdicts
            .chars()
            .map(|c| {
                let verdict = if c == '+' { Ok(()) } else { Err("refused".to_owned()) };
                machine.observe(verdict, &check(rise, fall));
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
            // Worst case: it dies just after a probe, and every draw delays the next one most.
            let mut elapsed = machine.next_probe_in(&check, 1.0);
            while machine.observe(Err("refused".into()), &check).is_none() {
                elapsed += machine.next_probe_in(&check, 1.0);
            }
            assert!(elapsed <= check.interval * fall, "fall = {fall}: {elapsed:?}");
        }
    }

    #[test]
    fn a_reason_stays_until_the_next_pass() {
        let mut machine = Machine::new(Health::Healthy);
        machine.observe(Err("connection refused".into()), &check(2, 3));
        assert_eq!(machine.reason(), "connection refused");
        machine.observe(Ok(()), &check(2, 3));
        assert_eq!(machine.reason(), "");
    }
}
