//! How many users are active when: drawn from the seed.

use std::time::Duration;

use fastrand::Rng;

/// From a time on, so many users are active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) at: Duration,
    pub(super) users: u32,
}

/// What the load is multiplied by, one level after the other: it triples twice, doubles and falls.
const FACTORS: [u32; 6] = [1, 3, 9, 20, 3, 1];
/// Active users at first.
const BASE: std::ops::RangeInclusive<u32> = 9..=11;
/// How long a level lasts, in milliseconds.
const LASTS_MS: std::ops::RangeInclusive<u64> = 2500..=3100;

/// The levels, and the end of the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trace {
    pub(super) levels: Vec<Level>,
    pub(super) end: Duration,
}

pub(super) fn trace(seed: u64) -> Trace {
    let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9).wrapping_add(3));
    let base = rng.u32(BASE);
    let mut at = Duration::ZERO;
    let mut level = |factor| {
        let level = Level { at, users: base * factor };
        at += Duration::from_millis(rng.u64(LASTS_MS));
        level
    };
    let levels = FACTORS.into_iter().map(&mut level).collect();
    Trace { levels, end: at }
}

impl Trace {
    /// The most users at one time.
    pub(super) fn most(&self) -> u32 {
        self.levels.iter().map(|level| level.users).max().unwrap_or_default()
    }

    /// From when to when there are so many.
    pub(super) fn peak(&self) -> (Duration, Duration) {
        let most = self.most();
        let place = self.levels.iter().position(|level| level.users == most).unwrap_or_default();
        (self.levels[place].at, self.levels.get(place + 1).map_or(self.end, |level| level.at))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FEWEST, MOST, PAUSE, SERVICE};
    use super::*;

    /// Requests under way, by Little's law: arrivals per second times the time that each takes.
    fn under_way(users: u32) -> f64 {
        f64::from(users) * SERVICE.as_secs_f64() / (SERVICE + PAUSE).as_secs_f64()
    }

    #[test]
    fn the_load_needs_the_fewest_replicas_and_the_most() {
        for seed in 0..200 {
            let trace = trace(seed);
            assert!(trace.end < Duration::from_secs(19), "{seed}");
            let (first, last) = (trace.levels[0].users, trace.levels[FACTORS.len() - 1].users);
            assert!(first == last && under_way(first) < FEWEST as f64 * 0.7, "{seed}");
            assert!(under_way(trace.most()) > MOST as f64 * 0.95, "{seed}: {}", under_way(trace.most()));
            let (from, to) = trace.peak();
            assert!(to - from >= Duration::from_millis(2500));
        }
        assert_ne!(trace(1), trace(2));
    }

    #[test]
    fn little_law_agrees_with_a_simulation() {
        // Users who pause and are served, each for itself; a look at a random moment.
        let mut rng = Rng::with_seed(4);
        let (looks, mut busy) = (20_000u32, 0u32);
        for _ in 0..looks {
            let moment = 20.0 + rng.f64() * 10.0;
            let mut at = 0.0;
            busy += u32::from(loop {
                at += -PAUSE.as_secs_f64() * rng.f64().max(1e-12).ln();
                if at > moment {
                    break false;
                }
                at += SERVICE.as_secs_f64();
                if at > moment {
                    break true;
                }
            });
        }
        let share = f64::from(busy) / f64::from(looks);
        assert!((share - under_way(1)).abs() < 0.008, "{share} {}", under_way(1));
    }
}
