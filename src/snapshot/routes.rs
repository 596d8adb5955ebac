//! Finds the route of a request, by its host and then by its path. Pure functions.
//!
//! An exact host beats a wildcard, a longer wildcard beats a shorter one, and any host comes last. Within a host the
//! routes are tried in the order of [`route_order::order`]; one whose conditions the request does not meet counts as
//! absent. If no route of the host fits, the next less specific host is tried. Paths are compared in their normal form
//! ([`path::normal`]).
//!
//! Whatever the number of routes, a request costs one look-up per host that may fit it and per prefix of its path, at
//! most as many as the longest of them has bytes, and one search for all regular expressions of a host. The hash is a
//! plain one: what is in the tables was written by the operator.

use std::collections::HashMap;

use fnv::FnvHashMap;
use regex::{RegexSet, RegexSetBuilder};

use super::asked::Asked;
use crate::config::model::{HostPattern, PATTERN_BYTES_MAX, PathPattern, Pattern, Route};
use crate::config::{path, route_order};

/// The routing table.
#[derive(Debug, Default)]
pub struct Routes {
    list: Box<[Route]>,
    /// The only route, if that is for everything: then there is nothing to look up.
    only: Option<usize>,
    exact: FnvHashMap<String, Paths>,
    /// By domains without the leading `*.`.
    below: FnvHashMap<String, Paths>,
    /// The length of the longest of these domains.
    below_max: usize,
    any: Paths,
}

/// A route of a host, and its place in the order in which they are tried.
#[derive(Debug, Clone, Copy)]
struct Entry {
    rank: usize,
    route: usize,
}

/// The paths of one host. Each has its routes in the order in which they are tried.
#[derive(Debug, Default)]
struct Paths {
    exact: FnvHashMap<String, Vec<Entry>>,
    regexes: Option<Box<Regexes>>,
    prefixes: FnvHashMap<String, Vec<Entry>>,
    /// The lengths that prefixes have, in ascending order.
    lengths: Vec<usize>,
}

/// All regular expressions of one host, each with its routes.
#[derive(Debug, Default)]
struct Regexes {
    /// All of them, to be searched at once; `None` if they take too much memory together.
    set: Option<RegexSet>,
    patterns: Vec<(Pattern, Vec<Entry>)>,
}

impl Regexes {
    fn add(&mut self, pattern: &Pattern, entry: Entry) {
        match self.patterns.iter_mut().find(|(known, _)| known == pattern) {
            Some((_, entries)) => entries.push(entry),
            None => self.patterns.push((pattern.clone(), vec![entry])),
        }
    }

    fn finish(&mut self) {
        let most = PATTERN_BYTES_MAX * self.patterns.len();
        let written = self.patterns.iter().map(|(pattern, _)| pattern.as_str());
        self.set = RegexSetBuilder::new(written).size_limit(most).build().ok();
    }

    /// Calls `found` with the routes of every one that is found in `path`.
    fn search(&self, path: &str, mut found: impl FnMut(&[Entry])) {
        match &self.set {
            Some(set) => {
                set.matches(path).iter().filter_map(|at| self.patterns.get(at)).for_each(|(_, all)| found(all))
            }
            None => self.patterns.iter().filter(|(pattern, _)| pattern.is_in(path)).for_each(|(_, all)| found(all)),
        }
    }
}

impl Routes {
    /// Builds the table.
    pub fn new(list: Box<[Route]>) -> Self {
        let mut hosts: HashMap<&HostPattern, Vec<(usize, &Route)>> = HashMap::new();
        for (place, route) in list.iter().enumerate() {
            for host in &route.host {
                hosts.entry(host).or_default().push((place, route));
            }
        }
        let mut table = Self { only: only(&list), ..Self::default() };
        for (host, routes) in hosts {
            let paths = Paths::new(&routes);
            match host {
                HostPattern::Any => table.any = paths,
                HostPattern::Exact(name) => _ = table.exact.insert(name.clone(), paths),
                HostPattern::Below(domain) => {
                    table.below_max = table.below_max.max(domain.len());
                    table.below.insert(domain.clone(), paths);
                }
            }
        }
        table.list = list;
        table
    }

    /// The routes as the file has them.
    pub fn list(&self) -> &[Route] {
        &self.list
    }

    /// The place of the route for a request in [`Self::list`]. `None` if no route fits.
    #[inline]
    pub fn find(&self, asked: &Asked<'_>) -> Option<usize> {
        self.only.or_else(|| self.look_up(asked))
    }

