//! What all users share: objects to which sessions add, and which sessions read. Here a session sees what others wrote,
//! so *writes follow reads* says something that the other guarantees do not: who sees a write sees what its author had
//! seen before making it, and before it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::findings::{Fact, Findings, Guarantee};
use crate::trial::history::{Action, History, SessionId, Step, StepOutcome, Value};

/// What was done to one object.
#[derive(Default)]
struct Object<'a> {
    /// Values that somebody tried to add, whatever came of it.
    posts: HashMap<Value, &'a Step>,
    /// Those of each session that were acknowledged, in the order of their ends.
    acknowledged: BTreeMap<SessionId, Vec<(Value, &'a Step)>>,
    /// Reads in the order of their ends.
    looks: Vec<(&'a Step, &'a Arc<[Value]>)>,
}

/// Where each value stands in a read.
type Places = HashMap<Value, usize>;

/// Judges what was done to all objects.
pub(super) fn judge(history: &History, findings: &mut Findings) {
    let mut objects: BTreeMap<u32, Object<'_>> = BTreeMap::new();
    for step in &history.steps {
        match (step.action, &step.outcome) {
            (Action::Post { object, value }, outcome) => {
                let object = objects.entry(object).or_default();
                object.posts.insert(value, step);
                if *outcome == StepOutcome::Done {
                    object.acknowledged.entry(step.session).or_default().push((value, step));
                }
            }
            (Action::Look { object }, StepOutcome::Values(values)) => {
                objects.entry(object).or_default().looks.push((step, values));
            }
            _ => {}
        }
    }
    // Each guarantee is broken at most once a session.
    let mut broken = BTreeSet::new();
    for object in objects.values() {
        object.judge(&mut broken, findings);
    }
}

impl<'a> Object<'a> {
    fn judge(&self, broken: &mut BTreeSet<(SessionId, Guarantee)>, findings: &mut Findings) {
        let pasts = self.pasts();
        for (look, values) in &self.looks {
            if values.iter().any(|value| !self.posts.contains_key(value)) {
                findings.wrong.add([(*look).into()]);
            }
            let mut places = Places::with_capacity(values.len());
            for (place, value) in values.iter().enumerate() {
                if places.insert(*value, place).is_some() {
                    findings
                        .doubled
                        .add(self.posts.get(value).map(|step| Fact::from(*step)).into_iter().chain([(*look).into()]));
                }
            }
            for (guarantee, steps) in [
                (Guarantee::ReadYourWrites, self.unseen(look, &places)),
                (Guarantee::MonotonicReads, self.vanished(look, &places)),
                (Guarantee::MonotonicWrites, self.disordered(&places)),
            ] {
                let Some(steps) = steps.filter(|_| broken.insert((look.session, guarantee))) else { continue };
                let facts = steps.into_iter().chain([*look]).map(Fact::from);
                findings.shared.entry(guarantee).or_default().add(facts);
            }
            self.follow(look, &places, &pasts, findings);
        }
    }

