//! Entry points, which are listeners.

use super::node::Node;
use super::{Importer, Part, text};
use crate::imported::{At, Keys, Listener, Place};

/// An entry point.
#[derive(Debug, Clone)]
pub(super) struct Entry<'t> {
    pub(super) name: String,
    pub(super) node: Option<&'t Node>,
    pub(super) place: Place,
    /// Its address as unstick writes it, and its port.
    pub(super) address: String,
    pub(super) port: u16,
    /// Whether it speaks TLS; in Traefik each router of it says that.
    pub(super) is_tls: bool,
    /// Whether it is for routers that name none.
    pub(super) is_default: bool,
    /// Whether proxies in front of it are believed.
    pub(super) trusts: bool,
    /// Whether a route leads away from it.
    pub(super) is_used: bool,
}

impl<'t> Importer<'t> {
    /// Finds all entry points.
    pub(super) fn find_entries(&mut self, knows_entries: bool) {
        let fixed = self.fixed;
        for (name, node) in fixed.get("entryPoints").map(Node::entries).unwrap_or_default() {
            self.look_through(
                node,
                &Part::new("entryPoints", format!("entryPoints.{name}")),
                &At::Listener(name.to_string()),
            );
            self.entry(name, node);
        }
        if self.entries.is_empty() && fixed.get("entryPoints").is_none() {
            let names = if knows_entries { vec!["http".to_owned()] } else { self.guessed() };
            for name in names {
                let place = fixed.place.clone();
                if !knows_entries {
                    let why = "the static configuration says its address, and is not here";
                    let what_to_do = "import the static configuration, or see that the address is right";
                    self.note(&place, format!("entryPoints.{name}"), why, what_to_do, &At::Listener(name.clone()));
                }
                let port = guess(&name).unwrap_or_else(|| 8080_u16.saturating_add(self.entries.len() as u16));
                let new = Entry {
                    address: format!(":{port}"),
                    is_default: true,
                    is_tls: false,
                    node: None,
                    trusts: false,
                    is_used: false,
                    name,
                    place,
                    port,
                };
                self.entries.push(new);
            }
        }
        if !self.entries.iter().any(|entry| entry.is_default) {
            // The one for Traefik itself is none of them.
            self.entries.iter_mut().for_each(|entry| entry.is_default = entry.name != "traefik");
        }
        self.find_tls();
    }

    fn entry(&mut self, name: &str, node: &'t Node) {
        let written = node.text_at("address").unwrap_or_default();
        let at = At::Listener(name.to_owned());
        let (bare, protocol) = written.split_once('/').unwrap_or((written, "tcp"));
        if protocol.eq_ignore_ascii_case("udp") {
            let what_to_do = "keep Traefik for it, on another port";
            return self.note(
                &node.place,
                format!("entryPoints.{name}"),
                "unstick balances HTTP only",
                what_to_do,
                &at,
            );
        }
        let Some((address, port)) = address(bare) else {
            let why = format!("`{written}` is no address of a socket");
            return self.note(&node.place, format!("entryPoints.{name}"), why, "write [listen.NAME]", &at);
        };
        let new = Entry {
            name: name.to_owned(),
            node: Some(node),
            place: node.place.clone(),
            address,
            port,
            is_tls: node.has("http.tls"),
            is_default: node.is_true("asDefault"),
            trusts: !node.texts_at("forwardedHeaders.trustedIPs").is_empty()
                || !node.texts_at("proxyProtocol.trustedIPs").is_empty(),
            is_used: false,
        };
        self.entries.push(new);
    }

