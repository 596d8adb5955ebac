//! Journeys: what users will do, made up from a seed. The same seed makes the same journeys.

use std::time::Duration;

use fastrand::Rng;

use super::history::{Action, Kind, Value};

/// How users behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// Everything is drawn from this.
    pub seed: u64,
    /// How many of 100 steps are writes of which kind; the others are reads.
    pub writes: &'static [(Kind, u32)],
    /// One keyed write in so many is sent again as the next step.
    pub again_one_in: u32,
    /// One user in so many has two tabs, and writes in both at once now and then; 0: nobody.
    pub tabs_one_in: u32,
    /// Of 100 steps so many look at an object that all users share; half of them are followed by a write to it.
    pub looks: u32,
    /// Mean pause between two steps of a user.
    pub pause: Duration,
    /// How long after the first user the last one begins.
    pub arrivals: Duration,
    /// One user in so many begins within `late` instead; 0: nobody.
    pub late_one_in: u32,
    /// From when to when late users begin.
    pub late: (Duration, Duration),
    /// How long after the first user the last one leaves.
    pub leaving: Duration,
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

    /// How much longer a user stays than the first who leaves.
    pub fn stay(&self, user: u32) -> Duration {
        self.leaving.mul_f64(self.dice(user, u32::MAX - 1).f64())
    }

    /// The journey of a user's nth session.
    pub fn journey(&self, user: u32, nth: u32) -> Journey {
        let has_tabs = self.tabs_one_in > 0 && user % self.tabs_one_in == self.tabs_one_in - 1;
        Journey { dice: self.dice(user, nth), scenario: *self, user, nth, writes: 0, steps: 0, next: None, has_tabs }
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
    steps: u32,
    /// A step that follows from the one before.
    next: Option<Action>,
    has_tabs: bool,
}

/// One step in so many follows at once.
const HASTY_ONE_IN: u32 = 10;
/// One time in so many a user with two tabs writes in both.
const BOTH_ONE_IN: u32 = 3;

/// What a user does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// One thing.
    One(Action),
    /// Two things at the same time, in two tabs.
    Both(Action, Action),
}

/// So many users share an object, for so many steps of each: then they use the next one, so that none grows for long.
const SHARERS: u32 = 10;
const SHARED_STEPS: u32 = 16;
/// Objects of one group of users at most; then the last one is kept.
const OBJECTS_MAX: u32 = 1 << 16;

/// Writes of one session at most; then it only reads.
const WRITES_MAX: u64 = 256;

impl Journey {
    /// The next step, and the pause before it: drawn evenly from half the mean pause to one and a half of it; now and
    /// then there is none.
    pub fn next_step(&mut self) -> (Duration, Next) {
        let is_hasty = self.dice.u32(..HASTY_ONE_IN) == 0;
        let pause = self.scenario.pause.mul_f64(if is_hasty { 0.0 } else { 0.5 + self.dice.f64() });
        self.steps += 1;
        if let Some(next) = self.next.take() {
            return (pause, Next::One(next));
        }
        if self.scenario.looks > 0 && self.dice.u32(..100) < self.scenario.looks {
            return (pause, Next::One(self.look()));
        }
        // The highest numbers stand for the last kind of write, the lowest for reads.
        let mut left = 100 - self.dice.u32(..100);
        for (kind, share) in self.scenario.writes.iter().rev() {
            if left <= *share {
                return (pause, self.writes(kind));
            }
            left -= share;
        }
        (pause, Next::One(Action::Read))
    }

    /// A write, in two tabs two; some are sent again afterwards.
    fn writes(&mut self, kind: Kind) -> Next {
        let write = self.write(kind);
        if self.has_tabs && self.dice.u32(..BOTH_ONE_IN) == 0 {
            return Next::Both(write, self.write(kind));
        }
        if let Action::Write { kind, value, is_keyed: true } = write
            && self.dice.u32(..self.scenario.again_one_in) == 0
        {
            self.next = Some(Action::Again { kind, value });
        }
        Next::One(write)
    }

    /// A look at what the user's group shares. Half of the users write there, having looked.
    fn look(&mut self) -> Action {
        let epoch = (self.steps / SHARED_STEPS).min(OBJECTS_MAX - 1);
        let object = (self.user / SHARERS) * OBJECTS_MAX + epoch;
        if self.dice.bool() {
            self.next = self.value().map(|value| Action::Post { object, value });
        }
        Action::Look { object }
    }

    fn write(&mut self, kind: Kind) -> Action {
        let Some(value) = self.value() else { return Action::Read };
        Action::Write { kind, value, is_keyed: self.dice.bool() }
    }

