//! An `if` of a server or a location: a route for those who meet it, or for all others.

use super::conditions::{Condition, condition, words};
use super::grammar::Directive;
use super::locations::close;
use super::rewriting::{Phase, Spot};
use super::scope::Scope;
use super::{Draft, Importer, left};
use crate::imported::Keys;
use crate::value::{Value, one_or_more};

impl<'t> Importer<'t> {
    /// Makes the routes of an `if`, and says who goes on.
    pub(super) fn branch(&mut self, item: &'t Directive, scope: &Scope<'t>, is_server: bool, phase: &mut Phase) {
        let closes = closes(item);
        let found = condition(&words(item), is_server);
        let condition = match found.and_then(|found| found.with_hosts(&phase.rest.target.host)) {
            Ok(condition) if closes == Closes::Client && condition.has_query() => {
                Err("names of arguments are compared exactly, and nginx takes any case".to_owned())
            }
            Ok(condition) if is_asked_twice(&condition, phase) => {
                Err("two tests of the same thing are one too many for a route".to_owned())
            }
            other => other,
        };
        let condition = match condition {
            Ok(condition) => condition,
            Err(why) => {
                let closing = if closes == Closes::Nothing { "" } else { "; what it protects answers 403" };
                let what_to_do = "write a route with conditions, see docs/import.md";
                phase.left.push(left(item, format!("{why}{closing}"), what_to_do));
                phase.closed |= closes != Closes::Nothing;
                return;
            }
        };
        let mut spot = Spot { place: item.place.clone(), origin: item.written(), ..phase.rest.clone() };
        if condition.never || !narrow(&mut spot, &condition) {
            return;
        }
        let Some(mut draft) = self.body(item, &spot, &scope.within(item.items())) else {
            if !spot.target.listen.is_empty() {
                let why = "only an `if` that ends in `return` is a route";
                phase.left.push(left(item, why, "write a route with conditions"));
            }
            return;
        };
        // What an earlier test has closed is closed for this one, too.
        if phase.closed {
            close(&mut draft);
        }
        if condition.is_inverse() {
            all_others(draft, condition, phase);
        } else {
            self.those(draft, condition, phase);
        }
    }

    /// The route for those who meet a condition. What is left is for the others.
    fn those(&mut self, mut draft: Draft, condition: Condition, phase: &mut Phase) {
        let mut tests = condition.keys;
        let mut taken = None;
        if let (Some(one), Some(other)) = (tests.get("method"), draft.route.keys.get("method")) {
            let both = in_both(&listed(one), &listed(other));
            draft.route.keys.remove("method");
            if both.is_empty() {
                return;
            }
            tests.set("method", one_or_more(&both));
            taken = Some(both);
        }
        ask(&mut draft.route.keys, tests);
        // Whether it is for all who go on, or for some of their hosts.
        let rest = self.draft(&phase.rest, "").route;
        let is_bare =
            ["header", "query", "method"].iter().all(|test| draft.route.keys.get(test) == rest.keys.get(test))
                && draft.route.path == rest.path;
        let is_same_host = draft.route.host == phase.rest.target.host;
        // It holds for all requests of some listeners: the rest is for the others.
        if let Some(tls) = condition.tls.filter(|_| is_bare && is_same_host) {
            phase.rest.target.listen.retain(|(_, is_tls, _)| *is_tls != tls);
            if phase.rest.target.listen.is_empty() {
                phase.answer = Some(draft);
            } else {
                phase.after.push(draft);
            }
            return;
        }
        if let Some((table, name)) = condition.or_empty {
            let mut empty = draft.clone();
            empty.route.keys.set_in(table, &name, "~^$");
            phase.before.push(empty);
        }
        let is_whole = is_bare && draft.route.listen == rest.listen;
        // Nothing else is done for these hosts, and a route that no request reaches is refused.
        if is_whole && !condition.host.is_empty() && !phase.rest.target.host.is_empty() {
            phase.rest.target.host.retain(|host| !condition.host.contains(host));
            phase.is_over = phase.rest.target.host.is_empty();
        }
        // The same of methods, where only some go on.
        if let (Some(both), true) = (taken, draft.route.host == phase.rest.target.host) {
            phase.rest.target.method.retain(|method| !both.contains(method));
            phase.is_over = phase.rest.target.method.is_empty();
        }
        phase.before.push(draft);
    }
}

