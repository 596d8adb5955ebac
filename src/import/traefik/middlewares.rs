//! Middlewares: what each does to the requests of a router, in the order in which the router names them.

use super::effects::{Effects, PathEdit};
use super::general::some_time;
use super::node::{Data, Node};
use super::routers::Group;
use super::walk::{Part, fate_of, left_in};
use super::{Importer, left, local, text};
use crate::fate::Fate;
use crate::imported::{Keys, Place};
use crate::value::Value;

/// The most middlewares of one router, those of chains included.
const MIDDLEWARES_MAX: usize = 200;

/// A middleware that is applied to a router.
#[derive(Debug, Clone)]
pub(super) struct Applied<'t> {
    pub(super) node: &'t Node,
    /// As it was said, as in `http.middlewares.auth.basicAuth`.
    pub(super) said: String,
    /// The router, by its index.
    pub(super) router: usize,
}

impl<'t> Importer<'t> {
    /// Notes something of a router, whose routes have no places yet.
    pub(super) fn of_router(
        &mut self,
        router: usize,
        place: &Place,
        said: impl Into<String>,
        why: impl Into<String>,
        what_to_do: &str,
    ) {
        self.of_routers.push((router, left(place, said, why, what_to_do)));
    }

    /// What the middlewares of these names do.
    pub(super) fn middlewares(&mut self, names: &[(String, Place)], group: &Group) -> Effects {
        let mut effects = Effects::default();
        let mut rest: Vec<(String, Place, usize)> =
            names.iter().rev().map(|(name, place)| (name.clone(), place.clone(), 0)).collect();
        let mut count = 0;
        while let Some((name, place, depth)) = rest.pop() {
            count += 1;
            if count > MIDDLEWARES_MAX || depth > 10 {
                effects.is_closed = true;
                let why = "it has too many middlewares, or a chain within itself; its routes answer 403";
                self.of_router(group.router, &place, format!("middleware {name}"), why, "write one list of them");
                break;
            }
            // Nothing behind a redirect of everything is reached.
            if effects.redirects_all() {
                break;
            }
            let all = self.dynamic.get("http.middlewares").map(Node::entries).unwrap_or_default();
            let found = all.iter().find(|(known, _)| known.eq_ignore_ascii_case(local(&name)));
            let Some((known, node)) = found else {
                effects.is_closed = true;
                let why = "this middleware is not in these files, and may keep somebody out; its routes answer 403";
                let what_to_do = "see what it does, and remove `deny`";
                self.of_router(group.router, &place, format!("middleware {name}"), why, what_to_do);
                continue;
            };
            for (kind, inner) in node.entries() {
                if kind.eq_ignore_ascii_case("chain") {
                    let names = inner.texts_at("middlewares").into_iter().rev();
                    rest.extend(names.map(|name| (name.to_owned(), inner.place.clone(), depth + 1)));
                    continue;
                }
                let said = format!("http.middlewares.{known}.{kind}");
                self.apply(kind, &Applied { node: inner, said, router: group.router }, group, &mut effects);
            }
        }
        effects
    }

    fn apply(&mut self, kind: &str, applied: &Applied<'t>, group: &Group, effects: &mut Effects) {
        let Applied { node, said, router } = applied;
        let lower = kind.to_ascii_lowercase();
        if node.is_off() || self.is_left(&lower, applied, effects) {
            return;
        }
        match &*lower {
            "headers" => self.headers(applied, group.is_tls, effects),
            "stripprefix" => {
                let prefixes = node.texts_at("prefixes").iter().map(|prefix| text::encoded(prefix)).collect();
                effects.paths.push(PathEdit::Strip(prefixes));
            }
            "addprefix" => {
                effects.paths.extend(node.text_at("prefix").map(|prefix| PathEdit::Add(text::encoded(prefix))))
            }
            "replacepath" => {
                effects.paths.extend(node.text_at("path").map(|path| PathEdit::Whole(text::encoded(path))))
            }
            "replacepathregex" => self.replace_path_regex(applied, effects),
            "redirectscheme" => self.redirect_scheme(applied, group, effects),
            "redirectregex" => self.redirect_regex(applied, group, effects),
            "ratelimit" => self.rate(applied, group, effects),
            "ipallowlist" | "ipwhitelist" => self.allow_list(applied, group, effects),
            "buffering" => {
                if let Some(bytes) = node.number_at("maxRequestBodyBytes").filter(|bytes| *bytes > 0) {
                    effects.keys.set_in("limits", "request_body", text::size(bytes.unsigned_abs()));
                }
            }
            "retry" => self.retry(applied, effects),
            _ => {
                effects.is_closed = true;
                let why =
                    "the importer does not know this middleware, and it may keep somebody out; its routes answer 403";
                self.of_router(*router, &node.place, said.clone(), why, "see what it does, and remove `deny`");
            }
        }
    }

