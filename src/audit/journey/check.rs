//! What the steps of a journey say of each other: names, gaps, connections that stay open.

use std::collections::BTreeMap;

use unstick_reading::{Sink, did_you_mean};

use super::step::Draft;
use super::{Act, Step, UNIQUE};

/// Checks the steps against each other, and makes each [`Act::Talk`] go to its step.
pub(super) fn link(mut drafts: Vec<Draft>, sink: &Sink<'_>) -> Vec<Step> {
    let report = |span: &std::ops::Range<usize>, message: String, help: String| {
        sink.report(span.clone(), message, Some(help));
    };
    names(&mut drafts, &report);
    gaps(&drafts, &report);
    for place in 0..drafts.len() {
        let (earlier, rest) = drafts.split_at_mut(place);
        if let Some(draft) = rest.first_mut() {
            connection(draft, earlier, &report);
        }
    }
    drafts.into_iter().map(|draft| draft.step).collect()
}

/// How a problem is reported: its place, the problem, and what to do.
type Report<'r> = &'r dyn Fn(&std::ops::Range<usize>, String, String);

/// No two steps have one name. A step that was given none is told from its like by a number.
fn names(drafts: &mut [Draft], report: Report<'_>) {
    let mut seen = BTreeMap::new();
    for (place, draft) in drafts.iter().enumerate().filter(|(_, draft)| draft.name.is_some()) {
        let name = draft.step.name.clone();
        match seen.get(&name) {
            None => drop(seen.insert(name, place)),
            Some(first) => {
                let span = draft.name.as_ref().unwrap_or(&draft.span);
                let message = format!("step {} has this name already: `{name}`", first + 1);
                report(span, message, "give each step a name of its own".to_owned());
            }
        }
    }
    for (place, draft) in drafts.iter_mut().enumerate().filter(|(_, draft)| draft.name.is_none()) {
        let base = draft.step.name.clone();
        let numbered = (2..).map(|number| format!("{base} {number}"));
        let free = std::iter::once(base.clone()).chain(numbered).find(|name| !seen.contains_key(name));
        draft.step.name = free.unwrap_or(base);
        seen.insert(draft.step.name.clone(), place);
    }
}

/// Every gap is filled by a step before.
fn gaps(drafts: &[Draft], report: Report<'_>) {
    let mut known = vec![UNIQUE];
    for (place, draft) in drafts.iter().enumerate() {
        for gap in &draft.uses {
            let name = gap.name.as_str();
            if known.contains(&name) {
                continue;
            }
            let captures = |draft: &&Draft| draft.step.captures.iter().any(|capture| capture.name == name);
            let later = drafts.get(place..).unwrap_or_default().iter().find(captures);
            let help = match later {
                Some(later) if later.step.name == draft.step.name => "this step itself takes it, too late".to_owned(),
                Some(later) => format!("`{}` takes it, later: move that step up", later.step.name),
                None => did_you_mean(name, known.iter().copied()).unwrap_or_else(|| {
                    format!("let an earlier step take it: capture = {{ {name} = \"json:$.path\" }}")
                }),
            };
            report(&gap.span, format!("no earlier step captures `{{{{{name}}}}}`"), help);
        }
        known.extend(draft.step.captures.iter().map(|capture| capture.name.as_str()));
    }
}

/// What goes on with a WebSocket or an event stream goes on with one that was opened.
fn connection(draft: &mut Draft, earlier: &[Draft], report: Report<'_>) {
    let (Some((name, span)), Act::Talk(target, _)) = (&draft.on, &mut draft.step.act) else { return };
    let opens = |draft: &Draft| matches!(draft.step.act, Act::WebSocket(..) | Act::EventStream(..));
    let Some(place) = earlier.iter().position(|draft| draft.step.name == *name) else {
        let known = earlier.iter().filter(|draft| opens(draft)).map(|draft| draft.step.name.as_str());
        let help = did_you_mean(name, known)
            .unwrap_or_else(|| "name an earlier step that has `websocket` or `sse`".to_owned());
        return report(span, format!("no earlier step has the name `{name}`"), help);
    };
    let Some(opener) = earlier.get(place) else { return };
    *target = place;
    if !opens(opener) {
        let help = "name a step that has `websocket` or `sse`".to_owned();
        return report(span, format!("the step `{name}` opens nothing that stays open"), help);
    }
    if let (Act::EventStream(..), Some(send)) = (&opener.step.act, &draft.send) {
        let help = "send a request in a step of its own".to_owned();
        report(send, format!("`{name}` is an event stream, on which only the server says something"), help);
    }
    match &draft.actor {
        Some(actor) if draft.step.actor != opener.step.actor => {
            let help = format!("leave it out: `{name}` belongs to actor `{}`", opener.step.actor);
            report(actor, format!("`{name}` was opened by another actor"), help);
        }
        _ => draft.step.actor = opener.step.actor.clone(),
    }
}
