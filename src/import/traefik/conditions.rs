//! What the tests of a rule become: the conditions of a route.

use ipnet::IpNet;

use super::hosts::{self, Hosts};
use super::paths::Paths;
use super::rule::{Leaf, Matcher};
use super::text::{is_regex, refers};

/// What a route asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Test {
    /// Any of these hosts; nothing means all.
    pub(super) hosts: Option<Vec<String>>,
    pub(super) paths: Paths,
    pub(super) method: Vec<String>,
    pub(super) header: Vec<(String, String)>,
    pub(super) query: Vec<(String, String)>,
    /// The clients that fit, and those that do not.
    pub(super) allow: Option<Vec<IpNet>>,
    pub(super) deny: Vec<IpNet>,
    /// Tests that have no equal. Without them more requests fit.
    pub(super) lost: Vec<String>,
    /// Tests for which a little more fits than in Traefik.
    pub(super) wider: Vec<String>,
}

/// Why there is no route.
enum Refusal {
    /// No request meets all of it.
    Never,
    /// It cannot be said.
    Lost,
}

/// The conditions of one alternative; nothing if no request meets them.
pub(super) fn test(leaves: &[Leaf]) -> Option<Test> {
    let mut test = Test::default();
    for leaf in leaves {
        match test.add(leaf) {
            Ok(()) => {}
            Err(Refusal::Never) => return None,
            Err(Refusal::Lost) => test.lost.push(written(leaf)),
        }
    }
    let lost = test.paths.settle()?;
    test.lost.extend(lost);
    Some(test)
}

/// A test as the rule has it.
fn written(leaf: &Leaf) -> String {
    let values: Vec<String> = leaf.values.iter().map(|value| format!("`{value}`")).collect();
    format!("{}{:?}({})", if leaf.is_negated { "!" } else { "" }, leaf.matcher, values.join(", "))
}

impl Test {
    fn add(&mut self, leaf: &Leaf) -> Result<(), Refusal> {
        let value = leaf.values.last().map_or("", String::as_str);
        match leaf.matcher {
            Matcher::Host | Matcher::HostRegexp => self.host(leaf, value),
            Matcher::Path | Matcher::PathPrefix | Matcher::PathRegexp if refers(value) => Err(Refusal::Lost),
            Matcher::Path | Matcher::PathPrefix | Matcher::PathRegexp => {
                let is_taken = self.paths.add(leaf.matcher, value, leaf.is_negated);
                if is_taken { Ok(()) } else { Err(Refusal::Lost) }
            }
            Matcher::Method => self.method(value, leaf.is_negated),
            Matcher::Header | Matcher::HeaderRegexp => self.header(leaf),
            Matcher::Query | Matcher::QueryRegexp => self.query(leaf),
            Matcher::ClientIp => self.client(value, leaf.is_negated),
        }
    }

    fn host(&mut self, leaf: &Leaf, value: &str) -> Result<(), Refusal> {
        let found = if leaf.matcher == Matcher::Host { hosts::plain(value) } else { hosts::regexp(value) };
        let Hosts { names, is_exact } = found.ok_or(Refusal::Lost)?;
        if leaf.is_negated {
            return self.not_host(names, is_exact);
        }
        if !is_exact {
            self.wider.push(written(leaf));
        }
        match (&mut self.hosts, names) {
            (_, None) => {}
            (own @ None, names) => *own = names,
            (Some(own), Some(names)) => {
                own.retain(|name| names.iter().any(|other| is_within(name, other)));
                if own.is_empty() {
                    return Err(Refusal::Never);
                }
            }
        }
        Ok(())
    }

    /// A route has no host that must not be, but if it names others that does not matter.
    fn not_host(&mut self, names: Option<Vec<String>>, is_exact: bool) -> Result<(), Refusal> {
        let Some(names) = names else { return Err(Refusal::Never) };
        let own = self.hosts.as_mut().filter(|own| is_exact && own.iter().all(|name| !name.starts_with('*')));
        let own = own.ok_or(Refusal::Lost)?;
        own.retain(|name| !names.iter().any(|other| is_within(name, other)));
        if own.is_empty() { Err(Refusal::Never) } else { Ok(()) }
    }

