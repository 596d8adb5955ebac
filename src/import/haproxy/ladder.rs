//! Rules in their order, as routes of which each ends the request.
//!
//! HAProxy goes from rule to rule, and a rule may have exceptions, or hold for some addresses only. A route has no such
//! conditions; but what comes after an exception is known: the later rules. So they are written once more in front of
//! the rule, for the requests that are excepted. What only changes the later rules (an address that is let in, a rate,
//! another prefix) is written into a copy of each that stands in front of it.

use ipnet::IpNet;

use super::grammar::Line;
use super::test::{Excess, Source, Test};
use crate::imported::Keys;
use crate::value::Value;

/// Everybody.
pub(super) const ALL: [&str; 2] = ["0.0.0.0/0", "::/0"];
/// The most routes that exceptions and copies may make of a frontend.
const STEPS_MAX: usize = 10_000;

/// A rule.
#[derive(Debug, Clone)]
pub(super) struct Rule<'t> {
    pub(super) test: Test,
    pub(super) act: Act,
    /// The pool to which a request must go for this rule to hold: rules of backends.
    pub(super) within: Option<String>,
    pub(super) line: &'t Line,
}

/// What a rule does.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// The request ends here: with a response, or in a pool.
    End(Keys),
    /// The same, and it keeps somebody out.
    Refuse(Keys),
    /// The path begins with something else.
    Rewrite { from: String, to: String },
    /// A header is edited, which `Importer::edits` does.
    Edit,
}

/// A route, before it has hosts and a priority.
#[derive(Debug, Clone)]
pub(super) struct Step<'t> {
    pub(super) test: Test,
    pub(super) keys: Keys,
    pub(super) line: &'t Line,
    /// The edits with conditions that hold for it.
    pub(super) edits: Vec<&'t Line>,
}

/// A rule that no route can say, and why.
#[derive(Debug)]
pub(super) struct Failed<'t> {
    pub(super) rule: Rule<'t>,
    pub(super) why: String,
}

/// What a counter counts: by what, and how long; nothing if that cannot be said.
pub(super) type Rates<'a> = &'a dyn Fn(&Excess) -> Option<(String, String)>;

/// All rules as routes, those that cannot be, and those that had to close a route.
pub(super) fn steps<'t>(rules: Vec<Rule<'t>>, rates: Rates<'_>) -> (Vec<Step<'t>>, Vec<Failed<'t>>, Vec<Failed<'t>>) {
    let (mut steps, mut failed, mut unlike) = (Vec::new(), Vec::new(), Vec::new());
    for rule in rules.into_iter().rev() {
        let is_end = matches!(rule.act, Act::End(_) | Act::Refuse(_)) && rule.within.is_none();
        let more = if is_end && !has_effect(&rule.test) {
            before(&rule, &steps).map(|first| behind(first, &steps))
        } else {
            among(&rule, &steps, rates).map(|(all, why)| {
                unlike.extend(why.map(|why| Failed { rule: rule.clone(), why }));
                behind(all, &[])
            })
        };
        match more {
            Ok(more) if more.len() <= STEPS_MAX || more.len() <= steps.len() + 1 => steps = more,
            Ok(_) => failed.push(Failed { rule, why: "it needs too many routes".to_owned() }),
            Err(why) => failed.push(Failed { rule, why }),
        }
    }
    failed.reverse();
    (steps, failed, unlike)
}

/// The steps of a rule that ends the request: the later ones for its exceptions, and its own.
fn before<'t>(rule: &Rule<'t>, later: &[Step<'t>]) -> Result<Vec<Step<'t>>, String> {
    let plain = rule.test.plain();
    let mut steps = Vec::new();
    for exception in &rule.test.but {
        if let Some(both) = plain.and(exception)? {
            steps.extend(narrowed(&both, later)?);
        }
    }
    if let Act::End(keys) | Act::Refuse(keys) = &rule.act {
        steps.push(Step { test: plain, keys: keys.clone(), line: rule.line, edits: Vec::new() });
    }
    Ok(steps)
}

/// The later steps, each behind a copy that a rule has changed, if it holds for some of its requests. Where that is not
/// known of a rule that keeps somebody out, the step is closed; why comes with them.
fn among<'t>(rule: &Rule<'t>, later: &[Step<'t>], rates: Rates<'_>) -> Result<(Vec<Step<'t>>, Option<String>), String> {
    let plain = rule.test.plain();
    let closes = matches!(rule.act, Act::Refuse(_)) && rule.test.excess.is_none();
    let (mut steps, mut unlike) = (Vec::new(), None);
    for step in later {
        let pool = step.keys.get("pool").and_then(Value::text);
        let is_within = rule.within.as_deref().is_none_or(|within| pool == Some(within));
        if matches!(rule.act, Act::Rewrite { .. }) && rule.within.is_none() && step.test.path.is_some() {
            return Err("a later rule tests the path that it writes".to_owned());
        }
        let both = match plain.and(&step.test) {
            Err(why) if is_within && closes => {
                let mut keys = step.keys.clone();
                keys.remove("allow");
                keys.set("deny", ALL.to_vec());
                steps.push(Step { keys, ..step.clone() });
                unlike = Some(why);
                continue;
            }
            Err(why) if is_within => return Err(why),
            both => both.unwrap_or_default(),
        };
        if is_within
            && let Some(both) = both
            && let Some(changed) = changed(rule, Step { test: both.clone(), ..step.clone() }, rates)?
        {
            for exception in &rule.test.but {
                steps.extend(both.and(exception)?.map(|test| Step { test, ..step.clone() }));
            }
            steps.push(changed);
        }
        steps.push(step.clone());
    }
    Ok((steps, unlike))
}

/// Those that some request reaches: nothing before them takes all. The second ones do not stand before each other.
fn behind<'t>(first: Vec<Step<'t>>, second: &[Step<'t>]) -> Vec<Step<'t>> {
    let mut reached: Vec<Step<'_>> = Vec::new();
    for step in first {
        if !reached.iter().any(|before| before.test.covers(&step.test)) {
            reached.push(step);
        }
    }
    let new = reached.len();
    let rest = second.iter().filter(|step| !reached[..new].iter().any(|before| before.test.covers(&step.test)));
    let rest: Vec<Step<'t>> = rest.cloned().collect();
    reached.extend(rest);
    reached
}

/// Whether a test is none of the request itself, so that no route asks for it.
fn has_effect(test: &Test) -> bool {
    test.source.is_some() || test.excess.is_some() || test.dead.is_some()
}

/// The steps for those requests that meet a test.
fn narrowed<'t>(test: &Test, later: &[Step<'t>]) -> Result<Vec<Step<'t>>, String> {
    let mut steps = Vec::new();
    for step in later {
        let Some(both) = test.and(&step.test)? else { continue };
        steps.push(Step { test: both, ..step.clone() });
        if step.test.covers(test) {
            break;
        }
    }
    Ok(steps)
}

