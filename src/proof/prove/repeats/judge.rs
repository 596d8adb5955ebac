//! What clients know of their writes, beside what replicas have seen: which of them a kill met, what was done twice and
//! what theory says of that. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use crate::prove::theory::Prediction;
use crate::trial::history::{History, Seen, Stage};
use crate::trial::judge::Fact;
use crate::trial::recorder::Recorder;

/// Writes of one client have numbers from so many times its own on.
pub(super) const WRITES_MAX: u64 = 10_000;

/// What is counted.
pub(in crate::prove) const KEYED: &str = "writes with a key done twice, of those met behind their effect";
const BARE: &str = "writes without a key done twice, of those met behind their effect";
const SHARE: &str = "writes without a key done twice, of those met";
const OTHERS: &str = "writes done twice, of those not met behind their effect";
const MISSING: &str = "acknowledged writes missing";
const REFUSED: &str = "writes that a replica refuses";
const MET: &str = "writes that a kill met, and those that had been done";

/// What a client knows of its writes.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) has_keys: bool,
    pub(super) writes: Vec<Write>,
    /// What its cart holds in the end.
    pub(super) cart: Vec<u64>,
}

/// A write, sent until it was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) number: u64,
    pub(super) end: End,
    /// For so long that a deadline was behind it an attempt had no good response: it may have been done without any
    /// kill.
    pub(super) was_late: bool,
}

/// What a client knows of a write in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Acknowledged,
    /// A replica does not want it.
    Refused,
    /// There is no room left in the session.
    NoRoom,
    Unknown,
}

/// Writes that a kill met, by their numbers, and whether they had been done: they have arrived at a replica that was
/// killed, and at another one after that, or after their effect.
pub(super) fn met(seen: &[(SystemTime, Seen)], killed: &[Arc<str>]) -> HashMap<u64, bool> {
    let mut of_write: HashMap<u64, Vec<&(SystemTime, Seen)>> = HashMap::new();
    for one in seen {
        let (client, write) = one.1.step;
        of_write.entry(u64::from(client + 1) * WRITES_MAX + u64::from(write)).or_default().push(one);
    }
    let is_met = |all: &[&(SystemTime, Seen)], reached: Stage| {
        let was_there = |(at, seen): &(SystemTime, Seen)| {
            let comes_again = |(later, other): &(SystemTime, Seen)| {
                later > at && other.stage == Stage::Arrived && other.replica != seen.replica
            };
            seen.stage == reached && killed.contains(&seen.replica) && all.iter().any(|one| comes_again(one))
        };
        all.iter().any(|one| was_there(one))
    };
    let met = of_write.into_iter().filter(|(_, all)| is_met(all, Stage::Arrived));
    met.map(|(number, all)| (number, is_met(&all, Stage::Executed))).collect()
}

/// Counts what was done how often.
pub(super) fn count(accounts: &[Account], met: &HashMap<u64, bool>, recorder: &Recorder) {
    let mut all: BTreeMap<&str, (u64, u64)> =
        [KEYED, BARE, SHARE, OTHERS, MISSING, REFUSED].map(|what| (what, (0, 0))).into();
    let mut add = |what: &'static str, is_hit: bool| {
        let (hits, trials) = all.entry(what).or_default();
        (*hits, *trials) = (*hits + u64::from(is_hit), *trials + 1);
    };
    for Account { has_keys, writes, cart } in accounts {
        for Write { number, end, was_late } in writes {
            let times = cart.iter().filter(|value| *value == number).count();
            let whats: &[&'static str] = match (met.get(number), has_keys) {
                (Some(true), true) => &[KEYED],
                (Some(true), false) => &[BARE, SHARE],
                // A kill may have come between the effect and the line that says so.
                (Some(false), false) => &[SHARE],
                // Who does not wait does twice what only was late.
                (None, false) if *was_late => &[],
                (Some(false), true) | (None, _) => &[OTHERS],
            };
            whats.iter().for_each(|what| add(what, times > 1));
            if *end == End::Acknowledged {
                add(MISSING, times == 0);
            }
            add(REFUSED, *end == End::Refused);
        }
    }
    for (what, (hits, trials)) in all {
        recorder.count(what, hits, trials);
    }
    recorder.count(MET, met.values().filter(|is_done| **is_done).count() as u64, met.len() as u64);
}

/// For people: what was done twice with a key, and what without one.
pub(in crate::prove) fn shown(history: &History) -> String {
    let of = |what| history.count(what).unwrap_or_default();
    let (keyed, bare) = (of(KEYED), of(SHARE));
    format!(
        "{} writes with a key done twice, of {} whose replica died behind the effect\n{} of {} without a key done \
         twice",
        keyed.0, keyed.1, bare.0, bare.1
    )
}

/// What theory says. `is_in_store`: effects are in a store, and not in a token.
pub(in crate::prove) fn predict(history: &History, is_in_store: bool) -> Vec<Prediction> {
    let of = |what: &str| history.count(what).unwrap_or_default();
    let (done, met) = of(MET);
    let note = |what: &str| {
        let (hits, trials) = of(what);
        [
            Fact::Note(format!("kills met {met} writes, {done} of them done and without a response")),
            Fact::Note(format!("their clients repeated them; {what}: {hits} of {trials}")),
        ]
    };
    let never = |what| {
        let (hits, trials) = of(what);
        Prediction::never(what, hits, trials, Some(&note(what)))
    };
    let (hits, trials) = of(BARE);
    let bare =
        if is_in_store { Prediction::exactly(BARE, hits, trials, 1.0).shown_by(note(BARE)) } else { never(BARE) };
    vec![never(KEYED), bare, never(OTHERS), never(MISSING), never(REFUSED)]
}

#[cfg(test)]
mod tests;
