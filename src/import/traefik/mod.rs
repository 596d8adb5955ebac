//! Traefik: its static configuration with what its file provider reads, in YAML or TOML; and compose files, whose
//! labels and flags are the same trees.
//!
//! Traefik tries its routers in the order of their priorities, and without one the longer rule first. unstick looks at
//! the host first; so a router for any host is for every host that another one names, too, as with HAProxy.

mod compose;
pub(crate) mod compose_words;
mod conditions;
mod effects;
mod entries;
mod except;
mod fields;
mod general;
mod guards;
mod hosts;
mod labels;
mod middlewares;
mod node;
mod order;
mod paths;
mod pools;
mod redirects;
mod rewriting;
mod routers;
mod routes;
mod rule;
mod services;
mod sources;
mod text;
mod tls;
mod toml_file;
mod transports;
mod walk;
pub(crate) mod words;
mod yaml;

use std::path::{Path, PathBuf};

use entries::Entry;
use node::Node;
use pools::Made;
use sources::Sources;
use walk::Part;

use crate::imported::{At, Imported, LeftOut, Place, Unreadable};
use crate::value::Value;

/// Reads a static configuration or a file of the file provider. `base` is put in front of relative paths of files that
/// unstick will read.
///
/// # Errors
/// A file that cannot be read or breaks the grammar. What cannot be translated is no error.
pub(super) fn import(path: &Path, base: Option<&Path>) -> Result<Imported, Unreadable> {
    translate(sources::load(path)?, base)
}

/// Reads a compose file.
///
/// # Errors
/// The same.
pub(super) fn import_compose(path: &Path, base: Option<&Path>) -> Result<Imported, Unreadable> {
    translate(compose::load(path)?, base)
}

/// Whether a text is a configuration of Traefik, or a compose file: the keys at its beginning tell.
pub(super) fn is_one(text: &str, is_toml: bool) -> Option<super::Kind> {
    let keys = text.lines().filter_map(|line| {
        let key = if is_toml { line.strip_prefix('[')?.split([']', '.']).next()? } else { line.split(':').next()? };
        Some(key.to_ascii_lowercase())
    });
    let traefik = ["http", "tls", "tcp", "udp", "entrypoints", "providers", "certificatesresolvers"];
    keys.filter_map(|key| match &*key {
        "services" if !is_toml => Some(super::Kind::Compose),
        key if traefik.contains(&key) => Some(super::Kind::Traefik),
        _ => None,
    })
    .next()
}

/// The most entry points.
const ENTRIES_MAX: usize = 500;
/// The most routers, and the most routes that they become.
const ROUTES_MAX: usize = 5_000;

struct Importer<'t> {
    out: Imported,
    /// The static configuration.
    fixed: &'t Node,
    /// Routers, services, middlewares and the like.
    dynamic: &'t Node,
    entries: Vec<Entry<'t>>,
    /// The pools that were made, by the names of their services.
    made: Vec<(String, Made)>,
    /// What is told of a router, whose routes have no places yet.
    of_routers: Vec<(usize, LeftOut)>,
    /// How many services were asked for.
    asked: usize,
    base: Option<PathBuf>,
}

fn translate(sources: Sources, base: Option<&Path>) -> Result<Imported, Unreadable> {
    let Sources { fixed, dynamic, left, knows_entries } = sources;
    check_counts(&fixed, &dynamic)?;
    let mut importer = Importer {
        out: Imported::default(),
        fixed: &fixed,
        dynamic: &dynamic,
        entries: Vec::new(),
        made: Vec::new(),
        of_routers: Vec::new(),
        asked: 0,
        base: base.map(Path::to_owned),
    };
    importer.out.left_out = left;
    importer.find_entries(knows_entries);
    importer.routers()?;
    importer.forget_pools();
    importer.listeners();
    importer.general();
    importer.unused();
    importer.place();
    Ok(importer.out)
}