/// What becomes of a step for which a rule holds; nothing if that is none of its business.
fn changed<'t>(rule: &Rule<'t>, mut step: Step<'t>, rates: Rates<'_>) -> Result<Option<Step<'t>>, String> {
    let Test { source, excess, dead, .. } = &rule.test;
    let pool = step.keys.get("pool").and_then(Value::text).map(str::to_owned);
    match (&rule.act, source, excess, dead) {
        (Act::Refuse(_), Some(source), None, None) => guard(&mut step.keys, source),
        (Act::Refuse(_), None, Some(excess), None) => {
            let Some((per, time)) = rates(excess) else {
                return Err("nothing here says what is counted, and for how long".to_owned());
            };
            if step.keys.get("rate").is_some() {
                return Err("a route has one rate".to_owned());
            }
            step.keys.set_in("rate", "per", per);
            step.keys.set_in("rate", "requests", excess.above);
            step.keys.set_in("rate", "in", time);
            step.keys.set_in("rate", "burst", excess.above);
        }
        (Act::End(keys), None, None, Some(dead)) => {
            let fallback = keys.get("pool").and_then(Value::text);
            let (true, Some(fallback)) = (pool.as_ref() == Some(dead), fallback) else { return Ok(None) };
            if step.keys.get("fallback").is_some() {
                return Err("a route has one fallback".to_owned());
            }
            step.keys.set("fallback", fallback);
        }
        (Act::End(keys) | Act::Refuse(keys), None, None, None) => {
            step = Step { keys: keys.clone(), line: rule.line, edits: Vec::new(), ..step };
        }
        (Act::Rewrite { from, to }, None, None, None) => {
            if pool.is_none() {
                return Ok(None);
            }
            if step.keys.get("strip_prefix").is_some() || step.keys.get("replace_prefix").is_some() {
                return Err("a route replaces one prefix".to_owned());
            }
            step.keys.replace_prefix(from, to);
        }
        (Act::Edit, None, None, None) => {
            if pool.is_none() {
                return Ok(None);
            }
            step.edits.push(rule.line);
        }
        (_, Some(_), None, None) => {
            return Err("only who is kept out depends on the client's address in a route".to_owned());
        }
        _ => return Err("no route asks for this".to_owned()),
    }
    Ok(Some(step))
}

/// Keeps out those who are inside or outside of some networks, and whom the keys keep out already.
fn guard(keys: &mut Keys, source: &Source) {
    let shown = |networks: &[IpNet]| networks.iter().map(ToString::to_string).collect::<Vec<_>>();
    let listed = |keys: &Keys, key: &str| -> Option<Vec<IpNet>> {
        let Some(Value::List(list)) = keys.get(key) else { return None };
        Some(list.iter().filter_map(Value::text).filter_map(|text| text.parse().ok()).collect())
    };
    if source.is_inside {
        let networks = [listed(keys, "deny").unwrap_or_default(), source.networks.clone()].concat();
        keys.set("deny", shown(&IpNet::aggregate(&networks)));
        return;
    }
    let allowed = match listed(keys, "allow") {
        None => source.networks.clone(),
        Some(known) => {
            let of = |one: &IpNet, other: &IpNet| match (one.contains(other), other.contains(one)) {
                (true, _) => Some(*other),
                (_, true) => Some(*one),
                _ => None,
            };
            known.iter().flat_map(|one| source.networks.iter().filter_map(move |other| of(one, other))).collect()
        }
    };
    if allowed.is_empty() {
        keys.remove("allow");
        keys.set("deny", ALL.to_vec());
    } else {
        keys.set("allow", shown(&IpNet::aggregate(&allowed)));
    }
}
