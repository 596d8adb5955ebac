//! Routes that no request can reach, and routes between which only their order in the file would decide.
//!
//! Of the routes of a host, the one with the higher priority is tried first, then exact paths before regular
//! expressions before prefixes, longer prefixes before shorter ones, and more conditions before fewer. Between regular
//! expressions the order of the file decides, as people expect; between all others it must not.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use unstick_reading::Sink;

use super::model::{Expected, HostPattern, PathPattern, Pattern, Route, Test};
use super::path::has_prefix;
use super::route::Placed;

/// The order in which `routes`, which are those of one host, are tried. Each comes with its place in the file, and the
/// places come back.
pub fn order(routes: &[(usize, &Route)]) -> Vec<usize> {
    // Regular expressions that are written alike have the place of the first of them.
    let mut first: HashMap<&Pattern, usize> = HashMap::new();
    for (place, route) in routes {
        if let PathPattern::Regex(pattern) = &route.path {
            first.entry(pattern).or_insert(*place);
        }
    }
    let path = |route: &Route| match &route.path {
        PathPattern::Exact(_) => (0, 0),
        PathPattern::Regex(pattern) => (1, first.get(pattern).copied().unwrap_or_default()),
        PathPattern::Prefix(prefix) => (2, usize::MAX - prefix.len()),
    };
    let mut order = routes.to_vec();
    order.sort_by_key(|(place, route)| (Reverse(route.priority), path(route), Reverse(route.conditions()), *place));
    order.into_iter().map(|(place, _)| place).collect()
}

/// Reports routes that cannot be reached, and those whose order in the file would decide.
pub(super) fn check(routes: &[Placed], sink: &Sink<'_>) {
    let mut hosts: BTreeMap<&HostPattern, Vec<usize>> = BTreeMap::new();
    for (place, (route, _)) in routes.iter().enumerate() {
        for host in &route.host {
            hosts.entry(host).or_default().push(place);
        }
    }
    let mut told = vec![false; routes.len()];
    for (host, places) in hosts {
        let of_host: Vec<(usize, &Route)> = places.iter().map(|&place| (place, &routes[place].0)).collect();
        let mut before = Before::default();
        for place in order(&of_host) {
            let (route, span) = &routes[place];
            let found = before.find(routes, route);
            if let (Some((other, problem)), false) = (found, told[place]) {
                told[place] = true;
                // A route of several hosts may be reached by the others.
                let of = if route.host.len() > 1 { format!(" for host {host}") } else { String::new() };
                report(sink, &of, (span, &routes[other].1), problem);
            }
            before.add(place, route);
        }
    }
}

/// What is wrong between a route and one that is tried before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clash {
    /// Every request that fits the later one fits the earlier one.
    Unreachable,
    /// Some requests fit both, and nothing but their order in the file decides.
    Ambiguous,
}

fn report(sink: &Sink<'_>, of: &str, (span, other): (&Range<usize>, &Range<usize>), clash: Clash) {
    let place = sink.line_seen_from(other.start, span.start);
    let (message, help) = match clash {
        Clash::Unreachable => (
            format!("no request{of} reaches this route: all that fit it go to the one in {place}"),
            "remove it, give it a condition that the other lacks, or a higher priority",
        ),
        Clash::Ambiguous => (
            format!("this route and the one in {place} are for the same path, and both fit some requests"),
            "give one of them a higher priority, or a condition that excludes the other",
        ),
    };
    sink.report(span.clone(), message, Some(help.to_owned()));
}

/// The routes of a host that are tried before the one that is looked at, by their paths.
#[derive(Default)]
struct Before<'a> {
    by_path: HashMap<&'a PathPattern, Vec<usize>>,
    /// The lengths of the prefixes among them.
    lengths: Vec<usize>,
}

impl<'a> Before<'a> {
    fn add(&mut self, place: usize, route: &'a Route) {
        self.by_path.entry(&route.path).or_default().push(place);
        if let PathPattern::Prefix(prefix) = &route.path
            && let Err(at) = self.lengths.binary_search(&prefix.len())
        {
            self.lengths.insert(at, prefix.len());
        }
    }

