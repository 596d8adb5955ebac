//! The `[[route]]`s of the file.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use unstick_reading::{Section, Value, did_you_mean};

use super::key::{self, Change, Key, Kind, Shown, keys};
use super::kinds::{List, Number, Optional, Size, Switch, Table, Text, Time, quoted};
use super::limits::{ANY_TIME, REPLAY_MAX, SOME_TIME};
use super::model::{ATTEMPTS_MAX, Pool, Route, RouteLimits, RouteRetry, RouteTimeouts};
use super::pool::UnwellStatuses;
use super::route_actions::{Edits, Message, Pages, RewriteKeys, TargetKeys};
use super::route_kinds::{Methods, OneOrMore, PRIORITY, Tests};
use super::route_rate::RateKeys;
use super::{route_checks, route_order, values};

/// The pools by name, with the place of each; one that is not valid is there too, so that routes may name it.
pub(super) type Pools = BTreeMap<String, (Option<Pool>, Range<usize>)>;

/// Every key of a route.
const KEYS: &[Key<Route>] = keys!(Route {
    listen: OneOrMore(values::name),
    host: OneOrMore(values::host_pattern),
    path: PathKind,
    method: Methods,
    header: Tests(values::field_name),
    query: Tests(values::name),
    priority: PRIORITY,
    allow: List(values::network),
    deny: List(values::network),
    rate: Optional(RateKeys),
    target = "pool": TargetKeys,
    fallback: Optional(Text(values::name)),
    rewrite = "strip_prefix": RewriteKeys,
    request_headers: Edits(Message::Request),
    response_headers: Edits(Message::Response),
    errors: Pages,
    timeouts: Table(TIMEOUTS),
    limits: Table(LIMITS),
    retry: Table(RETRY),
    access_log: Switch,
    maintenance: Switch,
});

const TIMEOUTS: &[Key<RouteTimeouts>] = keys!(RouteTimeouts {
    request_body: Optional(Time(SOME_TIME)),
    connect: Optional(Time(SOME_TIME)),
    response_head: Optional(Time(SOME_TIME)),
    response_body: Optional(Time(SOME_TIME)),
    tunnel_idle: Optional(Time(SOME_TIME)),
    tunnel: Optional(Time(ANY_TIME)),
    request: Optional(Time(ANY_TIME)),
});

const LIMITS: &[Key<RouteLimits>] =
    keys!(RouteLimits { request_body: Optional(Size(0..=u64::MAX)), replay: Optional(Size(0..=REPLAY_MAX)) });

const RETRY: &[Key<RouteRetry>] = keys!(RouteRetry {
    attempts: Optional(Number(1..=ATTEMPTS_MAX as u64)),
    attempt_timeout: Optional(Time(ANY_TIME)),
    on_status: Optional(UnwellStatuses),
});

/// A route, and the place of its table.
pub(super) type Placed = (Route, Range<usize>);

/// Reads every route; the only pool serves everything if there is none.
pub(super) fn read_all(top: &Section<'_>, pools: &Pools, listeners: &[String]) -> Vec<Route> {
    let sections = top.each("route");
    let only_pool = if pools.len() == 1 { pools.keys().next() } else { None };
    if sections.is_empty() {
        return only_pool.into_iter().map(|pool| Route::to_pool(pool)).collect();
    }
    let known = Known { pools, only_pool, listeners };
    let routes: Vec<Placed> =
        sections.iter().filter_map(|section| Some((route(section, &known)?, section.span.clone()))).collect();
    route_order::check(&routes, top.sink);
    let used: BTreeSet<&str> = routes.iter().flat_map(|(route, _)| route.pools()).collect();
    for (name, (_, span)) in pools {
        if top.sink.is_clean() && !used.contains(&**name) {
            let help = "name it in a [[route]], or remove it".to_owned();
            top.sink.report(span.clone(), format!("no route leads to pool `{name}`"), Some(help));
        }
    }
    routes.into_iter().map(|(route, _)| route).collect()
}

/// What routes may name.
struct Known<'a> {
    pools: &'a Pools,
    only_pool: Option<&'a String>,
    listeners: &'a [String],
}

/// Reads a route; `None` if it is not valid, which was reported.
fn route(section: &Section<'_>, known: &Known<'_>) -> Option<Route> {
    let reported = section.sink.count();
    let mut route = known.only_pool.map_or_else(Route::default, |pool| Route::to_pool(pool));
    key::read(section, KEYS, &mut route);
    section.finish();
    if route.pools().any(str::is_empty) {
        let help = "add pool = \"...\", or one of split, respond and redirect";
        section.missing("pool", section.span.clone(), "this route names no pool", help);
    }
    check_names(section, known);
    route_checks::check(section, &route);
    (section.sink.count() == reported).then_some(route)
}

/// Reports names that nothing has.
fn check_names(section: &Section<'_>, known: &Known<'_>) {
    let pool = |value: &Value<'_>, name: &str| {
        if !known.pools.contains_key(name) {
            unknown(value, name, "pool", known.pools.keys());
        }
    };
    for value in ["pool", "fallback"].iter().filter_map(|key| section.get(key)) {
        value.value.as_str().into_iter().for_each(|name| pool(&value, name));
    }
    if let Some(split) = section.get("split").filter(|split| split.value.is_table()) {
        split.entries().unwrap_or_default().iter().for_each(|(name, value)| pool(value, name));
    }
    if let Some(value) = section.get("listen") {
        let written = if value.value.is_array() { value.array().unwrap_or_default() } else { vec![value] };
        let named = written.iter().filter_map(|value| Some((value, value.value.as_str()?)));
        let unheard = named.filter(|(_, name)| !known.listeners.iter().any(|known| known == name));
        unheard.for_each(|(value, name)| unknown(value, name, "listener", known.listeners.iter()));
    }
}

fn unknown<'n>(value: &Value<'_>, name: &str, what: &str, known: impl Iterator<Item = &'n String> + Clone) {
    let list = || known.clone().map(String::as_str).collect::<Vec<_>>().join(", ");
    let help = did_you_mean(name, known.clone().map(String::as_str));
    let help = help.unwrap_or_else(|| format!("known {what}s: {}", list()));
    value.report(format!("there is no {what} `{name}`"), Some(help));
}

/// The path of a route.
struct PathKind;

impl Kind<super::model::PathPattern> for PathKind {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<super::model::PathPattern> {
        section.parsed(key, values::path_pattern)
    }

    fn show(&self, key: &str, value: &super::model::PathPattern, shown: &mut Shown) {
        shown.add(key, quoted(&value.to_string()));
    }
}

impl Route {
    /// The keys that differ in `next`.
    pub fn changes(&self, next: &Self) -> Vec<Change> {
        key::changes(KEYS, self, next)
    }
}
