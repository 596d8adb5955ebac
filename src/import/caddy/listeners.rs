//! Listeners: one for each port of the sites, with the certificates that Caddy would get by itself.

use std::collections::{HashMap, HashSet};

use super::flow::Draft;
use super::globals::Globals;
use super::sites::{Address, Site};
use super::tree::Line;
use super::{Importer, left};
use crate::imported::{At, Keys, Listener, Route};
use crate::value::Value;

const GET_ONE: &str = "get one, with certbot, lego or acme.sh, and keep it there; new files are read by themselves";

/// A listener that is being made.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) name: String,
    address: String,
    pub(super) is_tls: bool,
    /// The files of its certificates and keys.
    pairs: Vec<(String, String)>,
    client_ca: Option<(String, &'static str)>,
    /// The sites that have a host there. Those without one are for all hosts.
    hosts: HashMap<Option<String>, Vec<usize>>,
}

impl Importer {
    /// Finds the listener of each address of a site. `number` is the place of the site in the file.
    pub(super) fn listen(&mut self, number: usize, site: &Site<'_>, globals: &Globals) -> Vec<(String, Address)> {
        let mut found = Vec::new();
        let own: Vec<String> = site.block.lines.iter().filter(|line| line.name == "bind").flat_map(bound).collect();
        let binds = if own.is_empty() { globals.binds.clone() } else { own };
        for address in &site.addresses {
            for bind in &binds {
                let Some(at) = self.socket(bind, address) else {
                    let why = format!("{bind} is no address that unstick can listen at");
                    let said = site.one("bind").cloned().unwrap_or_else(|| head(site));
                    self.out.leave_out(left(&said, why, "write [listen.NAME] with its address"));
                    continue;
                };
                let socket = &mut self.sockets[at];
                socket.is_tls |= address.is_tls;
                socket.hosts.entry(address.host.clone()).or_default().push(number);
                found.push((socket.name.clone(), address.clone()));
                if address.is_tls {
                    self.certificate(at, site, address);
                }
            }
        }
        found
    }

    /// The listener at an address and a port, made if it is not there.
    fn socket(&mut self, bind: &str, address: &Address) -> Option<usize> {
        let port = &address.port;
        let whole = match bind {
            "" => format!(":{port}"),
            unix if unix.starts_with("unix/") => format!("unix:{}", unix.trim_start_matches("unix/")),
            bind => match bind.trim_matches(['[', ']']).parse::<std::net::IpAddr>().ok()? {
                std::net::IpAddr::V6(address) => format!("[{address}]:{port}"),
                std::net::IpAddr::V4(address) => format!("{address}:{port}"),
            },
        };
        if let Some(known) = self.sockets.iter().position(|socket| socket.address == whole) {
            return Some(known);
        }
        let name = match port.as_str() {
            _ if whole.starts_with("unix:") => "unix".to_owned(),
            "80" => "http".to_owned(),
            "443" => "https".to_owned(),
            port if port.bytes().all(|byte| byte.is_ascii_digit()) => format!("port-{port}"),
            _ => "port".to_owned(),
        };
        let is_taken = |name: &str| self.sockets.iter().any(|other| other.name == name);
        let numbered = (2..).map(|n| format!("{name}-{n}")).find(|name| !is_taken(name));
        let name = if is_taken(&name) { numbered.unwrap_or(name) } else { name };
        self.sockets.push(Socket {
            name,
            address: whole,
            is_tls: false,
            pairs: Vec::new(),
            client_ca: None,
            hosts: HashMap::new(),
        });
        Some(self.sockets.len() - 1)
    }