    /// A route before `route` that takes all of its requests, or that is no better than it.
    fn find(&self, routes: &[Placed], route: &Route) -> Option<(usize, Clash)> {
        let same = self.by_path.get(&route.path).into_iter().flatten().copied();
        let unreachable = |place: &usize| routes[*place].0.takes_all_of(route);
        let above = self.above(&route.path).find(unreachable);
        if let Some(place) = same.clone().find(unreachable).or(above) {
            return Some((place, Clash::Unreachable));
        }
        let is_tie = |place: &usize| {
            let other = &routes[*place].0;
            other.priority == route.priority && other.conditions() == route.conditions() && !other.excludes(route)
        };
        let tie = if matches!(route.path, PathPattern::Regex(_)) { None } else { same.clone().find(is_tie) };
        tie.map(|place| (place, Clash::Ambiguous))
    }

    /// The routes whose prefix is that of every request that fits `path`.
    fn above(&self, path: &PathPattern) -> impl Iterator<Item = usize> {
        // A regular expression may fit any path.
        let path = match path {
            PathPattern::Exact(path) | PathPattern::Prefix(path) => path.as_str(),
            PathPattern::Regex(_) => "/",
        };
        let prefixes = self.lengths.iter().filter_map(|&length| path.get(..length));
        let fitting = prefixes.filter(|prefix| has_prefix(path, prefix));
        fitting
            .flat_map(|prefix| self.by_path.get(&PathPattern::Prefix(prefix.to_owned())).into_iter().flatten().copied())
    }
}

impl Route {
    /// Whether it has no condition, besides host and path, that a request which fits `other` may not meet.
    fn takes_all_of(&self, other: &Self) -> bool {
        contains(&self.listen, &other.listen)
            && contains(&self.method, &other.method)
            && self.header.iter().all(|test| is_implied(test, &other.header))
            && self.query.iter().all(|test| is_implied(test, &other.query))
    }

    /// Whether no request meets the conditions of both, besides host and path.
    fn excludes(&self, other: &Self) -> bool {
        are_apart(&self.listen, &other.listen)
            || are_apart(&self.method, &other.method)
            || exclude(&self.header, &other.header)
            || exclude(&self.query, &other.query)
    }
}

/// Whether a list, which stands for all if it is empty, has everything that `other` has.
fn contains<T: PartialEq>(list: &[T], other: &[T]) -> bool {
    list.is_empty() || !other.is_empty() && other.iter().all(|one| list.contains(one))
}

fn are_apart<T: PartialEq>(one: &[T], other: &[T]) -> bool {
    !one.is_empty() && !other.is_empty() && !one.iter().any(|element| other.contains(element))
}

/// Whether a request that meets all of `others` meets `test` too.
fn is_implied<N: PartialEq>(test: &Test<N>, others: &[Test<N>]) -> bool {
    let same = others.iter().filter(|other| other.name == test.name);
    same.map(|other| &other.value).any(|other| match (&test.value, other) {
        (Expected::Present, Expected::Equal(_) | Expected::Fits(_)) => true,
        (Expected::Fits(pattern), Expected::Equal(value)) => pattern.is_in(value),
        (wanted, other) => wanted == other,
    })
}

