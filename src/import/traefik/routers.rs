//! Routers, which are routes: one for each alternative of a rule, on each kind of listener.

use super::conditions::{self, Test};
use super::effects::{Effects, Redirect};
use super::middlewares::names;
use super::node::Node;
use super::order::{Candidate, arrange};
use super::redirects::to_scheme;
use super::routes::Way;
use super::rule::{NoRule, alternatives};
use super::services::{Asker, Target};
use super::walk::Part;
use super::{Importer, ROUTES_MAX};
use crate::imported::{At, LeftOut, Place, Unreadable};

/// The priority of what an entry point redirects, unless it says another.
const FIRST: i64 = i64::MAX;

/// A router, or what an entry point redirects.
#[derive(Debug)]
pub(super) struct Router<'t> {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) node: Option<&'t Node>,
    pub(super) rule: String,
    priority: i64,
    /// Its entry points, by their indices.
    entries: Vec<usize>,
    pub(super) redirect: Option<Redirect>,
}

/// Entry points on which a router does the same.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// The router, by its index.
    pub(super) router: usize,
    pub(super) entries: Vec<usize>,
    pub(super) is_tls: bool,
    /// Whether proxies in front of it are believed.
    pub(super) trusts: bool,
    middlewares: Vec<(String, Place)>,
    /// Whether clients are kept out by their certificates in a way that the listeners cannot have.
    is_closed: bool,
}

impl<'t> Importer<'t> {
    /// Makes the routes of all routers.
    pub(super) fn routers(&mut self) -> Result<(), Unreadable> {
        let mut routers = self.redirections();
        let all = self.dynamic.get("http.routers").map(Node::entries).unwrap_or_default();
        for (name, node) in all {
            let index = routers.len();
            let router = self.router(name, node, index);
            routers.push(router);
        }
        let refuse = |place: &Place, what: &str| {
            let at = Some((place.line, 1));
            Err(Unreadable { file: place.file.to_string(), at, message: format!("there are too many {what}") })
        };
        let mut order: Vec<usize> = (0..routers.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(routers[*index].priority));
        let mut candidates = Vec::new();
        for index in order {
            if candidates.len() > ROUTES_MAX {
                return refuse(&routers[index].place, "alternatives in rules");
            }
            self.candidates(index, &routers[index], &mut candidates);
        }
        let Some(arranged) = arrange(candidates) else { return refuse(&self.dynamic.place, "hosts in rules") };
        for index in arranged.hidden {
            let Router { place, name, redirect, .. } = &routers[index];
            if redirect.is_none() {
                let why = "no request reaches this router: others that come first take all of them";
                let said = format!("http.routers.{name}");
                self.of_router(index, place, said, why, "give it a higher priority, or forget it");
            }
        }
        self.add_routes(arranged.routes);
        Ok(())
    }

    /// Writes the routes, and puts what is told of a router beside the first of its routes.
    fn add_routes(&mut self, routes: Vec<(Candidate, i64)>) {
        let mut firsts: Vec<(usize, usize)> = Vec::new();
        for (candidate, _) in &routes {
            candidate.listen.iter().for_each(|entry| self.entries[*entry].is_used = true);
        }
        let used: Vec<usize> = (0..self.entries.len()).filter(|entry| self.entries[*entry].is_used).collect();
        for (candidate, priority) in routes {
            firsts.push((candidate.router, self.out.routes.len()));
            let listen = if candidate.listen == used { Vec::new() } else { candidate.listen.clone() };
            let names = listen.iter().map(|entry| self.entries[*entry].name.clone()).collect();
            self.out.routes.push(candidate.into_route(names, priority));
        }
        for (router, left) in std::mem::take(&mut self.of_routers) {
            let first = firsts.iter().find(|(known, _)| *known == router);
            let at = first.map_or(At::Top, |(_, index)| At::Route(*index));
            self.out.leave_out(LeftOut { at, ..left });
        }
    }