    /// For each value, the reads in which its author had seen values of others before adding it.
    fn pasts(&self) -> HashMap<Value, Vec<(Value, &'a Step)>> {
        let mut pasts: HashMap<Value, Vec<(Value, &'a Step)>> = HashMap::new();
        for (value, post) in &self.posts {
            let mut known = BTreeSet::new();
            for (look, values) in
                self.looks.iter().filter(|(look, _)| look.session == post.session && look.precedes(post))
            {
                let is_foreign = |seen: &&Value| self.posts.get(seen).is_some_and(|step| step.session != post.session);
                let new = values.iter().filter(is_foreign).filter(|seen| known.insert(**seen));
                pasts.entry(*value).or_default().extend(new.map(|seen| (*seen, *look)));
            }
        }
        pasts
    }

    /// A read that shows a value of another session shows what its author had seen of others before, and before it.
    fn follow(
        &self,
        look: &'a Step,
        places: &Places,
        pasts: &HashMap<Value, Vec<(Value, &'a Step)>>,
        findings: &mut Findings,
    ) {
        let is_by_another = |value: &&Value| self.posts.get(value).is_some_and(|post| post.session != look.session);
        let shown = places.keys().filter(is_by_another).filter_map(|value| Some((value, pasts.get(value)?)));
        let with_past: Vec<_> = shown.filter(|(_, past)| !past.is_empty()).collect();
        findings.follows.trials += u64::from(!with_past.is_empty());
        let mut found: Vec<Vec<&Step>> = Vec::new();
        for (value, past) in with_past {
            let is_behind = |(seen, _): &&(Value, &Step)| places.get(seen).is_none_or(|at| *at > places[value]);
            if let Some((seen, read)) = past.iter().find(is_behind) {
                found.push(
                    [self.posts.get(seen), Some(read), self.posts.get(value)].into_iter().flatten().copied().collect(),
                );
            }
        }
        // Always the same one, whatever the order of the map.
        let first = found.into_iter().min_by_key(|steps| steps.iter().map(|step| step.sent).collect::<Vec<_>>());
        if let Some(steps) = first {
            findings.follows.hits.add(steps.into_iter().chain([look]).map(Fact::from));
        }
    }

    /// A value that the session had added before, and that is not there.
    fn unseen(&self, look: &Step, places: &Places) -> Option<Vec<&'a Step>> {
        let own = self.acknowledged.get(&look.session)?;
        let missing = own.iter().find(|(value, post)| post.precedes(look) && !places.contains_key(value));
        missing.map(|(_, post)| vec![*post])
    }

    /// A value that an earlier read of the session showed.
    fn vanished(&self, look: &Step, places: &Places) -> Option<Vec<&'a Step>> {
        let earlier = self.looks.iter().filter(|(read, _)| read.session == look.session && read.precedes(look));
        earlier.into_iter().find_map(|(read, values)| {
            let value = values.iter().find(|value| !places.contains_key(value))?;
            Some(self.posts.get(value).copied().into_iter().chain([*read]).collect())
        })
    }

