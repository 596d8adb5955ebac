//! Each exchange by itself: what was sent arrives once and unchanged, what comes back is what a replica has sent, and
//! both sides have written it down.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::findings::{Fact, Findings};
use super::{dying, is_late, lingering};
use crate::trial::history::{History, Seen, SessionId, Stage, Step, StepOutcome};

/// Judges exchanges.
pub(super) fn judge(history: &History, findings: &mut Findings) {
    let mut arrivals: HashMap<(SessionId, u32), Vec<&Seen>> = HashMap::new();
    for seen in history.seen.iter().filter(|seen| seen.stage == Stage::Arrived) {
        arrivals.entry(seen.step).or_default().push(seen);
    }
    let dying = dying(history);
    for step in &history.steps {
        let arrived = arrivals.get(&(step.session, step.number)).map_or(&[][..], Vec::as_slice);
        if !dying.iter().any(|time| step.meets(*time)) {
            repeated(step, arrived, findings);
        }
        responded(step, arrived, findings);
        if step.is_reconnected {
            findings.reconnected.add([step.into()]);
        }
    }
    unwritten(history, findings);
    left(history, findings);
}

/// A request arrives no more often than its client has sent it. Where a replica dies, others may get it too.
fn repeated(step: &Step, arrived: &[&Seen], findings: &mut Findings) {
    findings.repeated.trials += 1;
    if arrived.len() as u64 > u64::from(step.tries) {
        findings.repeated.hits.add(std::iter::once(step.into()).chain(arrived.iter().map(|seen| Fact::from(*seen))));
    }
}

/// A response comes from a replica that had the request, and is what that has sent.
fn responded(step: &Step, arrived: &[&Seen], findings: &mut Findings) {
    if step.replica.is_none() && !step.is_altered {
        return;
    }
    findings.altered.trials += 1;
    if step.is_altered {
        findings.altered.hits.add([step.into()]);
    }
    let Some(replica) = &step.replica else { return };
    findings.unheard.trials += 1;
    if !arrived.iter().any(|seen| seen.replica == *replica) {
        findings.unheard.hits.add(std::iter::once(step.into()).chain(arrived.iter().map(|seen| Fact::from(*seen))));
    }
}

/// Users have written down every step: their numbers have no gap, and replicas saw no other.
fn unwritten(history: &History, findings: &mut Findings) {
    let mut numbers: BTreeMap<SessionId, BTreeSet<u32>> = BTreeMap::new();
    for step in &history.steps {
        numbers.entry(step.session).or_default().insert(step.number);
    }
    let is_written =
        |(session, number): (SessionId, u32)| numbers.get(&session).is_some_and(|all| all.contains(&number));
    findings.unwritten.trials = history.steps.len() as u64;
    for (session, all) in &numbers {
        let last = all.last().copied().unwrap_or_default();
        for number in (0..last).filter(|number| !all.contains(number)) {
            findings.unwritten.hits.add([Fact::Note(format!("session {session} has no step {number}"))]);
        }
    }
    for seen in history.seen.iter().filter(|seen| seen.stage == Stage::Arrived && !is_written(seen.step)) {
        findings.unwritten.hits.add([seen.into()]);
    }
}

