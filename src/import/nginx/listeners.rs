//! `listen`: which sockets there are, which servers have them, and what is said of TLS there.

use super::grammar::Directive;
use super::scope::Scope;
use super::{Importer, left};
use crate::imported::{At, Keys, LeftOut, Listener};
use crate::value::{MARKS, Value, variable, with_sample};

/// A socket that servers listen on.
#[derive(Debug, Clone)]
pub(super) struct Socket {
    /// Its address, as unstick writes it.
    pub(super) address: String,
    /// The name of its listener.
    pub(super) name: String,
    pub(super) port: Option<u16>,
    pub(super) is_tls: bool,
    is_h2: bool,
    proxied: Option<LeftOut>,
    /// The servers by number, in the order of the file.
    pub(super) servers: Vec<usize>,
    /// The server for hosts that no server names.
    pub(super) default: usize,
    /// What was said first of it.
    said: LeftOut,
    has_v4_too: bool,
}

const KNOWN: &[&str] =
    &["ssl", "http2", "default_server", "default", "proxy_protocol", "reuseport", "deferred", "bind"];

impl<'t> Importer<'t> {
    /// Makes the listeners of all servers.
    pub(super) fn listeners(&mut self, servers: &[&'t Directive]) {
        for (index, server) in servers.iter().enumerate() {
            let listens: Vec<&Directive> = server.items().iter().filter(|item| item.name == "listen").collect();
            let is_h2 = self.scope().within(server.items()).one("http2").is_some_and(|item| item.arg(0) == "on");
            if listens.is_empty() {
                self.socket(index, server, "80", &[], is_h2);
            }
            for listen in listens {
                let options = listen.args.get(1..).unwrap_or_default();
                self.socket(index, listen, listen.arg(0), options, is_h2);
            }
        }
        self.merge_families();
        for at in 0..self.sockets.len() {
            let name = self.listener_name(at);
            self.sockets[at].name = name;
            self.listener(at, servers);
        }
    }

    /// Notes that a server listens there.
    fn socket(&mut self, index: usize, item: &Directive, written: &str, options: &[String], is_h2: bool) {
        let Some((address, port)) = address(written) else {
            let what_to_do = "write [listen.NAME] with its address";
            self.out.leave_out(left(item, "this is no address of a socket", what_to_do));
            return;
        };
        let has = |name: &str| options.iter().any(|option| option == name);
        for option in options.iter().filter(|option| !KNOWN.contains(&option.as_str())) {
            let name = option.split('=').next().unwrap_or_default();
            if !matches!(name, "ipv6only" | "backlog" | "so_keepalive" | "fastopen" | "rcvbuf" | "sndbuf" | "setfib") {
                let why = format!("`{name}` has no translation");
                self.out.leave_out(left(item, why, "unstick speaks HTTP/1.1 and HTTP/2 over TCP and Unix sockets"));
            }
        }
        if has("quic") {
            return;
        }
        let said = left(item, "", "");
        let found = self.sockets.iter_mut().find(|socket| socket.address == address);
        let socket = match found {
            Some(socket) => socket,
            None => {
                self.sockets.push(Socket {
                    address,
                    name: String::new(),
                    port,
                    is_tls: false,
                    is_h2: false,
                    proxied: None,
                    servers: Vec::new(),
                    default: index,
                    said: said.clone(),
                    has_v4_too: false,
                });
                self.sockets.last_mut().expect("it was pushed")
            }
        };
        socket.is_tls |= has("ssl");
        socket.is_h2 |= has("http2") || is_h2;
        socket.has_v4_too |= has("ipv6only=off");
        if has("proxy_protocol") {
            socket.proxied = Some(said);
        }
        if has("default_server") || has("default") {
            socket.default = index;
        }
        if !socket.servers.contains(&index) {
            socket.servers.push(index);
        }
    }

    /// The wildcards of both families are one listener where the same servers have them.
    fn merge_families(&mut self) {
        let sockets = std::mem::take(&mut self.sockets);
        for mut socket in sockets.clone() {
            let of = |prefix: &str| socket.address.strip_prefix(prefix).map(str::to_owned);
            let other = |address: String| sockets.iter().find(|other| other.address == address);
            let is_twin = |other: &Socket| {
                (&other.servers, other.default, other.is_tls) == (&socket.servers, socket.default, socket.is_tls)
            };
            if let Some(port) = of("[::]:") {
                match other(format!("0.0.0.0:{port}")) {
                    Some(twin) if is_twin(twin) => continue,
                    Some(_) => {}
                    None if socket.has_v4_too => socket.address = format!(":{port}"),
                    None => self.out.leave_out(LeftOut {
                        why: "the wildcard of IPv6 takes IPv4 too".to_owned(),
                        what_to_do: "name an address of this machine if IPv4 must not get in".to_owned(),
                        ..socket.said.clone()
                    }),
                }
            } else if let Some(port) = of("0.0.0.0:")
                && other(format!("[::]:{port}")).is_some_and(is_twin)
            {
                socket.address = format!(":{port}");
            }
            self.sockets.push(socket);
        }
    }

    fn listener_name(&self, at: usize) -> String {
        let socket = &self.sockets[at];
        let name = match socket.port {
            Some(80) => "http".to_owned(),
            Some(443) => "https".to_owned(),
            Some(port) => format!("port-{port}"),
            None if socket.address.starts_with("unix:") => "unix".to_owned(),
            None => "web".to_owned(),
        };
        let is_taken = |name: &str| self.sockets[..at].iter().any(|other| other.name == name);
        let numbered = (2..).map(|n| format!("{name}-{n}")).find(|name| !is_taken(name));
        if is_taken(&name) { numbered.unwrap_or(name) } else { name }
    }

    fn listener(&mut self, at: usize, servers: &[&'t Directive]) {
        let socket = self.sockets[at].clone();
        let mut order = vec![socket.default];
        order.extend(socket.servers.iter().copied().filter(|server| *server != socket.default));
        let scopes: Vec<Scope<'t>> = order.iter().map(|&index| self.scope().within(servers[index].items())).collect();
        let mut keys = Keys::default();
        keys.set("address", socket.address.as_str());
        let place = At::Listener(socket.name.clone());
        let trusted = self.trusted(&scopes, &place);
        if !trusted.is_empty() {
            keys.set("trusted_proxies", trusted.clone());
        }
        if !socket.is_h2 {
            keys.set("protocols", vec!["h1"]);
        }
        match socket.proxied {
            Some(_) if !trusted.is_empty() => keys.set("proxy_protocol", "require"),
            Some(said) => self.out.leave_out(LeftOut {
                why: "unstick takes the header of the PROXY protocol from `trusted_proxies` only".to_owned(),
                what_to_do: "add trusted_proxies = [...] and proxy_protocol = \"require\"".to_owned(),
                at: place.clone(),
                ..said
            }),
            None => {}
        }
        if socket.is_tls {
            self.tls(&mut keys, &scopes, &socket.said, &place);
        }
        self.out.listeners.push(Listener { name: socket.name, keys });
    }

    /// The peers whose word on the client is taken.
    fn trusted(&mut self, scopes: &[Scope<'t>], at: &At) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for scope in scopes {
            self.real_ip(scope, at);
            for item in scope.nearest("set_real_ip_from") {
                if super::access::network(item.arg(0)).is_none() {
                    let what_to_do = "list its addresses in trusted_proxies";
                    let note = left(item, "this is no network", what_to_do);
                    self.out.leave_out(LeftOut { at: at.clone(), ..note });
                } else if !all.iter().any(|known| known == item.arg(0)) {
                    all.push(item.arg(0).to_owned());
                }
            }
        }
        all
    }

    /// Notes where nginx takes the client's address from another header than unstick.
    fn real_ip(&mut self, scope: &Scope<'t>, at: &At) {
        let Some(first) = scope.nearest("set_real_ip_from").first().copied() else { return };
        let said = scope.one("real_ip_header");
        let header = said.map_or("x-real-ip".to_owned(), |item| item.arg(0).to_ascii_lowercase());
        let is_recursive = scope.one("real_ip_recursive").is_some_and(|item| item.arg(0) == "on");
        let (why, what_to_do) = match header.as_str() {
            "proxy_protocol" => return,
            "x-forwarded-for" if is_recursive => return,
            "x-forwarded-for" => (
                "nginx takes the last address of X-Forwarded-For, unstick the last that is not a trusted proxy",
                "nothing, unless a trusted proxy stands behind another one",
            ),
            _ => (
                "unstick takes the client's address from X-Forwarded-For, Forwarded or the PROXY protocol",
                "let the proxy in front send one of these",
            ),
        };
        let note = left(said.unwrap_or(first), why, what_to_do);
        self.out.leave_out(LeftOut { at: at.clone(), ..note });
    }

    /// The certificates of the servers, that of the default server first.
    fn tls(&mut self, keys: &mut Keys, scopes: &[Scope<'t>], said: &LeftOut, at: &At) {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for scope in scopes {
            let [certs, private] = ["ssl_certificate", "ssl_certificate_key"].map(|name| scope.nearest(name));
            for (cert, key) in certs.iter().zip(private) {
                let pair = (self.file(cert.arg(0)), self.file(key.arg(0)));
                if cert.arg(0).contains('$') || key.arg(0).contains(['$', ':']) {
                    let what_to_do = "name the file of each certificate";
                    let note = left(cert, "files of certificates have names without variables", what_to_do);
                    self.out.leave_out(LeftOut { at: at.clone(), ..note });
                } else if !pairs.contains(&pair) {
                    pairs.push(pair);
                }
            }
            self.tls_settings(keys, scope, at);
        }
        let mut pairs = pairs.into_iter();
        match pairs.next() {
            Some((cert, key)) => {
                keys.set("tls.cert", cert);
                keys.set("tls.key", key);
            }
            None => self.out.leave_out(LeftOut {
                why: "this listener has no certificate, so it speaks plain text now".to_owned(),
                what_to_do: "add [listen.NAME.tls] with cert and key".to_owned(),
                at: at.clone(),
                ..said.clone()
            }),
        }
        let more: Vec<Value> = pairs
            .map(|(cert, key)| Value::Table(Keys(vec![("cert".into(), cert.into()), ("key".into(), key.into())])))
            .collect();
        if !more.is_empty() {
            keys.set("tls.certificate", Value::List(more));
        }
    }

    fn tls_settings(&mut self, keys: &mut Keys, scope: &Scope<'t>, at: &At) {
        let mut note = |item: &Directive, why: &str, what_to_do: &str| {
            self.out.leave_out(LeftOut { at: at.clone(), ..left(item, why, what_to_do) });
        };
        if let Some(item) = scope.one("ssl_protocols") {
            let mut versions: Vec<&str> = item.args.iter().map(String::as_str).collect();
            versions.sort_unstable();
            if versions != ["TLSv1.2", "TLSv1.3"] {
                note(item, "unstick speaks TLS 1.2 and 1.3, no more and no less", "see whether clients need another");
            }
        }
        let verify = scope.one("ssl_verify_client").map_or("off", |item| item.arg(0));
        let auth = match verify {
            "on" => "required",
            "optional" => "optional",
            "off" => return,
            _ => {
                let item = scope.one("ssl_verify_client").expect("it was found above");
                note(item, "certificates of clients are verified or not asked for", "see client_auth");
                return;
            }
        };
        if let Some(ca) = scope.one("ssl_client_certificate") {
            let file = match &self.base {
                Some(base) => base.join(ca.arg(0)).display().to_string(),
                None => ca.arg(0).to_owned(),
            };
            keys.set("tls.client_ca", file);
            keys.set("tls.client_auth", auth);
        }
    }
}

/// An address as unstick writes it, with its port.
fn address(written: &str) -> Option<(String, Option<u16>)> {
    if written.starts_with("unix:") {
        return Some((written.to_owned(), None));
    }
    if written.contains(MARKS) {
        return referring(written).map(|address| (address, None));
    }
    let whole = match written.parse::<u16>() {
        Ok(port) => format!("0.0.0.0:{port}"),
        Err(_) => written.replace("*:", "0.0.0.0:"),
    };
    let whole = whole.replace("localhost:", "127.0.0.1:");
    let parsed = whole.parse::<std::net::SocketAddr>().ok();
    let parsed = parsed.or_else(|| format!("{whole}:80").parse().ok())?;
    Some((parsed.to_string(), Some(parsed.port())))
}

/// An address with references to the environment. One that is nothing else is a port, if its name says so.
fn referring(written: &str) -> Option<String> {
    let whole = match variable(written) {
        Some(name) if name.contains("PORT") => format!("0.0.0.0:{written}"),
        Some(_) => return Some(written.to_owned()),
        None => written.replace("*:", "0.0.0.0:").replace("localhost:", "127.0.0.1:"),
    };
    [with_sample(&whole, "1"), with_sample(&whole, "127.0.0.1"), format!("{}:80", with_sample(&whole, "127.0.0.1"))]
        .iter()
        .any(|sample| sample.parse::<std::net::SocketAddr>().is_ok())
        .then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("80", Some("0.0.0.0:80")),
            ("*:8080", Some("0.0.0.0:8080")),
            ("[::]:443", Some("[::]:443")),
            ("[::1]", Some("[::1]:80")),
            ("10.0.0.1", Some("10.0.0.1:80")),
            ("localhost:8000", Some("127.0.0.1:8000")),
            ("unix:/run/x.sock", Some("unix:/run/x.sock")),
            ("example.com:80", None),
        ] {
            assert_eq!(address(text).map(|(address, _)| address).as_deref(), expected, "{text}");
        }
    }
}