    /// A value of some session that is there while an earlier one of it is not, or stands behind it.
    fn disordered(&self, places: &Places) -> Option<Vec<&'a Step>> {
        self.acknowledged.values().find_map(|posts| {
            posts.iter().enumerate().find_map(|(number, (value, earlier))| {
                let is_wrong = |(later, step): &&(Value, &Step)| {
                    let place = places.get(later);
                    earlier.precedes(step) && place.is_some_and(|place| places.get(value).is_none_or(|at| at > place))
                };
                posts[number + 1..].iter().find(is_wrong).map(|(_, later)| vec![*earlier, *later])
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::judge;
    use super::*;

    /// A step of a session that began at this millisecond and took half of one.
    fn step(session: SessionId, at: u64, action: Action, outcome: StepOutcome) -> Step {
        let sent = Duration::from_millis(at);
        Step {
            session,
            number: at as u32,
            user: session,
            action,
            sent,
            ended: sent + Duration::from_micros(500),
            replica: Some("a".into()),
            outcome,
            tries: 1,
            state_bytes: 0,
            store_trips: 0,
            is_altered: false,
            is_reconnected: false,
        }
    }

    /// What a session does to the only object.
    enum Does {
        Post(Value),
        /// Nobody knows whether it took effect.
        Fails(Value),
        Look(&'static [Value]),
    }
    use Does::{Fails, Look, Post};

    /// Three sessions, a step a millisecond.
    fn history(steps: &[(SessionId, Does)]) -> History {
        let mut all: Vec<Step> = (1..=3).map(|session| step(session, 0, Action::Login, StepOutcome::Done)).collect();
        for ((session, does), at) in steps.iter().zip(1..) {
            let (action, outcome) = match does {
                Post(value) => (Action::Post { object: 1, value: *value }, StepOutcome::Done),
                Fails(value) => (Action::Post { object: 1, value: *value }, StepOutcome::Failed("502".into())),
                Look(values) => (Action::Look { object: 1 }, StepOutcome::Values((*values).into())),
            };
            all.push(step(*session, at, action, outcome));
        }
        History { steps: all, ..History::default() }
    }

    #[test]
    fn histories_that_must_pass() {
        for (steps, trials) in [
            (vec![(1, Post(1)), (2, Look(&[1])), (2, Post(2)), (3, Look(&[1, 2])), (1, Look(&[1, 2]))], 2),
            // Who had not seen it may stand before it.
            (vec![(1, Post(1)), (2, Post(2)), (3, Look(&[2, 1])), (3, Post(3)), (1, Look(&[2, 1, 3]))], 1),
            // A write without its successor is no problem.
            (vec![(1, Post(1)), (2, Look(&[1])), (2, Fails(2)), (3, Look(&[1]))], 0),
            (vec![(1, Post(1)), (2, Look(&[1])), (2, Fails(2)), (3, Look(&[1, 2]))], 1),
            (vec![(1, Post(1)), (1, Post(2)), (1, Look(&[1, 2]))], 0),
        ] {
            let findings = judge(&history(&steps));
            assert_eq!((findings.follows.trials, findings.follows.hits.count), (trials, 0));
            assert!(findings.shared.is_empty() && findings.violations.is_empty(), "{:?}", findings.shared);
            assert_eq!((findings.wrong.count, findings.doubled.count), (0, 0));
        }
    }

    #[test]
    fn a_write_without_what_its_author_had_read_is_found_and_nothing_else_is() {
        for last in [Look(&[2]), Look(&[2, 1])] {
            let findings = judge(&history(&[(1, Post(1)), (2, Look(&[1])), (2, Post(2)), (3, last)]));
            assert_eq!((findings.follows.trials, findings.follows.hits.count), (1, 1));
            assert!(findings.shared.is_empty() && findings.violations.is_empty(), "only this one: {findings:?}");
            let mut shown = Vec::new();
            for fact in findings.follows.hits.example().unwrap() {
                let Fact::Step(step) = fact else { panic!("{fact:?}") };
                shown.push((step.session, step.number));
            }
            assert_eq!(shown, [(1, 1), (2, 2), (2, 3), (3, 4)], "written, read, followed, and read without it");
        }
    }

    #[test]
    fn the_other_guarantees_hold_for_what_is_shared_too() {
        for (steps, expected) in [
            (vec![(1, Post(1)), (1, Look(&[]))], Guarantee::ReadYourWrites),
            (vec![(1, Post(1)), (2, Look(&[1])), (2, Look(&[]))], Guarantee::MonotonicReads),
            (vec![(1, Post(1)), (1, Post(2)), (2, Look(&[2, 1]))], Guarantee::MonotonicWrites),
            (vec![(1, Post(1)), (1, Post(2)), (2, Look(&[2]))], Guarantee::MonotonicWrites),
        ] {
            let findings = judge(&history(&steps));
            assert_eq!(findings.shared.keys().collect::<Vec<_>>(), [&expected]);
            assert_eq!(findings.shared[&expected].count, 1);
            assert_eq!(findings.follows.hits.count, 0);
        }
    }

    #[test]
    fn values_that_nobody_wrote_and_values_twice_are_found() {
        assert_eq!(judge(&history(&[(1, Post(1)), (2, Look(&[1, 7]))])).wrong.count, 1);
        assert_eq!(judge(&history(&[(1, Post(1)), (2, Look(&[1, 1]))])).doubled.count, 1);
    }

    #[test]
    fn reads_and_writes_at_the_same_time_follow_nothing() {
        let mut steps = history(&[(1, Post(1)), (2, Look(&[1])), (2, Post(2)), (3, Look(&[2]))]).steps;
        // The second tab of the session wrote while the first one read.
        steps[5].sent = steps[4].sent;
        let findings = judge(&History { steps, ..History::default() });
        assert_eq!((findings.follows.trials, findings.follows.hits.count), (0, 0));
    }
}