    /// The certificate of a site: its files, or where they are expected.
    fn certificate(&mut self, at: usize, site: &Site<'_>, address: &Address) {
        let tls = site.one("tls");
        let written = tls.map(|line| &line.args[..]).unwrap_or_default();
        let pair = match written {
            [cert, key] => (self.file(cert), self.file(key)),
            _ => {
                let host = address.host.clone().unwrap_or_else(|| "site".to_owned());
                // So Caddy calls them in its own storage.
                let name = host.replace('*', "wildcard_");
                let pair = (self.file(&format!("{name}.crt")), self.file(&format!("{name}.key")));
                if !self.sockets[at].pairs.contains(&pair) {
                    let why = format!("Caddy gets a certificate by itself; unstick expects one in {} and .key", pair.0);
                    let said = Line { name: address.written.clone(), args: Vec::new(), ..head(site) };
                    let place = At::Listener(self.sockets[at].name.clone());
                    self.out.leave_out(crate::imported::LeftOut { at: place, ..left(&said, why, GET_ONE) });
                }
                pair
            }
        };
        let socket = &mut self.sockets[at];
        if !socket.pairs.contains(&pair) {
            socket.pairs.push(pair);
        }
    }

    /// `client_auth`: whether the listener can ask for the same certificates. `number` is that of the site.
    pub(super) fn client_auth(&mut self, number: usize, site: &Site<'_>, names: &[String]) -> bool {
        let Some(said) = site.one("tls").and_then(|tls| tls.one("client_auth")) else { return true };
        let mode = said.one("mode").map_or("require_and_verify", |line| line.arg(0));
        let file = said.lines().iter().find_map(|line| match (line.name.as_str(), &line.args[..]) {
            ("trusted_ca_cert_file", [file]) => Some(file.clone()),
            ("trust_pool", [kind, file]) if kind == "file" => Some(file.clone()),
            ("trust_pool", [kind]) if kind == "file" => line.one("pem_file").map(|line| line.arg(0).to_owned()),
            _ => None,
        });
        let auth = match mode {
            "require_and_verify" => Some("required"),
            "verify_if_given" => Some("optional"),
            _ => None,
        };
        let mut sockets = self.sockets.iter_mut().filter(|socket| names.contains(&socket.name)).collect::<Vec<_>>();
        let is_alone = sockets.iter().all(|socket| socket.hosts.values().flatten().all(|other| *other == number));
        let is_all_tls = sockets.iter().all(|socket| socket.is_tls);
        if let (Some(file), Some(auth), true, true) = (&file, auth, is_alone, is_all_tls) {
            let ca = self.base.as_ref().map_or(file.clone(), |base| base.join(file).display().to_string());
            sockets.iter_mut().for_each(|socket| socket.client_ca = Some((ca.clone(), auth)));
            return true;
        }
        let why = "a listener asks for certificates of clients, with one file of roots; all of the site answers 403";
        let note = left(said, why, "write client_ca and client_auth in [listen.NAME.tls], then remove `deny`");
        self.out.leave_out(note);
        false
    }

    /// The hosts of ways through a site that other sites have on the same listeners.
    pub(super) fn claimed(&self, number: usize, names: &[String], drafts: &[Draft]) -> Vec<String> {
        let sockets: Vec<&Socket> = self.sockets.iter().filter(|socket| names.contains(&socket.name)).collect();
        let is_claimed = |host: &String| {
            let sites = sockets.iter().filter_map(|socket| socket.hosts.get(&Some(host.clone())));
            sites.flatten().any(|other| *other != number)
        };
        let hosts: HashSet<&String> = drafts.iter().filter_map(|draft| draft.test.host.as_ref()).flatten().collect();
        hosts.into_iter().filter(|host| is_claimed(host)).cloned().collect()
    }

