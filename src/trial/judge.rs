//! From a history to findings: a pure function.
//!
//! The session guarantees are those of Terry et al., "Session Guarantees for Weakly Consistent Replicated Data" (1994), for users who
//! do one thing after the other. A session's reads return everything written in it, in the order in which it was applied.
//!
//! - *read your writes*: a read shows every write of the session that was acknowledged before;
//! - *monotonic reads*: a read shows whatever an earlier read of the session showed;
//! - *monotonic writes*: a read that shows a write shows the session's earlier ones too, and before it;
//! - *writes follow reads*: a read that shows a write shows what its author had read before, and before it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::history::{Action, History, Outcome, SessionId, Step, Value};

/// What was promised to a session and not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Guarantee {
    /// RYW.
    ReadYourWrites,
    /// MR.
    MonotonicReads,
    /// MW.
    MonotonicWrites,
    /// WFR.
    WritesFollowReads,
}

impl Guarantee {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadYourWrites => "read your writes broken",
            Self::MonotonicReads => "monotonic reads broken",
            Self::MonotonicWrites => "monotonic writes broken",
            Self::WritesFollowReads => "writes follow reads broken",
        }
    }
}

/// All four, in the usual order.
pub const GUARANTEES: [Guarantee; 4] =
    [Guarantee::ReadYourWrites, Guarantee::MonotonicReads, Guarantee::MonotonicWrites, Guarantee::WritesFollowReads];

/// A broken guarantee and the steps that show it: two to four of one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which one.
    pub guarantee: Guarantee,
    /// The fewest steps that show it, in order.
    pub counterexample: Vec<Step>,
}

/// A session that a replica did not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// Which one.
    pub session: SessionId,
    /// Where it was still known, and where not any more.
    pub counterexample: Vec<Step>,
    /// When that was noticed.
    pub at: Duration,
}

/// A write that took effect more than once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Doubled {
    /// What was written.
    pub value: Value,
    /// The write and the read that shows it twice.
    pub counterexample: Vec<Step>,
}

/// How often something was found, and the first few of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tally<T> {
    /// How often.
    pub count: u64,
    /// At most [`EXAMPLES_MAX`].
    pub examples: Vec<T>,
}

/// What a [`Tally`] keeps.
pub const EXAMPLES_MAX: usize = 5;

impl<T> Default for Tally<T> {
    fn default() -> Self {
        Self { count: 0, examples: Vec::new() }
    }
}

impl<T> Tally<T> {
    fn add(&mut self, found: T) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(found);
        }
    }
}

/// What is to be said of a history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Sessions that were begun.
    pub sessions: u64,
    /// Those that a replica did not know any more, once each.
    pub lost: Tally<Lost>,
    /// Requests in all.
    pub requests: u64,
    /// Requests that failed for the client.
    pub failed: Tally<Step>,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Writes that took effect more than once.
    pub doubled: Tally<Doubled>,
    /// Broken guarantees, each at most once a session.
    pub violations: BTreeMap<Guarantee, Tally<Violation>>,
    /// Answers of the wrong kind, or with values that the session never wrote.
    pub wrong: Tally<Step>,
    /// Sessions that were ended by their user.
    pub logouts: u64,
    /// Those of them that could be used after that.
    pub reused: Tally<Step>,
    /// Requests that were sent again: on a new connection, or over another front.
    pub moved: u64,
}