    /// What entry points redirect.
    fn redirections(&mut self) -> Vec<Router<'t>> {
        let mut found = Vec::new();
        for index in 0..self.entries.len() {
            let entry = self.entries[index].clone();
            let Some(node) = entry.node.and_then(|node| node.get("http.redirections.entryPoint")) else { continue };
            let to = node.text_at("to").unwrap_or_default();
            let named = self.entries.iter().find(|other| other.name.eq_ignore_ascii_case(to)).map(|other| other.port);
            let port = named.or_else(|| to.strip_prefix(':').and_then(|port| port.parse().ok()));
            let scheme = node.text_at("scheme").unwrap_or("https").to_ascii_lowercase();
            let target = port.and_then(|port| to_scheme(&scheme, &port.to_string()));
            let Some(target) = target else {
                let why = format!("`{to}` is no entry point here");
                let said = format!("entryPoints.{}.http.redirections", entry.name);
                self.note(&node.place, said, why, "write a route with `redirect`", &At::Listener(entry.name.clone()));
                continue;
            };
            let is_temporary = node.get("permanent").is_some_and(Node::is_off);
            found.push(Router {
                name: format!("entryPoints.{}.http.redirections", entry.name),
                place: node.place.clone(),
                node: None,
                rule: "HostRegexp(`^.+$`)".to_owned(),
                priority: node.number_at("priority").filter(|priority| *priority != 0).unwrap_or(FIRST),
                entries: vec![index],
                redirect: Some(Redirect { host: None, to: target, status: if is_temporary { 307 } else { 308 } }),
            });
        }
        found
    }

    fn router(&mut self, name: &str, node: &'t Node, index: usize) -> Router<'t> {
        let said = format!("http.routers.{name}");
        for left in super::walk::left_in(node, &Part::new("routers", said.clone()), None) {
            self.of_routers.push((index, left));
        }
        let rule = node.text_at("rule").unwrap_or_default().to_owned();
        let priority = node.number_at("priority").filter(|priority| *priority != 0);
        Router {
            name: name.to_owned(),
            place: node.place.clone(),
            node: Some(node),
            priority: priority.unwrap_or_else(|| i64::try_from(rule.len()).unwrap_or(FIRST)),
            entries: self.entries_of(node, said, index),
            rule,
            redirect: None,
        }
    }

    /// The entry points of a router, by their indices: those that speak what it speaks.
    fn entries_of(&mut self, node: &Node, said: String, index: usize) -> Vec<usize> {
        let mut entries = Vec::new();
        let named = names(node.get("entryPoints"));
        for (name, place) in &named {
            match self.entries.iter().position(|entry| entry.name.eq_ignore_ascii_case(name)) {
                Some(entry) => entries.push(entry),
                None => {
                    let why = format!("there is no entry point `{name}`, or none that unstick can have");
                    self.of_router(index, place, format!("{said}.entryPoints"), why, "write [listen.NAME] for it");
                }
            }
        }
        if named.is_empty() {
            entries = (0..self.entries.len()).filter(|entry| self.entries[*entry].is_default).collect();
        }
        let is_tls = |entry: &usize| {
            let entry = &self.entries[*entry];
            (node.has("tls") || entry.node.is_some_and(|node| node.has("http.tls"))) == entry.is_tls
        };
        let (fitting, other): (Vec<usize>, Vec<usize>) = entries.into_iter().partition(is_tls);
        if !other.is_empty() && (fitting.is_empty() || !named.is_empty()) {
            let names: Vec<&str> = other.iter().map(|entry| self.entries[*entry].name.as_str()).collect();
            let why =
                format!("a listener speaks TLS, or does not: {} speaks what this router does not", names.join(", "));
            self.of_router(index, &node.place, said, why, "write a route for a listener that does");
        }
        fitting
    }

    /// The entry points of a router, by what it does there.
    fn groups(&self, index: usize, router: &Router<'_>) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for &at in &router.entries {
            let entry = &self.entries[at];
            let middlewares = names(entry.node.and_then(|node| node.get("http.middlewares")));
            let is_closed = entry.is_tls && router.node.is_some_and(|node| self.has_own_options(node, entry));
            let is_same = |group: &&mut Group| {
                (group.is_tls, group.trusts, group.is_closed) == (entry.is_tls, entry.trusts, is_closed)
                    && group.middlewares == middlewares
            };
            match groups.iter_mut().find(is_same) {
                Some(group) => group.entries.push(at),
                None => groups.push(Group {
                    router: index,
                    entries: vec![at],
                    is_tls: entry.is_tls,
                    trusts: entry.trusts,
                    middlewares,
                    is_closed,
                }),
            }
        }
        groups
    }

    fn candidates(&mut self, index: usize, router: &Router<'t>, candidates: &mut Vec<Candidate>) {
        let said = format!("http.routers.{}", router.name);
        let place = router.node.and_then(|node| node.get("rule")).map_or(&router.place, |node| &node.place);
        let tests: Vec<Test> = match alternatives(&router.rule) {
            Ok(all) => all.iter().filter_map(|leaves| conditions::test(leaves)).collect(),
            Err(NoRule::Broken(why)) => {
                let why = format!("this is no rule, so the router has no route: {why}");
                return self.of_router(index, place, format!("{said}.rule"), why, "write a route");
            }
            Err(NoRule::TooLarge(why)) => vec![Test { lost: vec![format!("this rule: {why}")], ..Test::default() }],
        };
        if tests.is_empty() {
            let why = "no request fits this rule, so the router has no route";
            return self.of_router(index, place, format!("{said}.rule"), why, "see what is meant, and write a route");
        }
        let target = self.target_of(index, router, &said);
        let groups = self.groups(index, router);
        let before = candidates.len();
        for group in groups {
            let mut wanted = group.middlewares.clone();
            wanted.extend(names(router.node.and_then(|node| node.get("middlewares"))));
            wanted.extend(target.middlewares.clone());
            let mut effects = self.middlewares(&wanted, &group);
            effects.redirects.extend(router.redirect.clone());
            self.finish(router, &said, &group, &mut effects);
            for test in &tests {
                let way = Way { router, said: &said, group: &group };
                candidates.extend(self.routes_of(&way, test, &effects, &target));
            }
        }
        join(candidates, before);
        let count = candidates.len() - before;
        if count > 1 && candidates[before..].iter().any(|candidate| candidate.keys.get("rate").is_some()) {
            let why = format!("the router is {count} routes here, and each counts for itself");
            self.of_router(index, &router.place, said, why, "divide `requests` of `rate`, or join the routes");
        }
    }

    fn target_of(&mut self, index: usize, router: &Router<'t>, said: &str) -> Target {
        let Some(node) = router.node else { return Target::default() };
        let (name, place) = match node.get("service") {
            Some(service) => (service.text().unwrap_or_default().to_owned(), service.place.clone()),
            None => (String::new(), node.place.clone()),
        };
        self.target(&name, Asker { router: index, said: &format!("{said}.service"), place: &place }, 0)
    }

    /// What the group and the router add to the effects of the middlewares.
    fn finish(&mut self, router: &Router<'_>, said: &str, group: &Group, effects: &mut Effects) {
        let Some(node) = router.node else { return };
        if node.has("parentRefs") {
            effects.is_closed = true;
        }
        if group.is_closed {
            effects.is_closed = true;
            let why = "clients are kept out by their certificates in a way that this listener cannot have; its routes \
                       answer 403";
            let what_to_do = "write client_ca and client_auth in [listen.NAME.tls], then remove `deny`";
            self.of_router(group.router, &node.place, format!("{said}.tls.options"), why, what_to_do);
        }
        if node.get("observability.accessLogs").is_some_and(Node::is_off) {
            effects.keys.set("access_log", false);
        }
    }
}

/// Makes one of routes that differ in their listeners only.
fn join(candidates: &mut Vec<Candidate>, from: usize) {
    for candidate in candidates.split_off(from) {
        let is_same = |other: &&mut Candidate| {
            (&other.hosts, &other.path, &other.keys) == (&candidate.hosts, &candidate.path, &candidate.keys)
        };
        match candidates[from..].iter_mut().find(is_same) {
            Some(other) => {
                other.listen.extend(&candidate.listen);
                other.listen.sort_unstable();
                other.listen.dedup();
            }
            None => candidates.push(candidate),
        }
    }
}
