//! What can be said of orders and reports. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde::Serialize;

use super::desk::{State, report};
use super::queue::{Begun, LEASE};
use super::talk::{Accepted, Job, Kill};
use crate::trial::judge::{Fact, Ratio};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Findings {
    /// Orders, and those that nobody accepted.
    pub(super) refused: Ratio,
    /// Orders that were accepted, and those whose report was not ready in time.
    pub(super) undone: Ratio,
    /// Orders that were accepted, and those whose report was sent out more than once.
    pub(super) doubled: Ratio,
    /// Orders whose report was ready, and those whose report was never sent out.
    pub(super) unsent: Ratio,
    /// Orders that were accepted more than once, and those that had more than one id then.
    pub(super) split: Ratio,
    /// Questions for reports that had been ordered, and those to which the replica knew no such report.
    pub(super) unknown: Ratio,
    /// Reports that were ready, and those that said something else than they should.
    pub(super) wrong: Ratio,
}

/// Judges what clients were told. `sent`: the ids of what was sent out, each time that it was.
pub(super) fn judge(jobs: &[Job], sent: &[String], kills: &[Kill]) -> Findings {
    let mut findings = Findings::default();
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for id in sent {
        *counts.entry(id).or_default() += 1;
    }
    for job in jobs {
        findings.refused.trials += 1;
        let Some(first) = job.accepted.first() else {
            let why = job.refused.as_deref().unwrap_or("the time was over before");
            findings.refused.hits.add([Fact::Note(format!("the order with the key {}: {why}", job.key))]);
            continue;
        };
        told(&mut findings, job, first);
        let count = |id: &str| counts.get(id).copied().unwrap_or_default();
        effects(&mut findings, job, (first, count(&first.id)), kills);
        if job.accepted.len() > 1 {
            findings.split.trials += 1;
            let other = job.accepted.iter().find(|other| other.id != first.id);
            let facts = other.map(|other| [accepted(job, first), accepted(job, other)]);
            facts.into_iter().for_each(|facts| findings.split.hits.add(facts));
        }
    }
    findings
}

/// What clients were told of a report.
fn told(findings: &mut Findings, job: &Job, first: &Accepted) {
    for asked in &job.asked {
        findings.unknown.trials += 1;
        let (at, id, replica) = (asked.at, &first.id, &asked.replica);
        match asked.state {
            State::Unknown => {
                let note = note(at, &format!("{replica} knows no {id}"));
                findings.unknown.hits.add([accepted(job, first), note]);
            }
            State::Waiting => {}
            State::Ready(said) => {
                findings.wrong.trials += 1;
                let right = report(job.number);
                if said != right {
                    let note = note(at, &format!("{replica} says that {id} is {said}; it should be {right}"));
                    findings.wrong.hits.add([accepted(job, first), note]);
                }
            }
        }
    }
}

/// What became of an order.
fn effects(findings: &mut Findings, job: &Job, (first, count): (&Accepted, u64), kills: &[Kill]) {
    let kill = kills.iter().find(|kill| kill.orders.contains(&first.id)).map(|kill| {
        let Kill { at, replica, orders, .. } = kill;
        note(*at, &format!("{replica} is killed, whose workers have {}", orders.join(" and ")))
    });
    let shown = |end: String| [accepted(job, first)].into_iter().chain(kill.clone()).chain([Fact::Note(end)]);
    findings.undone.trials += 1;
    if !job.is_done() {
        let last = job.asked.last().map_or("nobody was asked".into(), |asked| {
            format!("{:.3} s: {} says of {}: {:?}", asked.at.as_secs_f64(), asked.replica, first.id, asked.state)
        });
        findings.undone.hits.add(shown(last));
    } else {
        findings.unsent.trials += 1;
        if count == 0 {
            findings.unsent.hits.add(shown(format!("{} is ready and was not sent out", first.id)));
        }
    }
    findings.doubled.trials += 1;
    if count > 1 {
        findings.doubled.hits.add(shown(format!("{} was sent out {count} times", first.id)));
    }
}

fn note(at: Duration, what: &str) -> Fact {
    Fact::Note(format!("{:.3} s: {what}", at.as_secs_f64()))
}

fn accepted(job: &Job, accepted: &Accepted) -> Fact {
    let Accepted { at, replica, id } = accepted;
    note(*at, &format!("{replica} accepts the order with the key {} as {id}", job.key))
}

/// Times that an order was taken, and those within the lease of the one who had it.
pub(super) fn together(begun: &[Begun]) -> Ratio {
    let (mut together, mut last) = (Ratio::default(), HashMap::new());
    for Begun { id, worker, at_us } in begun {
        let Some(at) = at_us.map(Duration::from_micros) else { continue };
        together.trials += 1;
        let before = last.insert(id, (worker, at));
        if let Some((other, since)) = before.filter(|(_, since)| at.saturating_sub(*since) < LEASE) {
            let after = (at - since).as_secs_f64() * 1000.0;
            let lease = LEASE.as_millis();
            together.hits.add([
                Fact::Note(format!("{other} takes {id}, for {lease} ms")),
                Fact::Note(format!("{worker} takes {id}, {after:.1} ms later")),
            ]);
        }
    }
    together
}

