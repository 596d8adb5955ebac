//! The order of routes. Traefik asks its routers one after the other; unstick asks the most specific host first, then
//! by priority. So a router is a route of the hosts of those behind it, too, where it would take their requests.

use std::collections::{HashMap, HashSet};

use super::conditions::is_within;
use super::text::is_found;
use crate::imported::{Keys, Place, Route};
use crate::value::Value;

/// The most hosts of all routes together.
const HOSTS_MAX: usize = 200_000;
/// Any host.
const ANY: &str = "*";

/// A route that has no place in the order yet.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// The router, by its index.
    pub(super) router: usize,
    pub(super) place: Place,
    pub(super) origin: String,
    /// Its entry points, by their indices, sorted.
    pub(super) listen: Vec<usize>,
    /// Its hosts; nothing means all.
    pub(super) hosts: Option<Vec<String>>,
    pub(super) path: String,
    pub(super) keys: Keys,
}

/// Routes in their order.
#[derive(Debug)]
pub(super) struct Arranged {
    /// Each with its priority.
    pub(super) routes: Vec<(Candidate, i64)>,
    /// The routers that no request reaches.
    pub(super) hidden: Vec<usize>,
}

impl Candidate {
    pub(super) fn into_route(self, listen: Vec<String>, priority: i64) -> Route {
        let Self { place, origin, hosts, path, keys, .. } = self;
        Route { place, origin, listen, host: hosts.unwrap_or_default(), path, priority, keys }
    }

    fn names(&self) -> Vec<String> {
        self.hosts.clone().unwrap_or_else(|| vec![ANY.to_owned()])
    }

    fn shares_listener(&self, other: &Self) -> bool {
        self.listen.iter().any(|entry| other.listen.contains(entry))
    }

    /// Whether every request that fits `other` fits this, hosts and listeners apart.
    fn takes_all_of(&self, other: &Self) -> bool {
        let has_all = |key: &str| match (self.keys.get(key), other.keys.get(key)) {
            (None, _) => true,
            (Some(Value::Table(own)), Some(Value::Table(others))) => {
                own.0.iter().all(|(name, value)| others.get(name).is_some_and(|other| is_implied(value, other)))
            }
            (Some(own), Some(other)) => own == other,
            (Some(_), None) => false,
        };
        let is_below = |path: &str| {
            let rest = path.strip_prefix(&self.path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/'))
        };
        let fits_path = self.path == other.path
            || self.path == "/"
            || self.path.starts_with('/') && is_below(other.path.trim_start_matches('='));
        fits_path && ["method", "header", "query"].iter().all(|key| has_all(key))
    }
}

/// Whether a value that is `other` is `wanted`, too.
fn is_implied(wanted: &Value, other: &Value) -> bool {
    let (Value::Text(wanted), Value::Text(other)) = (wanted, other) else { return wanted == other };
    match (wanted.strip_prefix('~'), wanted.as_str()) {
        (_, "*") => other != "!",
        (Some(pattern), _) if !other.starts_with('~') => is_found(pattern, other),
        _ => wanted == other,
    }
}

/// Puts candidates, which come in Traefik's order, into places where unstick asks them in the same order.
/// Nothing if that needs too many hosts.
pub(super) fn arrange(mut candidates: Vec<Candidate>) -> Option<Arranged> {
    candidates.iter_mut().for_each(|candidate| candidate.listen.sort_unstable());
    leave_listeners(&mut candidates);
    let named: Vec<Vec<String>> = spread(&candidates)?;
    let mut before: HashMap<String, Vec<usize>> = HashMap::new();
    let mut kept: Vec<Vec<String>> = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let mut hosts = if candidate.listen.is_empty() { Vec::new() } else { named[index].clone() };
        hosts.retain(|host| {
            let earlier = before.get(host).into_iter().flatten();
            let has_listeners = |other: &Candidate| candidate.listen.iter().all(|entry| other.listen.contains(entry));
            !earlier.map(|other| &candidates[*other]).any(|other| has_listeners(other) && other.takes_all_of(candidate))
        });
        for host in &hosts {
            before.entry(host.clone()).or_default().push(index);
        }
        kept.push(hosts);
    }
    let count = candidates.len();
    let listens: Vec<Vec<usize>> = candidates.iter().map(|candidate| candidate.listen.clone()).collect();
    let mut hidden: Vec<usize> = Vec::new();
    let reached: Vec<usize> =
        (0..count).filter(|index| !kept[*index].is_empty()).map(|index| candidates[index].router).collect();
    let mut routes = Vec::new();
    for (nth, (candidate, hosts)) in candidates.into_iter().zip(kept).enumerate() {
        if hosts.is_empty() {
            if !reached.contains(&candidate.router) && !hidden.contains(&candidate.router) {
                hidden.push(candidate.router);
            }
            continue;
        }
        let is_other =
            |other: &usize| *other != nth && listens[*other].iter().any(|entry| listens[nth].contains(entry));
        let is_alone = !hosts.iter().filter_map(|host| before.get(host)).flatten().any(is_other);
        let priority = if is_alone { 0 } else { i64::try_from(count - nth).unwrap_or_default() };
        let hosts = Some(hosts).filter(|hosts| hosts.iter().any(|host| host != ANY));
        routes.push((Candidate { hosts, ..candidate }, priority));
    }
    Some(Arranged { routes, hidden })
}

