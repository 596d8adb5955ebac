//! The ways through a site as routes: their hosts and listeners, and the priorities that keep their order.

use super::Importer;
use super::conditions::Test;
use super::flow::Draft;
use super::paths::Path;
use crate::imported::{At, LeftOut, Route};

/// Where a site is.
pub(super) struct Spot {
    /// Its listeners.
    pub(super) listen: Vec<String>,
    /// The hosts that other sites have there: they are not of this one.
    pub(super) claimed: Vec<String>,
    /// Its hosts; none for all.
    pub(super) hosts: Option<Vec<String>>,
}

/// A way with its hosts and listeners.
struct Placed {
    draft: Draft,
    hosts: Vec<String>,
    listen: Vec<String>,
}

impl Importer {
    /// Writes the routes of a site, in the order in which they are to be tried.
    pub(super) fn routes(&mut self, spot: &Spot, drafts: Vec<Draft>) {
        let mut named: Vec<String> = Vec::new();
        for host in drafts.iter().filter_map(|draft| draft.test.host.as_ref()).flatten() {
            if !named.contains(host) && !spot.is_of_others(host) {
                named.push(host.clone());
            }
        }
        let mut placed: Vec<Placed> = Vec::new();
        let mut lost: Vec<LeftOut> = Vec::new();
        for draft in drafts {
            let is_fit = |name: &&String| draft.test.tls.is_none_or(|tls| self.is_tls(name) == tls);
            let listen: Vec<String> = spot.listen.iter().filter(is_fit).cloned().collect();
            let mut hosts = spot.expanded(&draft.test.host, &named);
            hosts.retain(|host| !placed.iter().any(|other| other.takes(host, &draft.test, &listen)));
            if hosts.is_empty() || listen.is_empty() {
                lost.extend(draft.left);
                continue;
            }
            placed.push(Placed { draft, hosts, listen });
        }
        let priorities = priorities(&placed);
        for (Placed { draft, hosts, listen }, priority) in placed.into_iter().zip(priorities) {
            let at = At::Route(self.out.routes.len());
            for note in draft.left {
                self.out.leave_out(LeftOut { at: at.clone(), ..note });
            }
            let is_any = hosts.len() == 1 && hosts[0] == "*";
            self.out.routes.push(Route {
                place: draft.place,
                origin: draft.origin,
                listen: if listen.len() == self.sockets.len() { Vec::new() } else { listen },
                host: if is_any { Vec::new() } else { hosts },
                path: draft.test.path.as_ref().map_or_else(|| "/".to_owned(), Path::written),
                priority,
                keys: draft.keys,
            });
        }
        lost.into_iter().for_each(|note| self.out.leave_out(note));
    }

    pub(super) fn is_tls(&self, name: &str) -> bool {
        self.sockets.iter().any(|socket| socket.name == name && socket.is_tls)
    }
}

impl Spot {
    fn is_of_others(&self, host: &String) -> bool {
        self.claimed.contains(host) && !self.hosts.as_ref().is_some_and(|own| own.contains(host))
    }

    /// The hosts of a way. unstick looks at the most specific host first, Caddy at the directives in their order. So
    /// what is for a wildcard or for all hosts names those too that are named anywhere in the site.
    fn expanded(&self, own: &Option<Vec<String>>, named: &[String]) -> Vec<String> {
        let is_below = |host: &String, wildcard: &String| {
            wildcard.strip_prefix('*').is_some_and(|end| host.ends_with(end) && host != wildcard)
        };
        let mut all: Vec<String> = Vec::new();
        match own {
            Some(own) => {
                all.extend(own.iter().filter(|host| !self.is_of_others(host)).cloned());
                all.extend(named.iter().filter(|host| own.iter().any(|wildcard| is_below(host, wildcard))).cloned());
            }
            None => {
                all.extend(named.iter().cloned());
                all.push("*".to_owned());
            }
        }
        let mut seen = std::collections::HashSet::new();
        all.retain(|host| seen.insert(host.clone()));
        all
    }
}

impl Placed {
    /// Whether both are for one host.
    fn meets(&self, other: &Self) -> bool {
        self.hosts.iter().any(|host| other.hosts.contains(host))
    }

    /// Whether it takes all requests of a host that a later way is for.
    fn takes(&self, host: &String, test: &Test, listen: &[String]) -> bool {
        let of_host = |test: &Test| Test { host: None, tls: None, ..test.clone() };
        self.hosts.contains(host)
            && listen.iter().all(|name| self.listen.contains(name))
            && of_host(test).is_within(&of_host(&self.draft.test))
    }
}

/// What unstick orders the routes of a host by, besides their priority.
fn rank(placed: &Placed) -> (usize, usize, usize) {
    let test = &placed.draft.test;
    let (kind, length) = match test.path.as_ref().map(Path::written) {
        None => (2, 1),
        Some(path) if path.starts_with('=') => (0, 0),
        Some(path) if path.starts_with('~') => (1, 0),
        Some(path) => (2, path.len()),
    };
    (kind, usize::MAX - length, usize::MAX - test.count())
}

/// The lowest priorities that keep the order.
fn priorities(placed: &[Placed]) -> Vec<i64> {
    let mut priorities = vec![0; placed.len()];
    for at in (0..placed.len()).rev() {
        let later = (at + 1..placed.len()).filter(|later| placed[at].meets(&placed[*later]));
        let needed = later.map(|later| priorities[later] + i64::from(!is_before(placed, at, later)));
        priorities[at] = needed.max().unwrap_or_default();
    }
    priorities
}

/// Whether unstick tries a way before a later one of the same priority.
fn is_before(placed: &[Placed], at: usize, later: usize) -> bool {
    let (own, other) = (&placed[at], &placed[later]);
    let (own_path, other_path) = (&own.draft.test.path, &other.draft.test.path);
    match (rank(own), rank(other)) {
        // Regular expressions that are written alike have the place of the first, and then those with more conditions
        // come first.
        ((1, ..), (1, ..)) if own_path == other_path => own.draft.test.count() >= other.draft.test.count(),
        ((1, ..), (1, ..)) => !placed[..at].iter().any(|first| first.draft.test.path == *other_path),
        (own, other) => own < other,
    }
}
