//! One session, step by step: what it has written and read, and which read breaks a guarantee.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::findings::{Findings, Guarantee};
use crate::trial::history::{Step, Value};

/// What a session has written and read so far.
pub(super) struct Session<'a> {
    /// Acknowledged writes in the order of their ends.
    writes: Vec<(Value, &'a Step)>,
    /// Reads in order; each that shows no more than the one before is left out.
    reads: Vec<(&'a Step, &'a Arc<[Value]>)>,
    broken: Vec<Guarantee>,
    doubled: Vec<Value>,
    /// All values that the session ever tries to write.
    sent: HashSet<Value>,
    /// How many writes the latest read showed.
    shown: usize,
    /// Whether the latest read showed all writes made before it, and broke nothing.
    is_settled: bool,
    is_serial: bool,
    /// Writes that were sent again, by value.
    again: HashMap<Value, &'a Step>,
    /// Writes that were made at the same time, and that no read has followed yet.
    pairs: Vec<[(Value, &'a Step); 2]>,
}

impl<'a> Session<'a> {
    /// One that consists of these steps.
    pub(super) fn of(steps: &[&'a Step]) -> Self {
        let is_serial = steps.windows(2).all(|pair| pair[0].precedes(pair[1]));
        Self {
            writes: Vec::new(),
            reads: Vec::new(),
            broken: Vec::new(),
            doubled: Vec::new(),
            sent: steps.iter().filter_map(|step| step.action.value()).collect(),
            shown: 0,
            is_settled: true,
            is_serial,
            again: HashMap::new(),
            pairs: Vec::new(),
        }
    }

    /// Whether it did one thing after the other.
    pub(super) fn is_serial(&self) -> bool {
        self.is_serial
    }

    /// A write was acknowledged.
    pub(super) fn wrote(&mut self, step: &'a Step, value: Value) {
        if let Some((other, before)) = self.writes.last()
            && !before.precedes(step)
        {
            self.pairs.push([(*other, *before), (value, step)]);
        }
        self.writes.push((value, step));
    }

    /// A write that had been acknowledged was sent again, and acknowledged again.
    pub(super) fn wrote_again(&mut self, step: &'a Step, value: Value, findings: &mut Findings) {
        let Some(first) = self.writer(value) else { return };
        self.again.insert(value, step);
        findings.sent_again.0 += 1;
        findings.sent_again.1 += u64::from(first.replica != step.replica);
    }

    /// A read returned these values.
    pub(super) fn read(&mut self, step: &'a Step, values: &'a Arc<[Value]>, findings: &mut Findings) {
        for pair in std::mem::take(&mut self.pairs) {
            findings.pairs.trials += 1;
            if pair.iter().any(|(value, _)| !values.contains(value)) {
                findings.pairs.hits.add(pair.iter().map(|(_, write)| *write).chain([step]).map(Into::into));
            }
        }
        if self.is_plainly_right(step, values) {
            self.shown = self.writes.len();
            if self.reads.last().is_none_or(|(_, last)| last.len() < values.len()) {
                self.reads.push((step, values));
            }
            return;
        }
        if values.iter().any(|value| !self.sent.contains(value)) {
            findings.wrong.add([step.into()]);
        }
        let places = self.places(step, values, findings);
        let is_whole = places.len() == values.len() && self.writes.iter().all(|(value, _)| places.contains_key(value));
        let is_sound = self.find_violations(step, &places, findings);
        (self.shown, self.is_settled) = (self.writes.len(), is_whole && is_sound);
        if self.reads.last().is_none_or(|(_, last)| *last != values) {
            self.reads.push((step, values));
        }
    }

    /// Where each value stands; those that stand there twice are found on the way.
    fn places(&mut self, step: &'a Step, values: &[Value], findings: &mut Findings) -> HashMap<Value, usize> {
        let mut places: HashMap<Value, usize> = HashMap::with_capacity(values.len());
        for (place, value) in values.iter().enumerate() {
            if places.insert(*value, place).is_some() && !self.doubled.contains(value) {
                self.doubled.push(*value);
                let again = self.again.get(value).copied();
                findings.doubled.add(self.writer(*value).into_iter().chain(again).chain([step]).map(Into::into));
            }
        }
        places
    }

    /// Finds what a read breaks. Returns whether it breaks nothing.
    fn find_violations(&mut self, step: &'a Step, places: &HashMap<Value, usize>, findings: &mut Findings) -> bool {
        let problems = [
            (Guarantee::ReadYourWrites, self.unseen_write(step, places)),
            (Guarantee::MonotonicReads, self.vanished(step, places)),
            (Guarantee::MonotonicWrites, self.disordered(places)),
            (Guarantee::WritesFollowReads, self.without_its_past(places)),
        ];
        let is_sound = problems.iter().all(|(_, steps)| steps.is_none());
        for (guarantee, steps) in problems {
            let Some(mut steps) = steps else { continue };
            if !self.broken.contains(&guarantee) {
                self.broken.push(guarantee);
                steps.push(step);
                let of_kind = if self.is_serial { &mut findings.violations } else { &mut findings.violations_at_once };
                of_kind.entry(guarantee).or_default().add(steps.into_iter().map(Into::into));
            }
        }
        is_sound
    }

    /// Whether a read shows the one before, then every write acknowledged since, in order, and nothing else. Nearly all
    /// do; the search for what is wrong with the others takes time that grows with the square of the session.
    fn is_plainly_right(&self, step: &Step, values: &[Value]) -> bool {
        let shown: &[Value] = self.reads.last().map_or(&[], |(_, values)| values);
        let is_next = self.reads.last().is_none_or(|(before, _)| before.precedes(step));
        let new = self.writes[self.shown..].iter().map(|(value, _)| value);
        is_next && self.is_settled && values.starts_with(shown) && values[shown.len()..].iter().eq(new)
    }

    fn writer(&self, value: Value) -> Option<&'a Step> {
        self.writes.iter().find(|(written, _)| *written == value).map(|(_, step)| *step)
    }

    /// A write that was acknowledged before the read, and is not there.
    fn unseen_write(&self, read: &Step, places: &HashMap<Value, usize>) -> Option<Vec<&'a Step>> {
        let missing = self.writes.iter().find(|(value, write)| write.precedes(read) && !places.contains_key(value));
        missing.map(|(_, step)| vec![*step])
    }

    /// Something that an earlier read showed.
    fn vanished(&self, step: &Step, places: &HashMap<Value, usize>) -> Option<Vec<&'a Step>> {
        self.reads.iter().filter(|(read, _)| read.precedes(step)).find_map(|(read, values)| {
            let value = values.iter().find(|value| !places.contains_key(value))?;
            Some(self.writer(*value).into_iter().chain([*read]).collect())
        })
    }

    /// A write that is there while an earlier one is not, or stands after it.
    fn disordered(&self, places: &HashMap<Value, usize>) -> Option<Vec<&'a Step>> {
        let present = self.writes.iter().filter_map(|(value, step)| Some((*places.get(value)?, *step)));
        let present: Vec<(usize, &'a Step)> = present.collect();
        self.writes.iter().find_map(|(value, step)| {
            let is_wrong = |(place, later): &&(usize, &Step)| {
                step.precedes(later) && places.get(value).is_none_or(|at| at > place)
            };
            present.iter().find(is_wrong).map(|(_, later)| vec![*step, *later])
        })
    }

    /// A write that is there without what was read before it was made.
    fn without_its_past(&self, places: &HashMap<Value, usize>) -> Option<Vec<&'a Step>> {
        self.writes.iter().find_map(|(value, write)| {
            let place = places.get(value)?;
            let before = self.reads.iter().filter(|(read, _)| read.precedes(write));
            before.into_iter().find_map(|(read, values)| {
                let is_behind = |past: &&Value| places.get(past).is_none_or(|at| at > place);
                let past = values.iter().find(is_behind)?;
                Some(self.writer(*past).into_iter().chain([*read, *write]).collect())
            })
        })
    }
}
