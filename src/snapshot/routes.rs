//! Finds the route of a request, by its host and then by its path. Pure functions.
//!
//! An exact host beats a wildcard, a longer wildcard beats a shorter one, and any host comes last. Within a host the
//! routes are tried in the order of [`crate::config::route_order::order`]; one whose conditions the request does not
//! meet counts as absent. If no route of the host fits, the next less specific host is tried. Paths are compared in
//! their normal form ([`path::normal`]). Where an application may read a path in another way ([`path::read`]), the
//! routes of the other readings are found too: a request has to pass their guards.
//!
//! Whatever the number of routes, a request costs one look-up per host that may fit it and per prefix of its path, at
//! most as many as the longest of them has bytes, and one search for all regular expressions of a host. The hash is a
//! plain one: what is in the tables was written by the operator.

mod paths;

use std::collections::HashMap;
use std::net::Ipv6Addr;

use fnv::FnvHashMap;

use self::paths::Paths;
use super::asked::Asked;
use crate::config::model::{HostPattern, PathPattern, Route, Target};
use crate::config::path::{self, Read};

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
