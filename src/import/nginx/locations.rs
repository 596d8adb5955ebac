//! `location`: which one nginx takes, said in unstick's order.
//!
//! nginx takes an exact location; else it finds the longest prefix, and takes it if it says `^~`; else the first
//! regular expression that fits; else that prefix. unstick's order is the same without `^~`, which is a higher
//! `priority`.

use super::conditions::{condition, words};
use super::grammar::Directive;
use super::lookaround::linear;
use super::rewriting::Spot;
use super::scope::Scope;
use super::{Draft, Importer, left};
use crate::imported::{At, LeftOut};

/// How a location is matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Exact(String),
    Prefix(String),
    /// A prefix with `^~`.
    Final(String),
    /// A regular expression in unstick's form, behind the tilde.
    Regex(String),
    Named(String),
}

/// A location with what is around it.
#[derive(Debug, Clone)]
pub(super) struct Found<'t> {
    pub(super) kind: Kind,
    pub(super) item: &'t Directive,
    pub(super) scope: Scope<'t>,
    /// Whether it is a regular expression within another location.
    pub(super) is_inner_regex: bool,
    /// The target instead of the one that is written, where a `map` has chosen it.
    pub(super) target: Option<String>,
}

/// The locations of a block and those within them.
pub(super) fn all<'t>(scope: &Scope<'t>, is_inner: bool) -> Vec<Found<'t>> {
    let mut found = Vec::new();
    for item in scope.own().iter().filter(|item| item.name == "location" && item.block.is_some()) {
        let scope = scope.within(item.items());
        let kind = kind(item);
        let is_inner_regex = is_inner && matches!(kind, Kind::Regex(_));
        let inner = all(&scope, true);
        found.push(Found { kind, item, scope, is_inner_regex, target: None });
        found.extend(inner);
    }
    found
}

fn kind(item: &Directive) -> Kind {
    let first = item.arg(0);
    if first.starts_with('@') {
        return Kind::Named(first.to_owned());
    }
    // The modifier may stand right before the path.
    let modifier = ["~*", "~", "^~", "="].into_iter().find(|modifier| first.starts_with(modifier)).unwrap_or("");
    let path = match &first[modifier.len()..] {
        "" => item.arg(1),
        path => path,
    };
    match modifier {
        "~*" => Kind::Regex(format!("(?i){}", encoded(path, true))),
        "~" => Kind::Regex(encoded(path, true)),
        "^~" => Kind::Final(encoded(path, false)),
        "=" => Kind::Exact(encoded(path, false)),
        _ => Kind::Prefix(encoded(path, false)),
    }
}

/// A path as clients send it: nginx compares it when it is decoded. Classes of a regular expression stay as they are.
fn encoded(path: &str, is_regex: bool) -> String {
    let (mut out, mut depth, mut is_escaped) = (String::new(), 0_usize, false);
    for c in path.chars() {
        let was_escaped = is_escaped;
        is_escaped = c == '\\' && !was_escaped;
        match c {
            '[' if is_regex && !was_escaped => depth += 1,
            ']' if is_regex && !was_escaped => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && (c == ' ' || !c.is_ascii() || !is_regex && "%?#".contains(c)) {
            if was_escaped {
                out.pop();
            }
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| out.push_str(&format!("%{byte:02X}")));
        } else {
            out.push(c);
        }
    }
    out
}

/// The location that nginx takes for a path, or the named one. Regular expressions are not looked at.
pub(super) fn find<'t>(scope: &Scope<'t>, uri: &str) -> Option<Found<'t>> {
    let all = all(scope, false);
    let exact = all.iter().find(|found| match &found.kind {
        Kind::Exact(path) | Kind::Named(path) => path == uri,
        _ => false,
    });
    let length = |found: &&Found<'t>| match &found.kind {
        Kind::Prefix(path) | Kind::Final(path) if uri.starts_with(path) => Some(path.len()),
        _ => None,
    };
    exact.or_else(|| all.iter().filter(|found| length(found).is_some()).max_by_key(|found| length(found))).cloned()
}

impl<'t> Importer<'t> {
    /// The routes of all locations of a server.
    pub(super) fn locations(&mut self, server: &'t Directive, spot: &Spot, scope: &Scope<'t>, is_closed: bool) {
        let all = all(scope, false);
        let has_regex = all.iter().any(|found| matches!(found.kind, Kind::Regex(_)));
        let finals: Vec<&str> = all
            .iter()
            .filter_map(|found| if let Kind::Final(path) = &found.kind { Some(path.as_str()) } else { None })
            .collect();
        // What keeps somebody out and cannot be told by its path closes all of the server.
        let is_closed = is_closed || all.iter().any(|found| keeps_out(found) && is_unwritable(&found.kind));
        let ranks: Vec<i64> = all.iter().map(|found| self.ranks(found)).collect();
        let mut tails: Vec<Draft> = Vec::new();
        for found in &all {
            if let Some((path, priority)) = self.place(found, has_regex, &finals) {
                let spot = Spot {
                    path,
                    priority: priority + raise(found, all.iter().zip(&ranks)),
                    place: found.item.place.clone(),
                    origin: found.item.written(),
                    ..spot.clone()
                };
                let drafts = self.location(found, &spot, is_closed);
                tails.extend(self.tail(found, &all, &drafts));
                drafts.into_iter().for_each(|draft| self.push(draft));
                self.slash(found, &all, &spot, is_closed);
            }
        }
        // Behind all that are written as regular expressions, the longest first.
        tails.sort_by_key(|draft| std::cmp::Reverse(draft.route.path.len()));
        tails.into_iter().for_each(|draft| self.push(draft));
        let is_root = |found: &Found<'_>| matches!(&found.kind, Kind::Prefix(path) | Kind::Final(path) if path == "/");
        if !all.iter().any(is_root) {
            self.nothing_there(server, spot, scope);
        }
    }

