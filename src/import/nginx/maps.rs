//! A `map` that chooses an upstream: a route for each of its values.
//!
//! nginx looks for the value as it is, in any case, then for the first regular expression that fits.

use super::branches::ask;
use super::conditions::{condition, cookie_is, words};
use super::grammar::Directive;
use super::locations::{Found, Kind, all};
use super::rewriting::Spot;
use super::scope::Scope;
use super::text::{Part, parts, resolved};
use super::{Draft, Importer};
use crate::imported::Keys;
use crate::value::Value;

/// What an entry of a map asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asks {
    Host(String),
    Path(String),
    Field(&'static str, String, String),
}

impl<'t> Importer<'t> {
    /// The route of a location, behind those for the values of a `map` that chooses its upstream.
    pub(super) fn mapped(
        &mut self,
        found: &Found<'t>,
        spot: &Spot,
        rewrite: Option<(String, String)>,
        is_closed: bool,
    ) -> Vec<Draft> {
        let of = |draft: Option<Draft>| draft.into_iter().collect::<Vec<_>>();
        let Some((target, map)) = self.chosen(&found.scope) else {
            return of(self.content(found, spot, rewrite, is_closed));
        };
        let Some(entries) =
            entries(map).filter(|entries| self.are_separate(found, entries) && !Self::is_asked_twice(spot, entries))
        else {
            return of(self.content(found, spot, rewrite, is_closed));
        };
        let (mut drafts, mut rest) = (Vec::new(), spot.clone());
        let count = i64::try_from(entries.len()).unwrap_or(i64::MAX);
        for (nth, (entry, asks)) in entries.iter().enumerate() {
            let found = Found { target: Some(target.replace(VALUE, entry.arg(0))), ..found.clone() };
            let mut spot = Spot {
                place: entry.place.clone(),
                origin: format!("{} for {}", spot.origin, entry.name),
                ..spot.clone()
            };
            let mut tests = Keys::default();
            match asks {
                Asks::Host(host) if rest.target.host.contains(host) => {
                    rest.target.host.retain(|known| known != host);
                    spot.target.host = vec![host.clone()];
                }
                // No request with this host comes here.
                Asks::Host(_) => continue,
                Asks::Path(path) => spot.path.clone_from(path),
                Asks::Field(table, name, expected) => tests.set_in(table, name, expected.as_str()),
            }
            if let Some(mut draft) = self.content(&found, &spot, rewrite.clone(), is_closed) {
                ask(&mut draft.route.keys, tests);
                if ranks(&entries) > 0 {
                    draft.route.priority += count - i64::try_from(nth).unwrap_or(count);
                }
                drafts.push(draft);
            }
        }
        let default = map.items().iter().find(|entry| entry.name == "default");
        let default = default.map(|entry| Found { target: Some(target.replace(VALUE, entry.arg(0))), ..found.clone() });
        if !rest.target.host.is_empty() || spot.target.host.is_empty() {
            drafts.extend(self.content(&default.unwrap_or_else(|| found.clone()), &rest, rewrite, is_closed));
        }
        drafts
    }

    /// The routes of a location that need a priority of their own, because a map chooses its upstream.
    pub(super) fn map_ranks(&self, found: &Found<'t>) -> i64 {
        let entries = self.chosen(&found.scope).and_then(|(_, map)| entries(map));
        entries.map_or(0, |entries| ranks(&entries))
    }

    /// The hosts that maps and tests of a server ask for: unstick looks at the host first, so all routes of the server
    /// have them.
    pub(super) fn mapped_hosts(&self, scope: &Scope<'t>) -> Vec<String> {
        let mut hosts: Vec<String> = Vec::new();
        let found = all(scope, false);
        let items = scope.own().iter().chain(found.iter().flat_map(|found| found.scope.own()));
        for item in items.filter(|item| item.name == "if") {
            let tested = condition(&words(item), false).map(|tested| [tested.host, tested.but_hosts].concat());
            hosts.extend(tested.unwrap_or_default());
        }
        for found in all(scope, false) {
            let map = self.chosen(&found.scope).map(|(_, map)| map);
            for (_, asks) in map.and_then(entries).unwrap_or_default() {
                match asks {
                    Asks::Host(host) if !hosts.contains(&host) => hosts.push(host),
                    _ => {}
                }
            }
        }
        hosts
    }

    /// Whether an entry asks for a field for which those who come here were asked already: a route asks once.
    fn is_asked_twice(spot: &Spot, entries: &[(&'t Directive, Asks)]) -> bool {
        entries.iter().any(|(_, asks)| match asks {
            Asks::Field(table, name, _) => match spot.target.tests.get(table) {
                Some(Value::Table(tests)) => tests.get(name).is_some(),
                _ => false,
            },
            Asks::Host(_) | Asks::Path(_) => false,
        })
    }

    /// Whether the paths that a map asks for come before no other location. The most specific host and conditions do
    /// not change the order of paths.
    fn are_separate(&self, found: &Found<'t>, entries: &[(&'t Directive, Asks)]) -> bool {
        let has = |is_meant: fn(&str) -> bool| {
            entries.iter().any(|(_, asks)| matches!(asks, Asks::Path(path) if is_meant(path)))
        };
        let (has_exact, has_regex) = (has(|path| path.starts_with('=')), has(|path| path.starts_with('~')));
        let Some(server) = found.scope.outer().filter(|_| has_exact || has_regex) else { return true };
        let others = all(&server, false);
        let mut others = others.iter().map(|other| &other.kind).filter(|kind| **kind != found.kind);
        let is_root = matches!(&found.kind, Kind::Prefix(path) | Kind::Final(path) if path == "/");
        is_root
            && others.all(|kind| match kind {
                Kind::Named(_) => true,
                Kind::Exact(path) => !entries.iter().any(|(_, asks)| *asks == Asks::Path(format!("={path}"))),
                Kind::Prefix(_) | Kind::Final(_) => !has_regex && !has_exact,
                Kind::Regex(_) => false,
            })
    }

