//! Services: what a router leads to.

use super::node::Node;
use super::pools::Made;
use super::rewriting::Variant;
use super::walk::Part;
use super::{Importer, local};
use crate::imported::{At, Keys, Place};
use crate::value::Value;

/// How deep services may name others.
const DEPTH_MAX: usize = 8;
/// The most services that are asked for, by routers and by services: each of these may name others.
const ASKED_MAX: usize = 20_000;
/// The largest weight of a pool in a split.
const WEIGHT_MAX: i64 = 1000;

/// Where requests go, and what their pools say of the routes that lead to them.
#[derive(Debug, Clone, Default)]
pub(super) struct Target {
    /// `pool`, `split`, `fallback` or `respond`.
    pub(super) keys: Keys,
    /// `timeouts` of the routes.
    pub(super) timeouts: Keys,
    /// The host that the only replica is asked for.
    pub(super) host: Option<String>,
    /// The path of the replica's URL, put before that of the request.
    pub(super) prefix: Option<String>,
    /// Middlewares of the service.
    pub(super) middlewares: Vec<(String, Place)>,
}

/// Who asks for a service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) router: usize,
    pub(super) said: &'a str,
    pub(super) place: &'a Place,
}

impl Target {
    fn respond(status: i64) -> Self {
        let mut keys = Keys::default();
        keys.set_in("respond", "status", status);
        Self { keys, ..Self::default() }
    }

    fn of_pool(made: &Made) -> Self {
        let mut keys = Keys::default();
        keys.set("pool", made.pool.as_str());
        let Made { timeouts, host, prefix, .. } = made.clone();
        Self { keys, timeouts, host, prefix, middlewares: Vec::new() }
    }

    /// Whether its routes need the same.
    fn is_like(&self, other: &Self) -> bool {
        (&self.timeouts, &self.host, &self.prefix) == (&other.timeouts, &other.host, &other.prefix)
    }

    /// Whether a replica is asked.
    pub(super) fn is_pool(&self) -> bool {
        self.keys.get("respond").is_none()
    }

    /// What it adds to a route whose path becomes this.
    pub(super) fn write(&self, variant: Option<&Variant>, keys: &mut Keys) {
        if let (true, Some(variant)) = (self.is_pool(), variant) {
            variant.write(keys);
        }
        if !self.timeouts.is_empty() && self.is_pool() {
            keys.set("timeouts", self.timeouts.clone());
        }
    }
}

impl<'t> Importer<'t> {
    /// What a service is.
    pub(super) fn target(&mut self, name: &str, asker: Asker<'_>, depth: usize) -> Target {
        let Asker { router, said, place } = asker;
        if name.to_ascii_lowercase().ends_with("@internal") {
            let why = format!("`{name}` is of Traefik itself, so this answers 404");
            self.of_router(router, place, said, why, "see [admin]: /status, /metrics, /healthz and /readyz");
            return Target::respond(404);
        }
        let all = self.dynamic.get("http.services").map(Node::entries).unwrap_or_default();
        let found = all.iter().find(|(known, _)| known.eq_ignore_ascii_case(local(name)));
        self.asked += 1;
        let is_bounded = depth < DEPTH_MAX && self.asked < ASKED_MAX;
        let Some((name, node)) = found.filter(|_| is_bounded) else {
            return self.unavailable(asker, format!("the service `{name}` is not in these files"));
        };
        let (kind, inner) = match node.entries().iter().find(|(kind, _)| !kind.eq_ignore_ascii_case("middlewares")) {
            Some((kind, inner)) => (kind.to_ascii_lowercase(), inner),
            None => (String::new(), node),
        };
        let mut target = match &*kind {
            "loadbalancer" => match self.pool(name, inner) {
                Some(made) => Target::of_pool(&made),
                None => self.unavailable(asker, format!("the service `{name}` has no servers")),
            },
            "weighted" | "highestrandomweight" => self.split(name, inner, &kind, asker, depth),
            "failover" => self.failover(name, inner, asker, depth),
            "mirroring" => {
                self.look(name, inner, "mirroring");
                let first = inner.text_at("service").unwrap_or_default().to_owned();
                self.target(&first, asker, depth + 1)
            }
            _ => self.unavailable(asker, format!("the importer does not know this kind of service: `{kind}`")),
        };
        if kind != "loadbalancer" && !self.made.iter().any(|(known, _)| **known == **name) {
            self.made.push((name.to_string(), Made::default()));
        }
        target.middlewares.extend(super::middlewares::names(node.get("middlewares")));
        target
    }

