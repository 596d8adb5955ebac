//! From a history to findings: a pure function.
//!
//! The session guarantees are those of Terry et al., "Session Guarantees for Weakly Consistent Replicated Data" (1994),
//! for users some of whom do two things at once: a step is before another one if it had ended when that one was sent.
//! A read returns everything written in the session, in the order in which it was applied.
//!
//! - *read your writes*: a read shows every write of the session that was acknowledged before;
//! - *monotonic reads*: a read shows whatever an earlier read of the session showed;
//! - *monotonic writes*: a read that shows a write shows the session's earlier ones too, and before it;
//! - *writes follow reads*: a read that shows a write shows what its author had read before, and before it.

mod exchanges;
mod findings;
mod replicas;
mod session;
mod shared;

use std::collections::BTreeMap;
use std::time::Duration;

use super::client::RESPONSE_DEADLINE;
use super::history::{Action, History, Mark, SessionId, State, Step, StepOutcome};
pub use findings::{EXAMPLES_MAX, FACTS_MAX, Fact, Findings, GUARANTEES, Guarantee, Ratio, Tally};
use session::Session;

/// How long a proxy may need to find out that a replica is sick, dead or stopped.
pub const FOUND_OUT: Duration = Duration::from_millis(2000);

/// No replica gives up its store sooner.
pub const STORE_DEADLINE: Duration = Duration::from_secs(1);

/// Judges a history.
pub fn judge(history: &History) -> Findings {
    let mut findings = Findings::default();
    let mut sessions: BTreeMap<SessionId, Vec<&Step>> = BTreeMap::new();
    let excuses = dying(history);
    for step in &history.steps {
        findings.requests += 1;
        if step.tries > 1 {
            findings.moved.add([step.into()]);
        }
        if matches!(step.outcome, StepOutcome::Failed(_)) {
            let is_bare = step.action.is_bare() && excuses.iter().any(|time| step.meets(*time));
            let is_excused = is_bare || is_of_erring(history, step);
            let tally = match is_excused {
                true => &mut findings.excused,
                false if is_late(history, step) => &mut findings.late,
                false => &mut findings.failed,
            };
            tally.add([step.into()]);
        }
        sessions.entry(step.session).or_default().push(step);
    }
    let mut lost_at = Vec::new();
    for steps in sessions.values() {
        lost_at.extend(judge_session(steps, &mut findings));
    }
    findings.incidents = incidents(history, &lost_at);
    findings.in_flight = history.of(State::Killed).map(|mark| u64::from(mark.in_flight)).sum();
    exchanges::judge(history, &mut findings);
    replicas::judge(history, &mut findings);
    shared::judge(history, &mut findings);
    findings
}

/// Whether a replica that errs has said so, and no proxy can know yet that it does.
fn is_of_erring(history: &History, step: &Step) -> bool {
    let erring = history.of(State::Erring).filter(|mark| step.replica.as_ref() == Some(&mark.whose));
    erring.map(|mark| (mark.at, found_out(history, mark.at))).any(|time| step.meets(time))
}

/// The times at which a replica or proxy died or stood still. Bare writes may fail then, and requests take as long as
/// the replica held them back.
pub fn dying(history: &History) -> Vec<(Duration, Duration)> {
    let killed = history.of(State::Killed).map(|mark| {
        let ending = history.first(&mark.whose, State::Ending).unwrap_or(mark.at);
        (ending, mark.at)
    });
    killed.chain(until_found_out(history, &[State::Stopped, State::Mute, State::CutOff])).collect()
}

/// Whether a request came to a deadline because the machine itself stood still: to its client's, or to that which a
/// replica has for its store, and then it says so itself. Beside a machine that stands still a response may take four
/// times as long: it passes four processes.
pub fn is_late(history: &History, step: &Step) -> bool {
    let took = step.ended - step.sent;
    let deadline = if step.replica.is_some() { STORE_DEADLINE } else { RESPONSE_DEADLINE };
    took >= deadline && took <= 4 * history.longest_beat((step.sent, step.ended))
}

/// The times in which replicas took their time before they were out of the file, with the mark that says so.
pub fn lingering<'a>(history: &'a History) -> impl Iterator<Item = (&'a Mark, (Duration, Duration))> {
    let time = |mark: &'a Mark| Some((mark, (history.first(&mark.whose, State::Lingering)?, mark.at)));
    history.of(State::Out).filter_map(time)
}

