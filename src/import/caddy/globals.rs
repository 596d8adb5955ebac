//! The options of the whole file: `{ ... }` at its begin.

use super::listeners::bound;
use super::matchers::networks;
use super::sites::Ports;
use super::tree::Line;
use super::{Importer, left, units};

/// What holds for all sites.
#[derive(Debug, Clone)]
pub(super) struct Globals {
    pub(super) ports: Ports,
    /// Whether clients of plain HTTP are sent to HTTPS.
    pub(super) redirects: bool,
    /// The addresses of this machine where listeners are; an empty one is all of them.
    pub(super) binds: Vec<String>,
    pub(super) protocols: Option<Vec<String>>,
    /// The listeners that take headers of the PROXY protocol.
    pub(super) with_proxy_protocol: Vec<OfListeners>,
}

/// The listeners that something is for: all, or the one at this address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OfListeners {
    All,
    At(String),
}

impl OfListeners {
    /// Whether a listener at an address is one of them.
    pub(super) fn has(&self, address: &str) -> bool {
        match self {
            Self::All => true,
            Self::At(own) => own == address,
        }
    }
}

impl Importer {
    /// Reads the options.
    pub(super) fn globals(&mut self, options: &[Line]) -> Globals {
        let mut globals = Globals {
            ports: Ports { http: "80".to_owned(), https: "443".to_owned() },
            redirects: true,
            binds: vec![String::new()],
            protocols: None,
            with_proxy_protocol: Vec::new(),
        };
        for line in options {
            let value = line.arg(0);
            match line.name.as_str() {
                "http_port" => globals.ports.http = value.to_owned(),
                "https_port" => globals.ports.https = value.to_owned(),
                "auto_https" => {
                    globals.redirects = !line.args.iter().any(|arg| arg == "off" || arg == "disable_redirects")
                }
                "default_bind" => globals.binds = bound(line),
                "debug" => self.out.table("log").set("level", "debug"),
                "grace_period" => self.deadline(line, "drain"),
                "shutdown_delay" => self.deadline(line, "shutdown_delay"),
                "servers" => self.servers(line, &mut globals),
                "log" => self.level(line),
                "order" => {}
                _ => self.option(line),
            }
        }
        globals
    }

    fn option(&mut self, line: &Line) {
        let mut notes = Vec::new();
        super::words::note_option("global", line, &mut notes);
        notes.into_iter().for_each(|note| self.out.leave_out(note));
    }

    fn deadline(&mut self, line: &Line, key: &str) {
        match units::time(line.arg(0)) {
            Some(time) => self.out.table("timeouts").set(key, time),
            None => self.out.leave_out(left(line, "this is no time", "see [timeouts]")),
        }
    }

    /// unstick has a bound of 8 KiB to 1 MiB.
    fn head_size(&mut self, line: &Line) {
        match units::size(line.arg(0)).zip(units::bytes(line.arg(0))) {
            Some((size, 8_192..=1_048_576)) => self.out.table("limits").set("request_head", size),
            _ => self.out.leave_out(left(line, "this is no size from 8 KiB to 1 MiB", "see limits.request_head")),
        }
    }

    fn level(&mut self, log: &Line) {
        let level = log.one("level").map(|line| line.arg(0).to_ascii_lowercase());
        if let Some(level) = level.filter(|level| matches!(level.as_str(), "debug" | "info" | "warn" | "error")) {
            self.out.table("log").set("level", level);
        }
    }

    fn servers(&mut self, servers: &Line, globals: &mut Globals) {
        let of = match servers.args.first() {
            Some(address) => {
                let why =
                    "what this says besides of trusted proxies is for one listener, and holds for all of them here";
                let is_more = servers.lines().iter().any(|line| !line.name.starts_with("trusted_proxies"));
                if is_more {
                    self.out.leave_out(left(servers, why, "decide on one value for all"));
                }
                OfListeners::At(address.clone())
            }
            None => OfListeners::All,
        };
        let is_strict = servers.one("trusted_proxies_strict").is_some();
        for line in servers.lines() {
            match line.name.as_str() {
                "trusted_proxies" => self.trusted(line, is_strict, &of),
                "trusted_proxies_strict" => {}
                "client_ip_headers" if line.args.iter().all(|arg| arg.eq_ignore_ascii_case("x-forwarded-for")) => {}
                "protocols" => globals.protocols = self.protocols(line),
                "timeouts" => {
                    for line in line.lines() {
                        match line.name.as_str() {
                            "read_body" => self.deadline(line, "request_body"),
                            "read_header" => self.deadline(line, "request_head"),
                            "write" => self.deadline(line, "client_write"),
                            "idle" => self.deadline(line, "client_idle"),
                            _ => self.option(line),
                        }
                    }
                }
                "max_header_size" => self.head_size(line),
                "listener_wrappers" => self.wrappers(line, globals, &of),
                _ => self.option(line),
            }
        }
    }

    fn trusted(&mut self, line: &Line, is_strict: bool, of: &OfListeners) {
        let args: Vec<&str> = line.args.iter().skip(1).map(String::as_str).collect();
        match networks(&args).filter(|_| line.arg(0) == "static") {
            Some(networks) => self.trust(networks, of),
            None => {
                let why = "trusted proxies are a list of addresses and networks";
                self.out.leave_out(left(line, why, "write trusted_proxies in [listen.NAME]"));
                return;
            }
        }
        if !is_strict {
            let why = "Caddy takes the first address of X-Forwarded-For, unstick the last that is not a trusted proxy";
            self.out.leave_out(left(line, why, "nothing: a client can write the first one itself"));
        }
    }

    fn trust(&mut self, networks: Vec<String>, of: &OfListeners) {
        for network in networks {
            let trusted = (of.clone(), network);
            if !self.trusted.contains(&trusted) {
                self.trusted.push(trusted);
            }
        }
    }

    fn protocols(&mut self, line: &Line) -> Option<Vec<String>> {
        if line.args.iter().any(|arg| arg == "h3") {
            let why = "unstick speaks HTTP/1.1 and HTTP/2";
            self.out.leave_out(left(line, why, "nothing: clients do without HTTP/3"));
        }
        let mut known: Vec<String> = Vec::new();
        for (theirs, ours) in [("h1", "h1"), ("h2", "h2"), ("h2c", "h2")] {
            if line.args.iter().any(|arg| arg == theirs) && !known.iter().any(|known| known == ours) {
                known.push(ours.to_owned());
            }
        }
        (!known.is_empty() && known.len() < 2).then_some(known)
    }

    fn wrappers(&mut self, wrappers: &Line, globals: &mut Globals, of: &OfListeners) {
        for line in wrappers.lines() {
            match line.name.as_str() {
                "tls" => {}
                "proxy_protocol" => {
                    let allowed =
                        line.one("allow").map(|line| line.args.iter().map(String::as_str).collect::<Vec<_>>());
                    match allowed.as_deref().and_then(networks) {
                        Some(more) => {
                            globals.with_proxy_protocol.push(of.clone());
                            self.trust(more, of);
                        }
                        None => {
                            let why = "unstick takes the header of the PROXY protocol from `trusted_proxies` only";
                            let what_to_do = "add trusted_proxies = [...] and proxy_protocol = \"require\"";
                            self.out.leave_out(left(line, why, what_to_do));
                        }
                    }
                }
                _ => self.out.leave_out(left(line, "unstick has no such layer", "see [listen.NAME]")),
            }
        }
    }
}