/// Takes candidates away from the listeners on which one before them, of any host, takes all of their requests.
fn leave_listeners(candidates: &mut [Candidate]) {
    let mut wide: Vec<usize> = Vec::new();
    for index in 0..candidates.len() {
        let (before, rest) = candidates.split_at_mut(index);
        let Some(candidate) = rest.first_mut() else { return };
        let takers: Vec<&Candidate> =
            wide.iter().map(|other| &before[*other]).filter(|other| other.takes_all_of(candidate)).collect();
        candidate.listen.retain(|entry| !takers.iter().any(|other| other.listen.contains(entry)));
        if candidate.hosts.is_none() {
            wide.push(index);
        }
    }
}

/// The hosts of each candidate: its own, and those of later ones whose requests it takes first.
fn spread(candidates: &[Candidate]) -> Option<Vec<Vec<String>>> {
    let mut all: Vec<Vec<String>> = candidates.iter().map(Candidate::names).collect();
    let mut count: usize = all.iter().map(Vec::len).sum();
    for (index, candidate) in candidates.iter().enumerate() {
        let own = std::mem::take(&mut all[index]);
        let wide: Vec<&String> = own.iter().filter(|host| host.starts_with('*')).collect();
        let mut seen: HashSet<&String> = own.iter().collect();
        let mut more: Vec<String> = Vec::new();
        let later = if wide.is_empty() { &[] } else { &candidates[index + 1..] };
        for host in
            later.iter().filter(|later| later.shares_listener(candidate)).flat_map(|later| later.hosts.iter().flatten())
        {
            if wide.iter().any(|wide| is_within(host, wide)) && seen.insert(host) {
                more.push(host.clone());
                count += 1;
            }
        }
        if count > HOSTS_MAX {
            return None;
        }
        // The most general ones stand last.
        more.extend(own);
        all[index] = more;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arranged(routes: &[(&str, &str)]) -> String {
        let candidates = routes.iter().enumerate().map(|(router, (hosts, path))| Candidate {
            router,
            place: Place { file: "x".into(), line: 1 },
            origin: String::new(),
            listen: vec![0],
            hosts: Some(hosts.split(' ').map(str::to_owned).collect()).filter(|_| *hosts != "any"),
            path: (*path).to_owned(),
            keys: Keys::default(),
        });
        let Arranged { routes, hidden } = arrange(candidates.collect()).unwrap();
        let show = |(candidate, priority): &(Candidate, i64)| {
            let hosts = candidate.hosts.as_ref().map_or("any".to_owned(), |hosts| hosts.join(","));
            format!("{hosts}{}#{priority}", candidate.path)
        };
        let shown = routes.iter().map(show).collect::<Vec<_>>().join(" ");
        if hidden.is_empty() { shown } else { format!("{shown} hidden {hidden:?}") }
    }

    #[test]
    fn the_order_of_traefik_is_kept() {
        for (routes, expected) in [
            (&[("a", "/"), ("b", "/")][..], "a/#0 b/#0"),
            (&[("a", "/x/"), ("a", "/")], "a/x/#2 a/#1"),
            (&[("a", "/"), ("any", "/")], "a/#0 any/#0"),
            (&[("any", "~^/x"), ("a", "/")], "a,*~^/x#2 a/#1"),
            (&[("any", "/"), ("a", "/")], "any/#0 hidden [1]"),
            (&[("*.t", "=/x"), ("a.t", "/"), ("b", "/")], "a.t,*.t=/x#3 a.t/#2 b/#0"),
            (
                &[("x.t", "=/1"), ("any", "=/2"), ("*.t", "=/3"), ("x.t", "=/4")],
                "x.t=/1#4 *.t,x.t,*=/2#3 x.t,*.t=/3#2 x.t=/4#1",
            ),
            (&[("a", "/x"), ("a", "/x/y"), ("a", "=/xy")], "a/x#3 a=/xy#1 hidden [1]"),
        ] {
            assert_eq!(arranged(routes), expected, "{routes:?}");
        }
    }

    /// The route that unstick takes, as its documents say: the most specific host, then the priority.
    fn taken(routes: &[(Candidate, i64)], host: &str, path: &str) -> Option<usize> {
        let levels = [host.to_owned(), format!("*{}", &host[host.find('.').unwrap_or(host.len())..]), ANY.to_owned()];
        levels.iter().find_map(|level| {
            let mut fitting: Vec<&(Candidate, i64)> = routes
                .iter()
                .filter(|(candidate, _)| candidate.names().contains(level) && fits_path(&candidate.path, path))
                .collect();
            let kind = |path: &str| if path.starts_with('=') { 0 } else { 1 };
            fitting.sort_by_key(|(candidate, priority)| {
                (-priority, kind(&candidate.path), -(candidate.path.len() as i64))
            });
            fitting.first().map(|(candidate, _)| candidate.router)
        })
    }

    fn fits_path(pattern: &str, path: &str) -> bool {
        match pattern.strip_prefix('=') {
            Some(exact) => exact == path,
            None => pattern == "/" || path == pattern || path.starts_with(&format!("{pattern}/")),
        }
    }

    #[test]
    fn the_first_router_that_fits_is_taken_whatever_the_hosts_are() {
        const HOSTS: [&str; 5] = ["any", "*.t", "a.t", "b.t", "c"];
        const PATHS: [&str; 4] = ["/", "/x", "=/x", "/x/y"];
        let mut dice: u64 = 7;
        let mut roll = |sides: usize| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) as usize % sides
        };
        for _ in 0..5000 {
            let count = 1 + roll(7);
            let routes: Vec<Candidate> = (0..count)
                .map(|router| Candidate {
                    router,
                    place: Place { file: "x".into(), line: 1 },
                    origin: String::new(),
                    listen: vec![0],
                    hosts: Some(vec![HOSTS[roll(5)].to_owned(), HOSTS[1 + roll(4)].to_owned()])
                        .filter(|hosts| hosts[0] != "any"),
                    path: PATHS[roll(4)].to_owned(),
                    keys: Keys::default(),
                })
                .collect();
            let Arranged { routes: arranged, .. } = arrange(routes.clone()).unwrap();
            for host in ["a.t", "b.t", "d.t", "c", "other"] {
                for path in ["/", "/x", "/x/y", "/z"] {
                    let fits = |candidate: &&Candidate| {
                        let names = candidate.names();
                        names.iter().any(|name| is_within(host, name)) && fits_path(&candidate.path, path)
                    };
                    let first = routes.iter().find(fits).map(|candidate| candidate.router);
                    assert_eq!(taken(&arranged, host, path), first, "{host}{path}\n{routes:#?}\n{arranged:#?}");
                }
            }
        }
    }
}
