//! Finds the route of a request, by its host and then by its path. Pure functions.
//!
//! An exact host beats a wildcard, a longer wildcard beats a shorter one, and any host comes last. Within a host the
//! routes are tried in the order of [`route_order::order`]; one whose conditions the request does not meet counts as
//! absent. If no route of the host fits, the next less specific host is tried. Paths are compared in their normal form
//! ([`path::normal`]). Where an application may read a path in another way ([`path::read`]), the routes of the other
//! readings are found too: a request has to pass their guards.
//!
//! Whatever the number of routes, a request costs one look-up per host that may fit it and per prefix of its path, at
//! most as many as the longest of them has bytes, and one search for all regular expressions of a host. The hash is a
//! plain one: what is in the tables was written by the operator.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use fnv::FnvHashMap;
use regex::{RegexSet, RegexSetBuilder};

use super::asked::Asked;
use crate::config::model::{HostPattern, PATTERN_BYTES_MAX, PathPattern, Pattern, Route, Target};
use crate::config::path::Read;
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

/// The route of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its place in [`Routes::list`].
    pub route: usize,
    /// Whether the path is known to be normal.
    pub is_normal: bool,
    /// The routes of what else an application may read in the path, as far as they hold anybody back.
    pub others: Option<Box<[usize]>>,
}

/// Why a request has no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unroutable {
    /// None is for it.
    NoRoute,
    /// Its path can be read in several ways, and nobody can say which is right.
    Ambiguous,
}

/// A route of a host, and its place in the order in which they are tried.
#[derive(Debug, Clone, Copy)]
struct Entry {
    rank: usize,
    route: usize,
    /// Whether host and path are all that it asks for.
    is_free: bool,
}

/// The paths of one host. Each has its routes in the order in which they are tried.
#[derive(Debug, Default)]
struct Paths {
    exact: FnvHashMap<String, Vec<Entry>>,
    regexes: Option<Box<Regexes>>,
    /// The prefixes by their lengths, in descending order.
    lengths: Vec<Length>,
}

/// The prefixes of one length.
#[derive(Debug)]
struct Length {
    bytes: usize,
    /// Whether they end with a slash, as the root does.
    is_open: bool,
    /// The rank of the first of their routes.
    first: usize,
    prefixes: Prefixes,
}

/// Prefixes of one length with their routes.
#[derive(Debug)]
enum Prefixes {
    /// There is only one: to compare it is cheaper than to hash a path.
    One(String, Vec<Entry>),
    Many(FnvHashMap<String, Vec<Entry>>),
}

impl Prefixes {
    fn add(&mut self, prefix: &str, entry: Entry) {
        match self {
            Self::One(known, entries) if known == prefix => entries.push(entry),
            Self::One(known, entries) => {
                let known = (std::mem::take(known), std::mem::take(entries));
                *self = Self::Many([known, (prefix.to_owned(), vec![entry])].into_iter().collect());
            }
            Self::Many(all) => all.entry(prefix.to_owned()).or_default().push(entry),
        }
    }

    fn get(&self, prefix: &str) -> Option<&[Entry]> {
        match self {
            Self::One(known, entries) => (known == prefix).then_some(entries),
            Self::Many(all) => all.get(prefix).map(|entries| &**entries),
        }
    }
}

impl Length {
    /// The prefix of a path that has this length, if it ends with a segment. `/api` and `/api/` are prefixes of
    /// `/api/x`.
    fn of<'p>(&self, path: &'p str) -> Option<&'p str> {
        let bytes = path.as_bytes();
        let is_whole = match self.is_open {
            true => bytes.get(self.bytes.checked_sub(1)?)? == &b'/',
            false => bytes.get(self.bytes).map_or(bytes.len() == self.bytes, |&next| next == b'/'),
        };
        if is_whole { path.get(..self.bytes) } else { None }
    }
}

/// The first route that fits, of those that were looked at.
struct Best<'a> {
    list: &'a [Route],
    asked: &'a Asked<'a>,
    found: Option<Entry>,
}

