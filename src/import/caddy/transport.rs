//! `transport` and `health_*` of a `reverse_proxy`.

use std::path::Path;

use super::proxying::Proxying;
use super::tree::Line;
use super::units;

impl Proxying {
    pub(super) fn health(&mut self, line: &Line) {
        let (value, number) = (line.arg(0), line.arg(0).parse::<i64>().ok().filter(|number| *number > 0));
        let time = units::time(value).filter(|time| time != "0s");
        match (line.name.as_str(), number, time) {
            ("health_uri" | "health_path", ..) => {
                // Caddy's own values, which are others than unstick's.
                self.keys.set("health.kind", "http");
                self.keys
                    .set("health.path", if value.starts_with('/') { value.to_owned() } else { format!("/{value}") });
                for (key, default) in [("health.status", "2xx"), ("health.interval", "30s"), ("health.timeout", "5s")] {
                    self.default(key, default);
                }
                for key in ["health.rise", "health.fall"] {
                    if self.keys.get(key).is_none() {
                        self.keys.set(key, 1);
                    }
                }
            }
            ("health_interval", _, Some(time)) => self.keys.set("health.interval", time),
            ("health_timeout", _, Some(time)) => self.keys.set("health.timeout", time),
            ("health_passes", Some(count), _) => self.keys.set("health.rise", count),
            ("health_fails", Some(count), _) => self.keys.set("health.fall", count),
            ("health_status", ..) => self.keys.set("health.status", value),
            ("health_method", ..) if value.eq_ignore_ascii_case("GET") => {}
            ("health_body", ..) if regex::escape(value) == value => self.keys.set("health.body", value),
            ("health_headers", ..) => self.health_headers(line),
            _ => super::words::note_option("reverse_proxy", line, &mut self.left),
        }
    }

    fn default(&mut self, key: &str, default: &str) {
        if self.keys.get(key).is_none() {
            self.keys.set(key, default);
        }
    }

    fn health_headers(&mut self, line: &Line) {
        for header in line.lines() {
            if header.name.eq_ignore_ascii_case("host") && !header.arg(0).contains('{') {
                self.keys.set("health.host", header.arg(0));
            } else {
                self.note(header, "a probe has no headers of its own but Host", "see [pool.NAME.health]");
            }
        }
    }

    /// What is left of health checks without a path.
    pub(super) fn without_probes(&mut self) {
        if self.keys.get("health.kind").is_none() {
            self.keys.0.retain(|(key, _)| !key.starts_with("health."));
        }
    }

    pub(super) fn transport(&mut self, line: &Line, base: Option<&Path>) {
        if line.arg(0) != "http" {
            let why = "unstick speaks HTTP to its replicas";
            self.note(line, why, "put the HTTP server of the application there, and name it in the pool");
            return;
        }
        line.lines().iter().for_each(|option| self.http(option, base));
    }

    fn http(&mut self, line: &Line, base: Option<&Path>) {
        let file = |file: &str| base.map_or(file.to_owned(), |base| base.join(file).display().to_string());
        let time = units::time(line.arg(0)).filter(|time| time != "0s");
        match (line.name.as_str(), time) {
            ("tls", _) => self.keys.set("protocol", "https"),
            ("tls_insecure_skip_verify", _) => {
                self.keys.set("protocol", "https");
                let why = "unstick verifies the certificates of replicas, and Caddy does not here";
                self.note(line, why, "see [pool.NAME.tls]: ca and server_name");
            }
            ("tls_server_name", _) if !line.arg(0).contains('{') => {
                self.keys.set("protocol", "https");
                self.keys.set("tls.server_name", line.arg(0));
            }
            ("tls_trusted_ca_certs", _) if line.args.len() == 1 => self.keys.set("tls.ca", file(line.arg(0))),
            ("tls_trust_pool", _) if line.arg(0) == "file" && trusted(line).is_some() => {
                self.keys.set("tls.ca", file(trusted(line).unwrap_or_default()));
            }
            ("tls_client_auth", _) if line.args.len() == 2 => {
                self.keys.set("tls.cert", file(line.arg(0)));
                self.keys.set("tls.key", file(line.arg(1)));
            }
            ("versions", _) => match line.args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["h2c"] | ["h2c", "2"] | ["2", "h2c"] => self.keys.set("protocol", "h2c"),
                _ if line.args.iter().any(|version| version == "h2c" || version == "3") => {
                    self.note(line, "a pool speaks one protocol", "see `protocol` of [pool.NAME]");
                }
                _ => {}
            },
            ("proxy_protocol", _) => self.keys.set("proxy_protocol", line.arg(0)),
            ("dial_timeout", Some(time)) => self.route.set_in("timeouts", "connect", time),
            ("response_header_timeout", Some(time)) => self.route.set_in("timeouts", "response_head", time),
            ("read_timeout", Some(time)) => self.route.set_in("timeouts", "response_body", time),
            _ => super::words::note_option("reverse_proxy", line, &mut self.left),
        }
    }
}

/// The only file of a pool of trusted certificates.
fn trusted(line: &Line) -> Option<&str> {
    let inner = line.one("pem_file").map(|line| &line.args[..]);
    match inner.unwrap_or(line.args.get(1..)?) {
        [only] => Some(only),
        _ => None,
    }
}
