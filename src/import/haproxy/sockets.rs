//! `bind`: the sockets of a frontend, which are listeners.

use super::{Importer, Proxy, left};
use crate::imported::{Keys, Listener};
use crate::value::variable;

/// A socket of a frontend: name of its listener, whether it speaks TLS, its port.
pub(super) type Socket = (String, bool, Option<u16>);

impl<'t> Importer<'t> {
    /// The sockets of a frontend.
    pub(super) fn binds(&mut self, proxy: &Proxy<'t>) -> Vec<Socket> {
        let mut sockets = Vec::new();
        for line in proxy.all("bind") {
            let options: Vec<&str> = line.words.iter().skip(2).map(String::as_str).collect();
            let value = |name: &str| options.iter().position(|word| *word == name).and_then(|at| options.get(at + 1));
            for written in line.word(1).split(',') {
                let Some((address, port)) = address(written) else {
                    self.out.leave_out(left(line, "this is no address of a socket", "write [listen.NAME]"));
                    continue;
                };
                let name = self.listener_name(port, &address);
                let mut keys = Keys::default();
                keys.set("address", address);
                let is_tls = options.contains(&"ssl");
                if value("alpn").is_some_and(|alpn| !alpn.contains("h2")) {
                    keys.set("protocols", vec!["h1"]);
                }
                match value("crt") {
                    Some(file) if is_tls => {
                        keys.set("tls.cert", self.file(file));
                        keys.set("tls.key", self.file(file));
                    }
                    _ if is_tls => self.out.leave_out(left(line, "it names no file of a certificate", "add tls")),
                    _ => {}
                }
                let known =
                    ["ssl", "crt", "alpn", "v4v6", "reuseport", "transparent", "tfo", "name", "process", "thread"];
                let values: Vec<&str> = ["crt", "alpn", "name", "process", "thread"]
                    .iter()
                    .filter_map(|name| value(name).copied())
                    .collect();
                for option in options.iter().filter(|option| !known.contains(option) && !values.contains(option)) {
                    let why = format!("`{option}` has no translation");
                    self.out.leave_out(left(line, why, "see [listen.NAME]: trusted_proxies, proxy_protocol and tls"));
                }
                self.out.listeners.push(Listener { name: name.clone(), keys });
                sockets.push((name, is_tls, port));
            }
        }
        sockets
    }

    fn listener_name(&self, port: Option<u16>, address: &str) -> String {
        let name = match port {
            Some(80) => "http".to_owned(),
            Some(443) => "https".to_owned(),
            Some(port) => format!("port-{port}"),
            None if address.starts_with("unix:") => "unix".to_owned(),
            None => "web".to_owned(),
        };
        let is_taken = |name: &str| self.out.listeners.iter().any(|other| other.name == name);
        let numbered = (2..).map(|n| format!("{name}-{n}")).find(|name| !is_taken(name));
        if is_taken(&name) { numbered.unwrap_or(name) } else { name }
    }
}

/// An address as unstick writes it, with its port.
fn address(written: &str) -> Option<(String, Option<u16>)> {
    if written.starts_with('/') || written.starts_with("unix@") {
        return Some((format!("unix:{}", written.trim_start_matches("unix@")), None));
    }
    let written = written.trim_start_matches("ipv4@").trim_start_matches("ipv6@");
    let (host, port) = written.rsplit_once(':')?;
    if variable(port).is_some() {
        let host = if matches!(host, "" | "*") { "0.0.0.0" } else { host };
        return Some((format!("{host}:{port}"), None));
    }
    let port: u16 = port.parse().ok()?;
    let host = match host {
        "" | "*" => "0.0.0.0".to_owned(),
        "::" | "[::]" => return Some((format!("[::]:{port}"), Some(port))),
        host if host.parse::<std::net::Ipv6Addr>().is_ok() => format!("[{host}]"),
        host => host.to_owned(),
    };
    let address = format!("{host}:{port}");
    address.parse::<std::net::SocketAddr>().is_ok().then_some((address, Some(port)))
}
