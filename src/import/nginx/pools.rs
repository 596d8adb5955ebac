//! `upstream`, and the addresses that a `proxy_pass` names itself: the pools.

use super::grammar::Directive;
use super::scope::Scope;
use super::{Importer, left, units};
use crate::imported::{At, Keys, LeftOut, Pool};
use crate::value::{Value, variable, with_sample};

/// A pool that was made.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) name: String,
    /// The pool of the servers that are used when no other is well.
    pub(super) backup: Option<String>,
}

/// What is said of a server of an upstream.
struct Server<'t> {
    item: &'t Directive,
    address: String,
    weight: i64,
    is_down: bool,
    is_backup: bool,
}

impl<'t> Importer<'t> {
    /// The pool of an upstream, or of one address. `protocol` is empty for HTTP/1.1.
    pub(super) fn pool(&mut self, source: &str, protocol: &str, scope: &Scope<'t>) -> Made {
        let tls = if protocol == "https" { self.pool_tls(scope) } else { Keys::default() };
        let id = format!("{source} {protocol} {tls:?}");
        if let Some((_, made)) = self.pools.iter().find(|(known, _)| *known == id) {
            return made.clone();
        }
        let upstream = self.blocks("upstream").into_iter().find(|upstream| upstream.arg(0) == source);
        let name = self.pool_name(source, protocol);
        let mut keys = Keys::default();
        if !protocol.is_empty() {
            keys.set("protocol", protocol);
        }
        let Some(upstream) = upstream else {
            keys.set("backends", vec![with_port(source, if protocol == "https" { 443 } else { 80 })]);
            keys.0.extend(tls.0);
            self.out.pools.push(Pool { name: name.clone(), keys });
            let made = Made { name, backup: None };
            self.pools.push((id, made.clone()));
            return made;
        };
        let at = At::Pool(name.clone());
        self.note_left(upstream.items(), &at);
        self.balance(upstream, &mut keys);
        let servers = self.servers_of(upstream, &at);
        self.health(&servers, &mut keys, &at);
        let (backup, main): (Vec<_>, Vec<_>) = servers.into_iter().partition(|server| server.is_backup);
        let made = Made { name: name.clone(), backup: (!backup.is_empty()).then(|| format!("{name}-backup")) };
        if let Some(first) = backup.first() {
            let why = "replicas here are for requests while all of the others are kept out, and for those that all of \
                       the others have failed, as far as `retry.attempts` lets them be sent again";
            let what_to_do = "probe them with [pool.NAME.health], which keeps them out before a request fails";
            self.out.leave_out(LeftOut { at: at.clone(), ..left(first.item, why, what_to_do) });
        }
        let mut all = vec![(name, main)];
        all.extend(made.backup.clone().map(|name| (name, backup)));
        for (name, servers) in all {
            let mut keys = keys.clone();
            // Else some stay whatever they answer, and the other pool is never asked.
            if made.backup.as_ref().is_some_and(|backup| *backup != name) {
                keys.set("eject.share", "100%");
            }
            backends(&servers, &mut keys);
            keys.0.extend(tls.0.clone());
            self.out.pools.push(Pool { name, keys });
        }
        self.pools.push((id, made.clone()));
        made
    }

    fn pool_name(&self, source: &str, protocol: &str) -> String {
        let clean = source.trim_start_matches("unix:").trim_matches(['/', '[', ']', ':']);
        let mut name: String =
            clean.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
        name = name.trim_matches('-').to_owned();
        let is_taken = |name: &str| self.out.pools.iter().any(|pool| pool.name == name);
        if is_taken(&name) && !protocol.is_empty() {
            name = format!("{name}-{protocol}");
        }
        let numbered = (2..).map(|n| format!("{name}-{n}")).find(|name| !is_taken(name));
        if is_taken(&name) { numbered.unwrap_or(name) } else { name }
    }

    fn balance(&mut self, upstream: &Directive, keys: &mut Keys) {
        for item in upstream.items() {
            match (item.name.as_str(), item.arg(0)) {
                ("least_conn", _) => keys.set("balance", "least-connections"),
                ("random", "two") => keys.set("balance", "p2c"),
                ("random", _) => keys.set("balance", "random"),
                ("least_time", _) => keys.set("balance", "peak-ewma"),
                _ => {}
            }
        }
    }

