//! `serversTransport`: how the replicas of a pool are spoken to.

use super::node::Node;
use super::pools::deadlines;
use super::walk::Part;
use super::{Importer, local};
use crate::imported::{At, Keys};

impl<'t> Importer<'t> {
    /// The transport of a load balancer, with how it was said.
    fn transport_of(&mut self, balancer: &Node, said: &str, at: &At) -> Option<(&'t Node, String)> {
        let name = balancer.text_at("serversTransport").map(local);
        let Some(name) = name.filter(|name| *name != "default") else {
            return Some((self.fixed.get("serversTransport")?, "serversTransport".to_owned()));
        };
        let all = self.dynamic.get("http.serversTransports").map(Node::entries).unwrap_or_default();
        let found = all.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        if found.is_none() {
            let why = format!("the transport `{name}` is not in these files");
            self.note(&balancer.place, format!("{said}.serversTransport"), why, "see [pool.NAME.tls]", at);
        }
        found.map(|(name, node)| (node, format!("http.serversTransports.{name}")))
    }

    /// Writes the TLS of a pool that speaks it. What its routes need comes back.
    pub(super) fn transport(&mut self, balancer: &Node, said: &str, at: &At, keys: &mut Keys) -> Keys {
        let Some((node, said)) = self.transport_of(balancer, said, at) else { return Keys::default() };
        self.look_through(node, &Part::new("serversTransports", said.clone()), at);
        if keys.get("protocol").is_none_or(|protocol| *protocol != "https".into()) {
            return deadlines(node);
        }
        let roots = node.texts_at("rootCAs");
        if let Some(file) = roots.first() {
            keys.set("tls.ca", self.file(file));
        }
        if let Some(name) = node.text_at("serverName") {
            keys.set("tls.server_name", name);
        }
        let own = node.get("certificates").map(Node::elements).unwrap_or_default();
        if let Some((cert, key)) = own.first().and_then(|own| own.text_at("certFile").zip(own.text_at("keyFile"))) {
            keys.set("tls.cert", self.file(cert));
            keys.set("tls.key", self.file(key));
        }
        for (key, count) in [("rootCAs", roots.len()), ("certificates", own.len())] {
            if count > 1 {
                let why = "a pool has one of these, the first";
                self.note(&node.place, format!("{said}.{key}"), why, "write all of them into one file", at);
            }
        }
        deadlines(node)
    }
}