    /// The target of a location with a mark where the value belongs, and the map that it is from.
    fn chosen(&self, scope: &Scope<'t>) -> Option<(String, &'t Directive)> {
        let pass = scope.own().iter().find(|item| item.name == "proxy_pass")?;
        let target = resolved(pass.arg(0), scope);
        let variables = parts(&target).into_iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name),
            Part::Literal(_) => None,
        });
        let maps = self.blocks("map");
        for name in variables {
            let map = maps.iter().find(|map| map.arg(1).trim_start_matches('$') == name);
            if let Some(map) = map.filter(|map| entries(map).is_some()) {
                return Some((target.replace(&format!("${{{name}}}"), VALUE), *map));
            }
        }
        None
    }
}

/// Stands for the value of a map within a target.
const VALUE: &str = "\u{1}";

/// The entries of a map but the default, those that nginx looks at first first; nothing if one cannot be said.
fn entries(map: &Directive) -> Option<Vec<(&Directive, Asks)>> {
    let has_hostnames = map.items().iter().any(|entry| entry.name == "hostnames" && entry.args.is_empty());
    let mut all = Vec::new();
    for entry in map.items() {
        let name = entry.name.strip_prefix('\\').unwrap_or(&entry.name);
        // `.a.test` is the name, and all below it.
        if let (true, Some(domain)) = (has_hostnames && map.arg(0).ends_with("host"), name.strip_prefix('.')) {
            all.push((entry, Asks::Host(domain.to_ascii_lowercase())));
            all.push((entry, Asks::Host(format!("*.{}", domain.to_ascii_lowercase()))));
            continue;
        }
        match entry.name.as_str() {
            "hostnames" | "volatile" if entry.args.is_empty() => continue,
            "include" => return None,
            _ if entry.args.len() != 1 || entry.arg(0).contains('$') => return None,
            "default" => {}
            _ => all.push((entry, asks(map.arg(0), name, has_hostnames)?)),
        }
    }
    all.sort_by_key(|(entry, _)| entry.name.starts_with('~'));
    Some(all)
}

/// What an entry asks for.
fn asks(variable: &str, value: &str, has_hostnames: bool) -> Option<Asks> {
    let regex = match (value.strip_prefix("~*"), value.strip_prefix('~')) {
        (Some(regex), _) => Some(format!("(?i){regex}")),
        (None, Some(regex)) => Some(regex.to_owned()),
        (None, None) => None,
    };
    let regex = match regex {
        Some(regex) if regex::Regex::new(&regex).is_err() => return None,
        other => other,
    };
    let has_letters = value.contains(|c: char| c.is_ascii_alphabetic());
    // Values are compared in any case.
    let exactly = |value: &str| match (value, has_letters) {
        ("", _) => "!".to_owned(),
        (value, true) => format!("~(?i)^{}$", regex::escape(value)),
        (value, false) if value.starts_with(['*', '!']) => format!("~^{}$", regex::escape(value)),
        (value, false) => value.to_owned(),
    };
    match (variable, regex) {
        ("$host" | "$http_host", None) if has_hostnames && value.ends_with('*') => None,
        ("$host" | "$http_host", None) if value.contains('*') && !(has_hostnames && value.starts_with("*.")) => None,
        ("$host" | "$http_host", None) if !value.is_empty() && !value.starts_with('.') => {
            Some(Asks::Host(value.to_ascii_lowercase()))
        }
        ("$host" | "$http_host", _) => None,
        ("$uri" | "$document_uri", None) if has_letters => Some(Asks::Path(format!("~(?i)^{}$", regex::escape(value)))),
        ("$uri" | "$document_uri", None) => Some(Asks::Path(format!("={value}"))),
        ("$uri" | "$document_uri", Some(regex)) => Some(Asks::Path(format!("~{regex}"))),
        (variable, regex) => {
            if let Some(cookie) = variable.strip_prefix("$cookie_") {
                let is_plain = regex.is_none() && !value.is_empty();
                return is_plain
                    .then(|| Asks::Field("header", "cookie".to_owned(), cookie_is(cookie, value, has_letters)));
            }
            let header = variable.strip_prefix("$http_").map(|name| ("header", name.replace('_', "-")));
            let (table, name) =
                header.or_else(|| variable.strip_prefix("$arg_").map(|name| ("query", name.to_owned())))?;
            let expected = regex.map_or_else(|| exactly(value), |regex| format!("~{regex}"));
            Some(Asks::Field(table, name, expected))
        }
    }
}

/// How many priorities the routes of these entries need: each one, if nothing but their order tells them apart.
fn ranks(entries: &[(&Directive, Asks)]) -> i64 {
    let fields = entries.iter().filter_map(|(_, asks)| match asks {
        Asks::Field(_, _, expected) => Some(expected.starts_with('~')),
        Asks::Host(_) | Asks::Path(_) => None,
    });
    let (all, regexes) = fields.fold((0, 0), |(all, regexes), is_regex| (all + 1, regexes + i64::from(is_regex)));
    if regexes > 0 && all > 1 { all } else { 0 }
}
