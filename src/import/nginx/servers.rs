//! `server`: which hosts of which listeners are its own.
//!
//! nginx finds the server by the exact name, then wildcards, then regular expressions, and else takes the default
//! server of the socket. unstick takes the most specific host, and a route without a host last; so the default server
//! has none.

use super::grammar::Directive;
use super::locations::Found;
use super::rewriting::Spot;
use super::scope::Scope;
use super::{Draft, Importer, left};
use crate::imported::{At, Keys, Route};
use crate::value::lower;

/// The requests that a server gets.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The listeners: name, whether it speaks TLS, port.
    pub(super) listen: Vec<(String, bool, Option<u16>)>,
    pub(super) host: Vec<String>,
    /// The only methods that go on, if some were turned away.
    pub(super) method: Vec<String>,
    /// What headers and arguments must be of those who go on: `header` and `query` of a route.
    pub(super) tests: Keys,
}

impl<'t> Importer<'t> {
    /// Makes the routes of a server.
    pub(super) fn server(&mut self, index: usize, server: &'t Directive) {
        let scope = self.scope().within(server.items());
        self.note_left(server.items(), &At::Route(self.out.routes.len()));
        let names = self.names(server);
        for target in self.targets(index, server, &names) {
            self.routes_of(server, target, &scope);
        }
    }

    fn targets(&mut self, index: usize, server: &'t Directive, names: &[String]) -> Vec<Target> {
        let listen = |is_default: bool| -> Vec<(String, bool, Option<u16>)> {
            let own = self.sockets.iter().filter(|socket| socket.servers.contains(&index));
            let own = own.filter(|socket| (socket.default == index) == is_default);
            own.map(|socket| (socket.name.clone(), socket.is_tls, socket.port)).collect()
        };
        let (default, other) = (listen(true), listen(false));
        let mapped = self.mapped_hosts(&self.scope().within(server.items()));
        let mut targets = Vec::new();
        if !default.is_empty() {
            let mut host = self.default_hosts(index, names);
            let mapped: Vec<String> = mapped.iter().filter(|host| !self.is_elsewhere(index, host)).cloned().collect();
            if host.is_empty() && !mapped.is_empty() {
                host = [names, &["*".to_owned()]].concat();
            }
            add(&mut host, mapped);
            targets.push(Target { listen: default, host, method: Vec::new(), tests: Keys::default() });
        }
        if !other.is_empty() {
            let mut host = self.unseen(server, &other, names);
            let is_own = |host: &str| names.iter().any(|name| below(name, host));
            add(&mut host, mapped.into_iter().filter(|host| is_own(host) && !self.is_elsewhere(index, host)).collect());
            if host.is_empty() {
                let what_to_do = "give it a name, or make it the default_server";
                self.out.leave_out(left(server, "no host that unstick can name leads to this server", what_to_do));
            } else {
                targets.push(Target { listen: other, host, method: Vec::new(), tests: Keys::default() });
            }
        }
        targets
    }

