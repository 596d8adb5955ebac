//! `location`: which one nginx takes, said in unstick's order.
//!
//! nginx takes an exact location; else it finds the longest prefix, and takes it if it says `^~`; else the first
//! regular expression that fits; else that prefix. unstick's order is the same without `^~`, which is a higher
//! `priority`.

use super::grammar::Directive;
use super::rewriting::Spot;
use super::scope::Scope;
use super::{Importer, left};
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
    let path = item.arg(1).to_owned();
    let first = item.arg(0);
    match first {
        "=" => Kind::Exact(path),
        "^~" => Kind::Final(path),
        "~" => Kind::Regex(path),
        "~*" => Kind::Regex(format!("(?i){path}")),
        _ if first.starts_with('@') => Kind::Named(first.to_owned()),
        // The modifier may stand right before the path.
        _ => {
            match (first.strip_prefix("~*"), first.strip_prefix('~'), first.strip_prefix("^~"), first.strip_prefix('='))
            {
                (Some(regex), ..) => Kind::Regex(format!("(?i){regex}")),
                (_, Some(regex), ..) => Kind::Regex(regex.to_owned()),
                (_, _, Some(path), _) => Kind::Final(path.to_owned()),
                (_, _, _, Some(path)) => Kind::Exact(path.to_owned()),
                _ => Kind::Prefix(first.to_owned()),
            }
        }
    }
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
        for found in &all {
            if let Some((path, priority)) = self.place(found, has_regex, &finals) {
                let spot = Spot {
                    path,
                    priority,
                    place: found.item.place.clone(),
                    origin: found.item.written(),
                    ..spot.clone()
                };
                self.location(found, &spot, is_closed);
                self.slash(found, &all, &spot);
            }
        }
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
            Kind::Final(path) => Some((self.prefix(found, path), i64::from(has_regex))),
            Kind::Prefix(path) if is_below_final(path) => {
                note("a regular expression may come first in nginx, here it does not", "see the order of these routes");
                Some((self.prefix(found, path), 1))
            }
            Kind::Prefix(path) => Some((self.prefix(found, path), 0)),
            Kind::Regex(pattern) => {
                if found.is_inner_regex {
                    note("nginx looks at it within the outer location only, unstick everywhere", "see its path");
                }
                match regex::Regex::new(pattern) {
                    Ok(_) => Some((format!("~{pattern}"), 0)),
                    Err(_) => {
                        let what_to_do = "write it without looking around or backwards";
                        note("this regular expression has no equal that takes linear time", what_to_do);
                        None
                    }
                }
            }
        }
    }

    /// A prefix as unstick writes it: by whole segments.
    fn prefix(&mut self, found: &Found<'t>, path: &str) -> String {
        if path.contains(['*', '{', '?', '#', ' ']) {
            return format!("~^{}", regex::escape(path));
        }
        if !path.ends_with('/') {
            let why = format!("nginx takes {path}x too, unstick only {path} and what is below it");
            let what_to_do = format!("nothing, unless paths such as {path}x are asked for");
            let at = At::Route(self.out.routes.len());
            self.out.leave_out(LeftOut { at, ..left(found.item, why, what_to_do) });
        }
        path.to_owned()
    }

    /// nginx sends a client that asks for `/api` to `/api/` if only the latter is a location with a proxy.
    fn slash(&mut self, found: &Found<'t>, all: &[Found<'t>], spot: &Spot) {
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
        self.push(draft);
    }

    /// The routes of one location.
    fn location(&mut self, found: &Found<'t>, spot: &Spot, is_closed: bool) {
        self.note_left(found.scope.own(), &At::Route(self.out.routes.len()));
        let phase = self.rewrite_phase(spot, &found.scope, false);
        let is_prefix = matches!(found.kind, Kind::Prefix(_) | Kind::Final(_));
        let mut kept: Vec<super::Draft> = Vec::new();
        let (mut left_over, count) = (Vec::new(), phase.before.len());
        for (nth, mut draft) in phase.before.into_iter().enumerate() {
            let excludes = kept.iter().all(|other| excludes(other, &draft));
            if is_prefix && !excludes {
                let why = "only the order of these `if`s would decide between them";
                left_over.push(LeftOut { why: why.to_owned(), ..draft.left_out_as_a_whole() });
                continue;
            }
            if !is_prefix && count > 1 {
                draft.route.priority += i64::try_from(count - nth).unwrap_or(1);
            }
            kept.push(draft);
        }
        kept.into_iter().for_each(|draft| self.push(draft));
        let main = match phase.answer {
            Some(mut answer) => {
                if is_closed || phase.closed {
                    answer.route.keys.set("deny", super::contents::ALL.to_vec());
                }
                Some(answer)
            }
            None => self.mapped(found, &phase.rest, phase.rewrite, is_closed || phase.closed),
        };
        if let Some(mut draft) = main {
            draft.left.extend(phase.left.into_iter().chain(left_over));
            self.push(draft);
        }
        phase.after.into_iter().for_each(|draft| self.push(draft));
    }
}

/// Whether no request fits both: they are for different methods.
fn excludes(one: &super::Draft, other: &super::Draft) -> bool {
    let method = |draft: &super::Draft| draft.route.keys.get("method").map(ToString::to_string);
    matches!((method(one), method(other)), (Some(one), Some(other)) if one != other)
}

impl super::Draft {
    /// What stands for the whole route where it is left out.
    fn left_out_as_a_whole(&self) -> LeftOut {
        LeftOut {
            place: self.route.place.clone(),
            directive: self.route.origin.clone(),
            why: String::new(),
            what_to_do: "write a route for it, with a priority or a condition that excludes the other".to_owned(),
            at: At::Top,
        }
    }
}
