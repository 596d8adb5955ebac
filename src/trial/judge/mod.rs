//! From a history to findings: a pure function.
//!
//! The session guarantees are those of Terry et al., "Session Guarantees for Weakly Consistent Replicated Data" (1994),
//! for users who do one thing after the other. A read returns everything written in the session, in the order in which
//! it was applied.
//!
//! - *read your writes*: a read shows every write of the session that was acknowledged before;
//! - *monotonic reads*: a read shows whatever an earlier read of the session showed;
//! - *monotonic writes*: a read that shows a write shows the session's earlier ones too, and before it;
//! - *writes follow reads*: a read that shows a write shows what its author had read before, and before it.

mod findings;
mod session;

use std::collections::BTreeMap;

use super::history::{Action, History, SessionId, Step, StepOutcome};
pub use findings::{Doubled, EXAMPLES_MAX, Findings, GUARANTEES, Guarantee, Lost, Tally, Violation};
use session::Session;

/// Judges a history.
pub fn judge(history: &History) -> Findings {
    let mut findings = Findings::default();
    let mut sessions: BTreeMap<SessionId, Vec<&Step>> = BTreeMap::new();
    for step in &history.steps {
        findings.requests += 1;
        findings.moved += u64::from(step.tries > 1);
        if matches!(step.outcome, StepOutcome::Failed(_)) {
            findings.failed.add(step.clone());
        }
        sessions.entry(step.session).or_default().push(step);
    }
    for steps in sessions.values() {
        judge_session(steps, &mut findings);
    }
    findings
}

fn judge_session(steps: &[&Step], findings: &mut Findings) {
    if !steps.iter().any(|step| step.action == Action::Login && step.outcome == StepOutcome::Done) {
        return;
    }
    findings.sessions += 1;
    let sent = steps.iter().filter_map(|step| step.action.value()).collect();
    let mut session = Session::new(sent);
    let mut known: Option<&Step> = None;
    for &step in steps {
        match (&step.outcome, step.action) {
            (StepOutcome::Forgotten | StepOutcome::Failed(_), Action::Reuse) => {}
            (_, Action::Reuse) => findings.reused.add(step.clone()),
            (StepOutcome::Forgotten, _) => {
                let counterexample = known.into_iter().chain([step]).cloned().collect();
                findings.lost.add(Lost { session: step.session, counterexample, at: step.ended });
                return;
            }
            (StepOutcome::Failed(_), _) => {}
            (StepOutcome::Values(values), Action::Read) => session.read(step, values, findings),
            (StepOutcome::Values(_), _) | (StepOutcome::Done, Action::Read) => findings.wrong.add(step.clone()),
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
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::history::Value;
    use super::*;

    /// A history of one session, a step a millisecond.
    fn session(steps: &[(Action, StepOutcome)]) -> History {
        let step = |(at, (action, outcome)): (usize, &(Action, StepOutcome))| Step {
            session: 1,
            user: 1,
            action: *action,
            sent: Duration::from_millis(at as u64),
            ended: Duration::from_millis(at as u64 + 1),
            replica: Some("a".into()),
            outcome: outcome.clone(),
            tries: 1,
            state_bytes: 0,
            store_trips: 0,
        };
        History { steps: steps.iter().enumerate().map(step).collect(), incidents: Vec::new() }
    }

    fn written(value: Value) -> Action {
        Action::Write { kind: "writes", value }
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

    fn broken(steps: &[(Action, StepOutcome)]) -> Vec<Guarantee> {
        let findings = judge(&session(steps));
        let violations: Vec<_> = findings.violations.values().flat_map(|tally| &tally.examples).collect();
        for violation in &violations {
            let length = violation.counterexample.len();
            assert!((2..=4).contains(&length), "{violation:?}");
            let times: Vec<_> = violation.counterexample.iter().map(|step| step.sent).collect();
            assert!(times.is_sorted(), "{violation:?}");
        }
        violations.iter().map(|violation| violation.guarantee).collect()
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
                (Action::Write { kind: "orders", value: 3 }, StepOutcome::Done),
                read(&[1, 2, 3]),
            ],
            vec![
                login(),
                write(1),
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
            let violation = &findings.violations[&guarantee].examples[0];
            violation.counterexample.iter().map(|step| step.action).collect::<Vec<_>>()
        };
        assert_eq!(shown(Guarantee::MonotonicWrites), [written(2), written(3), Action::Read]);
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
        let findings = judge(&session(&steps));
        assert_eq!((findings.lost.count, findings.violations.len()), (1, 0));
        let shown: Vec<_> = findings.lost.examples[0].counterexample.iter().map(|step| step.action).collect();
        assert_eq!(shown, [written(1), Action::Read]);
        assert_eq!(findings.lost.examples[0].at, Duration::from_millis(3));
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
        assert_eq!(findings.doubled.examples[0].counterexample.len(), 2);
    }
}