    fn look_up(&self, asked: &Asked<'_>) -> Option<usize> {
        let path = path::normal(asked.path);
        let best = |paths: &Paths| paths.best(&self.list, asked, &path);
        if self.exact.is_empty() && self.below.is_empty() {
            return best(&self.any);
        }
        let name = bare_host(asked.host);
        let lower: String;
        let name = if name.bytes().any(|b| b.is_ascii_uppercase()) {
            lower = name.to_ascii_lowercase();
            &lower
        } else {
            name
        };
        let below = || domains(name, self.below_max).find_map(|domain| self.below.get(domain).and_then(best));
        self.exact.get(name).and_then(best).or_else(below).or_else(|| best(&self.any))
    }
}

/// The place of the only route, if it is for everything.
fn only(list: &[Route]) -> Option<usize> {
    let [route] = list else { return None };
    let is_everywhere = route.host.contains(&HostPattern::Any) && route.path == PathPattern::Prefix("/".to_owned());
    (route.conditions() == 0 && is_everywhere).then_some(0)
}

impl Paths {
    fn new(routes: &[(usize, &Route)]) -> Self {
        let mut paths = Self::default();
        let by_place: HashMap<usize, &Route> = routes.iter().copied().collect();
        for (rank, place) in route_order::order(routes).into_iter().enumerate() {
            let (Some(route), entry) = (by_place.get(&place), Entry { rank, route: place }) else { continue };
            match &route.path {
                PathPattern::Exact(path) => paths.exact.entry(path.clone()).or_default().push(entry),
                PathPattern::Prefix(prefix) => {
                    if let Err(at) = paths.lengths.binary_search(&prefix.len()) {
                        paths.lengths.insert(at, prefix.len());
                    }
                    paths.prefixes.entry(prefix.clone()).or_default().push(entry);
                }
                PathPattern::Regex(pattern) => paths.regexes.get_or_insert_default().add(pattern, entry),
            }
        }
        if let Some(regexes) = &mut paths.regexes {
            regexes.finish();
        }
        paths
    }

    /// The first route that fits.
    fn best(&self, list: &[Route], asked: &Asked<'_>, path: &str) -> Option<usize> {
        let mut best: Option<Entry> = None;
        let mut consider = |entries: &[Entry]| {
            let mut better = entries.iter().take_while(|entry| best.is_none_or(|best| entry.rank < best.rank));
            let meets = |entry: &&Entry| list.get(entry.route).is_some_and(|route| asked.meets(route));
            best = better.find(meets).copied().or(best);
        };
        if let Some(entries) = self.exact.get(path) {
            consider(entries);
        }
        if let Some(regexes) = &self.regexes {
            regexes.search(path, &mut consider);
        }
        for prefix in self.prefixes_of(path) {
            if let Some(entries) = self.prefixes.get(prefix) {
                consider(entries);
            }
        }
        best.map(|entry| entry.route)
    }

    /// The prefixes of a path, by whole segments, that may be among those of routes.
    fn prefixes_of<'p>(&self, path: &'p str) -> impl Iterator<Item = &'p str> {
        // `OPTIONS *` is for the server as a whole.
        let path = if path == "*" { "/" } else { path };
        let ends_segment = move |length: usize| {
            let bytes = path.as_bytes();
            let is_slash = |at: usize| bytes.get(at) == Some(&b'/');
            // `/api` and `/api/` are prefixes of `/api/x`.
            length == path.len() || is_slash(length) || length.checked_sub(1).is_some_and(is_slash)
        };
        let fitting = self.lengths.iter().copied().take_while(|length| *length <= path.len());
        fitting.filter(move |length| ends_segment(*length)).filter_map(|length| path.get(..length))
    }
}

/// The domains that a host is below, the longest first, without those of more than `most` bytes.
fn domains(name: &str, most: usize) -> impl Iterator<Item = &str> {
    let from = name.len().saturating_sub(most + 1);
    let dots = name.char_indices().skip_while(move |(at, _)| *at < from.max(1));
    dots.filter(|(_, c)| *c == '.').filter_map(|(at, _)| name.get(at + 1..))
}

/// The host without its port and without a trailing dot.
pub fn bare_host(host: &str) -> &str {
    let name = match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    };
    name.trim_end_matches('.')
}

#[cfg(test)]
mod tests;
