//! The `[[route]]`s of the file.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use unstick_reading::{Section, Value, did_you_mean};

use super::key::{self, Change, Key, Kind, Shown, keys};
use super::kinds::quoted;
use super::model::{Pool, Route};
use super::route_kinds::{Methods, OneOrMore, PRIORITY, Tests};
use super::{route_order, values};

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
    pool: Name,
});

/// A route, and the place of its table.
pub(super) type Placed = (Route, Range<usize>);

/// Reads every route; the only pool serves everything if there is none.
pub(super) fn read_all(top: &Section<'_>, pools: &Pools, listeners: &[String]) -> Vec<Route> {
    let sections = top.each("route");
    let only_pool = if pools.len() == 1 { pools.keys().next() } else { None };
    if sections.is_empty() {
        return only_pool.into_iter().map(|pool| Route { pool: pool.clone(), ..Route::default() }).collect();
    }
    let known = Known { pools, only_pool, listeners };
    let routes: Vec<Placed> =
        sections.iter().filter_map(|section| Some((route(section, &known)?, section.span.clone()))).collect();
    route_order::check(&routes, top.sink);
    let used: BTreeSet<&str> = routes.iter().map(|(route, _)| &*route.pool).collect();
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
    let mut route = Route::default();
    if let Some(only) = known.only_pool {
        route.pool.clone_from(only);
    }
    key::read(section, KEYS, &mut route);
    section.finish();
    if route.pool.is_empty() {
        section.missing("pool", section.span.clone(), "this route names no pool", "add pool = \"...\"");
    }
    for (key, names) in [("pool", known.pools.keys().collect::<Vec<_>>()), ("listen", known.listeners.iter().collect())]
    {
        let Some(value) = section.get(key) else { continue };
        let written = if value.value.is_array() { value.array().unwrap_or_default() } else { vec![value] };
        written.iter().for_each(|name| check_name(name, key, &names));
    }
    (section.sink.count() == reported).then_some(route)
}

/// Reports a name that nothing has.
fn check_name(value: &Value<'_>, key: &str, names: &[&String]) {
    let Some(name) = value.value.as_str() else { return };
    if names.iter().any(|known| *known == name) {
        return;
    }
    let known = || names.iter().map(|name| name.as_str());
    let (what, all) = if key == "pool" { ("pool", "pools") } else { ("listener", "listeners") };
    let list = || known().collect::<Vec<_>>().join(", ");
    let help = did_you_mean(name, known()).unwrap_or_else(|| format!("known {all}: {}", list()));
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

/// A name that is looked up later.
struct Name;

impl Kind<String> for Name {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<String> {
        section.parsed(key, values::name)
    }

    fn show(&self, key: &str, value: &String, shown: &mut Shown) {
        shown.add(key, quoted(value));
    }
}

impl Route {
    /// The keys that differ in `next`.
    pub fn changes(&self, next: &Self) -> Vec<Change> {
        key::changes(KEYS, self, next)
    }
}
