//! Load balancers, which are pools.

use super::node::Node;
use super::text::{encoded, refers};
use super::walk::Part;
use super::{Importer, general, text};
use crate::imported::{At, Keys, Place, Pool};
use crate::nginx::units::shown;
use crate::value::Value;

const AUDIT: &str = "run `unstick audit`: it finds whether the application needs that, and where";
const STICKY: &str = "unstick has no stickiness: a client may be served by any replica";

/// A pool that was made, and what its routes need.
#[derive(Debug, Clone, Default)]
pub(super) struct Made {
    pub(super) pool: String,
    pub(super) timeouts: Keys,
    pub(super) host: Option<String>,
    pub(super) prefix: Option<String>,
}

/// A server of a load balancer.
#[derive(Debug, Clone, PartialEq)]
struct Server {
    address: String,
    scheme: &'static str,
    /// The path of its URL, if it is kept.
    prefix: Option<String>,
    weight: i64,
    place: Place,
}

impl<'t> Importer<'t> {
    /// The pool of a load balancer; nothing if it has no servers.
    pub(super) fn pool(&mut self, service: &str, node: &'t Node) -> Option<Made> {
        if let Some((_, made)) = self.made.iter().find(|(known, _)| known.eq_ignore_ascii_case(service)) {
            return Some(made.clone()).filter(|made| !made.pool.is_empty());
        }
        let name = self.pool_name(service);
        let (at, said) = (At::Pool(name.clone()), format!("http.services.{service}.loadBalancer"));
        self.look_through(node, &Part::new("services.loadBalancer", said.clone()), &at);
        let servers = self.servers(node, &said, &at);
        let first = servers.first().cloned();
        let mut made = Made { pool: name.clone(), ..Made::default() };
        let Some(first) = first else {
            self.made.push((service.to_owned(), Made::default()));
            return None;
        };
        made.prefix.clone_from(&first.prefix);
        let mut keys = Keys::default();
        if let Some(protocol) = Some(first.scheme).filter(|scheme| *scheme != "http1") {
            keys.set("protocol", protocol);
        }
        backends(&servers, &mut keys);
        self.balance(node, &said, &at, &mut keys);
        self.eject(node, &said, &at, &mut keys);
        self.health(node, &said, &at, first.scheme, &mut keys);
        made.timeouts = self.transport(node, &said, &at, &mut keys);
        if node.get("passHostHeader").is_some_and(Node::is_off) {
            if let [only] = &servers[..] {
                made.host =
                    Some(only.address.trim_end_matches(if only.scheme == "https" { ":443" } else { ":80" }).to_owned());
            } else {
                let why = "each replica would get its own address as Host; here it is the host of the client";
                let what_to_do = "write request_headers = { set = { host = \"name\" } } in its routes";
                self.note(&node.place, format!("{said}.passHostHeader"), why, what_to_do, &at);
            }
        }
        self.out.pools.push(Pool { name, keys });
        self.made.push((service.to_owned(), made.clone()));
        Some(made)
    }

    fn pool_name(&self, service: &str) -> String {
        let mut name: String =
            service.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
        if name.is_empty() {
            name.push_str("pool");
        }
        let is_taken = |name: &str| self.out.pools.iter().any(|pool| pool.name == name);
        let numbered = (2..).map(|n| format!("{name}-{n}")).find(|name| !is_taken(name));
        if is_taken(&name) { numbered.unwrap_or(name) } else { name }
    }