    fn method(&mut self, value: &str, is_negated: bool) -> Result<(), Refusal> {
        let method = value.to_ascii_uppercase();
        let known = self.method.first();
        match (is_negated, known) {
            (false, Some(known)) | (true, Some(known)) if (*known == method) == is_negated => Err(Refusal::Never),
            (_, Some(_)) => Ok(()),
            // Those never reach a route: unstick answers 405 to them.
            (false, None) if matches!(&*method, "TRACE" | "CONNECT") => Err(Refusal::Never),
            (true, None) if matches!(&*method, "TRACE" | "CONNECT") => Ok(()),
            (true, None) => Err(Refusal::Lost),
            (false, None) if method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') => {
                self.method.push(method);
                Ok(())
            }
            (false, None) => Err(Refusal::Lost),
        }
    }

    fn header(&mut self, leaf: &Leaf) -> Result<(), Refusal> {
        let [name, value] = &leaf.values[..] else { return Err(Refusal::Lost) };
        let name = name.to_ascii_lowercase();
        let is_token =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.!#$%&'*+^|~".contains(&b));
        // Go keeps the host apart from the other fields.
        if name == "host" && !leaf.is_negated {
            return Err(Refusal::Never);
        }
        if !is_token || name == "host" {
            return Err(Refusal::Lost);
        }
        let is_regexp = leaf.matcher == Matcher::HeaderRegexp;
        put(&mut self.header, name, expected(value, is_regexp, leaf.is_negated)?)
    }

    fn query(&mut self, leaf: &Leaf) -> Result<(), Refusal> {
        let (name, value, is_regexp) = match &leaf.values[..] {
            [name] => (name, String::new(), false),
            [name, value] => match hosts::braces(value, ".+") {
                Some(pattern) => (name, pattern, true),
                None => (name, value.clone(), leaf.matcher == Matcher::QueryRegexp),
            },
            _ => return Err(Refusal::Lost),
        };
        put(&mut self.query, name.clone(), expected(&value, is_regexp, leaf.is_negated)?)
    }

    fn client(&mut self, value: &str, is_negated: bool) -> Result<(), Refusal> {
        let network = network(value).ok_or(Refusal::Lost)?;
        if is_negated {
            self.deny.push(network);
            return Ok(());
        }
        let allowed = match &self.allow {
            Some(known) => intersection(known, &[network]),
            None => vec![network],
        };
        if allowed.is_empty() {
            return Err(Refusal::Never);
        }
        self.allow = Some(allowed);
        Ok(())
    }
}

/// Whether every host that fits `name` fits `other`.
pub(super) fn is_within(name: &str, other: &str) -> bool {
    let below = other.strip_prefix('*').filter(|below| !below.is_empty());
    name == other || other == "*" || below.is_some_and(|below| name.len() > below.len() && name.ends_with(below))
}

fn put(tests: &mut Vec<(String, String)>, name: String, expected: String) -> Result<(), Refusal> {
    match tests.iter().find(|(known, _)| *known == name) {
        Some((_, known)) if *known == expected => Ok(()),
        // A route has one test of each name.
        Some(_) => Err(Refusal::Lost),
        None => {
            tests.push((name, expected));
            Ok(())
        }
    }
}

/// What the value must be, as unstick writes it.
fn expected(value: &str, is_regexp: bool, is_negated: bool) -> Result<String, Refusal> {
    let is_all = is_regexp && matches!(value.trim_start_matches('^').trim_end_matches('$'), "" | ".*");
    match (is_negated, is_regexp) {
        (true, _) => {
            if is_all {
                Ok("!".to_owned())
            } else {
                Err(Refusal::Lost)
            }
        }
        (false, _) if value.chars().any(char::is_control) => Err(Refusal::Lost),
        (false, true) if is_all => Ok("*".to_owned()),
        (false, true) if is_regex(value) && !refers(value) => Ok(format!("~{value}")),
        (false, true) => Err(Refusal::Lost),
        (false, false) if matches!(value, "*" | "!") || value.starts_with('~') => {
            Ok(format!("~^{}$", regex::escape(value)))
        }
        (false, false) => Ok(value.to_owned()),
    }
}

/// An address or a network.
pub(super) fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    let address = text.parse().map(IpNet::from as fn(std::net::IpAddr) -> IpNet);
    address.or_else(|_| text.parse()).ok().map(|network| network.trunc())
}

/// The networks that are in both lists.
pub(super) fn intersection(one: &[IpNet], other: &[IpNet]) -> Vec<IpNet> {
    let pairs = one.iter().flat_map(|one| other.iter().map(move |other| (one, other)));
    let both = pairs.filter_map(|(one, other)| match (one.contains(other), other.contains(one)) {
        (true, _) => Some(*other),
        (_, true) => Some(*one),
        _ => None,
    });
    let mut both = IpNet::aggregate(&both.collect());
    both.sort();
    both
}

#[cfg(test)]
mod tests {
    use super::super::rule::alternatives;
    use super::*;