    fn servers_of(&mut self, upstream: &'t Directive, at: &At) -> Vec<Server<'t>> {
        let mut servers: Vec<Server<'t>> = Vec::new();
        for item in upstream.items().iter().filter(|item| item.name == "server") {
            let address = with_port(item.arg(0), 80);
            let mut server = Server { item, address, weight: 1, is_down: false, is_backup: false };
            for option in item.args.iter().skip(1) {
                let (name, value) = option.split_once('=').unwrap_or((option, ""));
                match name {
                    "weight" => server.weight = value.parse().unwrap_or(1),
                    "down" => server.is_down = true,
                    "backup" => server.is_backup = true,
                    "max_fails" | "fail_timeout" | "max_conns" | "slow_start" | "resolve" => {}
                    _ => {
                        let why = format!("`{name}` has no translation");
                        let note = left(item, why, "unstick resolves names itself, and has no stickiness");
                        self.out.leave_out(LeftOut { at: at.clone(), ..note });
                    }
                }
            }
            if servers.iter().any(|known| known.address == server.address) {
                let note = left(item, "this server is in the upstream twice", "give it a weight of 2");
                self.out.leave_out(LeftOut { at: at.clone(), ..note });
                continue;
            }
            if !(1..=256).contains(&server.weight) {
                let note = left(item, "weights are from 1 to 256", "divide all weights of the pool");
                self.out.leave_out(LeftOut { at: at.clone(), ..note });
                server.weight = server.weight.clamp(1, 256);
            }
            servers.push(server);
        }
        servers
    }

    /// What nginx says of each server, and unstick of the pool.
    fn health(&mut self, servers: &[Server<'t>], keys: &mut Keys, at: &At) {
        let value = |server: &Server<'t>, name: &str| {
            let mut options = server.item.args.iter().filter_map(|option| option.split_once('='));
            options.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
        };
        for name in ["max_fails", "fail_timeout", "max_conns", "slow_start"] {
            let values: Vec<Option<String>> = servers.iter().map(|server| value(server, name)).collect();
            let Some(first) = servers.iter().find(|server| value(server, name).is_some()) else { continue };
            let same = values.iter().all(|other| *other == values[0]).then(|| values[0].clone()).flatten();
            let mut note = |why: &str, what_to_do: &str| {
                self.out.leave_out(LeftOut { at: at.clone(), ..left(first.item, why, what_to_do) });
            };
            let Some(same) = same else {
                note(&format!("`{name}` holds for a whole pool in unstick"), "decide on one value for all servers");
                continue;
            };
            match (name, same.parse::<i64>(), units::time(&same)) {
                ("max_fails", Ok(0), _) => keys.set("eject.failures", 0),
                ("max_fails", Ok(number), _) => {
                    keys.set("eject.failures", number);
                    note(
                        "unstick counts failures in a row, nginx those within `fail_timeout`",
                        "see [pool.NAME.eject]",
                    );
                }
                // Such a server is never kept out.
                ("fail_timeout", _, Some(time)) if time == "0s" => keys.set("eject.failures", 0),
                ("fail_timeout", _, Some(time)) => keys.set("eject.duration", time),
                ("max_conns", Ok(number), _) if number > 0 => {
                    keys.set("max_requests", number);
                    keys.set("queue.size", 0);
                }
                ("slow_start", _, Some(time)) => keys.set("slow_start", time),
                _ => {}
            }
        }
    }

    fn pool_tls(&self, scope: &Scope<'t>) -> Keys {
        let mut keys = Keys::default();
        for (theirs, ours) in [
            ("proxy_ssl_trusted_certificate", "tls.ca"),
            ("proxy_ssl_name", "tls.server_name"),
            ("proxy_ssl_certificate", "tls.cert"),
            ("proxy_ssl_certificate_key", "tls.key"),
        ] {
            if let Some(item) = scope.one(theirs).filter(|item| !item.arg(0).contains('$')) {
                let value = if ours == "tls.server_name" { item.arg(0).to_owned() } else { self.file(item.arg(0)) };
                keys.set(ours, value);
            }
        }
        keys
    }

    /// Notes the upstreams that no route leads to: unstick has no pools without routes.
    pub(super) fn unused_upstreams(&mut self) {
        for upstream in self.blocks("upstream") {
            let is_there = |name: &str| self.out.pools.iter().any(|pool| pool.name == name);
            let mut made = self.pools.iter().filter(|(id, _)| id.split(' ').next() == Some(upstream.arg(0)));
            let is_used = made.any(|(_, made)| is_there(&made.name));
            if !is_used {
                let what_to_do = "name it in the route that needs it, or forget it";
                self.out.leave_out(left(upstream, "no translated location leads to this upstream", what_to_do));
            }
        }
    }
}

/// The backends of a pool, in the short form if that is enough.
fn backends(servers: &[Server<'_>], keys: &mut Keys) {
    if servers.iter().all(|server| server.weight == 1 && !server.is_down) {
        keys.set("backends", servers.iter().map(|server| server.address.clone()).collect::<Vec<_>>());
        return;
    }
    let entry = |server: &Server<'_>| {
        let mut entry = Keys::default();
        entry.set("address", server.address.as_str());
        if server.weight != 1 {
            entry.set("weight", server.weight);
        }
        if server.is_down {
            entry.set("state", "down");
        }
        Value::Table(entry)
    };
    keys.set("backend", Value::List(servers.iter().map(entry).collect()));
}

/// The address with a port, if it is no Unix socket.
fn with_port(written: &str, port: u16) -> String {
    let written = written.trim_end_matches(':');
    let sample = with_sample(written, "1");
    let has_port = sample.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let is_bare_v6 = written.ends_with(']');
    // What is nothing but a variable may have a port.
    if variable(written).is_some() || written.starts_with("unix:") || has_port && !is_bare_v6 {
        written.to_owned()
    } else {
        format!("{written}:{port}")
    }
}
