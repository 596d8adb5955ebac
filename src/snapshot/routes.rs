//! Finds the pool for a request, by its host and then by the longest path. Pure functions.
//!
//! An exact host beats a wildcard, a longer wildcard beats a shorter one, and any host comes last. Within a host an
//! exact path beats prefixes, and a longer prefix beats a shorter one. If no path of the host fits, the next less
//! specific host is tried. Paths are compared as the client wrote them; nothing is decoded or normalised.

use std::collections::HashMap;

use crate::config::model::{HostPattern, PathPattern};

/// The routing table.
#[derive(Debug, Default, PartialEq)]
pub struct Routes {
    exact: HashMap<String, Paths>,
    /// Domains without the leading `*.`, longest first.
    below: Vec<(String, Paths)>,
    any: Paths,
}

/// The paths of one host. Values are indices of pools.
#[derive(Debug, Default, PartialEq)]
struct Paths {
    exact: HashMap<String, usize>,
    /// Prefixes with their pools, the longest first.
    prefixes: Vec<(String, usize)>,
}

impl Routes {
    /// Builds the table from routes, each with the index of its pool.
    pub fn new<'a>(routes: impl Iterator<Item = (&'a HostPattern, &'a PathPattern, usize)>) -> Self {
        let mut table = Self::default();
        let mut below: HashMap<String, Paths> = HashMap::new();
        for (host, path, pool) in routes {
            let paths = match host {
                HostPattern::Any => &mut table.any,
                HostPattern::Exact(name) => table.exact.entry(name.clone()).or_default(),
                HostPattern::Below(domain) => below.entry(domain.clone()).or_default(),
            };
            paths.add(path, pool);
        }
        table.below.extend(below);
        table.below.sort_by(|(one, _), (other, _)| (other.len(), one).cmp(&(one.len(), other)));
        table.each_paths().for_each(Paths::sort);
        table
    }

    fn each_paths(&mut self) -> impl Iterator<Item = &mut Paths> {
        let below = self.below.iter_mut().map(|(_, paths)| paths);
        self.exact.values_mut().chain(below).chain([&mut self.any])
    }

    /// The index of the pool for a host (as the client wrote it, with its port) and a path. `None` if no route fits.
    pub fn find(&self, host: &str, path: &str) -> Option<usize> {
        if self.exact.is_empty() && self.below.is_empty() {
            return self.any.find(path);
        }
        let name = bare_host(host);
        let lower: String;
        let name = if name.bytes().any(|b| b.is_ascii_uppercase()) {
            lower = name.to_ascii_lowercase();
            &lower
        } else {
            name
        };
        let exact = self.exact.get(name).and_then(|paths| paths.find(path));
        let below = || {
            let mut fitting = self.below.iter().filter(|(domain, _)| is_below(name, domain));
            fitting.find_map(|(_, paths)| paths.find(path))
        };
        exact.or_else(below).or_else(|| self.any.find(path))
    }
}

impl Paths {
    fn add(&mut self, path: &PathPattern, pool: usize) {
        match path {
            PathPattern::Exact(path) => {
                self.exact.insert(path.clone(), pool);
            }
            PathPattern::Prefix(prefix) => {
                self.prefixes.push((prefix.clone(), pool));
            }
        }
    }

    fn sort(&mut self) {
        self.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
    }

    fn find(&self, path: &str) -> Option<usize> {
        let exact = if self.exact.is_empty() { None } else { self.exact.get(path).copied() };
        exact.or_else(|| self.prefixes.iter().find(|(prefix, _)| has_prefix(path, prefix)).map(|&(_, pool)| pool))
    }
}

/// Whether `path` is at or below `prefix`, by whole segments. `OPTIONS *` counts as the root.
fn has_prefix(path: &str, prefix: &str) -> bool {
    if prefix == "/" {
        return path.starts_with('/') || path == "*";
    }
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'),
        None => false,
    }
}

