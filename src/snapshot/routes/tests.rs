//! Tables of requests and the routes that they take.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use super::*;
use crate::config;

/// What else is in the file.
const OTHERS: &str =
    "pool.app.backends = ['10.0.0.1:1']\nlisten = { web = { address = ':1' }, api = { address = ':2' } }\n";

/// The table of the routes of a file, which are written as TOML.
fn table(routes: &str) -> Routes {
    let config =
        config::parse("test.toml", &format!("{OTHERS}{routes}")).unwrap_or_else(|problems| panic!("{problems}"));
    Routes::new(config.routes.into())
}

/// One route for each host and path.
fn places(places: &[(&str, &str)]) -> Routes {
    let route = |(host, path): &(&str, &str)| {
        let host = if host.is_empty() { String::new() } else { format!("host = '{host}'\n") };
        format!("[[route]]\n{host}path = '{path}'\n")
    };
    table(&places.iter().map(route).collect::<String>())
}

/// The place of the route for `GET`, counted from 0.
fn found(routes: &Routes, host: &str, path: &str) -> Option<usize> {
    asked(routes, "web", "GET", host, path, &[])
}

fn asked(
    routes: &Routes,
    listener: &str,
    method: &str,
    host: &str,
    target: &str,
    fields: &[(&str, &str)],
) -> Option<usize> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let field = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    };
    let mut headers = HeaderMap::new();
    fields.iter().map(field).for_each(|(name, value)| _ = headers.append(name, value));
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    routes
        .find(&Asked { listener, host, path, query, method: &method, headers: &headers })
        .ok()
        .map(|found| found.route)
}

#[test]
fn the_most_specific_route_wins() {
    let routes = places(&[
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
        assert_eq!(found(&routes, host, path), Some(expected), "{host} {path}");
    }
}

#[test]
fn a_less_specific_host_serves_the_paths_that_the_specific_one_lacks() {
    let routes = places(&[("", "/"), ("shop.example.com", "/api"), ("*.example.com", "/cart"), ("b.org", "/api")]);
    for (host, path, expected) in [
        ("shop.example.com", "/api", 1),
        ("shop.example.com", "/cart", 2),
        ("shop.example.com", "/", 0),
        ("a.example.com", "/", 0),
        ("b.org", "/", 0),
    ] {
        assert_eq!(found(&routes, host, path), Some(expected), "{host} {path}");
    }
}

#[test]
fn what_fits_nowhere_is_not_routed() {
    let routes = places(&[("shop.example.com", "/api")]);
    for (host, path) in [("shop.example.com", "/"), ("other.org", "/api"), ("shop.example.com", "*")] {
        assert_eq!(found(&routes, host, path), None, "{host} {path}");
    }
    assert_eq!(found(&places(&[("", "/api")]), "any", "/apix"), None);
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
        assert_eq!(found(&places(routes), host, "/"), expected, "{routes:?} {host}");
    }
}

#[test]
fn paths_are_compared_in_their_normal_form() {
    let routes = places(&[("", "/"), ("", "/admin"), ("", "=/x"), ("", "~^/v[12]/items/\\d+$"), ("", "/café")]);
    for (path, expected) in [
        ("/%61dmin", 1),
        ("/%61dmin/users", 1),
        ("/x/../admin", 1),
        ("/%2e%2e/admin/", 1),
        ("/admin%2Fusers", 0),
        ("/./x", 2),
        ("/x/", 0),
        ("/v1/items/7", 3),
        ("//v2/./items/%37", 3),
        ("/v3/items/7", 0),
        ("/caf%c3%a9/x", 4),
    ] {
        assert_eq!(found(&routes, "a.test", path), Some(expected), "{path}");
    }
}

#[test]
fn kinds_of_paths_and_priorities_have_their_order() {
    let routes = table(
        "[[route]]\npath = '/'\n[[route]]\npath = '/img/old'\npriority = 1\n[[route]]\npath = '~\\.(jpg|png)$'\n\
         [[route]]\npath = '~^/img/'\n[[route]]\npath = '=/img/a.jpg'\n[[route]]\npath = '/img/new'\n\
         [[route]]\npath = '~(?i)^/UP$'\n",
    );
    for (path, expected) in [
        ("/img/old/a.jpg", 1),
        ("/img/a.jpg", 4),
        ("/img/b.jpg", 2),
        ("/x.png", 2),
        ("/x", 0),
        ("/up", 6),
        ("/img/new/b", 3),
    ] {
        assert_eq!(found(&routes, "a", path), Some(expected), "{path}");
    }
}

#[test]
fn a_route_whose_conditions_fail_counts_as_absent() {
    let routes = table(
        "[[route]]\npath = '/api'\nmethod = ['GET', 'HEAD']\n[[route]]\npath = '/api'\nheader = { x-canary = '1' }\n\
         method = 'GET'\n[[route]]\npath = '/'\nquery = { next = '1', q = '~^a' }\n\
         priority = 1\n[[route]]\npath = '/'\nlisten = 'api'\n\
         [[route]]\npath = '/'\nheader = { x-a = '*', x-b = '!' }\n[[route]]\npath = '/only'\nmethod = 'POST'\n",
    );
    for (listener, method, target, fields, expected) in [
        ("web", "GET", "/api", &[][..], Some(0)),
        ("web", "HEAD", "/api/x", &[], Some(0)),
        ("web", "GET", "/api", &[("x-canary", "1")], Some(1)),
        ("web", "GET", "/api", &[("x-canary", "2"), ("x-canary", "1")], Some(1)),
        ("web", "GET", "/api", &[("x-canary", "2")], Some(0)),
        ("web", "POST", "/api", &[("x-canary", "1")], None),
        ("api", "POST", "/api", &[], Some(3)),
        ("web", "GET", "/?next=1&q=abc", &[], Some(2)),
        ("web", "GET", "/?%6eext=%31&q=b&q=a+b", &[], Some(2)),
        ("web", "GET", "/?next=1&q=b", &[], None),
        ("web", "GET", "/?next=11&q=a", &[], None),
        ("web", "GET", "/", &[("x-a", "")], Some(4)),
        ("web", "GET", "/", &[("x-a", ""), ("x-b", "")], None),
        ("web", "POST", "/only/x", &[], Some(5)),
        ("web", "PUT", "/only/x", &[], None),
    ] {
        let found = asked(&routes, listener, method, "a.test", target, fields);
        assert_eq!(found, expected, "{listener} {method} {target} {fields:?}");
    }
}