    /// The value is made of user, session and number, so no other write has the same.
    fn value(&mut self) -> Option<Value> {
        (self.writes < WRITES_MAX).then(|| {
            self.writes += 1;
            u64::from(self.user) << 32 | u64::from(self.nth) << 16 | self.writes
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashSet;

    use super::*;

    const WRITES: [(Kind, u32); 2] = [("puts", 45), ("orders", 10)];

    pub(in crate::trial) fn scenario(seed: u64) -> Scenario {
        let ms = Duration::from_millis;
        Scenario {
            seed,
            writes: &WRITES,
            again_one_in: 4,
            tabs_one_in: 5,
            looks: 0,
            pause: ms(100),
            arrivals: ms(300),
            late_one_in: 4,
            late: (ms(1000), ms(2000)),
            leaving: ms(400),
        }
    }

    fn steps(seed: u64, user: u32, nth: u32) -> Vec<(Duration, Next)> {
        let mut journey = scenario(seed).journey(user, nth);
        (0..50).map(|_| journey.next_step()).collect()
    }

    fn actions(users: std::ops::Range<u32>, nth: u32) -> Vec<Action> {
        let steps = users.flat_map(|user| steps(1, user, nth));
        steps
            .flat_map(|(_, next)| match next {
                Next::One(action) => vec![action],
                Next::Both(one, other) => vec![one, other],
            })
            .collect()
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
        let all: Vec<Action> = actions(0..200, 0);
        let share = |is: fn(&Action) -> bool| all.iter().filter(|action| is(action)).count() * 100 / all.len();
        assert!((38..=46).contains(&share(|action| *action == Action::Read)));
        assert!((40..=48).contains(&share(|action| matches!(action, Action::Write { kind: "puts", .. }))));
        assert!((7..=12).contains(&share(|action| matches!(action, Action::Write { kind: "orders", .. }))));
        assert!((22..=32).contains(&share(|action| action.is_bare())), "half of the writes bear no key");
        assert!((4..=9).contains(&share(|action| matches!(action, Action::Again { .. }))));
        let has_both = |user| steps(1, user, 0).iter().any(|(_, next)| matches!(next, Next::Both(..)));
        assert!(has_both(4) && has_both(9) && !(0..4).any(has_both), "one user in five has two tabs");
    }

    #[test]
    fn what_is_sent_again_was_just_written() {
        for pair in steps(1, 1, 0).windows(2) {
            if let Next::One(Action::Again { value, .. }) = pair[1].1 {
                let Next::One(Action::Write { value: before, is_keyed, .. }) = pair[0].1 else { panic!("{pair:?}") };
                assert!(before == value && is_keyed, "{pair:?}");
            }
        }
    }

    #[test]
    fn no_value_is_written_twice() {
        let sessions = (0..5).flat_map(|nth| actions(0..20, nth));
        let values: Vec<Value> = sessions.filter_map(Action::value).collect();
        assert!(values.len() > 1000);
        assert_eq!(values.iter().collect::<HashSet<_>>().len(), values.len());
    }

    #[test]
    fn groups_look_at_what_they_share_and_write_there_when_they_have_looked() {
        let of = |user| {
            let mut journey = Scenario { looks: 12, ..scenario(1) }.journey(user, 0);
            (0..160).map(|_| journey.next_step().1).collect::<Vec<_>>()
        };
        let object = |next: &Next| match next {
            Next::One(Action::Look { object } | Action::Post { object, .. }) => Some(*object),
            _ => None,
        };
        let objects =
            |users: std::ops::Range<u32>| users.flat_map(of).filter_map(|next| object(&next)).collect::<HashSet<u32>>();
        assert!(objects(0..10).is_disjoint(&objects(10..20)), "each group has its own");
        assert!((8..=11).contains(&objects(0..10).len()), "one for every sixteen steps");
        let (mut looks, mut posts) = (0, 0);
        for user in 0..50 {
            for pair in of(user).windows(2) {
                looks += u32::from(matches!(pair[0], Next::One(Action::Look { .. })));
                if matches!(pair[1], Next::One(Action::Post { .. })) {
                    posts += 1;
                    assert_eq!(object(&pair[0]), object(&pair[1]), "{pair:?}");
                }
            }
        }
        assert!((700..1000).contains(&looks) && (300..550).contains(&posts), "{looks} {posts}");
        assert!(actions(0..50, 0).iter().all(|action| !matches!(action, Action::Look { .. })), "not unless asked for");
    }

    #[test]
    fn pauses_and_arrivals_keep_to_their_bounds() {
        let ms = Duration::from_millis;
        let (hasty, others): (Vec<_>, Vec<_>) = steps(1, 1, 1).into_iter().partition(|(pause, _)| pause.is_zero());
        assert!(others.iter().all(|(pause, _)| (ms(50)..ms(151)).contains(pause)));
        assert!((1..12).contains(&hasty.len()), "{}", hasty.len());
        for user in 0..100 {
            let arrival = scenario(1).arrival(user);
            let bounds = if user % 4 == 3 { ms(1000)..ms(2001) } else { ms(0)..ms(301) };
            assert!(bounds.contains(&arrival), "{user} {arrival:?}");
        }
        let stays: Vec<Duration> = (0..100).map(|user| scenario(1).stay(user)).collect();
        assert!(stays.iter().all(|stay| *stay <= ms(400)));
        let late = stays.iter().filter(|stay| **stay > ms(200)).count();
        assert!((30..70).contains(&late), "they leave evenly over that time: {late}");
    }
}
