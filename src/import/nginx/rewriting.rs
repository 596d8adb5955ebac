//! The first thing nginx does in a server and in a location: `if`, `return` and `rewrite`, in the order of the file.

use super::conditions::{Condition, condition, words};
use super::grammar::Directive;
use super::locations::close;
use super::scope::Scope;
use super::servers::Target;
use super::text::template;
use super::{Draft, Importer, left};
use crate::imported::{LeftOut, Place};
use crate::value::{Value, one_or_more};

/// Where routes are being made.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub(super) target: Target,
    pub(super) path: String,
    pub(super) priority: i64,
    pub(super) place: Place,
    pub(super) origin: String,
}

/// What came of it.
pub(super) struct Phase {
    /// Routes for some of the requests, which come first.
    pub(super) before: Vec<Draft>,
    /// The response to all others, if nothing else is done.
    pub(super) answer: Option<Draft>,
    /// Where the others go on.
    pub(super) rest: Spot,
    /// Routes for those that do not go on there.
    pub(super) after: Vec<Draft>,
    /// The prefix that is replaced, and by what.
    pub(super) rewrite: Option<(String, String)>,
    /// Whether nobody is left to go on.
    pub(super) is_over: bool,
    /// A test that keeps somebody out and cannot be translated.
    pub(super) closed: bool,
    pub(super) left: Vec<LeftOut>,
}

impl<'t> Importer<'t> {
    /// Runs it for the directives of the innermost block.
    pub(super) fn rewrite_phase(&mut self, spot: &Spot, scope: &Scope<'t>, is_server: bool) -> Phase {
        let mut phase = Phase {
            before: Vec::new(),
            answer: None,
            rest: spot.clone(),
            after: Vec::new(),
            rewrite: None,
            is_over: false,
            closed: false,
            left: Vec::new(),
        };
        for item in scope.own() {
            match item.name.as_str() {
                "return" => phase.answer = Some(self.answer(item, &phase.rest, scope)),
                "rewrite" => self.rewrite(item, scope, is_server, &mut phase),
                "if" => self.condition(item, scope, is_server, &mut phase),
                _ => {}
            }
            if phase.answer.is_some() || phase.is_over {
                break;
            }
        }
        phase
    }

    fn rewrite(&mut self, item: &'t Directive, scope: &Scope<'t>, is_server: bool, phase: &mut Phase) {
        let (pattern, to, flag) = (item.arg(0), item.arg(1), item.arg(2));
        let is_redirect = matches!(flag, "permanent" | "redirect") || to.contains("://");
        let refuse = |phase: &mut Phase, why: &str| {
            phase.left.push(left(item, why, "write it as replace_prefix or redirect, or do it in the application"));
        };
        if !is_redirect {
            match prefix_rewrite(pattern, to).filter(|_| !is_server && flag == "break") {
                Some(rewrite) if rewrite.0 == phase.rest.path.trim_end_matches('/') => phase.rewrite = Some(rewrite),
                _ => refuse(phase, "unstick replaces a prefix of the path, and looks for the route once"),
            }
            return;
        }
        let status = if flag == "permanent" { 301 } else { 302 };
        let is_all = matches!(pattern, "^" | ".*" | "^.*$" | "^/" | "^(.*)$" | "^(.*)" | "(.*)" | "^/(.*)$" | "^/(.*)");
        let (to, has_no_query) = to.strip_suffix('?').map_or((to, false), |to| (to, true));
        // `/$1` behind `^/(.*)$` is the path, and so is `$1` behind `^(.*)$`.
        let whole_path = if pattern.starts_with("^/") { "/$1" } else { "$1" };
        let has_query = to.contains("$request_uri") || to.contains("$args") || has_no_query;
        let target = match to.strip_suffix(whole_path).filter(|_| is_all) {
            Some(before) => template(before, scope).map(|before| before + "{path}"),
            None => template(to, scope),
        };
        let Ok(mut target) = target else {
            refuse(phase, "the target has parts of the path");
            return;
        };
        if !has_query {
            target.push_str("{?query}");
        }
        let mut spot = Spot { place: item.place.clone(), origin: item.written(), ..phase.rest.clone() };
        if !is_all {
            if !is_server || regex::Regex::new(pattern).is_err() {
                refuse(phase, "it tests a part of the path only");
                return;
            }
            spot.path = format!("~{pattern}");
        }
        let mut draft = self.draft(&spot, &item.written());
        draft.route.keys.set_in("redirect", "to", target);
        draft.route.keys.set_in("redirect", "status", status);
        self.response_fields(&mut draft, scope, Some(status));
        if is_all { phase.answer = Some(draft) } else { phase.before.push(draft) }
    }