/// The host without its port and without a trailing dot.
fn bare_host(host: &str) -> &str {
    let name = match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|head| head.len() > 1 && head.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(routes: &[(&str, &str)]) -> Routes {
        let parsed: Vec<_> = routes
            .iter()
            .map(|(host, path)| {
                let host = match (*host, host.strip_prefix("*.")) {
                    ("", _) => HostPattern::Any,
                    (_, Some(domain)) => HostPattern::Below(domain.into()),
                    (name, None) => HostPattern::Exact(name.into()),
                };
                let path = match path.strip_prefix('=') {
                    Some(path) => PathPattern::Exact(path.into()),
                    None => PathPattern::Prefix((*path).into()),
                };
                (host, path)
            })
            .collect();
        Routes::new(parsed.iter().enumerate().map(|(index, (host, path))| (host, path, index)))
    }

    #[test]
    fn the_most_specific_route_wins() {
        let routes = table(&[
            ("", "/"),
            ("shop.example.com", "/"),
            ("shop.example.com", "/api/"),
            ("shop.example.com", "=/api/health"),
            ("*.example.com", "/"),
            ("*.eu.example.com", "/admin"),
        ]);
        for (host, path, expected) in [
            ("other.org", "/x", 0),
            ("shop.example.com", "/", 1),
            ("SHOP.Example.com:8080", "/cart", 1),
            ("shop.example.com.", "/api/x", 2),
            ("shop.example.com", "/api", 1),
            ("shop.example.com", "/api/health", 3),
            ("shop.example.com", "/api/health/x", 2),
            ("a.example.com", "/", 4),
            ("a.b.example.com", "/", 4),
            ("a.eu.example.com", "/admin", 5),
            ("a.eu.example.com", "/admin/x", 5),
            ("a.eu.example.com", "/administrator", 4),
            ("example.com", "/", 0),
            ("badexample.com", "/", 0),
            (".example.com", "/", 0),
            ("[::1]:80", "/", 0),
            ("", "*", 0),
        ] {
            assert_eq!(routes.find(host, path), Some(expected), "{host} {path}");
        }
    }

    #[test]
    fn a_less_specific_host_serves_the_paths_that_the_specific_one_lacks() {
        let routes = table(&[("", "/"), ("shop.example.com", "/api"), ("*.example.com", "/cart"), ("b.org", "/api")]);
        for (host, path, expected) in [
            ("shop.example.com", "/api", 1),
            ("shop.example.com", "/cart", 2),
            ("shop.example.com", "/", 0),
            ("a.example.com", "/", 0),
            ("b.org", "/", 0),
        ] {
            assert_eq!(routes.find(host, path), Some(expected), "{host} {path}");
        }
    }

    #[test]
    fn what_fits_nowhere_is_not_routed() {
        let routes = table(&[("shop.example.com", "/api")]);
        for (host, path) in [("shop.example.com", "/"), ("other.org", "/api"), ("shop.example.com", "*")] {
            assert_eq!(routes.find(host, path), None, "{host} {path}");
        }
        assert_eq!(table(&[("", "/api")]).find("any", "/apix"), None);
    }

    #[test]
    fn one_kind_of_host_is_enough() {
        for (routes, host, expected) in [
            (&[("shop.example.com", "/"), ("", "/")][..], "shop.example.com", Some(0)),
            (&[("shop.example.com", "/"), ("", "/")], "other.org", Some(1)),
            (&[("*.example.com", "/"), ("", "/")], "shop.example.com", Some(0)),
            (&[("*.example.com", "/"), ("", "/")], "example.com", Some(1)),
            (&[("shop.example.com", "/")], "SHOP.example.com.", Some(0)),
            (&[("*.example.com", "/")], "SHOP.example.com:80", Some(0)),
        ] {
            assert_eq!(table(routes).find(host, "/"), expected, "{routes:?} {host}");
        }
    }

    #[test]
    fn a_host_is_compared_without_its_port() {
        for (host, expected) in [
            ("example.com", "example.com"),
            ("example.com:8080", "example.com"),
            ("example.com.:8080", "example.com"),
            ("[::1]", "[::1]"),
            ("[::1]:8080", "[::1]"),
            ("", ""),
            (":80", ""),
        ] {
            assert_eq!(bare_host(host), expected, "{host}");
        }
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        for (path, prefix, expected) in [
            ("/", "/", true),
            ("*", "/", true),
            ("/x", "/", true),
            ("x", "/", false),
            ("/api", "/api", true),
            ("/api/x", "/api", true),
            ("/apix", "/api", false),
            ("/api/x", "/api/", true),
            ("/api", "/api/", false),
            ("*", "/api", false),
        ] {
            assert_eq!(has_prefix(path, prefix), expected, "{path} {prefix}");
        }
    }
}