impl Best<'_> {
    /// Whether nothing from this rank on could take its place.
    fn is_before(&self, rank: usize) -> bool {
        self.found.is_some_and(|found| found.rank < rank)
    }

    fn consider(&mut self, entries: &[Entry]) {
        let mut better = entries.iter().take_while(|entry| !self.is_before(entry.rank));
        let meets = |entry: &Entry| self.list.get(entry.route).is_some_and(|route| self.asked.meets(route));
        self.found = better.find(|entry| entry.is_free || meets(entry)).copied().or(self.found);
    }
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

    /// The route for a request.
    ///
    /// # Errors
    /// No route fits, or nobody can say which.
    #[inline]
    pub fn find(&self, asked: &Asked<'_>) -> Result<Found, Unroutable> {
        if let Some(route) = self.only {
            return Ok(Found { route, is_normal: false, others: None });
        }
        match path::read(asked.path) {
            Read::Plain(path) => {
                let route = self.look_up(asked, path).ok_or(Unroutable::NoRoute)?;
                Ok(Found { route, is_normal: true, others: None })
            }
            Read::Odd { normal, others } => self.find_odd(asked, &normal, &others),
            Read::Climbs => Err(Unroutable::Ambiguous),
        }
    }

    /// The route for a path that may be read in other ways too. It would otherwise be enough to write `/admin%2Fx` to
    /// pass the guard of `/admin`.
    #[cold]
    fn find_odd(&self, asked: &Asked<'_>, path: &str, others: &[String]) -> Result<Found, Unroutable> {
        let route = self.look_up(asked, path).ok_or(Unroutable::NoRoute)?;
        let holds_back = |place: &usize| *place != route && self.list.get(*place).is_some_and(holds_back);
        let mut others: Vec<usize> = others.iter().filter_map(|path| self.look_up(asked, path)).collect();
        others.sort_unstable();
        others.dedup();
        others.retain(holds_back);
        Ok(Found { route, is_normal: false, others: (!others.is_empty()).then(|| others.into()) })
    }

    fn look_up(&self, asked: &Asked<'_>, path: &str) -> Option<usize> {
        let best = |paths: &Paths| paths.best(&self.list, asked, path);
        if self.exact.is_empty() && self.below.is_empty() {
            return best(&self.any);
        }
        let name = bare_host(asked.host);
        let other: String;
        let name = if name.bytes().any(|b| b.is_ascii_uppercase() || b == b'[') {
            other = normal_host(name);
            &other
        } else {
            name
        };
        let below = || domains(name, self.below_max).find_map(|domain| self.below.get(domain).and_then(best));
        self.exact.get(name).and_then(best).or_else(below).or_else(|| best(&self.any))
    }
}

/// Whether a route does not let every request of it through to a replica.
fn holds_back(route: &Route) -> bool {
    let leads_nowhere = matches!(route.target, Target::Respond(_) | Target::Redirect(_)) || route.maintenance;
    leads_nowhere || !route.allow.is_empty() || !route.deny.is_empty() || route.rate.is_some()
}

/// The place of the only route, if it is for everything. One that rewrites paths has to know how they may be read.
fn only(list: &[Route]) -> Option<usize> {
    let [route] = list else { return None };
    let is_everywhere = route.host.contains(&HostPattern::Any) && route.path == PathPattern::Prefix("/".to_owned());
    (route.conditions() == 0 && is_everywhere && route.rewrite.is_none()).then_some(0)
}

impl Paths {
    fn new(routes: &[(usize, &Route)]) -> Self {
        let mut paths = Self::default();
        let by_place: HashMap<usize, &Route> = routes.iter().copied().collect();
        for (rank, place) in route_order::order(routes).into_iter().enumerate() {
            let Some(route) = by_place.get(&place) else { continue };
            let entry = Entry { rank, route: place, is_free: route.conditions() == 0 };
            match &route.path {
                PathPattern::Exact(path) => paths.exact.entry(path.clone()).or_default().push(entry),
                PathPattern::Prefix(prefix) => paths.add_prefix(prefix, entry),
                PathPattern::Regex(pattern) => paths.regexes.get_or_insert_default().add(pattern, entry),
            }
        }
        if let Some(regexes) = &mut paths.regexes {
            regexes.finish();
        }
        paths
    }

    /// Routes come in the order of their ranks, so the first of a length has the lowest.
    fn add_prefix(&mut self, prefix: &str, entry: Entry) {
        let (bytes, is_open) = (prefix.len(), prefix.ends_with('/'));
        let place = |length: &Length| (length.bytes, length.is_open).cmp(&(bytes, is_open)).reverse();
        match self.lengths.binary_search_by(place) {
            Ok(at) => self.lengths[at].prefixes.add(prefix, entry),
            Err(at) => {
                let prefixes = Prefixes::One(prefix.to_owned(), vec![entry]);
                self.lengths.insert(at, Length { bytes, is_open, first: entry.rank, prefixes });
            }
        }
    }

    /// The first route that fits.
    fn best(&self, list: &[Route], asked: &Asked<'_>, path: &str) -> Option<usize> {
        let mut best = Best { list, asked, found: None };
        if let Some(entries) = self.exact.get(path) {
            best.consider(entries);
        }
        if let Some(regexes) = &self.regexes {
            regexes.search(path, |entries| best.consider(entries));
        }
        // `OPTIONS *` is for the server as a whole.
        let path = if path == "*" { "/" } else { path };
        for length in &self.lengths {
            if !best.is_before(length.first)
                && let Some(prefix) = length.of(path)
                && let Some(entries) = length.prefixes.get(prefix)
            {
                best.consider(entries);
            }
        }
        best.found.map(|entry| entry.route)
    }
}

/// The domains that a host is below, the longest first, without those of more than `most` bytes.
fn domains(name: &str, most: usize) -> impl Iterator<Item = &str> {
    let from = name.len().saturating_sub(most + 1);
    let dots = name.char_indices().skip_while(move |(at, _)| *at < from.max(1));
    dots.filter(|(_, c)| *c == '.').filter_map(|(at, _)| name.get(at + 1..))
}

/// A host as routes have it: in lower case, and an IPv6 address in its shortest form (RFC 5952).
#[cold]
fn normal_host(name: &str) -> String {
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(str::parse::<Ipv6Addr>);
    address.and_then(Result::ok).map_or_else(|| name.to_ascii_lowercase(), |address| format!("[{address}]"))
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
mod guards;
#[cfg(test)]
mod tests;