/// Requests that a replica had when it was taken out come to their end.
fn left(history: &History, findings: &mut Findings) {
    for (mark, time) in lingering(history) {
        findings.left.trials += u64::from(mark.in_flight);
        let is_failed = |step: &Step| matches!(step.outcome, StepOutcome::Failed(_)) && !is_late(history, step);
        let is_cut = |step: &&Step| is_failed(step) && step.meets(time);
        for step in history.steps.iter().filter(is_cut) {
            findings.left.hits.add([step.into(), mark.into()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::judge;
    use super::*;
    use crate::trial::history::{Action, Mark, State};

    fn step(number: u32, outcome: StepOutcome) -> Step {
        let sent = Duration::from_millis(u64::from(number) * 10);
        Step {
            session: 1,
            number,
            user: 1,
            action: if number == 0 { Action::Login } else { Action::Read },
            sent,
            ended: sent + Duration::from_millis(5),
            replica: Some("a".into()),
            outcome,
            tries: 1,
            state_bytes: 0,
            store_trips: 0,
            is_altered: false,
            is_reconnected: false,
        }
    }

    fn seen(number: u32, replica: &str) -> Seen {
        let (at, stage) = (Duration::from_millis(u64::from(number) * 10 + 1), Stage::Arrived);
        Seen { at, replica: replica.into(), stage, step: (1, number), has_key: number == 0, is_altered: false }
    }

    /// A login and three reads, each seen once.
    fn honest() -> History {
        let read = |number| step(number, StepOutcome::Values([].into()));
        let steps = vec![step(0, StepOutcome::Done), read(1), read(2), read(3)];
        History { steps, seen: (0..4).map(|number| seen(number, "a")).collect(), ..History::default() }
    }

    /// What is found: repeated, altered, unheard, unwritten, reconnected.
    fn found(history: &History) -> [u64; 5] {
        let Findings { repeated, altered, unheard, unwritten, reconnected, .. } = judge(history);
        [repeated.hits.count, altered.hits.count, unheard.hits.count, unwritten.hits.count, reconnected.count]
    }

    /// The same history with a change.
    fn but(change: impl FnOnce(&mut History)) -> History {
        let mut history = honest();
        change(&mut history);
        history
    }

    #[test]
    fn each_fault_of_an_exchange_is_found_and_no_other() {
        let findings = judge(&honest());
        assert_eq!((findings.repeated.trials, findings.altered.trials, findings.unheard.trials), (4, 4, 4));
        for (history, expected) in [
            (honest(), [0; 5]),
            (but(|history| history.seen.push(seen(2, "b"))), [1, 0, 0, 0, 0]),
            (but(|history| history.steps[2].is_altered = true), [0, 1, 0, 0, 0]),
            (but(|history| history.seen[2].replica = "b".into()), [0, 0, 1, 0, 0]),
            (but(|history| drop(history.seen.remove(2))), [0, 0, 1, 0, 0]),
            // A step that is missing leaves a gap, and what the replica saw of it.
            (but(|history| drop(history.steps.remove(2))), [0, 0, 0, 2, 0]),
            (but(|history| drop(history.steps.pop())), [0, 0, 0, 1, 0]),
            (but(|history| history.steps[1].is_reconnected = true), [0, 0, 0, 0, 1]),
        ] {
            assert_eq!(found(&history), expected, "{history:?}");
        }
    }

    #[test]
    fn a_request_may_be_repeated_if_its_client_or_a_death_is_the_reason() {
        let twice = |change: fn(&mut History)| {
            found(&but(|history| {
                history.seen.push(seen(2, "b"));
                change(history);
            }))[0]
        };
        let mark = |at, state| Mark { at: Duration::from_millis(at), whose: "b".into(), state, in_flight: 1 };
        assert_eq!(twice(|history| history.steps[2].tries = 2), 0);
        let death = |history: &mut History, at| {
            history.marks = vec![mark(at, State::Ending), mark(at + 2, State::Killed)];
        };
        let mut near = honest();
        near.seen.push(seen(2, "b"));
        death(&mut near, 21);
        assert_eq!(found(&near)[0], 0);
        death(&mut near, 30);
        assert_eq!(found(&near)[0], 1, "that was later");
    }

    #[test]
    fn requests_that_a_replica_had_when_it_left_come_to_their_end() {
        let mark = |at, state, in_flight| Mark { at: Duration::from_millis(at), whose: "a".into(), state, in_flight };
        let history = |outcome: StepOutcome| {
            but(|history| {
                history.marks = vec![mark(18, State::Lingering, 0), mark(23, State::Out, 7)];
                history.steps[2].outcome = outcome;
            })
        };
        let left = |history: &History| judge(history).left;
        let cut = left(&history(StepOutcome::Failed("cut".into())));
        assert_eq!((cut.trials, cut.hits.count), (7, 1));
        assert_eq!(left(&history(StepOutcome::Done)).hits.count, 0);
        let later = but(|history| history.steps[3].outcome = StepOutcome::Failed("cut".into()));
        assert_eq!(left(&later).hits.count, 0);
    }
}
