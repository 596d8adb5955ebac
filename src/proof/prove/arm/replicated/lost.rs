//! Which acknowledged writes a fail-over has lost: a pure function of the history.

use crate::prove::measures::sessions;
use crate::trial::history::{Action, History, Mark, State, Step, StepOutcome};
use crate::trial::judge::{Fact, Ratio, Tally};

/// Acknowledged writes and logins, and those that are gone after the fail-over.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// Those before the standby was asked what it had: it had them all.
    pub(super) had: Ratio,
    /// Those that were begun after the link was held: it had none of them.
    pub(super) lacked: Ratio,
    /// Those of them that are there all the same.
    pub(super) kept: Tally,
    /// All of the primary, also those between the two.
    pub(super) all: Ratio,
}

/// When what happened.
struct Moments<'a> {
    caught_up: &'a Mark,
    held: &'a Mark,
    failing: &'a Mark,
    promoted: &'a Mark,
}

impl Lost {
    pub(super) fn of(history: &History) -> Self {
        let mut lost = Self::default();
        let last = |state| history.of(state).last();
        let moments =
            last(State::CaughtUp).zip(last(State::HeldBack)).zip(last(State::Failing).zip(last(State::Promoted)));
        let Some(((caught_up, held), (failing, promoted))) = moments else { return lost };
        let moments = Moments { caught_up, held, failing, promoted };
        for steps in sessions(history).values() {
            lost.add(steps, &moments);
        }
        lost
    }

    fn add(&mut self, steps: &[&Step], moments: &Moments<'_>) {
        let after = || steps.iter().filter(|step| step.sent > moments.promoted.at && step.action != Action::Reuse);
        let forgotten = after().find(|step| step.outcome == StepOutcome::Forgotten);
        let read = after().rfind(|step| matches!(step.outcome, StepOutcome::Values(_)) && step.action == Action::Read);
        let Some(shows) = forgotten.or(read) else { return };
        let is_acknowledged = |step: &&&Step| step.outcome == StepOutcome::Done && step.ended <= moments.failing.at;
        for step in steps.iter().filter(is_acknowledged) {
            let is_lost = match (step.action, step.action.value(), &shows.outcome) {
                (_, None, _) if step.action != Action::Login => continue,
                (_, _, StepOutcome::Forgotten) => true,
                // What was sent again after it may be back.
                (_, Some(value), _) if is_sent_again(steps, value, moments) => continue,
                (_, Some(value), StepOutcome::Values(values)) => !values.contains(&value),
                (..) => false,
            };
            let facts = || [Fact::from(*step), moments.failing.into(), moments.promoted.into(), Fact::from(*shows)];
            let count = |ratio: &mut Ratio| {
                ratio.trials += 1;
                if is_lost {
                    ratio.hits.add(facts());
                }
            };
            count(&mut self.all);
            if step.ended < moments.caught_up.at {
                count(&mut self.had);
            } else if step.sent > moments.held.at {
                count(&mut self.lacked);
                if !is_lost {
                    self.kept.add(facts());
                }
            }
        }
    }
}