/// Judges a history.
pub fn judge(history: &History) -> Findings {
    let mut findings = Findings::default();
    let mut sessions: BTreeMap<SessionId, Vec<&Step>> = BTreeMap::new();
    for step in &history.steps {
        findings.requests += 1;
        findings.moved += u64::from(step.tries > 1);
        if matches!(step.outcome, Outcome::Failed(_)) {
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
    if !steps.iter().any(|step| step.action == Action::Login && step.outcome == Outcome::Done) {
        return;
    }
    findings.sessions += 1;
    let sent = steps.iter().filter_map(|step| step.action.value()).collect();
    let mut seen = Seen { sent, ..Seen::default() };
    let mut known: Option<&Step> = None;
    for &step in steps {
        match (&step.outcome, step.action) {
            (Outcome::Forgotten | Outcome::Failed(_), Action::Reuse) => {}
            (_, Action::Reuse) => findings.reused.add(step.clone()),
            (Outcome::Forgotten, _) => {
                let counterexample = known.into_iter().chain([step]).cloned().collect();
                findings.lost.add(Lost { session: step.session, counterexample, at: step.ended });
                return;
            }
            (Outcome::Failed(_), _) => {}
            (Outcome::Values(values), Action::Read) => seen.read(step, values, findings),
            (Outcome::Values(_), _) | (Outcome::Done, Action::Read) => findings.wrong.add(step.clone()),
            (Outcome::Done, action) => {
                findings.logouts += u64::from(action == Action::Logout);
                if let Some(value) = action.value() {
                    findings.writes += 1;
                    seen.wrote(step, value);
                }
            }
        }
        if !matches!(step.outcome, Outcome::Failed(_)) {
            known = Some(step);
        }
    }
}

/// What a session has written and read so far.
#[derive(Default)]
struct Seen<'a> {
    /// Acknowledged writes in order.
    writes: Vec<(Value, &'a Step)>,
    /// Reads in order; each that shows no more than the one before is left out.
    reads: Vec<(&'a Step, &'a Arc<[Value]>)>,
    /// How many reads preceded a write, by its value.
    reads_before: HashMap<Value, usize>,
    broken: Vec<Guarantee>,
    doubled: Vec<Value>,
    /// All values that the session ever tried to write.
    sent: HashSet<Value>,
    /// How many writes the latest read showed, all in order, if it showed nothing else that is new.
    in_order: usize,
}

impl<'a> Seen<'a> {
    fn wrote(&mut self, step: &'a Step, value: Value) {
        self.reads_before.insert(value, self.reads.len());
        self.writes.push((value, step));
    }

    fn read(&mut self, step: &'a Step, values: &'a Arc<[Value]>, findings: &mut Findings) {
        if self.is_plainly_right(values) {
            self.in_order = self.writes.len();
            if self.reads.last().is_none_or(|(_, last)| last.len() < values.len()) {
                self.reads.push((step, values));
            }
            return;
        }
        if values.iter().any(|value| !self.sent.contains(value)) {
            findings.wrong.add(step.clone());
        }
        let mut places: HashMap<Value, usize> = HashMap::with_capacity(values.len());
        for (place, value) in values.iter().enumerate() {
            if places.insert(*value, place).is_some() && !self.doubled.contains(value) {
                self.doubled.push(*value);
                let counterexample = self.writer(*value).into_iter().chain([step]).cloned().collect();
                findings.doubled.add(Doubled { value: *value, counterexample });
            }
        }
        let problems = [
            (Guarantee::ReadYourWrites, self.unseen_write(&places)),
            (Guarantee::MonotonicReads, self.vanished(&places)),
            (Guarantee::MonotonicWrites, self.disordered(&places)),
            (Guarantee::WritesFollowReads, self.without_its_past(&places)),
        ];
        for (guarantee, steps) in problems {
            let Some(mut steps) = steps else { continue };
            if !self.broken.contains(&guarantee) {
                self.broken.push(guarantee);
                steps.push(step);
                let counterexample = steps.into_iter().cloned().collect();
                findings.violations.entry(guarantee).or_default().add(Violation { guarantee, counterexample });
            }
        }
        if self.reads.last().is_none_or(|(_, last)| *last != values) {
            self.reads.push((step, values));
        }
    }

    /// Whether a read shows the one before, then every write acknowledged since, in order, and nothing else. Nearly all do; the search for
    /// what is wrong with the others takes time that grows with the square of the session.
    fn is_plainly_right(&self, values: &[Value]) -> bool {
        let shown: &[Value] = self.reads.last().map_or(&[], |(_, values)| values);
        let new = self.writes[self.in_order..].iter().map(|(value, _)| value);
        values.starts_with(shown) && shown.len() == self.in_order && values[shown.len()..].iter().eq(new)
    }

    fn writer(&self, value: Value) -> Option<&'a Step> {
        self.writes.iter().find(|(written, _)| *written == value).map(|(_, step)| *step)
    }

    /// An acknowledged write that is not there.
    fn unseen_write(&self, places: &HashMap<Value, usize>) -> Option<Vec<&'a Step>> {
        let missing = self.writes.iter().find(|(value, _)| !places.contains_key(value));
        missing.map(|(_, step)| vec![*step])
    }

    /// Something that an earlier read showed.
    fn vanished(&self, places: &HashMap<Value, usize>) -> Option<Vec<&'a Step>> {
        self.reads.iter().find_map(|(read, values)| {
            let value = values.iter().find(|value| !places.contains_key(value))?;
            Some(self.writer(*value).into_iter().chain([*read]).collect())
        })
    }

    /// A write that is there while an earlier one is not, or stands after it.
    fn disordered(&self, places: &HashMap<Value, usize>) -> Option<Vec<&'a Step>> {
        let mut latest: Option<(usize, &'a Step)> = None;
        // From the last write to the first: each must stand before all that follow it.
        for (value, step) in self.writes.iter().rev() {
            match (places.get(value), latest) {
                (Some(place), Some((next, later))) if *place > next => return Some(vec![*step, later]),
                (None, Some((_, later))) => return Some(vec![*step, later]),
                (Some(place), _) => latest = Some((*place, *step)),
                (None, None) => {}
            }
        }
        None
    }

    /// A write that is there without what was read before it was made.
    fn without_its_past(&self, places: &HashMap<Value, usize>) -> Option<Vec<&'a Step>> {
        self.writes.iter().find_map(|(value, write)| {
            let place = places.get(value)?;
            let before = self.reads_before.get(value).copied().unwrap_or_default();
            self.reads[..before].iter().find_map(|(read, values)| {
                let is_behind = |past: &&Value| places.get(past).is_none_or(|at| at > place);
                let past = values.iter().find(is_behind)?;
                Some(self.writer(*past).into_iter().chain([*read, *write]).collect())
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A history of one session, a step a millisecond.
    fn session(steps: &[(Action, Outcome)]) -> History {
        let step = |(at, (action, outcome)): (usize, &(Action, Outcome))| Step {
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

    fn login() -> (Action, Outcome) {
        (Action::Login, Outcome::Done)
    }

    fn write(value: Value) -> (Action, Outcome) {
        (written(value), Outcome::Done)
    }

    fn read(values: &[Value]) -> (Action, Outcome) {
        (Action::Read, Outcome::Values(values.into()))
    }

    fn broken(steps: &[(Action, Outcome)]) -> Vec<Guarantee> {
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
        let failed = (written(9), Outcome::Failed("502".into()));
        for steps in [
            vec![login()],
            vec![
                login(),
                write(1),
                read(&[1]),
                write(2),
                read(&[1, 2]),
                (Action::Write { kind: "orders", value: 3 }, Outcome::Done),
                read(&[1, 2, 3]),
            ],
            vec![
                login(),
                write(1),
                write(2),
                read(&[1, 2]),
                (Action::Logout, Outcome::Done),
                (Action::Reuse, Outcome::Forgotten),
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
    fn answers_of_the_wrong_kind_or_of_another_session_are_found() {
        for steps in [
            vec![login(), write(1), read(&[1, 9])],
            vec![login(), (Action::Read, Outcome::Done)],
            vec![login(), (written(1), Outcome::Values([].into()))],
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
        let steps =
            [login(), write(1), (Action::Read, Outcome::Forgotten), read(&[]), (Action::Read, Outcome::Forgotten)];
        let findings = judge(&session(&steps));
        assert_eq!((findings.lost.count, findings.violations.len()), (1, 0));
        let shown: Vec<_> = findings.lost.examples[0].counterexample.iter().map(|step| step.action).collect();
        assert_eq!(shown, [written(1), Action::Read]);
        assert_eq!(findings.lost.examples[0].at, Duration::from_millis(3));
        let never_begun = [(Action::Login, Outcome::Failed("502".into())), (Action::Read, Outcome::Forgotten)];
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
            (Action::Logout, Outcome::Done),
            (Action::Reuse, Outcome::Values([1].into())),
        ];
        let findings = judge(&session(&steps));
        assert_eq!((findings.doubled.count, findings.reused.count, findings.logouts), (1, 1, 1));
        assert_eq!(findings.doubled.examples[0].counterexample.len(), 2);
    }
}