    /// The path and the priority of a location; nothing if it has no route.
    fn place(&mut self, found: &Found<'t>, has_regex: bool, finals: &[&str]) -> Option<(String, i64)> {
        let at = At::Route(self.out.routes.len());
        let mut note = |why: &str, what_to_do: &str| {
            self.out.leave_out(LeftOut { at: at.clone(), ..left(found.item, why, what_to_do) });
        };
        let is_below_final = |path: &str| has_regex && finals.iter().any(|prefix| path.starts_with(prefix));
        match &found.kind {
            Kind::Named(_) => None,
            Kind::Exact(path) => Some((format!("={path}"), if is_below_final(path) { 2 } else { 0 })),
            Kind::Final(path) => Some((self.prefix(path), i64::from(has_regex))),
            Kind::Prefix(path) if is_below_final(path) => {
                note("a regular expression may come first in nginx, here it does not", "see the order of these routes");
                Some((self.prefix(path), 1))
            }
            Kind::Prefix(path) => Some((self.prefix(path), 0)),
            Kind::Regex(pattern) => {
                if found.is_inner_regex {
                    note("nginx looks at it within the outer location only, unstick everywhere", "see its path");
                }
                if pattern.contains("//") {
                    note("nginx and unstick compare paths with `//` merged, so that none fits", "remove it");
                    return None;
                }
                if regex::Regex::new(pattern).is_ok() {
                    return Some((format!("~{pattern}"), 0));
                }
                let what_to_do = "write it without looking around or backwards";
                match (linear(pattern), keeps_out(found)) {
                    (Some((same, true)), _) => Some((format!("~{same}"), 0)),
                    (Some((wider, false)), true) => {
                        note("without looking around it takes more paths, and all of them answer 403", what_to_do);
                        Some((format!("~{wider}"), 0))
                    }
                    (None, true) => {
                        note("this has no equal that takes linear time; all of the server answers 403", what_to_do);
                        None
                    }
                    (_, false) => {
                        note("this regular expression has no equal that takes linear time", what_to_do);
                        None
                    }
                }
            }
        }
    }

    /// A prefix as unstick writes it: by whole segments.
    fn prefix(&self, path: &str) -> String {
        if path.contains(['*', '{']) {
            return format!("~^{}", regex::escape(path));
        }
        path.to_owned()
    }

