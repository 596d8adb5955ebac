//! Certificates, and those of clients.

use super::entries::Entry;
use super::node::Node;
use super::{Importer, Part};
use crate::imported::{At, Keys};
use crate::value::Value;

impl<'t> Importer<'t> {
    /// The certificates of a listener: all of Traefik's, because each is chosen by the names in it.
    pub(super) fn certificates(&mut self, entry: &Entry<'_>, keys: &mut Keys) {
        let dynamic = self.dynamic;
        let at = At::Listener(entry.name.clone());
        let stores = dynamic.get("tls.stores").map(Node::entries).unwrap_or_default();
        let standard = stores.iter().find(|(name, _)| name.eq_ignore_ascii_case("default"));
        let first = standard.and_then(|(_, store)| store.get("defaultCertificate"));
        let all = dynamic.get("tls.certificates").map(Node::elements).unwrap_or_default();
        let mut files: Vec<(String, String)> = Vec::new();
        for node in first.into_iter().chain(all) {
            let Some((cert, key)) = node.text_at("certFile").zip(node.text_at("keyFile")) else { continue };
            let pair = (self.file(cert), self.file(key));
            if !files.contains(&pair) {
                files.push(pair);
            }
        }
        if files.is_empty() {
            let why = "unstick gets no certificates, and none is named: the two files here are only names for it";
            let what_to_do = "let certbot or lego fetch one, and name its files; they are watched";
            self.note(&entry.place, format!("entryPoints.{}", entry.name), why, what_to_do, &at);
            files.push((format!("{}.pem", entry.name), format!("{}.key", entry.name)));
        }
        let (cert, key) = files.remove(0);
        keys.set("tls.cert", cert);
        keys.set("tls.key", key);
        if !files.is_empty() {
            keys.set("tls.certificate", files.into_iter().map(certificate).collect::<Vec<_>>());
        }
        self.client_certificates(entry, keys);
    }

    /// Certificates of clients: those of the default options, or of options that all routers of the listener share.
    fn client_certificates(&mut self, entry: &Entry<'_>, keys: &mut Keys) {
        let Some((name, options)) = self.options_of(entry) else { return };
        let at = At::Listener(entry.name.clone());
        let said = format!("tls.options.{name}");
        self.look_through(options, &Part::new("tls.options", said.clone()), &at);
        let Some(auth) = options.get("clientAuth") else { return };
        let required = match auth.text_at("clientAuthType").unwrap_or("NoClientCert") {
            "RequireAndVerifyClientCert" => "required",
            "VerifyClientCertIfGiven" => "optional",
            _ => return,
        };
        let files = auth.texts_at("caFiles");
        if let Some(file) = files.first() {
            keys.set("tls.client_ca", self.file(file));
            keys.set("tls.client_auth", required);
        }
        if files.len() > 1 {
            let what_to_do = "write all of them into one file, and name that as client_ca";
            self.note(&auth.place, format!("{said}.clientAuth.caFiles"), "`client_ca` is one file", what_to_do, &at);
        }
    }

    /// The options of a listener, with their name.
    fn options_of(&self, entry: &Entry<'_>) -> Option<(&'t str, &'t Node)> {
        let wanted = self.shared_options(entry).unwrap_or_else(|| "default".to_owned());
        let all = self.dynamic.get("tls.options").map(Node::entries).unwrap_or_default();
        all.iter().find(|(name, _)| name.eq_ignore_ascii_case(&wanted)).map(|(name, node)| (&**name, node))
    }

    /// The name of the options that every router of a listener asks for.
    pub(super) fn shared_options(&self, entry: &Entry<'_>) -> Option<String> {
        let routers = self.dynamic.get("http.routers").map(Node::entries).unwrap_or_default();
        let own = entry.node.and_then(|node| node.text_at("http.tls.options"));
        let mut names = routers.iter().map(|(_, router)| router).filter(|router| is_for(router, entry)).map(|router| {
            router.text_at("tls.options").or(own.filter(|_| !router.has("tls"))).map_or("default", super::local)
        });
        let first = names.next()?;
        names.all(|name| name == first).then(|| first.to_owned())
    }

    /// Whether a router keeps clients out by their certificates in a way that its listeners cannot have.
    pub(super) fn has_own_options(&self, router: &Node, entry: &Entry<'_>) -> bool {
        let own = entry.node.and_then(|node| node.text_at("http.tls.options"));
        let wanted = router.text_at("tls.options").or(own).map_or("default", super::local);
        let all = self.dynamic.get("tls.options").map(Node::entries).unwrap_or_default();
        let options = all.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, node)| node);
        let Some(options) = options else { return wanted != "default" };
        let kind = options.text_at("clientAuth.clientAuthType").unwrap_or("NoClientCert");
        let is_sayable = matches!(kind, "RequireAndVerifyClientCert" | "VerifyClientCertIfGiven")
            && !options.texts_at("clientAuth.caFiles").is_empty();
        let is_shared = || self.shared_options(entry).unwrap_or_else(|| "default".to_owned()) == wanted;
        kind != "NoClientCert" && !(is_sayable && is_shared())
    }
}

/// Whether a router is for an entry point that speaks TLS.
fn is_for(router: &Node, entry: &Entry<'_>) -> bool {
    let named = router.texts_at("entryPoints");
    let is_named = if named.is_empty() { entry.is_default } else { named.contains(&entry.name.as_str()) };
    is_named && (router.has("tls") || entry.node.is_some_and(|node| node.has("http.tls")))
}

fn certificate((cert, key): (String, String)) -> Value {
    let mut keys = Keys::default();
    keys.set("cert", cert);
    keys.set("key", key);
    Value::Table(keys)
}