    /// Whether nothing is made of a middleware of this kind. What keeps somebody out closes the routes.
    fn is_left(&mut self, kind: &str, applied: &Applied<'t>, effects: &mut Effects) -> bool {
        let Applied { node, said, router } = applied;
        let (why, what_to_do) = match fate_of(&format!("middlewares.{kind}")) {
            Some(Fate::Guard(why, what_to_do)) => {
                effects.is_closed = true;
                (format!("{why}; what it protects answers 403"), what_to_do)
            }
            Some(Fate::Left(why, what_to_do)) => (why.to_owned(), what_to_do),
            _ => {
                let part = Part::new(&format!("middlewares.{kind}"), said.clone());
                self.of_routers.extend(left_in(node, &part, None).into_iter().map(|left| (*router, left)));
                return false;
            }
        };
        self.of_router(*router, &node.place, said.clone(), why, what_to_do);
        true
    }

    fn rate(&mut self, applied: &Applied<'_>, group: &Group, effects: &mut Effects) {
        let Applied { node, said, router } = applied;
        let Some(average) = node.number_at("average").filter(|average| *average > 0) else { return };
        let mut note =
            |why: &str, what_to_do: &str| self.of_router(*router, &node.place, said.clone(), why, what_to_do);
        let period = node.text_at("period").unwrap_or("1s");
        let within = text::time(period).filter(|ms| (100..=86_400_000).contains(ms)).and_then(|_| some_time(period));
        let burst = node.number_at("burst").unwrap_or(1).max(1);
        let is_possible = average <= 1_000_000 && burst <= 1_000_000;
        let Some(within) = within.filter(|_| is_possible) else {
            return note("a rate is of up to 1000000 requests in 100 ms to a day", "write `rate` in the route");
        };
        let criterion = node.get("sourceCriterion");
        let header = criterion.and_then(|node| node.text_at("requestHeaderName"));
        let is_by_host = criterion.is_some_and(|node| node.is_true("requestHost"));
        let strategy = criterion.and_then(|node| node.get("ipStrategy"));
        let per = match header {
            Some(name) => format!("header:{}", name.to_ascii_lowercase()),
            None if is_by_host => "route".to_owned(),
            None => "address".to_owned(),
        };
        if is_by_host {
            note("unstick counts by address, by a header or by route: this is by route", "write a route for each host");
        }
        if strategy.is_some_and(|node| !node.entries().is_empty()) || header.is_none() && !is_by_host && group.trusts {
            note("unstick counts by the client that `trusted_proxies` name", "see that this is who is meant");
        }
        if effects.keys.get("rate").is_some() {
            return note("a route has one rate, the first", "decide on one of them");
        }
        let mut rate = Keys::default();
        rate.set("per", per);
        rate.set("requests", average);
        rate.set("in", within);
        rate.set("burst", burst);
        effects.keys.set("rate", rate);
    }

    fn retry(&mut self, applied: &Applied<'_>, effects: &mut Effects) {
        let Applied { node, said, router } = applied;
        if let Some(attempts) = node.number_at("attempts").filter(|attempts| *attempts > 0) {
            effects.keys.set_in("retry", "attempts", attempts.min(10));
            if attempts > 10 {
                let why = "there are 10 attempts at the utmost";
                self.of_router(*router, &node.place, said.clone(), why, "see [pool.NAME.retry]");
            }
        }
        let ranges: Vec<(i64, i64)> = node.texts_at("status").iter().filter_map(|range| self::range(range)).collect();
        let known: Vec<i64> = [502, 503, 504]
            .into_iter()
            .filter(|s| ranges.iter().any(|(low, high)| (low..=high).contains(&s)))
            .collect();
        let others: i64 = ranges.iter().map(|(low, high)| (high - low + 1).clamp(0, 1000)).sum();
        if !known.is_empty() {
            effects.keys.set_in("retry", "on_status", Value::from(known.clone()));
        }
        if others > known.len() as i64 {
            let why = "of responses, those with 502, 503 and 504 are repeated, and no others";
            self.of_router(*router, &node.place, format!("{said}.status"), why, "see `on_status` of [pool.NAME.retry]");
        }
    }
}

/// `502`, `500-599`.
fn range(text: &str) -> Option<(i64, i64)> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    Some((low.trim().parse().ok()?, high.trim().parse().ok()?))
        .filter(|(low, high)| 100 <= *low && low <= high && *high < 600)
}

/// The names in a list, with where they are.
pub(super) fn names(node: Option<&Node>) -> Vec<(String, Place)> {
    let Some(node) = node else { return Vec::new() };
    match &node.data {
        Data::List(elements) => {
            elements.iter().filter_map(|element| Some((element.text()?.to_owned(), element.place.clone()))).collect()
        }
        _ => node.texts().into_iter().map(|name| (name.to_owned(), node.place.clone())).collect(),
    }
}