    /// Without a static configuration: the entry points that routers name.
    fn guessed(&self) -> Vec<String> {
        let routers = self.dynamic.get("http.routers").map(Node::entries).unwrap_or_default();
        let mut names: Vec<String> = Vec::new();
        for (_, router) in routers {
            let named = router.texts_at("entryPoints");
            let standard = if router.has("tls") { "websecure" } else { "web" };
            for name in if named.is_empty() { vec![standard] } else { named } {
                if !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                }
            }
        }
        names
    }

    /// An entry point speaks TLS if most of the routers that name it do; if none does, most of those that name no entry
    /// point.
    fn find_tls(&mut self) {
        let routers = self.dynamic.get("http.routers").map(Node::entries).unwrap_or_default();
        // How many speak TLS, and how many do not.
        let votes = |is_for: &dyn Fn(&[&str]) -> bool| {
            let of = routers.iter().map(|(_, router)| router).filter(|router| is_for(&router.texts_at("entryPoints")));
            let (tls, plain): (Vec<&Node>, Vec<&Node>) = of.partition(|router| router.has("tls"));
            (tls.len(), plain.len())
        };
        let others = votes(&|named| named.is_empty());
        for entry in self.entries.iter_mut().filter(|entry| !entry.is_tls) {
            let redirects = entry.node.is_some_and(|node| node.has("http.redirections"));
            let (tls, plain) = match votes(&|named| named.contains(&entry.name.as_str())) {
                (0, 0) if entry.is_default && !redirects => others,
                votes => votes,
            };
            let is_even = tls == plain && !redirects;
            entry.is_tls = tls > plain + usize::from(redirects) || is_even && matches!(entry.port, 443 | 8443);
        }
    }

    /// The listeners of the entry points that routes are for.
    pub(super) fn listeners(&mut self) {
        for entry in self.entries.clone() {
            let at = At::Listener(entry.name.clone());
            if !entry.is_used {
                let why = "no translated router is for it, so it has no listener";
                let what_to_do = "write [listen.NAME] and a route for it if it is needed";
                self.note(&entry.place, format!("entryPoints.{}", entry.name), why, what_to_do, &at);
                continue;
            }
            let mut keys = Keys::default();
            keys.set("address", entry.address.as_str());
            if let Some(node) = entry.node {
                self.trusted(node, &entry, &mut keys);
            }
            if entry.is_tls {
                self.certificates(&entry, &mut keys);
            }
            self.out.listeners.push(Listener { name: entry.name.clone(), keys });
        }
    }

    /// The proxies in front of it.
    fn trusted(&mut self, node: &Node, entry: &Entry<'_>, keys: &mut Keys) {
        let [forwarded, proxy] =
            ["forwardedHeaders", "proxyProtocol"].map(|key| node.texts_at(&format!("{key}.trustedIPs")));
        let mut all: Vec<&str> = Vec::new();
        for address in forwarded.iter().chain(&proxy).filter(|address| super::conditions::network(address).is_some()) {
            if !all.contains(address) {
                all.push(address);
            }
        }
        if !all.is_empty() {
            keys.set("trusted_proxies", all);
        }
        if !proxy.is_empty() {
            keys.set("proxy_protocol", "accept");
        }
        if !proxy.is_empty() && !forwarded.is_empty() && proxy != forwarded {
            let why = "unstick has one list of those who are believed, for both ways of telling the client";
            let said = format!("entryPoints.{}.proxyProtocol.trustedIPs", entry.name);
            self.note(&node.place, said, why, "see that each of them may tell both", &At::Listener(entry.name.clone()));
        }
    }
}

/// The port that people give an entry point of this name.
fn guess(name: &str) -> Option<u16> {
    match name {
        "web" | "http" => Some(80),
        "websecure" | "https" => Some(443),
        _ => None,
    }
}

/// An address as unstick writes it, with its port.
fn address(written: &str) -> Option<(String, u16)> {
    let (host, port) = written.trim().rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    let address = format!("{host}:{port}");
    let is_any = host.is_empty() && !text::refers(written);
    (is_any || address.parse::<std::net::SocketAddr>().is_ok()).then_some((address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (written, expected) in [
            (":80", Some((":80", 80))),
            ("0.0.0.0:443", Some(("0.0.0.0:443", 443))),
            ("[::1]:80", Some(("[::1]:80", 80))),
            ("80", None),
            (":x", None),
            (":0", None),
            ("${A}:80", None),
        ] {
            assert_eq!(address(written), expected.map(|(address, port)| (address.to_owned(), port)), "{written}");
        }
    }
}
