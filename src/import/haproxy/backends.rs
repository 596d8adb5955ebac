//! Backends: pools, and how their servers are probed.

use super::grammar::Line;
use super::test::Test;
use super::{Importer, Proxy, left, time};
use crate::imported::{At, Keys, LeftOut, Pool};
use crate::value::{Value, variable, with_sample};

const STICKY: &str = "unstick has no stickiness: a client may be served by any replica";
const AUDIT: &str = "run `unstick audit`: it finds whether the application needs that, and where";

/// A server of a backend.
struct Server {
    entry: Keys,
    address: String,
    is_backup: bool,
}

/// What servers say, and the pool has.
#[derive(Default, Clone, PartialEq)]
struct Shared {
    is_checked: bool,
    keys: Keys,
    health: Keys,
}

impl Shared {
    /// Whether it is an option that all servers of a pool share, which is then set.
    fn option<'w>(&mut self, word: &str, value: &mut impl FnMut() -> &'w str) -> bool {
        let mut span = |default: &str| time(value()).unwrap_or_else(|| default.to_owned());
        match word {
            "check" => self.is_checked = true,
            "no-check" => self.is_checked = false,
            "slowstart" => self.keys.set("slow_start", span("0s")),
            "inter" => self.health.set("health.interval", span("2s")),
            "rise" => self.health.set("health.rise", value().parse::<i64>().unwrap_or(2)),
            "fall" => self.health.set("health.fall", value().parse::<i64>().unwrap_or(3)),
            "send-proxy" => self.keys.set("proxy_protocol", "v1"),
            "send-proxy-v2" => self.keys.set("proxy_protocol", "v2"),
            "ssl" => self.keys.set("protocol", "https"),
            "maxconn" => match value().parse::<i64>() {
                Ok(most) if most > 0 => self.keys.set("max_requests", most),
                _ => {}
            },
            _ => return false,
        }
        true
    }
}

impl<'t> Importer<'t> {
    /// The pool of a backend, and that of its spare servers; nothing if it cannot be one.
    pub(super) fn backend(&mut self, proxy: &Proxy<'t>, name: &str) -> Option<(String, Option<String>)> {
        if let Some((known, backup)) = self.made.iter().find(|(known, _)| known == name) {
            return Some((known.clone(), backup.clone()));
        }
        let at = At::Pool(name.to_owned());
        let (backup, main): (Vec<_>, Vec<_>) =
            self.servers(proxy, &at).into_iter().partition(|(server, ..)| server.is_backup);
        let (main, backup) = if main.is_empty() { (backup, main) } else { (main, backup) };
        if main.is_empty() {
            return None;
        }
        let spare = (!backup.is_empty()).then(|| format!("{name}-backup"));
        let mut first = self.pool(proxy, main, &at);
        if spare.is_some() {
            // Else some stay whatever they answer, and the other pool is never asked.
            first.set("eject.share", "100%");
        }
        self.out.pools.push(Pool { name: name.to_owned(), keys: first });
        if let Some(name) = spare.clone() {
            let keys = self.pool(proxy, backup, &at);
            self.out.pools.push(Pool { name, keys });
        }
        self.made.push((name.to_owned(), spare.clone()));
        Some((name.to_owned(), spare))
    }

