//! What replicas saw beside what users did: requests executed twice, changed on their way, or sent to a replica that
//! must get none.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::findings::{Fact, Findings};
use super::found_out;
use crate::trial::history::{History, Mark, Seen, SessionId, Stage, State, Step};

/// A step, as a request names it.
type Name = (SessionId, u32);

/// A time in which a replica must get nothing.
struct Quiet<'a> {
    mark: &'a Mark,
    from: Duration,
    to: Duration,
}

/// Judges what replicas saw.
pub(super) fn judge(history: &History, findings: &mut Findings) {
    let steps: HashMap<Name, &Step> = history.steps.iter().map(|step| ((step.session, step.number), step)).collect();
    let mut executed: BTreeMap<Name, Vec<&Seen>> = BTreeMap::new();
    let quiet = quiet_times(history);
    for seen in &history.seen {
        match (seen.stage, steps.get(&seen.step)) {
            (Stage::Executed, _) => executed.entry(seen.step).or_default().push(seen),
            (Stage::Arrived, Some(step)) => arrived(seen, step, &quiet, findings),
            // The user was not there any more to write the step down.
            (Stage::Arrived, None) => {}
        }
    }
    for (name, times) in &executed {
        let Some(step) = steps.get(name) else { continue };
        if step.action.is_bare() || step.action.bears_key() {
            let ratio = if step.action.is_bare() { &mut findings.bare } else { &mut findings.keyed };
            ratio.trials += 1;
            if times.len() > 1 {
                let facts = std::iter::once(Fact::from(*step));
                ratio.hits.add(facts.chain(times.iter().map(|seen| Fact::from(*seen))));
            }
        }
    }
    findings.edits_in_force = edits_in_force(history);
}

fn arrived(seen: &Seen, step: &Step, quiet: &[Quiet<'_>], findings: &mut Findings) {
    findings.changed.trials += 1;
    if seen.is_altered || seen.has_key != step.action.bears_key() {
        findings.changed.hits.add([step.into(), seen.into()]);
    }
    for Quiet { mark, from, to } in quiet {
        // What was sent before may still arrive.
        if (*from..*to).contains(&step.sent) {
            let ratio = findings.unwanted.entry(mark.state).or_default();
            ratio.trials += 1;
            if seen.replica == mark.whose {
                ratio.hits.add([(*mark).into(), step.into(), seen.into()]);
            }
        }
    }
}

fn quiet_times<'a>(history: &'a History) -> Vec<Quiet<'a>> {
    let end = |mark: &Mark, state| history.first(&mark.whose, state).unwrap_or(Duration::MAX);
    let quiet = |mark: &'a Mark| -> Option<Quiet<'a>> {
        let Mark { at, state, .. } = mark;
        let (from, to) = match state {
            State::Draining => (*at, end(mark, State::Out)),
            State::Out => (*at, Duration::MAX),
            State::Killed => (found_out(history, *at), Duration::MAX),
            State::Stopped => (found_out(history, *at), end(mark, State::Continued)),
            State::Sick | State::Mute | State::Erring | State::CutOff => {
                (found_out(history, *at), end(mark, State::Well))
            }
            _ => return None,
        };
        Some(Quiet { mark, from, to })
    };
    history.marks.iter().filter_map(quiet).collect()
}

/// Seconds from each edit until it was in force, where somebody looked. Where the machine itself stood still in this
/// time, so did the proxy and whoever asks it: that long twice is left out.
fn edits_in_force(history: &History) -> Vec<f64> {
    let mut edited = None;
    let mut seconds = Vec::new();
    for mark in &history.marks {
        match mark.state {
            State::Edited => edited = Some(mark.at),
            State::InForce => seconds.extend(edited.take().map(|at: Duration| {
                let stood = history.longest_beat((at, mark.at));
                (mark.at - at).saturating_sub(2 * stood).as_secs_f64()
            })),
            _ => {}
        }
    }
    seconds
}
