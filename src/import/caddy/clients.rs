//! What is for some clients only. unstick lets clients in or not; where a request goes does not depend on them.

use std::rc::Rc;

use super::flow::{Draft, Flow, Rest, State, Turn};
use super::matchers::Who;
use super::steps::Step;
use crate::imported::Unreadable;
use crate::value::Value;

impl Flow<'_> {
    /// A step for some clients only. unstick lets clients in or not; where a request goes does not depend on them.
    pub(super) fn addresses<'t>(
        &mut self,
        mut state: State,
        step: &Rc<Step<'t>>,
        after: &[Rc<Step<'t>>],
        rest: &Rest<'_, 't>,
        who: &Who,
    ) -> Result<(), Unreadable> {
        if step.refuses() {
            self.refuse(&mut state, step, who);
            return self.walk(state, after, rest);
        }
        let begin = self.drafts.len();
        self.walk(state.clone(), after, rest)?;
        let others = self.drafts.split_off(begin);
        let open = Rc::new(step.for_all());
        self.turn(state.clone(), &open, after, rest, Turn::Applies)?;
        let inner = self.drafts.split_off(begin);
        let kept = self.kept(step, who, inner, others);
        self.drafts.extend(kept);
        Ok(())
    }

    /// What is kept of the ways of those whom a step is for, and of the others.
    fn kept(&self, step: &Step<'_>, who: &Who, inner: Vec<Draft>, others: Vec<Draft>) -> Vec<Draft> {
        let is_refused = others.iter().all(|draft| draft.refuses);
        let keeps_inner = is_refused || matches!(who, Who::Outside(_));
        let is_forbidden = others.iter().all(|draft| draft.status() == Some(403));
        let (mut kept, lost) = if keeps_inner { (inner, others) } else { (others, inner) };
        if is_refused {
            let (key, networks) = match who {
                Who::Within(networks) => ("allow", networks),
                Who::Outside(networks) => ("deny", networks),
            };
            kept.iter_mut().for_each(|draft| draft.restrict(key, networks));
            if !is_forbidden {
                let why = "unstick answers 403 to clients that are not let in";
                let note = self.left(step, why, "nothing, or `errors` for another text");
                kept.iter_mut().for_each(|draft| draft.left.push(note.clone()));
            }
        } else {
            let why = "addresses choose who gets in, not where a request goes; what strangers get is kept";
            let note = self.left(step, why, "write a listener of its own for those clients");
            kept.iter_mut().for_each(|draft| draft.left.push(note.clone()));
            // It kept out some clients that get in elsewhere.
            if lost.iter().any(Draft::keeps_out) {
                kept.iter_mut().for_each(|draft| draft.restrict("deny", &super::ALL.map(str::to_owned)));
            }
        }
        kept
    }

    /// Keeps out those whom a refusal is for.
    fn refuse(&mut self, state: &mut State, step: &Step<'_>, who: &Who) {
        let status = step.status();
        if !(step.name == "respond" && status == 403) && step.within.is_none() {
            let why = "unstick answers 403 to clients that are not let in";
            self.note(state, step, why, "nothing, or `errors` for another text");
        }
        match who {
            Who::Within(networks) => state.deny.extend(networks.iter().cloned()),
            Who::Outside(networks) => match &state.allow {
                Some(known) if known != networks => state.is_closed = true,
                _ => state.allow = Some(networks.clone()),
            },
        }
    }
}

/// The clients that a step is for.
pub(super) fn who<'s>(step: &'s Step<'_>) -> &'s [Who] {
    step.matcher.as_ref().map_or(&[], |matcher| &matcher.who)
}

impl Draft {
    /// The status of a fixed response.
    fn status(&self) -> Option<i64> {
        let Some(Value::Table(respond)) = self.keys.get("respond") else { return None };
        match respond.get("status") {
            Some(Value::Number(status)) => Some(*status),
            _ => None,
        }
    }

    /// Whether it keeps somebody out.
    fn keeps_out(&self) -> bool {
        self.refuses || ["allow", "deny"].iter().any(|key| self.keys.get(key).is_some())
    }

    fn restrict(&mut self, key: &str, networks: &[String]) {
        if self.keys.get("deny").is_some() || self.keys.get("allow").is_some() {
            for key in ["allow", "deny"] {
                self.keys.remove(key);
            }
            self.restrict("deny", &super::ALL.map(str::to_owned));
            return;
        }
        let at = self.keys.0.iter().position(|(key, _)| matches!(key.as_str(), "pool" | "respond" | "redirect"));
        self.keys.0.insert(at.unwrap_or_default(), (key.to_owned(), networks.to_vec().into()));
    }
}
