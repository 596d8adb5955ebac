//! Journeys: what users will do, made up from a seed. The same seed makes the same journeys.

use std::time::Duration;

use fastrand::Rng;

use super::history::{Action, Kind};

/// How users behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// Everything is drawn from this.
    pub seed: u64,
    /// How many of 100 steps are writes of which kind; the others are reads.
    pub writes: &'static [(Kind, u32)],
    /// Mean pause between two steps of a user.
    pub pause: Duration,
    /// How long after the first user the last one begins.
    pub arrivals: Duration,
    /// One user in so many begins within `late` instead; 0: nobody.
    pub late_one_in: u32,
    /// From when to when late users begin.
    pub late: (Duration, Duration),
}

impl Scenario {
    /// When a user begins, since the beginning.
    pub fn arrival(&self, user: u32) -> Duration {
        let mut dice = self.dice(user, u32::MAX);
        let (from, to) = if self.late_one_in > 0 && user % self.late_one_in == self.late_one_in - 1 {
            self.late
        } else {
            (Duration::ZERO, self.arrivals)
        };
        from + to.saturating_sub(from).mul_f64(dice.f64())
    }

    /// The journey of a user's nth session.
    pub fn journey(&self, user: u32, nth: u32) -> Journey {
        Journey { dice: self.dice(user, nth), scenario: *self, user, nth, writes: 0 }
    }

    fn dice(&self, user: u32, nth: u32) -> Rng {
        let mut mixer = Rng::with_seed(self.seed);
        let salt = mixer.u64(..);
        Rng::with_seed(salt ^ (u64::from(user) << 32 | u64::from(nth)))
    }
}

/// What a user does in one session, step by step after the login.
#[derive(Debug, Clone)]
pub struct Journey {
    dice: Rng,
    scenario: Scenario,
    user: u32,
    nth: u32,
    writes: u64,
}

/// Writes of one session at most; then it only reads.
const WRITES_MAX: u64 = 256;

impl Journey {
    /// The next step, and the pause before it: drawn evenly from half the mean pause to one and a half of it.
    pub fn next_step(&mut self) -> (Duration, Action) {
        let pause = self.scenario.pause.mul_f64(0.5 + self.dice.f64());
        // The highest numbers stand for the last kind of write, the lowest for reads.
        let mut left = 100 - self.dice.u32(..100);
        for (kind, share) in self.scenario.writes.iter().rev() {
            if left <= *share {
                return (pause, self.write(kind));
            }
            left -= share;
        }
        (pause, Action::Read)
    }

    /// The value is made of user, session and number, so no other write has the same.
    fn write(&mut self, kind: Kind) -> Action {
        if self.writes == WRITES_MAX {
            return Action::Read;
        }
        self.writes += 1;
        let value = u64::from(self.user) << 32 | u64::from(self.nth) << 16 | self.writes;
        Action::Write { kind, value }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::history::Value;
    use super::*;

    const WRITES: [(Kind, u32); 2] = [("puts", 45), ("orders", 10)];

    fn scenario(seed: u64) -> Scenario {
        let ms = Duration::from_millis;
        Scenario {
            seed,
            writes: &WRITES,
            pause: ms(100),
            arrivals: ms(300),
            late_one_in: 4,
            late: (ms(1000), ms(2000)),
        }
    }

    fn steps(seed: u64, user: u32, nth: u32) -> Vec<(Duration, Action)> {
        let mut journey = scenario(seed).journey(user, nth);
        (0..50).map(|_| journey.next_step()).collect()
    }

    #[test]
    fn the_seed_decides_everything() {
        assert_eq!(steps(7, 1, 0), steps(7, 1, 0));
        assert_ne!(steps(7, 1, 0), steps(8, 1, 0));
        assert_ne!(steps(7, 1, 0), steps(7, 2, 0));
        assert_ne!(steps(7, 1, 0), steps(7, 1, 1));
        assert_eq!(scenario(7).arrival(3), scenario(7).arrival(3));
    }

    #[test]
    fn steps_are_of_the_kinds_that_were_asked_for() {
        let all: Vec<Action> = (0..200).flat_map(|user| steps(1, user, 0)).map(|(_, action)| action).collect();
        let share = |is: fn(&Action) -> bool| all.iter().filter(|action| is(action)).count() * 100 / all.len();
        assert!((42..=48).contains(&share(|action| *action == Action::Read)));
        assert!((42..=48).contains(&share(|action| matches!(action, Action::Write { kind: "puts", .. }))));
        assert!((8..=12).contains(&share(|action| matches!(action, Action::Write { kind: "orders", .. }))));
    }

    #[test]
    fn no_value_is_written_twice() {
        let sessions = (0..20).flat_map(|user| (0..5).map(move |nth| (user, nth)));
        let values: Vec<Value> =
            sessions.flat_map(|(user, nth)| steps(1, user, nth)).filter_map(|(_, action)| action.value()).collect();
        assert!(values.len() > 1000);
        assert_eq!(values.iter().collect::<HashSet<_>>().len(), values.len());
    }

    #[test]
    fn pauses_and_arrivals_keep_to_their_bounds() {
        let ms = Duration::from_millis;
        assert!(steps(1, 1, 1).iter().all(|(pause, _)| (ms(50)..ms(151)).contains(pause)));
        for user in 0..100 {
            let arrival = scenario(1).arrival(user);
            let bounds = if user % 4 == 3 { ms(1000)..ms(2001) } else { ms(0)..ms(301) };
            assert!(bounds.contains(&arrival), "{user} {arrival:?}");
        }
    }
}
