//! One session, step by step: what it has written and read, and which read breaks a guarantee.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::findings::{Doubled, Findings, Guarantee, Violation};
use crate::trial::history::{Step, Value};

/// What a session has written and read so far.
#[derive(Default)]
pub(super) struct Session<'a> {
    /// Acknowledged writes in order.
    writes: Vec<(Value, &'a Step)>,
    /// Reads in order; each that shows no more than the one before is left out.
    reads: Vec<(&'a Step, &'a Arc<[Value]>)>,
    /// How many reads preceded a write, by its value.
    reads_before: HashMap<Value, usize>,
    broken: Vec<Guarantee>,
    doubled: Vec<Value>,
    /// All values that the session ever tries to write.
    sent: HashSet<Value>,
    /// How many writes the latest read showed, all in order, if it showed nothing else that is new.
    in_order: usize,
}

impl<'a> Session<'a> {
    /// One that will try to write these values.
    pub(super) fn new(sent: HashSet<Value>) -> Self {
        Self { sent, ..Self::default() }
    }

    /// A write was acknowledged.
    pub(super) fn wrote(&mut self, step: &'a Step, value: Value) {
        self.reads_before.insert(value, self.reads.len());
        self.writes.push((value, step));
    }

    /// A read returned these values.
    pub(super) fn read(&mut self, step: &'a Step, values: &'a Arc<[Value]>, findings: &mut Findings) {
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
        let places = self.places(step, values, findings);
        self.find_violations(step, &places, findings);
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
                let counterexample = self.writer(*value).into_iter().chain([step]).cloned().collect();
                findings.doubled.add(Doubled { value: *value, counterexample });
            }
        }
        places
    }

    fn find_violations(&mut self, step: &'a Step, places: &HashMap<Value, usize>, findings: &mut Findings) {
        let problems = [
            (Guarantee::ReadYourWrites, self.unseen_write(places)),
            (Guarantee::MonotonicReads, self.vanished(places)),
            (Guarantee::MonotonicWrites, self.disordered(places)),
            (Guarantee::WritesFollowReads, self.without_its_past(places)),
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
    }

    /// Whether a read shows the one before, then every write acknowledged since, in order, and nothing else. Nearly all
    /// do; the search for what is wrong with the others takes time that grows with the square of the session.
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