    /// The servers that one pool can have: with the same scheme and the same path.
    fn servers(&mut self, node: &Node, said: &str, at: &At) -> Vec<Server> {
        let mut servers: Vec<Server> = Vec::new();
        for server in node.get("servers").map(Node::elements).unwrap_or_default() {
            let said = format!("{said}.servers");
            let url = server.text_at("url").unwrap_or_default();
            let Some(mut new) = self::server(url, server) else {
                self.note(&server.place, said, format!("`{url}` is no URL of a replica"), "write it in the pool", at);
                continue;
            };
            let is_other =
                servers.first().is_some_and(|first| first.scheme != new.scheme || first.prefix != new.prefix);
            let why = match servers.iter().any(|known| known.address == new.address) {
                true => "this server is there twice",
                false if is_other => "the servers of a pool speak the same protocol, and have the same path",
                false => "",
            };
            if !why.is_empty() {
                self.note(&server.place, said, why, "write a pool of its own, or give it a weight", at);
                continue;
            }
            if !(1..=256).contains(&new.weight) {
                let why = format!("weights are from 1 to 256, not {}", new.weight);
                self.note(&server.place, said, why, "divide all weights of the pool, or write state = \"drain\"", at);
                new.weight = new.weight.clamp(1, 256);
            }
            servers.push(new);
        }
        servers
    }

    fn balance(&mut self, node: &Node, said: &str, at: &At, keys: &mut Keys) {
        let Some(strategy) = node.get("strategy") else { return };
        match &*strategy.text().unwrap_or_default().to_ascii_lowercase() {
            "" | "wrr" => {}
            "p2c" => keys.set("balance", "p2c"),
            "leasttime" => keys.set("balance", "peak-ewma"),
            "hrw" => self.note(&strategy.place, format!("{said}.strategy"), STICKY, AUDIT, at),
            _ => {
                self.note(&strategy.place, format!("{said}.strategy"), "unstick has none like it", "see `balance`", at)
            }
        }
    }

    fn eject(&mut self, node: &Node, said: &str, at: &At, keys: &mut Keys) {
        let Some(passive) = node.get("passiveHealthCheck") else { return };
        let failures = passive.number_at("maxFailedAttempts").unwrap_or(1);
        keys.set("eject.failures", failures.clamp(1, 1000));
        let window = passive.text_at("failureWindow").and_then(text::time).unwrap_or(10_000);
        keys.set("eject.duration", shown(window.clamp(10, 86_400_000)));
        let why = "unstick counts failures in a row, Traefik those within `failureWindow`";
        self.note(&passive.place, format!("{said}.passiveHealthCheck"), why, "see [pool.NAME.eject]", at);
    }

    fn health(&mut self, node: &Node, said: &str, at: &At, scheme: &str, keys: &mut Keys) {
        let Some(check) = node.get("healthCheck") else { return };
        let said = format!("{said}.healthCheck");
        let is_grpc = check.text_at("mode").is_some_and(|mode| mode.eq_ignore_ascii_case("grpc"));
        match (is_grpc, scheme) {
            (false, _) => self.http_probe(check, &said, at, keys),
            (true, "http1") => {
                let why = "gRPC is asked over HTTP/2, and this pool speaks HTTP/1.1, so it is only connected to";
                self.note(
                    &check.place,
                    format!("{said}.mode"),
                    why,
                    "write protocol = \"h2c\" and kind = \"grpc\"",
                    at,
                );
                keys.set("health.kind", "tcp");
            }
            (true, _) => keys.set("health.kind", "grpc"),
        }
        for (key, standard) in [("interval", 30_000), ("timeout", 5000)] {
            let written = check.text_at(key).and_then(text::time).unwrap_or(standard);
            keys.set(format!("health.{key}"), shown(written.clamp(10, 3_600_000)));
        }
        // Traefik believes one probe.
        keys.set("health.rise", 1);
        keys.set("health.fall", 1);
    }

    fn http_probe(&mut self, check: &Node, said: &str, at: &At, keys: &mut Keys) {
        keys.set("health.kind", "http");
        let path = check.text_at("path").unwrap_or("/");
        let slash = if path.starts_with('/') { "" } else { "/" };
        keys.set("health.path", format!("{slash}{}", encoded(path)));
        let headers = check.get("headers").map(Node::entries).unwrap_or_default();
        let host = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host")).and_then(|(_, node)| node.text());
        if let Some(host) = host.or(check.text_at("hostname")) {
            keys.set("health.host", host);
        }
        if let Some(status) = check.number_at("status").filter(|status| (200..600).contains(status)) {
            keys.set("health.status", status);
        }
        if let Some((_, other)) = headers.iter().find(|(name, _)| !name.eq_ignore_ascii_case("host")) {
            let why = "a probe has no headers of its own but Host";
            self.note(&other.place, format!("{said}.headers"), why, "see that the path answers without", at);
        }
        if let Some(method) =
            check.get("method").filter(|method| !method.text().is_some_and(|text| text.eq_ignore_ascii_case("get")))
        {
            self.note(
                &method.place,
                format!("{said}.method"),
                "unstick probes with GET",
                "see that the path answers it",
                at,
            );
        }
    }
}

