//! Frontends: sockets, and rules in their order.

use super::conditions::{Acls, Test, define, expression};
use super::grammar::Line;
use super::sockets::Socket;
use super::{Importer, Proxy, backends, fate_of, left};
use crate::fate::Fate;
use crate::imported::{At, Keys, Route};

/// Everybody.
const ALL: [&str; 2] = ["0.0.0.0/0", "::/0"];

impl<'t> Importer<'t> {
    /// The listeners and routes of a frontend.
    pub(super) fn frontend(&mut self, proxy: &Proxy<'t>) {
        let sockets = self.binds(proxy);
        let mut acls = Acls::new();
        proxy.all("acl").iter().for_each(|line| define(&mut acls, line));
        let mut rules: Vec<(Test, Keys, &Line)> = Vec::new();
        let mut is_closed = proxy.lines.iter().any(|line| matches!(fate_of(line), Some(Fate::Guard(..))));
        // Rules of http-request come before those of redirect, and both before use_backend.
        for line in ordered(proxy) {
            let (words, condition) = split(line);
            let tests = match expression(condition, &acls) {
                Ok(_) if line.words.iter().any(|word| word == "unless") => {
                    Err("a route has no condition that must not hold".to_owned())
                }
                other => other,
            };
            let tests = match tests {
                Ok(tests) => tests,
                Err(why) => {
                    let guards = line.keyword() == "http-request deny";
                    is_closed |= guards;
                    let closing = if guards { "; all routes of this frontend answer 403" } else { "" };
                    let what_to_do = "write a route with conditions, see docs/import.md";
                    self.out.leave_out(left(line, format!("{why}{closing}"), what_to_do));
                    continue;
                }
            };
            if let Some(keys) = self.action(line, words) {
                rules.extend(tests.into_iter().map(|test| (test, keys.clone(), line)));
            }
        }
        if let Some(line) = proxy.one("default_backend") {
            if let Some(keys) = self.leads_to(line.word(1), line) {
                rules.push((Test::default(), keys, line));
            }
        } else if proxy.section.kind() == "listen" && !proxy.all("server").is_empty() {
            let made = self.backend(proxy, proxy.section.name());
            let keys = made.map(|made| pool_keys(&made)).unwrap_or_default();
            rules.push((Test::default(), keys, &proxy.section.head));
        }
        let has_end = rules.last().is_none_or(|(test, ..)| *test == Test::default());
        if !has_end {
            let mut nobody = Keys::default();
            nobody.set_in("respond", "status", 503);
            rules.push((Test::default(), nobody, &proxy.section.head));
        }
        self.routes(proxy, &sockets, rules, is_closed);
    }

    fn routes(&mut self, proxy: &Proxy<'t>, sockets: &[Socket], rules: Vec<(Test, Keys, &Line)>, is_closed: bool) {
        let named: Vec<String> = rules.iter().flat_map(|(test, ..)| test.host.clone()).collect();
        let (count, first) = (rules.len(), self.out.routes.len());
        // Hosts of which an earlier rule has taken everything. `*` is any host.
        let mut done: Vec<String> = Vec::new();
        for (nth, (test, mut keys, line)) in rules.into_iter().enumerate() {
            let fitting: Vec<&Socket> =
                sockets.iter().filter(|(_, is_tls, _)| test.tls.is_none_or(|tls| tls == *is_tls)).collect();
            let mut host = hosts(&test.host, &named);
            host.retain(|host| !done.contains(host));
            let is_any = test.host.is_empty() && named.is_empty();
            if fitting.is_empty() || host.is_empty() && !is_any || is_any && done.contains(&"*".to_owned()) {
                continue;
            }
            let is_whole = test.path.is_none() && test.method.is_empty() && test.header.is_empty();
            if is_whole && fitting.len() == sockets.len() {
                done.extend(if is_any { vec!["*".to_owned()] } else { host.clone() });
            }
            let mut whole = Keys::default();
            backends::conditions(&test, &mut whole);
            if is_closed {
                whole.set("deny", ALL.to_vec());
            }
            whole.0.append(&mut keys.0);
            let at = At::Route(self.out.routes.len());
            self.edits(proxy, &mut whole, sockets, &at);
            self.out.routes.push(Route {
                place: line.place.clone(),
                origin: line.written(),
                listen: fitting.iter().map(|(name, ..)| name.clone()).collect(),
                host,
                path: test.path.unwrap_or_else(|| "/".to_owned()),
                priority: i64::try_from(count - nth - 1).unwrap_or_default(),
                keys: whole,
            });
        }
        if self.out.routes.len() == first {
            // A listener without routes would answer 404 where nobody listens for that.
            self.out.listeners.retain(|listener| !sockets.iter().any(|(name, ..)| *name == listener.name));
            let why = "no rule of it leads anywhere, so it has no listener";
            self.out.leave_out(left(
                &proxy.section.head,
                why,
                "write [listen.NAME] and a route for it if it is needed",
            ));
        }
    }