fn is_sent_again(steps: &[&Step], value: u64, moments: &Moments<'_>) -> bool {
    let is_again = |step: &&Step| matches!(step.action, Action::Again { value: again, .. } if again == value);
    steps.iter().any(|step| is_again(step) && step.ended > moments.failing.at)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn step(session: u32, ms: u64, action: Action, outcome: StepOutcome) -> Step {
        Step {
            session,
            number: 0,
            user: session,
            action,
            sent: Duration::from_millis(ms),
            ended: Duration::from_millis(ms + 2),
            replica: None,
            outcome,
            tries: 1,
            state_bytes: 0,
            store_trips: 1,
            is_altered: false,
            is_reconnected: false,
        }
    }

    /// The standby has everything at 100 ms, falls behind at 200, and takes over at 500.
    fn history(steps: Vec<Step>) -> History {
        let marks = [(100, State::CaughtUp), (200, State::HeldBack), (400, State::Failing), (500, State::Promoted)];
        let mark = |(ms, state)| Mark { at: Duration::from_millis(ms), whose: "it".into(), state, in_flight: 0 };
        History { steps, marks: marks.map(mark).to_vec(), ..History::default() }
    }

    fn counted(lost: &Lost) -> [(u64, u64); 3] {
        [&lost.had, &lost.lacked, &lost.all].map(|ratio| (ratio.hits.count, ratio.trials))
    }

    #[test]
    fn writes_are_looked_for_after_the_fail_over() {
        let write = |ms, value| step(1, ms, Action::Write { kind: "writes", value, is_keyed: true }, StepOutcome::Done);
        let failed = Action::Write { kind: "writes", value: 9, is_keyed: true };
        let steps = |shown: &[u64]| {
            vec![
                step(1, 10, Action::Login, StepOutcome::Done),
                write(20, 1),
                write(150, 2),
                write(250, 3),
                step(1, 399, failed, StepOutcome::Failed("503".into())),
                write(450, 4),
                step(1, 600, Action::Read, StepOutcome::Values(shown.into())),
            ]
        };
        assert_eq!(counted(&Lost::of(&history(steps(&[1, 2, 3, 4])))), [(0, 2), (0, 1), (0, 4)]);
        assert_eq!(counted(&Lost::of(&history(steps(&[1, 2, 4])))), [(0, 2), (1, 1), (1, 4)]);
        assert_eq!(counted(&Lost::of(&history(steps(&[2, 4])))), [(1, 2), (1, 1), (2, 4)]);
        let lost = Lost::of(&history(steps(&[])));
        assert_eq!(counted(&lost), [(1, 2), (1, 1), (3, 4)]);
        assert_eq!(lost.lacked.hits.example().unwrap().len(), 4);
    }

    #[test]
    fn a_session_that_is_gone_takes_its_writes_along() {
        let write = Action::Write { kind: "writes", value: 1, is_keyed: true };
        let mut steps = vec![
            step(1, 250, Action::Login, StepOutcome::Done),
            step(1, 300, write, StepOutcome::Done),
            step(1, 600, Action::Read, StepOutcome::Forgotten),
        ];
        assert_eq!(counted(&Lost::of(&history(steps.clone()))), [(0, 0), (2, 2), (2, 2)]);
        steps.pop();
        assert_eq!(counted(&Lost::of(&history(steps))), [(0, 0), (0, 0), (0, 0)], "nobody has looked");
    }

    #[test]
    fn what_was_sent_again_says_nothing() {
        let again = Action::Again { kind: "writes", value: 1 };
        let steps = vec![
            step(1, 10, Action::Login, StepOutcome::Done),
            step(1, 300, Action::Write { kind: "writes", value: 1, is_keyed: true }, StepOutcome::Done),
            step(1, 550, again, StepOutcome::Done),
            step(1, 600, Action::Read, StepOutcome::Values([1].into())),
        ];
        assert_eq!(counted(&Lost::of(&history(steps))), [(0, 1), (0, 0), (0, 1)]);
    }

    /// Sessions that write to a primary, which copies everything to its standby a little later, until the link is held;
    /// then the standby takes over, and all read. With `waits` a write is acknowledged once the standby has it. Knows
    /// nothing of how that is judged.
    fn simulated(waits: bool, seed: u64) -> History {
        const HELD_MS: u64 = 200;
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut steps = Vec::new();
        for session in 0..100 {
            let (mut now, mut value, mut is_known, mut copied) = (rng.u64(0..300), 0, false, Vec::new());
            // Everything that the standby had at 100 ms had come by then.
            while now < 400 {
                let arrives = now + rng.u64(1..5);
                let is_copied = arrives < HELD_MS;
                let action = match value {
                    0 => Action::Login,
                    _ => Action::Write { kind: "writes", value, is_keyed: true },
                };
                let is_done = is_copied || !waits;
                let outcome = if is_done { StepOutcome::Done } else { StepOutcome::Failed("no copy".into()) };
                steps.push(step(session, now, action, outcome));
                match value {
                    0 => is_known = is_copied,
                    _ if is_copied => copied.push(value),
                    _ => {}
                }
                if value == 0 && !is_done {
                    break;
                }
                (value, now) = (value + 1, now + rng.u64(5..40));
            }
            let outcome = if is_known { StepOutcome::Values(copied.into()) } else { StepOutcome::Forgotten };
            steps.push(step(session, 600, Action::Read, outcome));
        }
        history(steps)
    }

    #[test]
    fn what_a_fail_over_loses_is_that_of_a_simulation() {
        for seed in 0..50 {
            let [had, lacked, all] = counted(&Lost::of(&simulated(false, seed)));
            assert!(had.0 == 0 && had.1 > 20, "{seed}: {had:?}");
            assert!(lacked.0 == lacked.1 && lacked.1 > 20, "{seed}: {lacked:?}");
            assert!((lacked.0..all.1).contains(&all.0), "{seed}: {all:?}");
            let [had, lacked, all] = counted(&Lost::of(&simulated(true, seed)));
            assert!(had.0 == 0 && lacked.1 == 0 && all.0 == 0 && all.1 > 20, "{seed}: {all:?}");
        }
    }
}