/// A server, from its URL.
fn server(url: &str, node: &Node) -> Option<Server> {
    let (scheme, rest) = url.split_once("://")?;
    let (scheme, port) = match &*scheme.to_ascii_lowercase() {
        "http" => ("http1", 80),
        "h2c" => ("h2c", 80),
        "https" => ("https", 443),
        _ => return None,
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = path.split('?').next().unwrap_or_default();
    let is_kept = node.is_true("preservePath") && !matches!(path, "" | "/");
    Some(Server {
        address: with_port(authority, port)?,
        scheme,
        prefix: is_kept.then(|| encoded(path.trim_end_matches('/'))),
        weight: node.number_at("weight").unwrap_or(1),
        place: node.place.clone(),
    })
}

/// An address with its port.
fn with_port(authority: &str, port: u16) -> Option<String> {
    // Colons of an IPv6 address stand in brackets, and those of a reference to the environment in braces.
    let mut depth = 0;
    let colon = authority.find(|c| {
        depth += i32::from(matches!(c, '[' | '{')) - i32::from(matches!(c, ']' | '}'));
        c == ':' && depth == 0
    });
    let (host, written) = match colon {
        Some(at) => (&authority[..at], Some(&authority[at + 1..])),
        None => (authority, None),
    };
    let is_host = |b: u8| b.is_ascii_alphanumeric() || b"-_.[]:".contains(&b);
    let is_port = |text: &str| text.parse::<u16>().is_ok_and(|port| port != 0) || refers(text);
    let is_good = !host.is_empty() && (refers(host) || host.bytes().all(is_host)) && written.is_none_or(is_port);
    is_good.then(|| written.map_or_else(|| format!("{host}:{port}"), |written| format!("{host}:{written}")))
}

/// The backends of a pool, in the short form if that is enough.
fn backends(servers: &[Server], keys: &mut Keys) {
    if servers.iter().all(|server| server.weight == 1) {
        keys.set("backends", servers.iter().map(|server| server.address.clone()).collect::<Vec<_>>());
        return;
    }
    let entry = |server: &Server| {
        let mut entry = Keys::default();
        entry.set("address", server.address.as_str());
        if server.weight != 1 {
            entry.set("weight", server.weight);
        }
        Value::Table(entry)
    };
    keys.set("backend", Value::List(servers.iter().map(entry).collect()));
}

/// The deadlines of a transport, for the routes that lead to its pools.
pub(super) fn deadlines(node: &Node) -> Keys {
    let mut keys = Keys::default();
    for (theirs, ours) in [("dialTimeout", "connect"), ("responseHeaderTimeout", "response_head")] {
        let written = node.text_at(&format!("forwardingTimeouts.{theirs}"));
        if let Some(value) = written.and_then(general::some_time) {
            keys.set(ours, value);
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_servers() {
        for (authority, expected) in [
            ("app", Some("app:80")),
            ("app:3000", Some("app:3000")),
            ("[::1]", Some("[::1]:80")),
            ("[::1]:3000", Some("[::1]:3000")),
            ("app:${PORT:-3000}", Some("app:${PORT:-3000}")),
            ("${HOST}:80", Some("${HOST}:80")),
            ("app:x", None),
            ("user@app", None),
            ("", None),
        ] {
            assert_eq!(with_port(authority, 80).as_deref(), expected, "{authority}");
        }
    }
}