/// The times from such states on within which a proxy may not yet know of them.
fn until_found_out(history: &History, states: &[State]) -> Vec<(Duration, Duration)> {
    let marks = history.marks.iter().filter(|mark| states.contains(&mark.state));
    marks.map(|mark| (mark.at, found_out(history, mark.at))).collect()
}

/// By when a proxy must have found out what is so since a time. Where the machine itself stood still, so did the proxy
/// and what it asks: that long twice is added.
fn found_out(history: &History, since: Duration) -> Duration {
    since + FOUND_OUT + 2 * history.longest_beat((since, since + FOUND_OUT))
}

/// How many incidents there were, and after how many of them, before the next, a session was lost.
fn incidents(history: &History, lost_at: &[Duration]) -> (u64, u64) {
    let times: Vec<Duration> = history.incidents.iter().map(|incident| incident.at).collect();
    let end = |place: usize| times.get(place + 1).copied().unwrap_or(Duration::MAX);
    let is_followed = |place: &usize| lost_at.iter().any(|at| (times[*place]..end(*place)).contains(at));
    (times.len() as u64, (0..times.len()).filter(is_followed).count() as u64)
}

/// Judges the steps of a session, which are in the order of their ends. Returns when it was lost.
fn judge_session(steps: &[&Step], findings: &mut Findings) -> Option<Duration> {
    if !steps.iter().any(|step| step.action == Action::Login && step.outcome == StepOutcome::Done) {
        return None;
    }
    findings.sessions += 1;
    let mut session = Session::of(steps);
    findings.serial_sessions += u64::from(session.is_serial());
    let mut known: Option<&Step> = None;
    for &step in steps {
        match (&step.outcome, step.action) {
            (StepOutcome::Forgotten | StepOutcome::Failed(_), Action::Reuse) => {}
            (_, Action::Reuse) => findings.reused.add(known.into_iter().chain([step]).map(Into::into)),
            (StepOutcome::Forgotten, _) => {
                findings.lost.add(known.into_iter().chain([step]).map(Into::into));
                return Some(step.ended);
            }
            (StepOutcome::Failed(_), _) => {}
            (StepOutcome::Values(values), Action::Read) => session.read(step, values, findings),
            // What all share is judged by itself.
            (StepOutcome::Values(_), Action::Look { .. }) => {}
            (StepOutcome::Values(_), _) | (StepOutcome::Done, Action::Read | Action::Look { .. }) => {
                findings.wrong.add([step.into()]);
            }
            (StepOutcome::Done, Action::Post { .. }) => findings.writes += 1,
            (StepOutcome::Done, Action::Again { value, .. }) => session.wrote_again(step, value, findings),
            (StepOutcome::Done, action) => {
                findings.logouts += u64::from(action == Action::Logout);
                if let Some(value) = action.value() {
                    findings.writes += 1;
                    session.wrote(step, value);
                }
            }
        }
        if !matches!(step.outcome, StepOutcome::Failed(_)) {
            known = Some(step);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::history::{Incident, Seen, Stage, Value};
    use super::*;

    /// A step that was under way from one millisecond to another.
    fn step(number: u32, (from, to): (u64, u64), action: Action, outcome: StepOutcome) -> Step {
        Step {
            session: 1,
            number,
            user: 1,
            action,
            sent: Duration::from_millis(from),
            ended: Duration::from_millis(to),
            replica: Some("a".into()),
            outcome,
            tries: 1,
            state_bytes: 0,
            store_trips: 0,
            is_altered: false,
            is_reconnected: false,
        }
    }

    /// A history of one session, a step a millisecond.
    fn session(steps: &[(Action, StepOutcome)]) -> History {
        let at = |(at, (action, outcome)): (usize, &(Action, StepOutcome))| {
            step(at as u32, (at as u64, at as u64 + 1), *action, outcome.clone())
        };
        History { steps: steps.iter().enumerate().map(at).collect(), ..History::default() }
    }

    fn written(value: Value) -> Action {
        Action::Write { kind: "writes", value, is_keyed: true }
    }

    fn bare(value: Value) -> Action {
        Action::Write { kind: "writes", value, is_keyed: false }
    }

    fn login() -> (Action, StepOutcome) {
        (Action::Login, StepOutcome::Done)
    }

    fn write(value: Value) -> (Action, StepOutcome) {
        (written(value), StepOutcome::Done)
    }

    fn read(values: &[Value]) -> (Action, StepOutcome) {
        (Action::Read, StepOutcome::Values(values.into()))
    }

    /// The steps of a counterexample.
    fn steps_of(facts: &[Fact]) -> Vec<&Step> {
        let mut steps = Vec::new();
        for fact in facts {
            let Fact::Step(step) = fact else { panic!("no step: {fact:?}") };
            steps.push(step);
        }
        steps
    }

    fn broken(steps: &[(Action, StepOutcome)]) -> Vec<Guarantee> {
        let findings = judge(&session(steps));
        for (guarantee, tally) in &findings.violations {
            let steps = steps_of(tally.example().unwrap());
            assert!((2..=4).contains(&steps.len()), "{guarantee:?} {steps:?}");
            assert!(steps.iter().map(|step| step.sent).is_sorted(), "{guarantee:?} {steps:?}");
        }
        findings.violations.into_keys().collect()
    }

    #[test]
    fn clean_histories_are_clean() {
        let failed = (written(9), StepOutcome::Failed("502".into()));
        for steps in [
            vec![login()],
            vec![
                login(),
                write(1),
                read(&[1]),
                write(2),
                read(&[1, 2]),
                (Action::Write { kind: "orders", value: 3, is_keyed: false }, StepOutcome::Done),
                read(&[1, 2, 3]),
            ],
            vec![
                login(),
                write(1),
                (Action::Again { kind: "writes", value: 1 }, StepOutcome::Done),
                write(2),
                read(&[1, 2]),
                (Action::Logout, StepOutcome::Done),
                (Action::Reuse, StepOutcome::Forgotten),
            ],
            // A write that failed may or may not have taken effect.
            vec![login(), failed.clone(), read(&[]), read(&[9])],
            vec![login(), failed, write(1), read(&[9, 1]), read(&[9, 1])],
        ] {
            let findings = judge(&session(&steps));
            assert_eq!((findings.sessions, findings.requests), (1, steps.len() as u64));
            assert!(findings.violations.is_empty() && findings.lost.count == 0, "{findings:?}");
            assert_eq!((findings.doubled.count, findings.reused.count), (0, 0));
        }
    }

    #[test]
    fn requests_are_late_only_beside_a_machine_that_stands_still() {
        let failed = |ms, beat, replica: Option<&str>| {
            let outcome = StepOutcome::Failed("no response in time".into());
            let replica = replica.map(Arc::from);
            let steps = vec![Step { replica, ..step(0, (0, ms), written(1), outcome) }];
            let beats = vec![(Duration::from_millis(20), Duration::from_millis(beat))];
            let findings = judge(&History { steps, beats, ..History::default() });
            (findings.failed.count, findings.late.count)
        };
        assert_eq!(failed(5010, 1300, None), (0, 1));
        assert_eq!(failed(5010, 1200, None), (1, 0), "the machine does not explain it");
        assert_eq!(failed(4990, 4000, None), (1, 0), "it is not the deadline that failed it");
        assert_eq!(failed(6000, 1300, None), (1, 0));
        assert_eq!(failed(2010, 600, Some("a")), (0, 1), "a replica has given up its store");
        assert_eq!(failed(2010, 500, Some("a")), (1, 0));
        assert_eq!(failed(2010, 600, None), (1, 0));
        assert_eq!(failed(900, 600, Some("a")), (1, 0));
    }

    #[test]
    fn each_guarantee_is_missed() {
        use Guarantee::{MonotonicReads, MonotonicWrites, ReadYourWrites, WritesFollowReads};
        for (steps, expected) in [
            (vec![login(), write(1), read(&[])], vec![ReadYourWrites]),
            (vec![login(), write(1), read(&[1]), read(&[])], vec![ReadYourWrites, MonotonicReads]),
            (vec![login(), read(&[7]), read(&[])], vec![MonotonicReads]),
            (vec![login(), write(1), write(2), read(&[2])], vec![ReadYourWrites, MonotonicWrites]),
            (vec![login(), write(1), write(2), read(&[2, 1])], vec![MonotonicWrites]),
            (vec![login(), read(&[7]), write(1), read(&[1, 7])], vec![WritesFollowReads]),
            (vec![login(), read(&[7]), write(1), read(&[1])], vec![MonotonicReads, WritesFollowReads]),
            // Once is enough.
            (vec![login(), write(1), read(&[]), read(&[]), read(&[])], vec![ReadYourWrites]),
            // After a read that is right in another order than usual, the next one is looked at as closely.
            (
                vec![login(), write(1), read(&[1]), write(2), read(&[1, 2]), read(&[1])],
                vec![ReadYourWrites, MonotonicReads],
            ),
        ] {
            assert_eq!(broken(&steps), expected, "{steps:?}");
        }
    }

    #[test]
    fn responses_of_the_wrong_kind_or_of_another_session_are_found() {
        for steps in [
            vec![login(), write(1), read(&[1, 9])],
            vec![login(), (Action::Read, StepOutcome::Done)],
            vec![login(), (written(1), StepOutcome::Values([].into()))],
        ] {
            assert_eq!(judge(&session(&steps)).wrong.count, 1, "{steps:?}");
        }
    }

    #[test]
    fn long_sessions_are_judged_in_no_time() {
        let mut steps = vec![login()];
        for value in 1..2000 {
            steps.extend([write(value), read(&(1..=value).collect::<Vec<_>>())]);
        }
        let findings = judge(&session(&steps));
        assert!(findings.violations.is_empty() && findings.wrong.count == 0);
        assert_eq!(findings.writes, 1999);
    }

    #[test]
    fn a_counterexample_shows_just_what_it_takes() {
        let steps = [login(), write(1), read(&[1]), write(2), read(&[1, 2]), write(3), read(&[3, 1, 2])];
        let findings = judge(&session(&steps));
        let shown = |guarantee| {
            let steps = steps_of(findings.violations[&guarantee].example().unwrap());
            steps.iter().map(|step| step.action).collect::<Vec<_>>()
        };
        assert_eq!(shown(Guarantee::MonotonicWrites), [written(1), written(3), Action::Read]);
        let four = [written(1), Action::Read, written(3), Action::Read];
        assert_eq!(shown(Guarantee::WritesFollowReads), four);
    }

    #[test]
    fn lost_sessions_count_once_and_end_the_judgement() {
        let steps = [
            login(),
            write(1),
            (Action::Read, StepOutcome::Forgotten),
            read(&[]),
            (Action::Read, StepOutcome::Forgotten),
        ];
        let mut history = session(&steps);
        let incident = |at| Incident { at: Duration::from_millis(at), done: Duration::ZERO, what: "kill".into() };
        history.incidents = vec![incident(0), incident(2), incident(9)];
        let findings = judge(&history);
        assert_eq!((findings.lost.count, findings.violations.len()), (1, 0));
        let shown: Vec<_> = steps_of(findings.lost.example().unwrap()).iter().map(|step| step.action).collect();
        assert_eq!(shown, [written(1), Action::Read]);
        assert_eq!(findings.incidents, (3, 1), "it was lost after the second");
        let never_begun = [(Action::Login, StepOutcome::Failed("502".into())), (Action::Read, StepOutcome::Forgotten)];
        let findings = judge(&session(&never_begun));
        assert_eq!((findings.sessions, findings.lost.count, findings.failed.count), (0, 0, 1));
    }

    #[test]
    fn doubled_writes_and_used_up_sessions_are_found() {
        let steps = [
            login(),
            write(1),
            read(&[1, 1]),
            read(&[1, 1]),
            (Action::Logout, StepOutcome::Done),
            (Action::Reuse, StepOutcome::Values([1].into())),
        ];
        let findings = judge(&session(&steps));
        assert_eq!((findings.doubled.count, findings.reused.count, findings.logouts), (1, 1, 1));
        assert_eq!(findings.doubled.example().unwrap().len(), 2);
        assert_eq!(findings.reused.example().unwrap().len(), 2, "the logout, and the use after it");
    }

    /// A login, two writes at once, and what is read then.
    fn at_once(values: &[Value]) -> History {
        let done = || StepOutcome::Done;
        let steps = vec![
            step(0, (0, 1), Action::Login, done()),
            step(1, (2, 5), written(1), done()),
            step(2, (2, 6), written(2), done()),
            step(3, (7, 8), Action::Read, StepOutcome::Values(values.into())),
            step(4, (9, 10), written(3), done()),
            step(5, (11, 12), Action::Read, StepOutcome::Values([values, &[3]].concat().into())),
        ];
        History { steps, ..History::default() }
    }

    #[test]
    fn two_writes_at_once_may_stand_in_either_order() {
        for values in [[1, 2], [2, 1]] {
            let findings = judge(&at_once(&values));
            assert!(findings.violations_at_once.is_empty() && findings.violations.is_empty(), "{findings:?}");
            assert_eq!((findings.pairs.trials, findings.pairs.hits.count), (1, 0));
            assert_eq!((findings.sessions, findings.serial_sessions), (1, 0));
        }
    }

    #[test]
    fn one_of_two_writes_at_once_that_is_lost_is_found() {
        let findings = judge(&at_once(&[2]));
        assert_eq!((findings.pairs.trials, findings.pairs.hits.count), (1, 1));
        let shown: Vec<_> = steps_of(findings.pairs.hits.example().unwrap()).iter().map(|step| step.number).collect();
        assert_eq!(shown, [1, 2, 3]);
        assert!(findings.violations.is_empty());
        assert_eq!(findings.violations_at_once[&Guarantee::ReadYourWrites].count, 1);
    }

    #[test]
    fn a_read_beside_a_write_may_show_it_or_not() {
        for (shown, expected) in [(&[1][..], 0), (&[], 0)] {
            let steps = vec![
                step(0, (0, 1), Action::Login, StepOutcome::Done),
                step(1, (2, 5), Action::Read, StepOutcome::Values(shown.into())),
                step(2, (2, 6), written(1), StepOutcome::Done),
                step(3, (7, 8), Action::Read, StepOutcome::Values([1].into())),
            ];
            let findings = judge(&History { steps, ..History::default() });
            assert_eq!(findings.violations_at_once.len(), expected, "{findings:?}");
        }
    }

    fn mark(at: u64, whose: &str, state: State) -> Mark {
        Mark { at: Duration::from_millis(at), whose: whose.into(), state, in_flight: 7 }
    }

    #[test]
    fn a_bare_write_may_die_with_its_replica_and_only_then() {
        let failed = StepOutcome::Failed("502".into());
        for (action, at, expected) in [
            (bare(1), (4, 7), (0, 1)),
            (bare(1), (1, 3), (1, 0)),
            (bare(1), (11, 12), (1, 0)),
            (written(1), (4, 7), (1, 0)),
            (Action::Read, (4, 7), (1, 0)),
        ] {
            let steps = vec![step(0, (0, 1), Action::Login, StepOutcome::Done), step(1, at, action, failed.clone())];
            let marks = vec![mark(5, "b", State::Ending), mark(10, "b", State::Killed)];
            let findings = judge(&History { steps, marks, ..History::default() });
            assert_eq!((findings.failed.count, findings.excused.count), expected, "{action:?} {at:?}");
            assert_eq!(findings.in_flight, 7);
        }
    }

    #[test]
    fn a_response_500_may_be_passed_on_until_the_replica_is_found_out() {
        let late = FOUND_OUT.as_millis() as u64;
        for (state, sent, by, expected) in [
            (State::Erring, 20, Some("b"), (0, 1)),
            (State::Erring, 12 + late, Some("b"), (1, 0)),
            (State::Erring, 20, Some("a"), (1, 0)),
            (State::Erring, 20, None, (1, 0)),
            (State::CutOff, 20, Some("b"), (1, 0)),
            (State::Mute, 20, Some("b"), (1, 0)),
        ] {
            let failed = step(1, (sent, sent + 1), Action::Read, StepOutcome::Failed("500".into()));
            let failed = Step { replica: by.map(Arc::from), ..failed };
            let steps = vec![step(0, (0, 1), Action::Login, StepOutcome::Done), failed];
            let findings = judge(&History { steps, marks: vec![mark(10, "b", state)], ..History::default() });
            assert_eq!((findings.failed.count, findings.excused.count), expected, "{state:?} {sent} {by:?}");
        }
    }

    fn seen(at: u64, replica: &str, stage: Stage, number: u32, has_key: bool) -> Seen {
        Seen {
            at: Duration::from_millis(at),
            replica: replica.into(),
            stage,
            step: (1, number),
            has_key,
            is_altered: false,
        }
    }

    #[test]
    fn executions_are_counted() {
        let steps = [login(), (bare(1), StepOutcome::Done), write(2), read(&[1, 2])];
        let twice = |number, has_key| {
            let mut history = session(&steps);
            let once = [(1, false), (2, true), (3, false)];
            history.seen = once.map(|(number, key)| seen(1, "a", Stage::Executed, number, key)).to_vec();
            history.seen.push(seen(2, "b", Stage::Executed, number, has_key));
            judge(&history)
        };
        let findings = twice(1, false);
        assert_eq!((findings.bare.trials, findings.bare.hits.count, findings.keyed.hits.count), (1, 1, 0));
        let [Fact::Step(step), Fact::Seen(one), Fact::Seen(other)] = findings.bare.hits.example().unwrap() else {
            panic!("{findings:?}");
        };
        assert_eq!((step.number, &*one.replica, &*other.replica), (1, "a", "b"));
        let findings = twice(2, true);
        assert_eq!((findings.keyed.trials, findings.bare.hits.count, findings.keyed.hits.count), (1, 0, 1));
        let findings = twice(3, false);
        assert_eq!((findings.bare.hits.count, findings.keyed.hits.count), (0, 0), "reads do no harm");
    }

    #[test]
    fn keys_that_are_lost_or_made_up_are_found() {
        for (number, has_key, expected) in [(1, true, 0), (1, false, 1), (2, false, 0), (2, true, 1)] {
            let mut history = session(&[login(), write(1), (bare(2), StepOutcome::Done)]);
            history.seen = vec![seen(1, "a", Stage::Arrived, number, has_key)];
            let changed = judge(&history).changed;
            assert_eq!((changed.trials, changed.hits.count), (1, expected), "{number} {has_key}");
        }
    }

    #[test]
    fn requests_where_none_must_come_are_found() {
        let late = FOUND_OUT.as_millis() as u64;
        for (state, sent, expected) in [
            (State::Draining, 99, 0),
            (State::Draining, 100, 1),
            (State::Out, 5000, 1),
            (State::Killed, 101, 0),
            (State::Killed, 100 + late, 1),
            (State::Sick, 99 + late, 0),
            (State::Sick, 100 + late, 1),
            (State::Sick, 9000, 0),
            (State::Stopped, 99 + late, 0),
            (State::Stopped, 100 + late, 1),
            (State::Erring, 99 + late, 0),
            (State::Erring, 100 + late, 1),
            (State::CutOff, 100 + late, 1),
            (State::Mute, 100 + late, 1),
            (State::Edited, 200, 0),
        ] {
            let steps = vec![step(1, (sent, sent + 9), Action::Read, StepOutcome::Done)];
            let marks = vec![mark(100, "b", state), mark(9000, "b", State::Well)];
            let at = |replica| History {
                steps: steps.clone(),
                marks: marks.clone(),
                seen: vec![seen(sent + 1, replica, Stage::Arrived, 1, false)],
                ..History::default()
            };
            let unwanted = |history: &History| {
                judge(history).unwanted.get(&state).map_or((0, 0), |ratio| (ratio.trials, ratio.hits.count))
            };
            assert_eq!(unwanted(&at("b")), (expected, expected), "{state:?} {sent}");
            assert_eq!(unwanted(&at("a")), (expected, 0), "{state:?} {sent}: another one may get it");
        }
    }

    #[test]
    fn a_machine_that_stood_still_leaves_more_time_to_find_out() {
        let ms = Duration::from_millis;
        let sent = 100 + FOUND_OUT.as_millis() as u64 + 300;
        let found = |took: u64| {
            let history = History {
                steps: vec![step(1, (sent, sent + 9), Action::Read, StepOutcome::Done)],
                marks: vec![mark(100, "b", State::Sick)],
                seen: vec![seen(sent + 1, "b", Stage::Arrived, 1, false)],
                beats: vec![(ms(50), ms(2)), (ms(900), ms(took)), (ms(9000), ms(900))],
                ..History::default()
            };
            judge(&history).unwanted.get(&State::Sick).map_or(0, |ratio| ratio.hits.count)
        };
        assert_eq!([2, 100, 200].map(found), [1, 1, 0]);
    }

    #[test]
    fn the_time_until_an_edit_is_in_force_is_measured() {
        let marks = [(10, State::Edited), (40, State::InForce), (50, State::Edited), (60, State::Edited)];
        let marks = marks.map(|(at, state)| mark(at, "", state)).to_vec();
        let seconds = judge(&History { marks, ..History::default() }).edits_in_force;
        assert_eq!(seconds, [0.03], "nobody looked at the others");
    }

    #[test]
    fn keyed_writes_that_met_another_replica_are_counted() {
        let mut history = session(&[
            login(),
            write(1),
            (Action::Again { kind: "writes", value: 1 }, StepOutcome::Done),
            (Action::Again { kind: "writes", value: 1 }, StepOutcome::Done),
        ]);
        history.steps[3].replica = Some(Arc::from("b"));
        assert_eq!(judge(&history).sent_again, (2, 1));
    }
}