    /// nginx sends a client that asks for `/api` to `/api/` if only the latter is a location with a proxy.
    fn slash(&mut self, found: &Found<'t>, all: &[Found<'t>], spot: &Spot, is_closed: bool) {
        let (Kind::Prefix(path) | Kind::Final(path)) = &found.kind else { return };
        let own = ["proxy_pass", "grpc_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass"];
        let is_proxied = found.scope.own().iter().any(|item| own.contains(&item.name.as_str()));
        let Some(bare) = path.strip_suffix('/').filter(|bare| !bare.is_empty() && is_proxied) else { return };
        let is_known = all.iter().any(|other| match &other.kind {
            Kind::Exact(path) | Kind::Prefix(path) | Kind::Final(path) => path == bare,
            _ => false,
        });
        if is_known || spot.path.starts_with('~') {
            return;
        }
        let spot = Spot { path: format!("={bare}"), ..spot.clone() };
        let mut draft = self.draft(&spot, &format!("{}: nginx adds the slash", spot.origin));
        draft.route.keys.set_in("redirect", "to", format!("{path}{{?query}}"));
        draft.route.keys.set_in("redirect", "status", 301);
        self.response_fields(&mut draft, &found.scope, Some(301));
        if is_closed {
            close(&mut draft);
        }
        self.push(draft);
    }

    /// The routes of one location.
    fn location(&mut self, found: &Found<'t>, spot: &Spot, is_closed: bool) -> Vec<Draft> {
        self.note_left(found.scope.own(), &At::Route(self.out.routes.len()));
        let is_closed = is_closed || matches!(&found.kind, Kind::Regex(pattern) if is_widened(pattern));
        let mut phase = self.rewrite_phase(spot, &found.scope, false);
        let (mut routes, count) = (Vec::new(), phase.before.len());
        let (are_ranked, behind) = (tests(found) > 0, self.map_ranks(found));
        for (nth, mut draft) in std::mem::take(&mut phase.before).into_iter().enumerate() {
            if are_ranked || behind > 0 {
                draft.route.priority += behind + i64::try_from(count - nth).unwrap_or(1);
            }
            routes.push(draft);
        }
        let mut main = match phase.answer.take() {
            Some(mut answer) => {
                if phase.closed {
                    close(&mut answer);
                }
                vec![answer]
            }
            None if phase.is_over => Vec::new(),
            None => {
                let others = self.limited(found, &mut phase);
                let closed = is_closed || phase.closed;
                let mut main = self.mapped(found, &phase.rest, phase.rewrite.clone(), closed);
                main.extend(others);
                main
            }
        };
        // `^/api/(.*)$` leaves `/api` itself alone.
        let is_bare = phase.rewrite.is_some() && !spot.path.ends_with('/') && spot.path.starts_with('/');
        let bare = |draft: &Draft| {
            let mut draft = draft.clone();
            draft.route.path = format!("={}", spot.path);
            draft.route.keys.remove("strip_prefix");
            draft.route.keys.remove("replace_prefix");
            draft
        };
        let whole: Vec<Draft> =
            main.iter().filter(|draft| is_bare && draft.route.path == spot.path).map(bare).collect();
        main.extend(whole);
        if let Some(draft) = main.last_mut() {
            draft.left.append(&mut phase.left);
        }
        routes.append(&mut main);
        routes.append(&mut phase.after);
        if is_closed {
            routes.iter_mut().for_each(close);
        }
        routes
    }

    /// The routes of a location that need a priority of their own; 0 if their conditions tell them apart.
    fn ranks(&self, found: &Found<'t>) -> i64 {
        let (tests, entries) = (tests(found), self.map_ranks(found));
        let branches = found.scope.own().iter().filter(|item| matches!(item.name.as_str(), "if" | "rewrite")).count();
        if entries > 0 && tests == 0 { entries + 2 * i64::try_from(branches).unwrap_or(0) } else { entries + tests }
    }
}

/// Closes a route.
pub(super) fn close(draft: &mut Draft) {
    draft.route.keys.remove("allow");
    draft.route.keys.set("deny", super::contents::ALL.to_vec());
}

/// Whether a location keeps somebody out.
pub(super) fn keeps_out(found: &Found<'_>) -> bool {
    let items = || found.scope.own().iter().flat_map(|item| std::iter::once(item).chain(item.items()));
    let is_refusal = |item: &Directive| {
        item.name == "deny"
            || item.name == "return" && matches!(item.arg(0), "401" | "403" | "404" | "410" | "444")
            || item.name == "internal"
    };
    items().any(is_refusal) || super::guard_of(&found.scope).is_some()
}

/// Whether no path of a route fits all that the location does.
fn is_unwritable(kind: &Kind) -> bool {
    matches!(kind, Kind::Regex(pattern) if regex::Regex::new(pattern).is_err() && linear(pattern).is_none())
}

/// Whether the path of the route fits more than the location does.
fn is_widened(pattern: &str) -> bool {
    regex::Regex::new(pattern).is_err() && matches!(linear(pattern), Some((_, false)))
}

/// How much a location comes before others, because those have several `if`s with priorities of their own: nginx would
/// take this one first.
fn raise<'a, 't: 'a>(found: &Found<'_>, all: impl Iterator<Item = (&'a Found<'t>, &'a i64)>) -> i64 {
    let is_behind = |other: &Found<'_>| match (&other.kind, &found.kind) {
        (Kind::Prefix(prefix) | Kind::Final(prefix), Kind::Prefix(path) | Kind::Final(path)) => {
            path.starts_with(prefix.as_str()) && path != prefix
        }
        (Kind::Prefix(_) | Kind::Final(_), Kind::Exact(_)) => true,
        // In the order of the file, and before all prefixes.
        (Kind::Regex(_), Kind::Regex(_)) => other.item.place > found.item.place,
        (Kind::Prefix(_), Kind::Regex(_)) | (Kind::Regex(_), Kind::Exact(_) | Kind::Final(_)) => true,
        _ => false,
    };
    all.filter(|(other, _)| is_behind(other)).map(|(_, ranks)| ranks).sum()
}

/// The routes that several tests of a location need, each with a priority of its own; 0 if there is one test at most.
fn tests(found: &Found<'_>) -> i64 {
    let routes = |item: &Directive| match item.name.as_str() {
        "rewrite" => 1,
        "if" => condition(&words(item), false).map_or(0, |test| if test.or_empty.is_some() { 2 } else { 1 }),
        _ => 0,
    };
    let all: Vec<i64> = found.scope.own().iter().map(routes).filter(|count| *count > 0).collect();
    // Those who go on may have a condition, too.
    let is_limited = found.scope.own().iter().any(|item| item.name == "limit_except");
    if all.len() > usize::from(!is_limited) { all.iter().sum() } else { 0 }
}