    fn condition(&mut self, item: &'t Directive, scope: &Scope<'t>, is_server: bool, phase: &mut Phase) {
        let inner = scope.within(item.items());
        let condition = condition(&words(item), is_server);
        let returns = |statuses: &[&str]| {
            item.items().iter().any(|inner| inner.name == "return" && statuses.contains(&inner.arg(0)))
        };
        let keeps_out = returns(&["401", "403", "444"]) || item.items().iter().any(|inner| inner.name == "deny");
        // Whoever hides something says that it is not there. A file that is missing is nothing hidden.
        let tests_client = item.arg(0).trim_start_matches('(').starts_with('$') || item.arg(1).starts_with('$');
        let hides = tests_client && returns(&["400", "404", "405", "410"]);
        let condition = match condition {
            Ok(condition) if keeps_out && condition.keys.get("query").is_some() => {
                Err("names of arguments are compared exactly, and nginx takes any case".to_owned())
            }
            other => other,
        };
        let condition = match condition {
            Ok(condition) => condition,
            Err(why) => {
                let closes = keeps_out || hides;
                let closing = if closes { "; what it protects answers 403" } else { "" };
                phase.left.push(left(
                    item,
                    format!("{why}{closing}"),
                    "write a route with conditions, see docs/import.md",
                ));
                phase.closed |= closes;
                return;
            }
        };
        let mut spot = Spot { place: item.place.clone(), origin: item.written(), ..phase.rest.clone() };
        if condition.never || !narrow(&mut spot, &condition) {
            return;
        }
        let Some(mut draft) = self.body(item, &spot, &inner) else {
            if spot.target.listen.is_empty() {
                return;
            }
            phase.left.push(left(
                item,
                "only an `if` that ends in `return` is a route",
                "write a route with conditions",
            ));
            return;
        };
        // What an earlier test has closed is closed for this one, too.
        if phase.closed {
            close(&mut draft);
        }
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
        for (key, value) in tests.0 {
            draft.route.keys.0.insert(0, (key, value));
        }
        if condition.but_hosts.is_empty() && condition.but_methods.is_empty() {
            let is_certain = draft.route.keys.get("header").is_none()
                && draft.route.keys.get("query").is_none()
                && draft.route.keys.get("method").is_none()
                && draft.route.path == phase.rest.path
                && draft.route.host == phase.rest.target.host;
            // It holds for all requests of some listeners: the rest is for the others.
            if let Some(tls) = condition.tls.filter(|_| is_certain) {
                phase.rest.target.listen.retain(|(_, is_tls, _)| *is_tls != tls);
                if phase.rest.target.listen.is_empty() {
                    phase.answer = Some(draft);
                    return;
                }
                phase.after.push(draft);
                return;
            }
            if let Some((table, name)) = condition.or_empty {
                let mut empty = draft.clone();
                empty.route.keys.set_in(table, &name, "~^$");
                phase.before.push(empty);
            }
            let is_whole = draft.route.path == phase.rest.path
                && ["header", "query", "method"].iter().all(|test| draft.route.keys.get(test).is_none())
                && draft.route.listen == self.draft(&phase.rest, "").route.listen;
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
            return;
        }
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
        phase.after.push(draft);
    }

    /// What is done in the block of an `if`.
    fn body(&mut self, item: &'t Directive, spot: &Spot, inner: &Scope<'t>) -> Option<Draft> {
        let mut phase = Phase {
            before: Vec::new(),
            answer: None,
            rest: spot.clone(),
            after: Vec::new(),
            rewrite: None,
            is_over: false,
            closed: false,
            left: Vec::new(),
        };
        for inner_item in item.items() {
            match inner_item.name.as_str() {
                "return" => phase.answer = Some(self.answer(inner_item, spot, inner)),
                "rewrite" => self.rewrite(inner_item, inner, false, &mut phase),
                _ => {}
            }
            if phase.answer.is_some() {
                break;
            }
        }
        let mut answer = phase.answer?;
        answer.route.origin = item.written();
        answer.route.place = item.place.clone();
        Some(answer)
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

/// `^/api/(.*)$` and `/v2/$1`: the prefix that is replaced, and by what.
fn prefix_rewrite(pattern: &str, to: &str) -> Option<(String, String)> {
    let pattern = pattern.strip_prefix('^')?;
    let pattern = pattern.strip_suffix('$').unwrap_or(pattern);
    let from = pattern.strip_suffix("/(.*)").or_else(|| pattern.strip_suffix("/?(.*)"))?;
    let to = to.strip_suffix("/$1")?;
    let is_plain = |path: &str| path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_".contains(&b));
    (is_plain(from) && is_plain(to) && from.starts_with('/')).then(|| (from.to_owned(), to.to_owned()))
}
