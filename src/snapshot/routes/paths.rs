//! The paths of one host, each with the routes that it may have.

use std::collections::HashMap;
use std::mem;

use fnv::FnvHashMap;
use regex::{RegexSet, RegexSetBuilder};

use crate::config::model::{PATTERN_BYTES_MAX, PathPattern, Pattern, Route};
use crate::config::route_order;
use crate::snapshot::asked::Asked;

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
pub(super) struct Paths {
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
    /// To compare one is cheaper than to hash a path.
    One(String, Vec<Entry>),
    Many(FnvHashMap<String, Vec<Entry>>),
}

impl Prefixes {
    fn add(&mut self, prefix: &str, entry: Entry) {
        match self {
            Self::One(known, entries) if known == prefix => entries.push(entry),
            Self::One(known, entries) => {
                let known = (mem::take(known), mem::take(entries));
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

impl Paths {
    /// The paths of these routes; each comes with its place in the list.
    pub(super) fn new(routes: &[(usize, &Route)]) -> Self {
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
                let (first, prefixes) = (entry.rank, Prefixes::One(prefix.to_owned(), vec![entry]));
                self.lengths.insert(at, Length { bytes, is_open, first, prefixes });
            }
        }
    }

    /// The first route that fits.
    pub(super) fn best(&self, list: &[Route], asked: &Asked<'_>, path: &str) -> Option<usize> {
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
