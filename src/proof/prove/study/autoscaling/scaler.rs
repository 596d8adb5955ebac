//! How many replicas there should be. Pure.
//!
//! The rule is that of the Horizontal Pod Autoscaler of Kubernetes: the replicas that bring the mean of a metric to its
//! target, with a tolerance of a tenth; down only to the most that was wanted within a time.

use std::collections::VecDeque;
use std::time::Duration;

use super::{FEWEST, MOST};

/// Requests that a replica should have under way.
const TARGET: f64 = 1.0;
/// A difference from the target that is none.
const TOLERANCE: f64 = 0.1;
/// Over how long the metric is averaged.
const WINDOW: Duration = Duration::from_millis(500);
/// Replicas are taken out only when fewer have been wanted for so long.
const STABLE: Duration = Duration::from_millis(1000);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Scaler {
    /// Requests under way, and when.
    samples: VecDeque<(Duration, f64)>,
    /// Replicas that were wanted, and when.
    wanted: VecDeque<(Duration, usize)>,
}

impl Scaler {
    /// How many replicas there should be, given what is under way now and how many there are.
    pub(super) fn wanted(&mut self, now: Duration, under_way: u64, there: usize) -> usize {
        self.samples.push_back((now, under_way as f64));
        let is_old = |at: &Duration, span: Duration| *at + span < now;
        while self.samples.front().is_some_and(|(at, _)| is_old(at, WINDOW)) {
            self.samples.pop_front();
        }
        let mean = self.samples.iter().map(|(_, count)| count).sum::<f64>() / self.samples.len() as f64;
        let is_near = (mean / (there as f64 * TARGET) - 1.0).abs() <= TOLERANCE;
        let wanted = if is_near { there } else { (mean / TARGET).ceil() as usize }.clamp(FEWEST, MOST);
        let is_young = self.wanted.front().is_none_or(|(at, _)| *at + STABLE > now);
        self.wanted.push_back((now, wanted));
        while self.wanted.front().is_some_and(|(at, _)| is_old(at, STABLE)) {
            self.wanted.pop_front();
        }
        let most = self.wanted.iter().map(|(_, wanted)| *wanted).max().unwrap_or(wanted);
        match wanted > there {
            true => wanted,
            // What was not watched for long enough says nothing.
            false if is_young => there,
            false => most.min(there),
        }
    }

    /// There are other replicas now: what was wanted of the others says nothing.
    pub(super) fn changed(&mut self) {
        self.samples.clear();
        self.wanted.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_up_at_once_and_down_when_the_load_stays_low() {
        let ms = Duration::from_millis;
        let mut scaler = Scaler::default();
        for (at, under_way, there, expected) in [
            (0, 2, 2, 2),
            (100, 6, 2, 4),
            (800, 6, 2, 6),
            (900, 80, 6, 20),
            (2000, 80, 20, 20),
            (2550, 80, 20, 20),
            (3200, 3, 20, 20),
            (3500, 3, 20, 20),
            (3700, 3, 20, 3),
            (4400, 3, 3, 3),
            (4800, 1, 3, 3),
            (5400, 1, 3, 3),
            (5500, 1, 3, 2),
            (6000, 0, 2, 2),
        ] {
            assert_eq!(scaler.wanted(ms(at), under_way, there), expected, "{at}");
        }
        scaler.changed();
        assert_eq!(scaler.wanted(ms(6100), 0, 5), 5, "it has not watched for long enough");
        assert_eq!(scaler.wanted(ms(7200), 5, 5), 5, "near the target");
    }
}
