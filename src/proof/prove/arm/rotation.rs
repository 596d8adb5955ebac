//! Predictions about a change of keys.

use std::collections::BTreeMap;

use super::predictions::ratio;
use crate::prove::cell::CellReport;
use crate::prove::event::Event;
use crate::prove::theory::Prediction;
use crate::trial::history::{Action, History, SessionId, State, Step, StepOutcome};
use crate::trial::judge::{Fact, Ratio};

/// Tokens that were sealed with the old key stay good while both keys open.
pub(super) fn rotation(report: &CellReport) -> Option<Prediction> {
    let is_rotation = report.event == Event::KeyRotation;
    is_rotation.then(|| ratio("tokens of the old key that are refused", &of_old_key(&report.history)))
}

/// Uses of tokens that were sealed before replicas began to seal with the new key, after all of them do. A user with
/// two tabs may have a newer token than it seems, so a session that does two things at once is left out from then on.
fn of_old_key(history: &History) -> Ratio {
    let mut ratio = Ratio::default();
    let Some(begun) = history.of(State::Rekeying).last().map(|mark| mark.at) else { return ratio };
    let Some(done) = history.of(State::Rekeyed).last() else { return ratio };
    let mut sealed: BTreeMap<SessionId, &Step> = BTreeMap::new();
    for step in &history.steps {
        let is_old = sealed.get(&step.session).is_some_and(|before| before.ended < begun && before.precedes(step));
        let is_use = step.action != Action::Reuse && !matches!(step.outcome, StepOutcome::Failed(_));
        if is_old && step.sent > done.at && is_use {
            ratio.trials += 1;
            if step.outcome == StepOutcome::Forgotten {
                let facts = [Fact::from(sealed[&step.session]), Fact::from(done), Fact::from(step)];
                ratio.hits.add(facts);
            }
        }
        let is_write = step.action.value().is_some() || matches!(step.action, Action::Login | Action::Again { .. });
        if is_write {
            sealed.insert(step.session, step);
        }
    }
    ratio
}