/// Whether no request meets both. A field may have several values, so two values do not exclude each other in theory;
/// who writes both means one of them.
fn exclude<N: PartialEq>(one: &[Test<N>], other: &[Test<N>]) -> bool {
    let pairs = one.iter().flat_map(|test| other.iter().map(move |other| (test, other)));
    pairs.filter(|(test, other)| test.name == other.name).any(|(test, other)| match (&test.value, &other.value) {
        (Expected::Absent, Expected::Absent) => false,
        (Expected::Absent, _) | (_, Expected::Absent) => true,
        (Expected::Equal(one), Expected::Equal(other)) => one != other,
        (Expected::Fits(pattern), Expected::Equal(value)) | (Expected::Equal(value), Expected::Fits(pattern)) => {
            !pattern.is_in(value)
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use crate::parse;

    /// What is told of these routes: (line of the route, part of the message).
    fn told(routes: &[&str]) -> Vec<(usize, String)> {
        let mut text = "[listen.web]\naddress = ':1'\n[listen.api]\naddress = ':2'\n[pool.app]\nbackends = ['a:1']\n\
                        [pool.b]\nbackends = ['a:1']\n[[route]]\nhost = 'b.test'\npool = 'b'\n"
            .to_owned();
        for route in routes {
            text.push_str(&format!("[[route]]\npool = 'app'\n{}\n", route.replace("; ", "\n")));
        }
        let problems = parse("test.toml", &text).err();
        let line = |at: usize| text.lines().take(at).filter(|line| *line == "[[route]]").count() - 2;
        problems.iter().flat_map(|problems| problems.iter()).map(|p| (line(p.line), p.message.clone())).collect()
    }

    #[test]
    fn what_no_request_reaches_is_told() {
        for (routes, expected) in [
            (&["path = '/'", "path = '/'"][..], Some((1, "no request reaches"))),
            (&["path = '/a'", "path = '/b'"], None),
            (&["path = '/'; priority = 1", "path = '/a'"], Some((1, "no request reaches"))),
            (&["path = '/a'", "path = '/'; priority = 1"], Some((0, "no request reaches"))),
            (&["path = '/a'; priority = 1", "path = '/ab'"], None),
            (&["path = '/a/'; priority = 1", "path = '/a'"], None),
            (&["path = '/a'; priority = 1", "path = '~^/a/'"], None),
            (&["path = '/'; priority = 1", "path = '~^/a/'"], Some((1, "no request reaches"))),
            (&["path = '/'; priority = 1; method = 'GET'", "path = '/a'"], None),
            (
                &["path = '/'; priority = 1; method = ['GET', 'PUT']", "path = '/a'; method = 'PUT'"],
                Some((1, "no request")),
            ),
            (
                &["path = '/'; priority = 1; header = { x = '*' }", "path = '/'; header = { x = '1' }"],
                Some((1, "no request")),
            ),
            (&["path = '/'; priority = 1; header = { x = '1' }", "path = '/'; header = { x = '*' }"], None),
            (
                &["path = '/'; priority = 1; header = { x = '~^1' }", "path = '/'; header = { x = '12' }"],
                Some((1, "no request")),
            ),
            (&["path = '~a'", "path = '~a'"], Some((1, "no request reaches"))),
            (&["path = '~a'", "path = '~a'; method = 'GET'"], None),
            (&["path = '=/a'", "path = '/a'"], None),
            (&["path = '/%61'", "path = '/a'"], Some((1, "no request reaches"))),
            (&["path = '/'", "host = 'a.test'; path = '/'"], None),
            (&["host = ['a.test', 'c.test']", "host = ['c.test', 'd.test']"], Some((1, "no request for host c.test"))),
            (&["path = '/'; listen = 'web'", "path = '/'; listen = 'api'"], None),
        ] {
            let found = told(routes);
            let found = found.iter().map(|(at, message)| (*at, message.as_str())).next();
            match (found, expected) {
                (None, None) => {}
                (Some((at, message)), Some((place, part))) if at == place && message.contains(part) => {}
                other => panic!("{routes:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_only_the_order_of_the_file_decides_is_told() {
        for (one, other, is_told) in [
            ("method = 'GET'", "header = { x = '1' }", true),
            ("method = 'GET'", "method = 'POST'", false),
            ("method = ['GET', 'PUT']", "method = ['PUT', 'POST']", true),
            ("method = 'GET'", "header = { x = '1' }; priority = 1", false),
            ("method = 'GET'", "header = { x = '1' }; query = { q = '1' }", false),
            ("header = { x = '1' }", "header = { x = '2' }", false),
            ("header = { x = '1' }", "header = { x = '!' }", false),
            ("header = { x = '~1' }", "header = { x = '2' }", false),
            ("header = { x = '~1' }", "header = { x = '~2' }", true),
            ("header = { x = '1' }", "query = { x = '2' }", true),
            ("query = { x = '1' }", "query = { x = '2' }", false),
            ("method = 'GET'", "method = ['GET', 'PUT']", true),
            ("listen = 'web'", "method = 'GET'", true),
            ("path = '~a'; method = 'GET'", "path = '~a'; header = { x = '1' }", false),
        ] {
            let found = told(&[one, other]);
            let ambiguous = found.iter().any(|(at, message)| *at == 1 && message.contains("both fit some requests"));
            assert_eq!(ambiguous, is_told, "{one} | {other}: {found:?}");
        }
    }
}