/// The route for those who do not meet what a condition says of who goes on.
fn all_others(mut draft: Draft, condition: Condition, phase: &mut Phase) {
    if !condition.but_hosts.is_empty() {
        draft.route.host.retain(|host| !condition.but_hosts.contains(host));
        phase.rest.target.host = condition.but_hosts;
    }
    if !condition.but_methods.is_empty() {
        let known = std::mem::replace(&mut phase.rest.target.method, condition.but_methods.clone());
        if !known.is_empty() {
            let but: Vec<String> =
                known.iter().filter(|method| !condition.but_methods.contains(method)).cloned().collect();
            phase.rest.target.method = in_both(&known, &condition.but_methods);
            if phase.rest.target.method.is_empty() {
                phase.is_over = true;
            } else if but.is_empty() {
                return;
            } else {
                draft.route.keys.set("method", one_or_more(&but));
            }
        }
    }
    if let Some((table, name, expected)) = condition.but_field {
        phase.rest.target.tests.set_in(table, &name, expected);
    }
    phase.after.push(draft);
}

/// Whom an `if` keeps out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closes {
    Nothing,
    Client,
    /// It says that nothing is there.
    Hides,
}

fn closes(item: &Directive) -> Closes {
    let returns =
        |statuses: &[&str]| item.items().iter().any(|inner| inner.name == "return" && statuses.contains(&inner.arg(0)));
    // Whoever hides something says that it is not there. A file that is missing is nothing hidden.
    let tests_client = item.arg(0).trim_start_matches('(').starts_with('$') || item.arg(1).starts_with('$');
    if returns(&["401", "403", "444"]) || item.items().iter().any(|inner| inner.name == "deny") {
        Closes::Client
    } else if tests_client && returns(&["400", "404", "405", "410"]) {
        Closes::Hides
    } else {
        Closes::Nothing
    }
}

/// Whether an earlier test has asked for the same field already: a route asks once.
fn is_asked_twice(condition: &Condition, phase: &Phase) -> bool {
    let asked = |table: &str, name: &str| match phase.rest.target.tests.get(table) {
        Some(Value::Table(known)) => known.get(name).is_some(),
        _ => false,
    };
    let mut own = ["header", "query"].into_iter().filter_map(|table| match condition.keys.get(table) {
        Some(Value::Table(keys)) => Some((table, keys)),
        _ => None,
    });
    own.any(|(table, keys)| keys.0.iter().any(|(name, _)| asked(table, name)))
        || condition.but_field.as_ref().is_some_and(|(table, name, _)| asked(table, name))
}

/// Adds conditions in front of what is there already.
pub(super) fn ask(keys: &mut Keys, tests: Keys) {
    for (key, value) in tests.0 {
        match (value, keys.get(&key)) {
            (Value::Table(more), Some(Value::Table(_))) => {
                more.0.into_iter().for_each(|(name, value)| keys.set_in(&key, &name, value));
            }
            (value, None) => keys.0.insert(0, (key, value)),
            (value, Some(_)) => keys.set(key, value),
        }
    }
}

/// Narrows the place to the requests that fit; `false` if there are none.
fn narrow(spot: &mut Spot, condition: &Condition) -> bool {
    if let Some(tls) = condition.tls {
        spot.target.listen.retain(|(_, is_tls, _)| *is_tls == tls);
    }
    if !condition.host.is_empty() {
        // Hosts that do not lead to this server never fit.
        let is_own = |host: &str| {
            spot.target
                .host
                .iter()
                .any(|own| own == host || own.strip_prefix('*').is_some_and(|end| host.ends_with(end)))
        };
        if !spot.target.host.is_empty() && !condition.host.iter().any(|host| is_own(host)) {
            return false;
        }
        spot.target.host.clone_from(&condition.host);
    }
    if let Some(path) = &condition.path {
        spot.path.clone_from(path);
    }
    !spot.target.listen.is_empty()
}

/// The methods of a key: one, or a list.
fn listed(methods: &Value) -> Vec<String> {
    match methods {
        Value::Text(method) => vec![method.clone()],
        Value::List(methods) => methods.iter().flat_map(listed).collect(),
        _ => Vec::new(),
    }
}

fn in_both(one: &[String], other: &[String]) -> Vec<String> {
    one.iter().filter(|method| other.contains(method)).cloned().collect()
}
