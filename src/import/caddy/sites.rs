//! Sites: their addresses, and what they say besides what becomes of requests.

use super::environment;
use super::tree::{Block, Line};

/// An address of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// What was written.
    pub(super) written: String,
    /// `*.a.test` is every host below that; nothing is any host.
    pub(super) host: Option<String>,
    /// A number, or a reference to the environment.
    pub(super) port: String,
    pub(super) is_tls: bool,
    /// The path that old versions of Caddy had here.
    pub(super) path: String,
}

/// The ports that the whole file has.
#[derive(Debug, Clone)]
pub(super) struct Ports {
    pub(super) http: String,
    pub(super) https: String,
}

/// A site with its addresses.
#[derive(Debug)]
pub(super) struct Site<'t> {
    pub(super) block: &'t Block,
    pub(super) addresses: Vec<Address>,
}

impl Site<'_> {
    /// The last line of this name.
    pub(super) fn one(&self, name: &str) -> Option<&Line> {
        self.block.lines.iter().rfind(|line| line.name == name)
    }
}

/// Reads an address.
///
/// # Errors
/// What is wrong with it.
pub(super) fn address(written: &str, ports: &Ports, has_tls: bool) -> Result<Address, String> {
    // What a reference stands for decides about the scheme and the port, so its default must be a host only.
    let resolved = environment::defaults(written).filter(|_| is_more(written));
    let text = resolved.as_deref().unwrap_or(written);
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let at = if environment::has_any(rest) { None } else { rest.find('/') };
    let scheme = match scheme {
        "ws" => "http",
        "wss" => "https",
        other => other,
    };
    let (authority, path) = at.map_or((rest, ""), |at| rest.split_at(at));
    let (name, port) = split(authority);
    if !port.is_empty() && port.parse::<u16>().is_err() && !environment::has_any(port) {
        return Err(format!("`{port}` is no port"));
    }
    let host = match name {
        "" | "*" => None,
        name => Some(host(name).ok_or_else(|| format!("`{name}` is no host: write a name, or *.name"))?),
    };
    let port = match (port, scheme) {
        ("", "http") => ports.http.clone(),
        ("", _) => ports.https.clone(),
        (port, _) => port.to_owned(),
    };
    let is_tls =
        has_tls || scheme == "https" || port == ports.https || host.is_some() && scheme != "http" && port != ports.http;
    Ok(Address { written: written.to_owned(), host, port, is_tls: is_tls && scheme != "http", path: path.to_owned() })
}

/// Whether a reference stands for more than a host or a port.
fn is_more(text: &str) -> bool {
    let mut rest = text;
    while let Some((_, found)) = environment::first(rest) {
        if found.default.is_some_and(|default| default.contains([':', '/'])) {
            return true;
        }
        rest = found.rest;
    }
    false
}

/// The host and the port. Both may be references with colons of their own.
fn split(authority: &str) -> (&str, &str) {
    if let Some(at) = authority.rfind(":{$").filter(|_| authority.ends_with('}')) {
        return (&authority[..at], &authority[at + 1..]);
    }
    match authority.rsplit_once(':') {
        Some((name, port)) if !port.contains(['}', ']']) && (!name.contains(':') || name.ends_with(']')) => {
            (name, port)
        }
        _ => (authority, ""),
    }
}

/// A host as unstick writes it: a name, an address, or `*.name`. Nothing if it is none of these.
pub(super) fn host(text: &str) -> Option<String> {
    if environment::has_any(text) {
        let is_plain = !text.contains('*') && !text.replace("{$", "").contains('{');
        return is_plain.then(|| text.to_owned());
    }
    let lower = text.to_ascii_lowercase();
    let bare = lower.trim_matches(['[', ']']);
    if let Ok(address) = bare.parse::<std::net::IpAddr>() {
        return Some(if address.is_ipv6() { format!("[{address}]") } else { address.to_string() });
    }
    let name = lower.strip_prefix("*.").unwrap_or(&lower).trim_end_matches('.');
    let is_label = |label: &str| {
        let is_plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        !label.is_empty() && label.len() <= 63 && is_plain && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_name = name.len() <= 253 && name.split('.').all(is_label);
    is_name.then(|| lower.trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_caddy() {
        let ports = Ports { http: "80".to_owned(), https: "443".to_owned() };
        for (text, expected) in [
            ("A.test", "a.test 443 tls"),
            ("http://a.test", "a.test 80"),
            ("https://a.test:8443", "a.test 8443 tls"),
            ("a.test:8443", "a.test 8443 tls"),
            ("a.test:80", "a.test 80"),
            (":8080", "- 8080"),
            (":443", "- 443 tls"),
            ("http://", "- 80"),
            ("*.a.test", "*.a.test 443 tls"),
            ("*:80", "- 80"),
            ("[::1]:8080", "[::1] 8080 tls"),
            ("127.0.0.1", "127.0.0.1 443 tls"),
            ("a.test/x/*", "a.test 443 tls /x/*"),
            ("{$HOST:a.test}", "{$HOST:a.test} 443 tls"),
            ("{$HOST}:8080", "{$HOST} 8080 tls"),
            ("http://{$HOST}", "{$HOST} 80"),
            (":{$PORT:8080}", "- {$PORT:8080}"),
            ("{$SITE:http://a.test}", "a.test 80"),
            ("{$SITE::8080}", "- 8080"),
            ("a.*.test", "? `a.*.test` is no host: write a name, or *.name"),
            ("a.test:x", "? `x` is no port"),
        ] {
            let shown = match address(text, &ports, false) {
                Ok(Address { host, port, is_tls, path, .. }) => {
                    let tls = if is_tls { "tls" } else { "" };
                    let host = host.unwrap_or_else(|| "-".to_owned());
                    [host.as_str(), &port, tls, &path].join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
                }
                Err(why) => format!("? {why}"),
            };
            assert_eq!(shown, expected, "{text}");
        }
        assert!(address(":8443", &ports, true).unwrap().is_tls);
    }
}