    fn shown(rule: &str) -> String {
        let show = |leaves: &Vec<Leaf>| {
            let Some(test) = test(leaves) else { return "never".to_owned() };
            let mut parts = vec![test.paths.written.clone()];
            parts.extend(test.hosts.map(|hosts| format!("host {}", hosts.join(" "))));
            parts.extend(test.method.iter().cloned());
            parts.extend(test.header.iter().chain(&test.query).map(|(name, value)| format!("{name}={value}")));
            parts.extend(test.allow.map(|nets| format!("allow {nets:?}")));
            parts.extend(test.deny.iter().map(|net| format!("deny {net}")));
            parts.extend(test.lost.iter().map(|lost| format!("lost {lost}")));
            parts.extend(test.wider.iter().map(|wider| format!("wider {wider}")));
            parts.join("; ")
        };
        alternatives(rule).unwrap().iter().map(show).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn tests_become_conditions() {
        for (rule, expected) in [
            ("Host(`a.test`)", "/; host a.test"),
            ("Host(`a.test`) && PathPrefix(`/x`)", "~^/x; host a.test"),
            ("PathPrefix(`/x/`)", "/x/"),
            ("PathPrefix(`/`)", "/"),
            ("Path(`/x`)", "=/x"),
            ("PathRegexp(`^/v[12]/`)", "~^/v[12]/"),
            ("PathPrefix(`/x`) && !PathPrefix(`/x/y`)", "~^/x($|[^/]|/($|[^y]))"),
            ("PathPrefix(`/x`) && !PathPrefix(`/z`)", "~^/x"),
            ("Path(`/x`) && !PathPrefix(`/x`)", "never"),
            ("Path(`/x`) && PathRegexp(`^/y`)", "never"),
            ("PathPrefix(`/x`) && PathPrefix(`/y`)", "never"),
            ("PathPrefix(`/x`) && PathRegexp(`^/x/[0-9]`)", "~^/x/[0-9]"),
            ("PathPrefix(`/x`) && PathRegexp(`[0-9]$`)", "~[0-9]$; lost PathPrefix(`/x`)"),
            ("!Path(`/x`)", "~^/($|[^x]|x(.))"),
            ("Path(`/a b`)", "=/a%20b"),
            ("Path(`/items/{id:[0-9]+}`)", "~^/items/([0-9]+)$"),
            ("PathPrefix(`/items/{id}/x`)", "~^/items/([^/]+)/x"),
            ("Path(`/a%2fb`)", "=/a%2Fb"),
            ("PathPrefix(`/a%2fb`)", "~^/a%2Fb"),
            ("Path(`/a%40b`)", "/; lost Path(`/a%40b`)"),
            ("Path(`/a%20b`)", "/; lost Path(`/a%20b`)"),
            ("PathPrefix(`/a//b`)", "never"),
            ("Path(`/a/../b`)", "never"),
            ("!Path(`/a//b`)", "/"),
            ("PathRegexp(`^/a b/é`)", "~^/a(?:%20)b/(?:%C3%A9)"),
            ("PathRegexp(`^/[ab ]`)", "/; lost PathRegexp(`^/[ab ]`)"),
            ("PathRegexp(`^/a//b`)", "/; lost PathRegexp(`^/a//b`)"),
            ("PathRegexp(`(?!x)`)", "/; lost PathRegexp(`(?!x)`)"),
            ("Method(`get`)", "/; GET"),
            ("Method(`GET`) && Method(`POST`)", "never"),
            ("Method(`TRACE`)", "never"),
            ("!Method(`GET`)", "/; lost !Method(`GET`)"),
            ("Header(`X-A`, `1`)", "/; x-a=1"),
            ("Header(`X-A`, `*`)", r"/; x-a=~^\*$"),
            ("HeaderRegexp(`X-A`, `.*`)", "/; x-a=*"),
            ("HeaderRegexp(`X-A`, `^v[0-9]`)", "/; x-a=~^v[0-9]"),
            ("!HeaderRegexp(`X-A`, `.*`)", "/; x-a=!"),
            ("!Header(`X-A`, `1`)", "/; lost !Header(`X-A`, `1`)"),
            ("Header(`X-A`, `1`) && Header(`X-A`, `2`)", "/; x-a=1; lost Header(`X-A`, `2`)"),
            ("Header(`Host`, `a`)", "never"),
            ("Query(`a`)", "/; a="),
            ("Query(`a`, `1`)", "/; a=1"),
            ("QueryRegexp(`a`, `^1`)", "/; a=~^1"),
            ("Query(`a={x:[0-9]+}`)", "/; a=~^([0-9]+)$"),
            ("ClientIP(`10.0.0.1`)", "/; allow [10.0.0.1/32]"),
            ("!ClientIP(`10.0.0.0/8`)", "/; deny 10.0.0.0/8"),
            ("ClientIP(`x`)", "/; lost ClientIp(`x`)"),
            ("Host(`a.test`) && Host(`b.test`)", "never"),
            ("Host(`x.a.test`) && HostRegexp(`^.+\\.a\\.test$`)", "/; host x.a.test"),
            ("Host(`a.test`) && !Host(`b.test`)", "/; host a.test"),
            ("!Host(`b.test`)", "/; lost !Host(`b.test`)"),
            ("Host(`*.a.test`)", "/; host *.a.test; wider Host(`*.a.test`)"),
            ("HostRegexp(`^.+$`)", "/"),
            ("Host(`a.test`) || Path(`/x`)", "/; host a.test | =/x"),
        ] {
            assert_eq!(shown(rule), expected, "{rule}");
        }
    }
}