/// Refuses what would take too long.
fn check_counts(fixed: &Node, dynamic: &Node) -> Result<(), Unreadable> {
    for (node, most, what) in
        [(fixed.get("entryPoints"), ENTRIES_MAX, "entry points"), (dynamic.get("http.routers"), ROUTES_MAX, "routers")]
    {
        if let Some(node) = node.filter(|node| node.entries().len() > most) {
            let message = format!("there are more than {most} {what}");
            return Err(Unreadable { file: node.place.file.to_string(), at: Some((node.place.line, 1)), message });
        }
    }
    Ok(())
}

impl<'t> Importer<'t> {
    /// A path of a file that unstick will read.
    fn file(&self, written: &str) -> String {
        self.base.as_ref().map_or_else(|| written.to_owned(), |base| base.join(written).display().to_string())
    }

    /// Notes what has no translation.
    fn note(&mut self, place: &Place, said: impl Into<String>, why: impl Into<String>, what_to_do: &str, at: &At) {
        self.out.leave_out(LeftOut { at: at.clone(), ..left(place, said, why, what_to_do) });
    }

    /// What is in no router is not looked at: it is told.
    fn unused(&mut self) {
        let (fixed, dynamic) = (self.fixed, self.dynamic);
        let is_dynamic = |key: &str| ["http", "tls"].contains(&&*key.to_ascii_lowercase());
        for (key, node) in dynamic.entries().iter().filter(|(key, _)| !is_dynamic(key)) {
            self.top(key, node);
        }
        for (key, node) in dynamic.get("http").map(Node::entries).unwrap_or_default() {
            let known = ["routers", "services", "middlewares", "serversTransports"];
            if !known.iter().any(|known| known.eq_ignore_ascii_case(key)) {
                let why = "the importer does not know this key";
                self.note(&node.place, format!("http.{key}"), why, "see what it does", &At::Top);
            }
        }
        for (key, node) in fixed.entries().iter().filter(|(key, _)| !key.eq_ignore_ascii_case("entryPoints")) {
            self.top(key, node);
        }
        let services = dynamic.get("http.services").map(Node::entries).unwrap_or_default();
        for (name, node) in services {
            if !self.made.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                let what_to_do = "name it in the route that needs it, or forget it";
                let why = "no translated router leads to this service";
                self.note(&node.place, format!("http.services.{name}"), why, what_to_do, &At::Top);
            }
        }
    }

    /// A key of the top, which concerns everything.
    fn top(&mut self, key: &str, node: &Node) {
        let one = Node { place: node.place.clone(), data: node::Data::Map(vec![(key.into(), node.clone())]) };
        self.look_through(&one, &Part::new("", ""), &At::Top);
    }

    /// Forgets the pools of routes that no request reaches.
    fn forget_pools(&mut self) {
        let mut named: Vec<String> = Vec::new();
        for route in &self.out.routes {
            for key in ["pool", "fallback", "split"] {
                match route.keys.get(key) {
                    Some(Value::Text(name)) => named.push(name.clone()),
                    Some(Value::Table(split)) => named.extend(split.0.iter().map(|(name, _)| name.clone())),
                    _ => {}
                }
            }
        }
        self.out.pools.retain(|pool| named.contains(&pool.name));
    }

    /// What was left out stands next to what it concerns, if that was made.
    fn place(&mut self) {
        for left in &mut self.out.left_out {
            let is_nowhere = match &left.at {
                At::Pool(name) => !self.out.pools.iter().any(|pool| pool.name == *name),
                At::Listener(name) => !self.out.listeners.iter().any(|listener| listener.name == *name),
                At::Route(index) => *index >= self.out.routes.len(),
                At::Top => false,
            };
            if is_nowhere {
                left.at = At::Top;
            }
        }
        self.out.left_out.sort_by(|one, other| one.place.cmp(&other.place));
    }
}

/// What was left out there. It is put in its place later.
fn left(place: &Place, said: impl Into<String>, why: impl Into<String>, what_to_do: &str) -> LeftOut {
    LeftOut {
        place: place.clone(),
        directive: said.into(),
        why: why.into(),
        what_to_do: what_to_do.to_owned(),
        at: At::Top,
    }
}

/// A name without the provider that it comes from: `auth@file` is `auth`.
fn local(name: &str) -> &str {
    name.split('@').next().unwrap_or(name)
}