    /// What a rule does.
    fn action(&mut self, line: &Line, words: &[String]) -> Option<Keys> {
        let word = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
        let mut keys = Keys::default();
        match line.keyword().as_str() {
            "use_backend" => return self.leads_to(line.word(1), line),
            "http-request deny" => {
                let status = word("deny_status").or_else(|| word("status")).and_then(|status| status.parse().ok());
                keys.set_in("respond", "status", status.unwrap_or(403_i64));
            }
            _ => {
                let target = match (word("scheme"), word("prefix"), word("location")) {
                    (Some(scheme), ..) => Some(format!("{scheme}://{{host}}{{path}}{{?query}}")),
                    (_, Some(prefix), _) => Some(format!("{prefix}{{path}}{{?query}}")),
                    (.., Some(location)) => Some(location.clone()),
                    _ => None,
                };
                let has_more = ["drop-query", "append-slash", "set-cookie", "clear-cookie", "ignore-empty"];
                let more = words.iter().find(|word| has_more.contains(&word.as_str()));
                let Some(target) = target.filter(|target| !target.contains('%') && more.is_none()) else {
                    self.out.leave_out(left(
                        line,
                        "this redirect has no translation",
                        "write it, or let the application",
                    ));
                    return None;
                };
                let code = word("code").and_then(|code| code.parse().ok()).unwrap_or(302_i64);
                keys.set_in("redirect", "to", target);
                keys.set_in("redirect", "status", code);
            }
        }
        Some(keys)
    }

    fn leads_to(&mut self, name: &str, line: &Line) -> Option<Keys> {
        let proxies = self.proxies;
        let found = proxies.iter().find(|proxy| proxy.section.kind() != "frontend" && proxy.section.name() == name);
        let Some(found) = found.filter(|found| found.is_http()) else {
            self.out.leave_out(left(line, "this is no backend that speaks HTTP here", "name a pool in a route"));
            return None;
        };
        let made = self.backend(found, name);
        if made.is_none() {
            self.out.leave_out(left(line, "this backend has no servers", "write a route with `respond`"));
        }
        let mut keys = pool_keys(&made?);
        if found.section.kind() == "backend" {
            // Their own rules hold for all that comes to them.
            let acts = ["http-request redirect", "http-request deny", "redirect"];
            let own = found.section.lines.iter().filter(|line| acts.contains(&line.keyword().as_str()));
            for line in own.collect::<Vec<_>>() {
                keys.set("deny", ALL.to_vec());
                let why = "a rule within a backend has no translation, so its routes answer 403";
                self.out.leave_out(left(line, why, "write it in the frontend, or as a route; then remove `deny`"));
            }
        }
        Some(keys)
    }
}

fn pool_keys((pool, backup): &(String, Option<String>)) -> Keys {
    let mut keys = Keys::default();
    keys.set("pool", pool.as_str());
    if let Some(backup) = backup {
        keys.set("fallback", backup.as_str());
    }
    keys
}

/// The rules that decide where a request goes, in the order in which HAProxy looks at them.
fn ordered<'t>(proxy: &Proxy<'t>) -> Vec<&'t Line> {
    let of = |wanted: &[&str]| {
        let lines = proxy.lines.iter().copied();
        lines.filter(|line| wanted.contains(&line.keyword().as_str())).collect::<Vec<_>>()
    };
    [of(&["http-request redirect", "http-request deny"]), of(&["redirect"]), of(&["use_backend"])].concat()
}

/// The words of a rule, and those of its condition.
pub(super) fn split(line: &Line) -> (&[String], &[String]) {
    let at = line.words.iter().position(|word| word == "if" || word == "unless");
    match at {
        Some(at) => (&line.words[..at], &line.words[at + 1..]),
        None => (&line.words, &[]),
    }
}

/// The hosts of a rule. unstick looks at the most specific host first, HAProxy at the rules in their order. So a rule
/// that takes any host names those of all rules too, and one with a wildcard those below it.
fn hosts(own: &[String], named: &[String]) -> Vec<String> {
    if named.is_empty() {
        return Vec::new();
    }
    let mut all = if own.is_empty() { named.to_vec() } else { own.to_vec() };
    for wildcard in own.iter().filter_map(|host| host.strip_prefix('*')) {
        all.extend(named.iter().filter(|host| !host.starts_with('*') && host.ends_with(wildcard)).cloned());
        all.extend(named.iter().filter(|host| host.starts_with('*') && host.ends_with(wildcard)).cloned());
    }
    if own.is_empty() {
        all.push("*".to_owned());
    }
    let mut seen: Vec<String> = Vec::new();
    all.retain(|host| {
        !seen.contains(host) && {
            seen.push(host.clone());
            true
        }
    });
    all
}
