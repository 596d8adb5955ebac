//! The middleware `headers`: fields that are set or removed, and the security headers.

use super::Importer;
use super::effects::Effects;
use super::middlewares::Applied;
use super::node::Node;
use super::text::template;
use crate::fields::OF_CONNECTION;
use crate::imported::Keys;
use crate::value::Value;

/// What becomes of the fields of a message: a value that is set, or nothing if it is removed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Fields(pub(super) Vec<(String, Option<String>)>);

/// Fields that unstick writes itself.
const OWN: [&str; 3] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];

impl Fields {
    /// Sets or removes a field, after all that was done already.
    pub(super) fn put(&mut self, name: &str, value: Option<String>) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Does this, unless it was done already: the response of what is behind is edited first.
    fn put_before(&mut self, name: &str, value: Option<String>) {
        if !self.0.iter().any(|(known, _)| known == name) {
            self.0.push((name.to_owned(), value));
        }
    }

    /// Writes them into a table of a route.
    pub(super) fn write(&self, table: &str, keys: &mut Keys) {
        for (name, value) in &self.0 {
            if let Some(value) = value {
                keys.set_within(table, "set", name, value);
            }
        }
        let removed: Vec<&str> =
            self.0.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.as_str()).collect();
        if !removed.is_empty() {
            keys.set_in(table, "remove", Value::from(removed));
        }
    }
}

impl Importer<'_> {
    /// The middleware `headers`.
    pub(super) fn headers(&mut self, applied: &Applied<'_>, is_tls: bool, effects: &mut Effects) {
        let node = applied.node;
        for (key, is_request) in [("customRequestHeaders", true), ("customResponseHeaders", false)] {
            for (name, value) in node.get(key).map(Node::entries).unwrap_or_default() {
                let written = self.field(name, value.text().unwrap_or_default(), is_request);
                match written {
                    Ok((name, value)) if is_request => effects.request.put(&name, value),
                    // An outer middleware edits the response after an inner one.
                    Ok((name, value)) => effects.response.put_before(&name, value),
                    Err((why, what_to_do)) => {
                        let said = format!("{}.{key}.{name}", applied.said);
                        self.of_router(applied.router, &value.place, said, why, what_to_do);
                    }
                }
            }
        }
        for (name, value) in security(node, is_tls) {
            match template(&value) {
                Ok(value) => effects.response.put_before(name, Some(value)),
                Err(why) => {
                    self.of_router(applied.router, &node.place, applied.said.clone(), why, "see response_headers")
                }
            }
        }
        if node.get("allowedHosts").is_some_and(|hosts| !hosts.texts().is_empty()) {
            effects.is_closed = true;
        }
    }

    /// A field as unstick writes it.
    ///
    /// # Errors
    /// Why it is none, and what to do.
    fn field(
        &self,
        name: &str,
        value: &str,
        is_request: bool,
    ) -> Result<(String, Option<String>), (&'static str, &'static str)> {
        let name = name.to_ascii_lowercase();
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(("this is not the name of a field", "write it in request_headers or response_headers"));
        }
        if OF_CONNECTION.contains(&name.as_str()) {
            return Err(("it belongs to the connection, or says where the message ends", "leave it out"));
        }
        if is_request && OWN.contains(&name.as_str()) {
            return Err(("unstick writes this header itself", "see `trusted_proxies`"));
        }
        if value.trim().is_empty() {
            let is_host = is_request && name == "host";
            return if is_host { Err(("a request has a host", "leave it out")) } else { Ok((name, None)) };
        }
        let value = template(value).map_err(|why| (why, "encode the value"))?;
        Ok((name, Some(value)))
    }
}

/// The security headers, with their values.
fn security(node: &Node, is_tls: bool) -> Vec<(&'static str, String)> {
    let text = |key: &str| node.text_at(key).map(str::to_owned);
    let or =
        |custom: &str, switch: &str, standard: &str| text(custom).or(node.is_true(switch).then(|| standard.to_owned()));
    let seconds = node.number_at("stsSeconds").filter(|seconds| *seconds > 0);
    let sts = seconds.filter(|_| is_tls || node.is_true("forceSTSHeader")).map(|seconds| {
        let mut value = format!("max-age={seconds}");
        for (key, word) in [("stsIncludeSubdomains", "; includeSubDomains"), ("stsPreload", "; preload")] {
            if node.is_true(key) {
                value.push_str(word);
            }
        }
        value
    });
    [
        ("x-frame-options", or("customFrameOptionsValue", "frameDeny", "DENY")),
        ("x-content-type-options", node.is_true("contentTypeNosniff").then(|| "nosniff".to_owned())),
        ("x-xss-protection", or("customBrowserXSSValue", "browserXssFilter", "1; mode=block")),
        ("strict-transport-security", sts),
        ("content-security-policy", text("contentSecurityPolicy")),
        ("content-security-policy-report-only", text("contentSecurityPolicyReportOnly")),
        ("public-key-pins", text("publicKey").filter(|_| is_tls)),
        ("referrer-policy", text("referrerPolicy")),
        ("permissions-policy", text("permissionsPolicy")),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}
