//! The `[[route]]`s of the file.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use unstick_reading::{Section, did_you_mean};

use super::model::{HostPattern, PathPattern, Pool, Route};
use super::values;

/// The pools by name, with the place of each; one that is not valid is there too, so that routes may name it.
pub(super) type Pools = BTreeMap<String, (Option<Pool>, Range<usize>)>;

/// Reads every route; the only pool serves everything if there is none.
pub(super) fn read_all(top: &Section<'_>, pools: &Pools) -> Vec<Route> {
    let sections = top.each("route");
    let only_pool = if pools.len() == 1 { pools.keys().next() } else { None };
    if sections.is_empty() {
        let route =
            |pool: &String| Route { host: HostPattern::Any, path: PathPattern::Prefix("/".into()), pool: pool.clone() };
        return only_pool.into_iter().map(route).collect();
    }
    let mut routes: Vec<Route> = Vec::new();
    let mut lines: BTreeMap<(HostPattern, PathPattern), usize> = BTreeMap::new();
    for section in sections {
        let Some(route) = route(&section, pools, only_pool) else { continue };
        let line = section.sink.place(section.span.start).0;
        let place = (route.host.clone(), route.path.clone());
        if let Some(first) = lines.get(&place) {
            let message = format!("this route is for the same host and path as the one in line {first}");
            section.sink.report(section.span.clone(), message, None);
        }
        lines.entry(place).or_insert(line);
        routes.push(route);
    }
    let used: BTreeSet<&str> = routes.iter().map(|route| &*route.pool).collect();
    for (name, (_, span)) in pools {
        if top.sink.is_clean() && !used.contains(&**name) {
            let help = "name it in a [[route]], or remove it".to_owned();
            top.sink.report(span.clone(), format!("no route leads to pool `{name}`"), Some(help));
        }
    }
    routes
}

fn route(section: &Section<'_>, pools: &Pools, only_pool: Option<&String>) -> Option<Route> {
    let host = section.parsed_or("host", HostPattern::Any, values::host_pattern);
    let path = section.parsed_or("path", PathPattern::Prefix("/".into()), values::path_pattern);
    let pool = pool_of(section, pools, only_pool);
    section.finish();
    if only_pool.is_none() {
        section.missing("pool", section.span.clone(), "this route names no pool", "add pool = \"...\"");
    }
    Some(Route { host: host?, path: path?, pool: pool? })
}

fn pool_of(section: &Section<'_>, pools: &Pools, only_pool: Option<&String>) -> Option<String> {
    let Some(value) = section.get("pool") else { return only_pool.cloned() };
    let name = value.string()?;
    if !pools.contains_key(name) {
        let known = || pools.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let help =
            did_you_mean(name, pools.keys().map(String::as_str)).unwrap_or_else(|| format!("known pools: {}", known()));
        value.report(format!("there is no pool `{name}`"), Some(help));
        return None;
    }
    Some(name.to_owned())
}