#[test]
fn a_list_of_hosts_is_any_of_them() {
    let routes = table("[[route]]\nhost = ['a.test', '*.b.test']\n[[route]]\nhost = 'c.test'\n");
    for (host, expected) in [("a.test", Some(0)), ("x.b.test", Some(0)), ("b.test", None), ("c.test", Some(1))] {
        assert_eq!(found(&routes, host, "/"), expected, "{host}");
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
fn domains_are_looked_up_from_the_longest_that_may_fit() {
    let all = |name: &str, most| domains(name, most).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(all("a.b.c", 9), ["b.c", "c"]);
    assert_eq!(all("a.b.c", 2), ["c"]);
    assert_eq!(all(".b.c", 9), ["c"]);
    assert_eq!(all("a", 9), Vec::<String>::new());
    assert_eq!(all(&"a.".repeat(30_000), 3), ["a.", ""]);
}

/// The order of the documentation, one route after the other.
fn by_the_book(list: &[Route], host: &str, asked: &Asked<'_>) -> Option<usize> {
    let path = path::normal(asked.path);
    let rank = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(name) => (name == host).then_some(usize::MAX),
        HostPattern::Below(domain) => host.ends_with(&format!(".{domain}")).then_some(domain.len()),
        HostPattern::Any => Some(0),
    };
    let fits = |route: &Route| match &route.path {
        PathPattern::Exact(exact) => *exact == path,
        PathPattern::Regex(pattern) => pattern.is_in(&path),
        PathPattern::Prefix(prefix) => path::has_prefix(&path, prefix),
    };
    let kind = |(place, route): &(usize, &Route)| match &route.path {
        PathPattern::Exact(_) => (0, 0),
        PathPattern::Regex(pattern) => {
            let of_host = |host: &&HostPattern| rank(host).is_some();
            let best = route.host.iter().filter(of_host).max_by_key(|host| rank(host));
            let same = |other: &Route| {
                other.path == PathPattern::Regex(pattern.clone()) && best.is_some_and(|best| other.host.contains(best))
            };
            (1, list.iter().position(same).unwrap_or(*place))
        }
        PathPattern::Prefix(prefix) => (2, usize::MAX - prefix.len()),
    };
    let fitting = list.iter().enumerate().filter(|(_, route)| fits(route) && asked.meets(route));
    fitting
        .filter_map(|(place, route)| {
            let host = route.host.iter().filter_map(rank).max()?;
            let order = (usize::MAX - host, -route.priority, kind(&(place, route)), usize::MAX - route.conditions());
            Some((order, place))
        })
        .min()
        .map(|(_, place)| place)
}

fn any_route() -> impl Strategy<Value = String> {
    let host =
        prop::sample::select(vec!["", "host = 'a.test'\n", "host = '*.test'\n", "host = ['b.test', '*.a.test']\n"]);
    let path = prop::sample::select(vec!["/", "/a", "/a/", "/a/b", "=/a", "=/a/b", "~^/a", "~b$", "~a/(b|c)"]);
    let more = prop::sample::select(vec![
        "",
        "method = 'GET'\n",
        "method = ['GET', 'POST']\n",
        "header = { x = '1' }\n",
        "header = { x = '!' }\n",
        "query = { q = '*' }\n",
        "listen = 'api'\n",
    ]);
    (host, path, more, -1..=1).prop_map(|(host, path, more, priority)| {
        format!("[[route]]\n{host}path = '{path}'\n{more}priority = {priority}\npool = 'app'\n")
    })
}

proptest! {
    #[test]
    fn the_table_finds_what_the_documentation_says(
        routes in prop::collection::vec(any_route(), 1..12),
        host in prop::sample::select(vec!["a.test", "b.test", "x.a.test", "other.org", "test"]),
        path in prop::sample::select(vec!["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/x/../a/%62", "//a/c", "*"]),
        method in prop::sample::select(vec!["GET", "POST"]),
        fields in prop::sample::select(vec![vec![], vec![("x", "1")]]),
        query in prop::sample::select(vec![None, Some("q=1")]),
    ) {
        let config = config::parse("test.toml", &format!("{OTHERS}{}", routes.concat()));
        // What is ambiguous, or cannot be reached, is refused.
        prop_assume!(config.is_ok());
        let table = Routes::new(config.unwrap().routes.into());
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let headers: HeaderMap = fields.iter().map(field).collect();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let asked = Asked { listener: "web", host, path, query, method: &method, headers: &headers };
        prop_assert_eq!(table.find(&asked).ok().map(|found| found.route), by_the_book(table.list(), host, &asked));
    }
}
