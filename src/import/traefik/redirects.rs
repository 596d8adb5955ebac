//! Redirects to another scheme, and to another host.

use super::Importer;
use super::effects::{Effects, Redirect};
use super::middlewares::Applied;
use super::node::Node;
use super::routers::Group;
use super::text::refers;

impl Importer<'_> {
    /// `redirectScheme`: requests that speak the scheme already are passed on.
    pub(super) fn redirect_scheme(&mut self, applied: &Applied<'_>, group: &Group, effects: &mut Effects) {
        let Applied { node, said, router } = applied;
        let scheme = node.text_at("scheme").unwrap_or_default().to_ascii_lowercase();
        let port = node.text_at("port").unwrap_or_default();
        let own = if group.is_tls { "https" } else { "http" };
        match to_scheme(&scheme, port) {
            None => {
                let why = "this redirect has no translation";
                self.of_router(*router, &node.place, said.clone(), why, "write a route with `redirect`");
            }
            Some(_) if scheme == own => {}
            Some(to) => {
                if group.trusts {
                    let why = "Traefik believes X-Forwarded-Proto of proxies in front of it, and passes what came by \
                               https; here everything is redirected";
                    let what_to_do = "add header = { x-forwarded-proto = \"http\" } to this route, and one like it \
                                      without that, which leads to the pool";
                    self.of_router(*router, &node.place, said.clone(), why, what_to_do);
                }
                effects.redirects.push(Redirect { host: None, to, status: status(node) });
            }
        }
    }

    /// `redirectRegex`, if it tests scheme and host, and keeps path and query.
    pub(super) fn redirect_regex(&mut self, applied: &Applied<'_>, group: &Group, effects: &mut Effects) {
        let Applied { node, said, router } = applied;
        let own = if group.is_tls { "https" } else { "http" };
        let [regex, replacement] = ["regex", "replacement"].map(|key| node.text_at(key).unwrap_or_default());
        match to_host(regex, replacement, own) {
            Some(Some((host, to))) => effects.redirects.push(Redirect { host, to, status: status(node) }),
            // It is for the other scheme.
            Some(None) => {}
            None => {
                let why = "a redirect has the whole path and query, or none of it, and tests the host only";
                let what_to_do = "write a route with `redirect` for each case, or let the replicas do it";
                self.of_router(*router, &node.place, said.clone(), why, what_to_do);
            }
        }
    }
}

/// Where a redirect to another scheme leads.
pub(super) fn to_scheme(scheme: &str, port: &str) -> Option<String> {
    let standard = match scheme {
        "https" => "443",
        "http" => "80",
        _ => return None,
    };
    let port = match port {
        "" => String::new(),
        port if port == standard => String::new(),
        port if port.parse::<u16>().is_ok() => format!(":{port}"),
        _ => return None,
    };
    Some(format!("{scheme}://{{host}}{port}{{path}}{{?query}}"))
}

/// 308 and 307 keep the method, as Traefik's redirects of all but GET do.
fn status(node: &Node) -> i64 {
    if node.is_true("permanent") { 308 } else { 307 }
}

/// What `^https?://www\.a\.test/(.*)` and `https://a.test/${1}` say: the host, and where it leads. Nothing within if
/// requests of the scheme `own` are not meant; nothing at all if it is not understood.
fn to_host(regex: &str, replacement: &str, own: &str) -> Option<Option<(Option<String>, String)>> {
    let regex = regex.replace("\\/", "/");
    let rest = regex.strip_prefix('^').unwrap_or(&regex);
    let schemes =
        [("https?://", None), ("https://", Some("https")), ("http://", Some("http")), ("(?:https?)://", None)];
    let (rest, scheme) = schemes.iter().find_map(|(begin, scheme)| Some((rest.strip_prefix(begin)?, *scheme)))?;
    let ends = [("/(.*)$", "/"), ("/(.*)", "/"), ("(/.*)$", ""), ("(/.*)", ""), ("(.*)$", ""), ("(.*)", "")];
    let (host, slash) = ends.iter().find_map(|(end, slash)| Some((rest.strip_suffix(end)?, *slash)))?;
    let host = match host {
        "[^/]+" | "[^/]*" | "(?:[^/]+)" => None,
        host => {
            let plain = host.replace("\\.", ".").replace("\\-", "-");
            let is_name = plain.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
            Some(plain.to_ascii_lowercase()).filter(|_| is_name && !host.is_empty())?.into()
        }
    };
    let captures = ["$${1}", "${1}", "$1"];
    let to = captures.iter().find_map(|capture| replacement.strip_suffix(capture))?;
    let authority = to.strip_prefix("https://").or_else(|| to.strip_prefix("http://"))?;
    let target =
        authority.strip_suffix(slash).filter(|target| !target.is_empty() && !target.contains(['/', '$', '{', '?']))?;
    // To itself it would lead for ever; Traefik passes such a request on.
    let is_itself = host.as_deref() == Some(target) && to.starts_with(&format!("{own}://"));
    if scheme.is_some_and(|scheme| scheme != own) || is_itself {
        return Some(None);
    }
    let (scheme, _) = to.split_once("://")?;
    // Of any host, it would redirect its own target too.
    let is_endless = host.is_none() && scheme == own;
    (!refers(to) && !is_endless).then(|| Some((host, format!("{scheme}://{target}{{path}}{{?query}}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_to_a_host_are_understood() {
        let path = "{path}{?query}";
        for (regex, replacement, expected) in [
            (r"^https?://www\.a\.test/(.*)", "https://a.test/$${1}", format!("www.a.test > https://a.test{path}")),
            (r"^https?:\/\/www.a.test(.*)$", "https://a.test$1", format!("www.a.test > https://a.test{path}")),
            (r"^https://a\.test/(.*)", "https://a.test/x/$1", "-".to_owned()),
            (r"^http://a\.test/(.*)", "https://b.test/$1", "not meant".to_owned()),
            (r"^https://a\.test/(.*)", "https://a.test/$1", "not meant".to_owned()),
            (r"^https?://[^/]+/(.*)", "http://a.test/$1", format!("any > http://a.test{path}")),
            (r"^https?://[^/]+/(.*)", "https://a.test/$1", "-".to_owned()),
            (r"^https?://(www\.)?a\.test/(.*)", "https://b.test/$2", "-".to_owned()),
            (r"^https?://a\.test/x/(.*)", "https://b.test/$1", "-".to_owned()),
        ] {
            let shown = match to_host(regex, replacement, "https") {
                None => "-".to_owned(),
                Some(None) => "not meant".to_owned(),
                Some(Some((host, to))) => format!("{} > {to}", host.as_deref().unwrap_or("any")),
            };
            assert_eq!(shown, expected, "{regex}");
        }
    }

    #[test]
    fn ports_of_schemes() {
        for (scheme, port, expected) in [
            ("https", "443", Some("https://{host}{path}{?query}")),
            ("https", "8443", Some("https://{host}:8443{path}{?query}")),
            ("http", "", Some("http://{host}{path}{?query}")),
            ("https", "x", None),
            ("ftp", "", None),
        ] {
            assert_eq!(to_scheme(scheme, port).as_deref(), expected);
        }
    }
}