    /// Caddy sends clients of hosts with TLS from its port for plain HTTP to the one with TLS.
    pub(super) fn redirects(&mut self, sites: &[Site<'_>], globals: &Globals) {
        if !globals.redirects {
            return;
        }
        let wanted = wanted(sites);
        for bind in &globals.binds {
            let plain = Address {
                written: String::new(),
                host: None,
                port: globals.ports.http.clone(),
                is_tls: false,
                path: String::new(),
            };
            let known = self.sockets.len();
            let Some(at) = self.socket(bind, &plain).filter(|at| !self.sockets[*at].is_tls) else { continue };
            let own = &self.sockets[at].hosts;
            let missing: Vec<&(&Address, Line)> =
                wanted.iter().filter(|(address, _)| !own.contains_key(&address.host)).collect();
            if missing.is_empty() {
                self.sockets.truncate(known);
                continue;
            }
            let listener = self.sockets[at].name.clone();
            for (port, to) in targets(&missing, &globals.ports.https) {
                let of_port = missing.iter().filter(|(address, _)| address.port == port);
                let host: Vec<String> = of_port.clone().filter_map(|(address, _)| address.host.clone()).collect();
                let Some((_, said)) = of_port.clone().next() else { continue };
                self.redirects.push(redirect(&listener, host, to, said));
            }
        }
    }

    /// Writes the listeners.
    pub(super) fn write_listeners(&mut self, globals: &Globals) {
        for socket in &self.sockets {
            let mut keys = Keys::default();
            keys.set("address", socket.address.as_str());
            let trusted = self.trusted.iter().filter(|(of, _)| of.has(&socket.address));
            let trusted: Vec<String> = trusted.map(|(_, network)| network.clone()).collect();
            let has_header = globals.with_proxy_protocol.iter().any(|of| of.has(&socket.address));
            let has_header = has_header && !trusted.is_empty();
            if !trusted.is_empty() {
                keys.set("trusted_proxies", trusted);
            }
            if let Some(protocols) = &globals.protocols {
                keys.set("protocols", protocols.clone());
            }
            if has_header {
                keys.set("proxy_protocol", "accept");
            }
            let mut pairs = socket.pairs.iter().filter(|_| socket.is_tls);
            if let Some((cert, key)) = pairs.next() {
                keys.set("tls.cert", cert.as_str());
                keys.set("tls.key", key.as_str());
            }
            if let Some((ca, auth)) = &socket.client_ca {
                keys.set("tls.client_ca", ca.as_str());
                keys.set("tls.client_auth", *auth);
            }
            let pair = |(cert, key): &(String, String)| {
                let keys = [("cert".to_owned(), cert.as_str().into()), ("key".to_owned(), key.as_str().into())];
                Value::Table(Keys(keys.to_vec()))
            };
            let more: Vec<Value> = pairs.map(pair).collect();
            if !more.is_empty() {
                keys.set("tls.certificate", Value::List(more));
            }
            self.out.listeners.push(Listener { name: socket.name.clone(), keys });
        }
    }
}

/// The hosts with TLS, each with the line of its site.
fn wanted<'s>(sites: &'s [Site<'_>]) -> Vec<(&'s Address, Line)> {
    let mut wanted: Vec<(&Address, Line)> = Vec::new();
    let mut known: HashSet<&Option<String>> = HashSet::new();
    for site in sites {
        for address in site.addresses.iter().filter(|address| address.is_tls && address.host.is_some()) {
            if known.insert(&address.host) {
                wanted.push((address, head(site)));
            }
        }
    }
    wanted
}

fn redirect(listener: &str, host: Vec<String>, to: String, said: &Line) -> Route {
    let mut keys = Keys::default();
    keys.set_in("redirect", "to", to);
    keys.set_in("redirect", "status", 308);
    Route {
        place: said.place.clone(),
        origin: "what Caddy sends to https".to_owned(),
        listen: vec![listener.to_owned()],
        host,
        path: "/".to_owned(),
        priority: 0,
        keys,
    }
}

/// The places where redirects lead, by the port that their hosts have.
fn targets(missing: &[&(&Address, Line)], https: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for (address, _) in missing {
        if !all.iter().any(|(port, _)| *port == address.port) {
            let port = if address.port == https { String::new() } else { format!(":{}", address.port) };
            all.push((address.port.clone(), format!("https://{{host}}{port}{{path}}{{?query}}")));
        }
    }
    all
}

/// The addresses of a `bind`.
pub(super) fn bound(line: &Line) -> Vec<String> {
    let bare = |arg: &String| {
        let arg = ["tcp/", "tcp4/", "tcp6/"].iter().find_map(|network| arg.strip_prefix(network)).unwrap_or(arg);
        if arg == "localhost" { "127.0.0.1".to_owned() } else { arg.to_owned() }
    };
    line.args.iter().map(bare).collect()
}

/// The line with the addresses of a site.
pub(super) fn head(site: &Site<'_>) -> Line {
    let (name, args) =
        site.block.keys.split_first().map_or((String::new(), &[][..]), |(name, args)| (name.clone(), args));
    Line { name, args: args.to_vec(), block: None, is_quoted: false, place: site.block.place.clone() }
}