    /// What a router without a pool answers.
    fn unavailable(&mut self, asker: Asker<'_>, why: String) -> Target {
        let what_to_do = "write its pool, and name it in this route";
        self.of_router(asker.router, asker.place, asker.said, format!("{why}, so this answers 503"), what_to_do);
        Target::respond(503)
    }

    fn look(&mut self, name: &str, node: &Node, kind: &str) {
        let part = Part::new(&format!("services.{kind}"), format!("http.services.{name}.{kind}"));
        self.look_through(node, &part, &At::Top);
    }

    fn split(&mut self, name: &str, node: &Node, kind: &str, asker: Asker<'_>, depth: usize) -> Target {
        self.look(name, node, kind);
        if kind == "highestrandomweight" {
            let why = "unstick has no stickiness: a client may be served by any pool of a split";
            let what_to_do = "run `unstick audit`: it finds whether the application needs that, and where";
            self.note(&node.place, format!("http.services.{name}"), why, what_to_do, &At::Top);
        }
        let mut split = Keys::default();
        let mut targets: Vec<Target> = Vec::new();
        for service in node.get("services").map(Node::elements).unwrap_or_default() {
            let weight = service.number_at("weight").unwrap_or(1);
            let target = self.target(service.text_at("name").unwrap_or_default(), asker, depth + 1);
            let pool = target.keys.get("pool").map(|pool| pool.to_string().trim_matches('"').to_owned());
            let is_plain = target.keys.get("fallback").is_none() && (0..=WEIGHT_MAX).contains(&weight);
            match pool.filter(|_| is_plain) {
                Some(pool) => {
                    let known = if let Some(Value::Number(known)) = split.get(&pool) { *known } else { 0 };
                    split.set(pool, (known + weight).min(WEIGHT_MAX));
                }
                None => {
                    let why = "a split is of pools, with weights up to 1000; this one is left away";
                    let said = format!("http.services.{name}.{kind}.services");
                    self.of_router(asker.router, &service.place, said, why, "write `split` as it is meant");
                    continue;
                }
            }
            targets.push(target);
        }
        if targets.is_empty() || split.0.iter().all(|(_, weight)| *weight == 0.into()) {
            return Target::respond(503);
        }
        if !targets.iter().all(|target| target.is_like(&targets[0])) {
            let why = "the pools of a split have the same deadlines, host and path; those of the first are taken";
            self.of_router(asker.router, &node.place, format!("http.services.{name}"), why, "write a route for each");
        }
        let mut keys = Keys::default();
        keys.set("split", split);
        Target { keys, ..targets.swap_remove(0) }
    }

    fn failover(&mut self, name: &str, node: &Node, asker: Asker<'_>, depth: usize) -> Target {
        self.look(name, node, "failover");
        let [first, second] = ["service", "fallback"].map(|key| node.text_at(key).unwrap_or_default().to_owned());
        let mut target = self.target(&first, asker, depth + 1);
        let other = self.target(&second, asker, depth + 1);
        let pool = other.keys.get("pool").filter(|pool| target.keys.get("pool").is_some_and(|first| first != *pool));
        match pool {
            Some(pool) if target.keys.get("fallback").is_none() => target.keys.set("fallback", pool.clone()),
            _ => {
                let why = "a fallback is a pool, beside a pool; this one is left away";
                self.of_router(asker.router, &node.place, format!("http.services.{name}"), why, "write `fallback`");
            }
        }
        target
    }
}