    /// The keys of a pool of these servers.
    fn pool(&mut self, proxy: &Proxy<'t>, servers: Vec<(Server, Shared, &'t Line)>, at: &At) -> Keys {
        let mut shared = Shared::default();
        for (nth, (_, own, line)) in servers.iter().enumerate() {
            if nth == 0 {
                shared = own.clone();
            } else if *own != shared {
                let why = "probes, TLS and bounds hold for a whole pool, and the first server has others";
                self.note(line, why, "decide on one value for all servers", at);
                shared.is_checked |= own.is_checked;
            }
        }
        // Requests beyond the bound wait, as many as there are, as long as this.
        if shared.keys.get("max_requests").is_some() {
            let wait = proxy.one("timeout queue").or_else(|| proxy.one("timeout connect"));
            shared.keys.set("queue.size", 1_000_000);
            if let Some(wait) = wait.and_then(|line| time(line.word(2))) {
                shared.keys.set("queue.timeout", wait);
            }
        }
        let servers: Vec<Server> = servers.into_iter().map(|(server, ..)| server).collect();
        let mut keys = backends(&servers);
        self.balance(proxy, &mut keys, at);
        keys.0.extend(shared.keys.0.clone());
        if let Some(retries) = proxy.one("retries").and_then(|line| line.word(1).parse::<i64>().ok()) {
            keys.set("retry.attempts", (retries + 1).clamp(1, 10));
        }
        if shared.is_checked {
            self.health(proxy, &mut keys, &shared, at);
        }
        keys
    }

    /// The servers, with what each says for its pool.
    fn servers(&mut self, proxy: &Proxy<'t>, at: &At) -> Vec<(Server, Shared, &'t Line)> {
        let defaults: Vec<String> =
            proxy.all("default-server").iter().flat_map(|line| line.words.iter().skip(1).cloned()).collect();
        let mut servers = Vec::new();
        for line in proxy.all("server") {
            let options = [&defaults[..], line.words.get(3..).unwrap_or_default()].concat();
            let mut shared = Shared::default();
            let server = self.server(line, &options, &mut shared, at);
            servers.push((server, shared, line));
        }
        servers
    }

    fn balance(&mut self, proxy: &Proxy<'t>, keys: &mut Keys, at: &At) {
        let Some(line) = proxy.one("balance") else { return };
        match line.word(1).split('(').next().unwrap_or_default() {
            "roundrobin" | "static-rr" => {}
            "leastconn" => keys.set("balance", "least-connections"),
            "random" => keys.set("balance", "p2c"),
            _ => {
                self.note(line, STICKY, AUDIT, at);
            }
        }
    }

    fn server(&mut self, line: &Line, options: &[String], shared: &mut Shared, at: &At) -> Server {
        let address = self.address(line, at);
        let mut server = Server { entry: Keys::default(), address: address.clone(), is_backup: false };
        server.entry.set("address", address);
        let mut words = options.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().map_or("", String::as_str);
            match word.as_str() {
                "backup" => server.is_backup = true,
                "disabled" => server.entry.set("state", "down"),
                "weight" => match value().parse::<i64>() {
                    Ok(0) => server.entry.set("state", "drain"),
                    Ok(1) | Err(_) => {}
                    Ok(weight) => server.entry.set("weight", weight),
                },
                "ca-file" => {
                    let file = value();
                    if !file.starts_with('@') {
                        shared.keys.set("tls.ca", self.file(file));
                    }
                }
                "verify" if value() == "none" => {
                    let why = "unstick verifies the certificates of replicas";
                    self.note(line, why, "see [pool.NAME.tls]: ca and server_name", at);
                }
                "verify" => {}
                "init-addr" | "resolvers" | "resolve-prefer" | "fastinter" | "downinter" | "alpn" | "id" => {
                    value();
                }
                "cookie" => {
                    value();
                    self.note(line, STICKY, AUDIT, at);
                }
                word if shared.option(word, &mut value) => {}
                other => self.note(line, &format!("`{other}` has no translation"), "see [pool.NAME]", at),
            }
        }
        server
    }

    /// The address of a server, with its port.
    fn address(&mut self, line: &Line, at: &At) -> String {
        let written = line.word(2);
        let address = match written.strip_prefix('/') {
            Some(_) => format!("unix:{written}"),
            None => written.trim_start_matches("ipv4@").trim_start_matches("unix@").to_owned(),
        };
        let sample = with_sample(&address, "1");
        let has_port = sample.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if has_port || address.starts_with("unix:") || variable(&address).is_some() {
            return address;
        }
        self.note(line, "this server has no port: it is that of the client", "write the port of the replica", at);
        format!("{address}:80")
    }

    fn health(&mut self, proxy: &Proxy<'t>, keys: &mut Keys, shared: &Shared, at: &At) {
        let Some(check) = proxy.one("option httpchk") else {
            keys.set("health.kind", "tcp");
            keys.0.extend(shared.health.0.clone());
            return;
        };
        let rest: Vec<&str> = check.words.iter().skip(2).map(String::as_str).collect();
        let (mut method, mut path, mut host) = match rest[..] {
            [] => ("OPTIONS", "/", None),
            [path] => ("OPTIONS", path, None),
            [method, path, ..] => (method, path, None),
        };
        if let Some(send) = proxy.one("http-check send") {
            let mut words = send.words.iter().skip(2).map(String::as_str);
            while let Some(word) = words.next() {
                match word {
                    "meth" => method = words.next().unwrap_or(method),
                    "uri" => path = words.next().unwrap_or(path),
                    "hdr" => match (words.next(), words.next()) {
                        (Some(name), Some(value)) if name.eq_ignore_ascii_case("host") => host = Some(value),
                        _ => self.note(send, "a probe has no headers of its own but Host", "see health", at),
                    },
                    _ => {}
                }
            }
        }
        keys.set("health.kind", "http");
        keys.set("health.path", path);
        if let Some(host) = host {
            keys.set("health.host", host);
        }
        if method != "GET" {
            self.note(check, "unstick probes with GET", "see that the path answers it", at);
        }
        let expected = proxy.one("http-check expect").map(|line| (line, line.words[2..].join(" ")));
        match expected.as_ref().map(|(line, text)| (line, text.strip_prefix("status "))) {
            Some((_, Some(status))) => {
                keys.set("health.status", status.split(',').map(str::to_owned).collect::<Vec<_>>())
            }
            Some((line, None)) => self.note(line, "unstick looks at the status, or for a text", "see health.body", at),
            None => {}
        }
        if let Some(time) = proxy.one("timeout check").and_then(|line| time(line.word(2))) {
            keys.set("health.timeout", time);
        }
        keys.0.extend(shared.health.0.clone());
    }

    fn note(&mut self, line: &Line, why: &str, what_to_do: &str, at: &At) {
        self.out.leave_out(LeftOut { at: at.clone(), ..left(line, why, what_to_do) });
    }
}

/// The backends of a pool, in the short form if that is enough.
fn backends(servers: &[Server]) -> Keys {
    let mut keys = Keys::default();
    if servers.iter().all(|server| server.entry.0.len() == 1) {
        keys.set("backends", servers.iter().map(|server| server.address.clone()).collect::<Vec<_>>());
    } else {
        keys.set("backend", servers.iter().map(|server| Value::Table(server.entry.clone())).collect::<Vec<_>>());
    }
    keys
}

/// Puts the conditions of a test into the keys of a route.
pub(super) fn conditions(test: &Test, keys: &mut Keys) {
    if !test.method.is_empty() {
        keys.set("method", crate::value::one_or_more(&test.method));
    }
    for (name, expected) in &test.header {
        keys.set_in("header", name, expected.as_str());
    }
    for (name, expected) in &test.query {
        keys.set_in("query", name, expected.as_str());
    }
}