/// Orders, and those that no living replica knows. `told`: what each of them says of each job, by its place.
pub(super) fn gone(jobs: &[Job], told: &BTreeMap<String, Vec<State>>) -> Ratio {
    let mut gone = Ratio::default();
    for (place, job) in jobs.iter().enumerate() {
        let Some(first) = job.accepted.first() else { continue };
        gone.trials += 1;
        let is_known = |states: &Vec<State>| states.get(place).is_some_and(|state| *state != State::Unknown);
        if !told.values().any(is_known) {
            let living: BTreeSet<_> = told.keys().map(String::as_str).collect();
            let living = living.into_iter().collect::<Vec<_>>().join(", ");
            let note = Fact::Note(format!("after that {living} are alive, and none knows {}", first.id));
            gone.hits.add([accepted(job, first), note]);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::study::jobs::talk::Asked;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// An order for report 3, which is 10, accepted under these ids and asked for.
    fn job(ids: &[&str], states: &[State]) -> Job {
        let accepted = ids.iter().map(|id| Accepted { at: ms(5), replica: "r0".into(), id: (*id).into() }).collect();
        let asked = states.iter().map(|state| Asked { at: ms(9), replica: "r1".into(), state: *state }).collect();
        Job { key: "k".into(), number: 3, accepted, asked, refused: None }
    }

    #[test]
    fn what_is_wrong_is_found_and_nothing_else() {
        use State::{Ready, Unknown, Waiting};
        let kill = Kill { at: ms(7), replica: "r2".into(), requests: Vec::new(), orders: vec!["a".into(), "c".into()] };
        for (ids, states, sent, expected) in [
            (&["a"][..], &[Waiting, Ready(10)][..], &["a"][..], [0, 0, 0, 0, 0, 0, 0]),
            (&["a", "a"], &[Ready(10)], &["a"], [0, 0, 0, 0, 0, 0, 0]),
            (&["a"], &[Waiting, Waiting], &[], [1, 0, 0, 0, 0, 0, 0]),
            (&["a"], &[], &["a"], [1, 0, 0, 0, 0, 0, 0]),
            (&["a"], &[Ready(10)], &["a", "a"], [0, 1, 0, 0, 0, 0, 0]),
            (&["a"], &[Ready(10)], &["b"], [0, 0, 1, 0, 0, 0, 0]),
            (&["a", "b"], &[Ready(10)], &["a"], [0, 0, 0, 1, 0, 0, 0]),
            (&["a"], &[Unknown, Ready(10)], &["a"], [0, 0, 0, 0, 1, 0, 0]),
            (&["a"], &[Ready(11)], &["a"], [0, 0, 0, 0, 0, 1, 0]),
            (&[], &[], &[], [0, 0, 0, 0, 0, 0, 1]),
        ] {
            let sent: Vec<String> = sent.iter().map(|id| (*id).to_owned()).collect();
            let findings = judge(&[job(ids, states)], &sent, std::slice::from_ref(&kill));
            let Findings { undone, doubled, unsent, split, unknown, wrong, refused } = &findings;
            let all = [undone, doubled, unsent, split, unknown, wrong, refused];
            assert_eq!(all.map(|ratio| ratio.hits.count), expected, "{ids:?} {states:?} {sent:?}");
            assert!(all.iter().all(|ratio| ratio.hits.example().is_none_or(|facts| (1..=4).contains(&facts.len()))));
        }
    }

    #[test]
    fn what_nobody_knows_is_gone() {
        let jobs = [job(&["a"], &[]), job(&["b"], &[]), job(&[], &[])];
        let told = BTreeMap::from([
            ("r1".to_owned(), vec![State::Unknown, State::Waiting, State::Unknown]),
            ("r2".to_owned(), vec![State::Unknown, State::Unknown, State::Unknown]),
        ]);
        let gone = gone(&jobs, &told);
        assert_eq!((gone.trials, gone.hits.count), (2, 1));
    }

    #[test]
    fn a_lease_that_is_not_over_is_nobody_elses() {
        let begun = |id: &str, worker: &str, ms: Option<u64>| Begun {
            id: id.into(),
            worker: worker.into(),
            at_us: ms.map(|ms| ms * 1000),
        };
        for (all, expected) in [
            (vec![("a", "w1", Some(1)), ("b", "w2", Some(1)), ("a", "w2", Some(501))], (3, 0)),
            (vec![("a", "w1", Some(1)), ("a", "w2", Some(500)), ("a", "w3", Some(999))], (3, 2)),
            (vec![("a", "w1", None), ("a", "w2", None)], (0, 0)),
        ] {
            let all: Vec<Begun> = all.into_iter().map(|(id, worker, ms)| begun(id, worker, ms)).collect();
            let found = together(&all);
            assert_eq!((found.trials, found.hits.count), expected, "{all:?}");
            assert!(found.hits.example().is_none_or(|facts| facts.len() == 2));
        }
    }

    #[test]
    fn a_lost_order_is_shown_with_the_kill() {
        let kill = Kill { at: ms(7), replica: "r2".into(), requests: Vec::new(), orders: vec!["a".into(), "c".into()] };
        let findings = judge(&[job(&["a"], &[State::Waiting])], &[], &[kill]);
        let notes = [
            "0.005 s: r0 accepts the order with the key k as a",
            "0.007 s: r2 is killed, whose workers have a and c",
            "0.009 s: r1 says of a: Waiting",
        ];
        let expected: Vec<Fact> = notes.into_iter().map(|note| Fact::Note(note.into())).collect();
        assert_eq!(findings.undone.hits.example(), Some(&expected[..]));
    }
}