    /// The hosts of a default server: none, unless another one has a wildcard that would take its names away.
    fn default_hosts(&self, index: usize, names: &[String]) -> Vec<String> {
        let servers = self.blocks("server");
        let others = servers.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, server)| *server);
        let mut named = others.flat_map(|server| server.items()).filter(|item| item.name == "server_name");
        let has_wildcards = named.any(|item| item.args.iter().any(|name| name.starts_with(['*', '.'])));
        if has_wildcards && !names.is_empty() { [names, &["*".to_owned()]].concat() } else { Vec::new() }
    }

    /// Whether another server has a host.
    fn is_elsewhere(&self, index: usize, host: &str) -> bool {
        let servers = self.blocks("server");
        let mut others =
            servers.iter().enumerate().filter(|(other, _)| *other != index).flat_map(|(_, item)| item.items());
        let mut names = others.by_ref().filter(|item| item.name == "server_name").flat_map(|item| &item.args);
        names.any(|name| name.to_ascii_lowercase() == host || below(name, host))
    }

    /// The names that no earlier server has on the same listener: nginx ignores the later ones.
    fn unseen(&mut self, server: &Directive, listen: &[(String, bool, Option<u16>)], names: &[String]) -> Vec<String> {
        let mut unseen = Vec::new();
        for name in names {
            let is_seen = listen
                .iter()
                .all(|(listener, ..)| self.names.iter().any(|(known, host)| known == listener && host == name));
            if is_seen {
                let why = format!("an earlier server is called {name}, and nginx ignores this one for it");
                self.out.leave_out(left(server, why, "rename one of them"));
            } else {
                unseen.push(name.clone());
                self.names.extend(listen.iter().map(|(listener, ..)| (listener.clone(), name.clone())));
            }
        }
        unseen
    }

    /// The hosts that a server names.
    fn names(&mut self, server: &Directive) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for item in server.items().iter().filter(|item| item.name == "server_name") {
            for name in &item.args {
                let is_wild = name.ends_with(".*") || name.starts_with('~') || name.contains('$');
                let found = match name.strip_prefix('.') {
                    _ if is_wild => {
                        let why = format!("the host {name} cannot be written: unstick knows names and *.names");
                        let at = At::Route(self.out.routes.len());
                        let note = left(item, why, "list the names, or use *.example.com");
                        self.out.leave_out(crate::imported::LeftOut { at, ..note });
                        continue;
                    }
                    _ if name.is_empty() || !name.contains(|c: char| c.is_ascii_alphanumeric()) => continue,
                    Some(domain) => vec![domain.to_owned(), format!("*.{domain}")],
                    None => vec![name.to_owned()],
                };
                names.extend(found.into_iter().map(|name| lower(&name)));
            }
        }
        let mut seen = Vec::new();
        names.retain(|name| {
            !seen.contains(name) && {
                seen.push(name.clone());
                true
            }
        });
        names
    }

    /// The routes of a server, in the order in which nginx would look.
    fn routes_of(&mut self, server: &'t Directive, target: Target, scope: &Scope<'t>) {
        let origin = if target.host.is_empty() { "the default server".to_owned() } else { target.host.join(" ") };
        let spot = Spot { target, path: "/".to_owned(), priority: 0, place: server.place.clone(), origin };
        let phase = self.rewrite_phase(&spot, scope, true);
        let (before, after) = (phase.before, phase.after);
        for (nth, mut draft) in before.into_iter().enumerate() {
            draft.route.priority = 1000 - i64::try_from(nth).unwrap_or(999);
            self.push(draft);
        }
        let notes_at = self.out.routes.len();
        for note in phase.left {
            self.out.leave_out(crate::imported::LeftOut { at: At::Route(notes_at), ..note });
        }
        match phase.answer {
            Some(mut answer) => {
                if phase.closed {
                    super::locations::close(&mut answer);
                }
                self.push(answer);
            }
            None if phase.is_over => {}
            None => self.locations(server, &phase.rest, scope, phase.closed),
        }
        after.into_iter().for_each(|draft| self.push(draft));
    }

    /// A route for what no location takes.
    pub(super) fn nothing_there(&mut self, server: &Directive, spot: &Spot, scope: &Scope<'t>) {
        let mut draft = self.draft(spot, "what no location takes");
        draft.route.keys.set_in("respond", "status", 404);
        let why = match scope.one("root") {
            Some(root) => format!("nginx looks for files in {}; unstick has none", root.arg(0)),
            None => "nginx looks for files in its default root; unstick has none".to_owned(),
        };
        draft.left.push(left(server, why, "add a route with path = \"/\" and a pool if replicas have them"));
        self.push(draft);
    }

    /// A route with nothing but its place.
    pub(super) fn draft(&self, spot: &Spot, origin: &str) -> Draft {
        let all = self.sockets.len();
        let listen: Vec<String> = spot.target.listen.iter().map(|(name, ..)| name.clone()).collect();
        let mut keys = Keys::default();
        if !spot.target.method.is_empty() {
            keys.set("method", crate::value::one_or_more(&spot.target.method));
        }
        keys.0.extend(spot.target.tests.0.clone());
        let route = Route {
            place: spot.place.clone(),
            origin: origin.to_owned(),
            listen: if listen.len() == all { Vec::new() } else { listen },
            host: spot.target.host.clone(),
            path: spot.path.clone(),
            priority: spot.priority,
            keys,
        };
        Draft { route, left: Vec::new() }
    }

    /// The location of a file within a server, for pages and `try_files`.
    pub(super) fn location_of(&self, scope: &Scope<'t>, uri: &str) -> Option<Found<'t>> {
        super::locations::find(scope, uri)
    }
}

/// Whether a name is a wildcard of which a host is one.
fn below(name: &str, host: &str) -> bool {
    let end = name.strip_prefix('*').unwrap_or(name);
    end.starts_with('.') && host.ends_with(end)
}

fn add(hosts: &mut Vec<String>, more: Vec<String>) {
    let new: Vec<String> = more.into_iter().filter(|host| !hosts.contains(host)).collect();
    // The wildcards stay behind.
    hosts.splice(0..0, new);
}
