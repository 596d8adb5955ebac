//! Frontends: sockets, and rules in their order.

use super::actions::{CLOSING, is_guard};
use super::conditions::{Acls, Known, define};
use super::grammar::Line;
use super::ladder::{ALL, Act, Failed, Rule, Step, steps};
use super::order::{asked, exempt, is_counted, ordered, split, tests};
use super::sockets::Socket;
use super::test::{PathTest, Test};
use super::{Importer, Proxy, backends, left};
use crate::imported::{At, Keys, Route};

impl<'t> Importer<'t> {
    /// The listeners and routes of a frontend.
    pub(super) fn frontend(&mut self, proxy: &Proxy<'t>) {
        let sockets = self.binds(proxy);
        let mut is_closed = proxy.lines.iter().any(|line| is_guard(line));
        let mut rules = self.rules(proxy, &sockets, None, &mut is_closed);
        let mut ends = self.choices(proxy, &sockets);
        // Rules of a backend are asked when it was chosen.
        for pool in ends.iter().filter_map(|rule| rule.pool()).collect::<Vec<_>>() {
            let proxies = self.proxies;
            let is_it = |other: &&Proxy<'t>| other.section.name() == pool && other.section.kind() == "backend";
            let is_new = |known: &&Rule<'t>| known.within.as_ref() == Some(&pool);
            if let (Some(backend), None) = (proxies.iter().find(is_it), rules.iter().find(is_new)) {
                let mut is_closed_there = backend.lines.iter().any(|line| is_guard(line));
                rules.extend(self.rules(backend, &sockets, Some(&pool), &mut is_closed_there));
                if is_closed_there {
                    let shut = ends.iter_mut().filter(|rule| rule.pool().as_ref() == Some(&pool));
                    shut.for_each(|rule| rule.shut());
                }
            }
        }
        rules.append(&mut ends);
        let rates = |excess: &_| self.counted(proxy, excess);
        let (mut steps, failed, unlike) = steps(rules, &rates);
        for Failed { rule, why } in unlike {
            self.note_rule(rule.line, &format!("{why}; routes that it may mean answer 403"), false);
        }
        for Failed { rule, why } in failed {
            self.failed(&rule, &why, &mut is_closed);
        }
        if steps.last().is_none_or(|step| step.test != Test::default()) && !steps.is_empty() {
            let mut keys = Keys::default();
            keys.set_in("respond", "status", 503);
            steps.push(Step { test: Test::default(), keys, line: &proxy.section.head, edits: Vec::new() });
        }
        self.routes(proxy, &sockets, steps, is_closed);
    }

    /// The rules that come before a backend is chosen, or those of a backend, in the order of HAProxy.
    fn rules(
        &mut self,
        proxy: &Proxy<'t>,
        sockets: &[Socket],
        within: Option<&str>,
        is_closed: &mut bool,
    ) -> Vec<Rule<'t>> {
        let mut acls = Acls::new();
        proxy.all("acl").iter().for_each(|line| define(&mut acls, line, sockets));
        let known = Known { acls: &acls, sockets };
        let mut rules = Vec::new();
        // Requests that `http-request allow` has let through meet no more rules of http-request.
        let mut going_on = Test::default();
        for line in ordered(proxy) {
            let words = split(line).0;
            let found = tests(proxy, line, known);
            if line.keyword() == "http-request allow" {
                match found.and_then(|tests| exempt(&going_on, &tests)) {
                    Ok(Some(rest)) => going_on = rest,
                    Ok(None) => break,
                    Err(why) => self.note_rule(line, &why, false),
                }
                continue;
            }
            let Some(act) = self.action(proxy, line, words, sockets) else { continue };
            let found = found.and_then(|tests| asked(proxy, line, &act, tests, &going_on, known));
            match found {
                Ok(tests) => {
                    self.note_told(line, &tests);
                    tests.iter().for_each(|test| self.note_effect(line, test, &act));
                    let within = within.map(str::to_owned);
                    let rule = |test| Rule { test, act: act.clone(), within: within.clone(), line };
                    rules.extend(tests.into_iter().map(rule));
                }
                Err(why) => {
                    let closes = matches!(act, Act::Refuse(_)) && !is_counted(line);
                    *is_closed |= closes;
                    self.note_rule(line, &why, closes);
                }
            }
        }
        rules
    }

    /// `use_backend` and `default_backend`, and the servers of a `listen` section.
    fn choices(&mut self, proxy: &Proxy<'t>, sockets: &[Socket]) -> Vec<Rule<'t>> {
        let mut acls = Acls::new();
        proxy.all("acl").iter().for_each(|line| define(&mut acls, line, sockets));
        let mut rules = Vec::new();
        for line in proxy.all("use_backend") {
            match tests(proxy, line, Known { acls: &acls, sockets }) {
                Ok(tests) => {
                    self.note_told(line, &tests);
                    let keys = if tests.is_empty() { None } else { self.leads_to(line.word(1), line) };
                    let rule = |keys: &Keys, test| Rule { test, act: Act::End(keys.clone()), within: None, line };
                    rules.extend(keys.iter().flat_map(|keys| tests.iter().map(|test| rule(keys, test.clone()))));
                }
                Err(why) => self.note_rule(line, &why, false),
            }
        }
        let default = match proxy.one("default_backend") {
            Some(line) => self.leads_to(line.word(1), line).map(|keys| (keys, line)),
            None if proxy.section.kind() == "listen" && !proxy.all("server").is_empty() => {
                let made = self.backend(proxy, proxy.section.name());
                made.map(|made| (pool_keys(&made), &proxy.section.head))
            }
            None => None,
        };
        let rule = |(keys, line)| Rule { test: Test::default(), act: Act::End(keys), within: None, line };
        rules.extend(default.map(rule));
        rules
    }

    fn failed(&mut self, rule: &Rule<'t>, why: &str, is_closed: &mut bool) {
        let closes = matches!(rule.act, Act::Refuse(_)) && !is_counted(rule.line);
        *is_closed |= closes;
        self.note_rule(rule.line, why, closes);
    }

    /// Notes what is not quite the same about tests.
    fn note_told(&mut self, line: &Line, tests: &[Test]) {
        for why in tests.iter().flat_map(|test| test.told.iter().chain(test.but.iter().flat_map(|but| &but.told))) {
            self.out.leave_out(left(line, *why, "nothing, unless there are other such hosts"));
        }
    }

    fn note_rule(&mut self, line: &Line, why: &str, closes: bool) {
        let closing = if closes { CLOSING } else { "" };
        let what_to_do = "write a route with conditions, see docs/import.md";
        self.out.leave_out(left(line, format!("{why}{closing}"), what_to_do));
    }

    fn routes(&mut self, proxy: &Proxy<'t>, sockets: &[Socket], steps: Vec<Step<'t>>, is_closed: bool) {
        let named: Vec<String> = steps.iter().flat_map(|step| step.test.host.clone()).collect();
        let (count, first) = (steps.len(), self.out.routes.len());
        // What was taken of each host already.
        let mut taken: Vec<(Vec<String>, Test)> = Vec::new();
        for (nth, Step { test, mut keys, line, edits }) in steps.into_iter().enumerate() {
            let is_meant = |at: usize| test.sockets.as_ref().is_none_or(|meant| meant.get(at) == Some(&true));
            let fitting: Vec<&Socket> =
                sockets.iter().enumerate().filter(|(at, _)| is_meant(*at)).map(|(_, socket)| socket).collect();
            let mut host = hosts(&test.host, &named);
            let of_any = Test { host: Vec::new(), ..test.clone() };
            host.retain(|host| !taken.iter().any(|(hosts, test)| hosts.contains(host) && test.covers(&of_any)));
            if fitting.is_empty() || host.is_empty() && !named.is_empty() {
                continue;
            }
            taken.push((host.clone(), of_any));
            let mut whole = Keys::default();
            backends::conditions(&test, &mut whole);
            if is_closed {
                keys.remove("allow");
                keys.set("deny", ALL.to_vec());
            }
            whole.0.append(&mut keys.0);
            let at = At::Route(self.out.routes.len());
            self.edits(proxy, &mut whole, sockets, &edits, &at);
            self.pages(proxy, &mut whole);
            self.out.routes.push(Route {
                place: line.place.clone(),
                origin: line.written(),
                listen: fitting.iter().map(|(name, ..)| name.clone()).collect(),
                host,
                path: test.path.as_ref().map_or_else(|| "/".to_owned(), PathTest::written),
                priority: i64::try_from(count - nth - 1).unwrap_or_default(),
                keys: whole,
            });
        }
        if self.out.routes.len() == first {
            // A listener without routes would answer 404 where nobody listens for that.
            self.out.listeners.retain(|listener| !sockets.iter().any(|(name, ..)| *name == listener.name));
            let why = "no rule of it leads anywhere, so it has no listener";
            let what_to_do = "write [listen.NAME] and a route for it if it is needed";
            self.out.leave_out(left(&proxy.section.head, why, what_to_do));
        }
    }

    /// What clients see instead of errors of a route to a pool: the pages of its backend, or else of the frontend.
    fn pages(&mut self, proxy: &Proxy<'t>, keys: &mut Keys) {
        let Some(pool) = keys.get("pool").and_then(|pool| pool.text()).map(str::to_owned) else { return };
        let proxies = self.proxies;
        let is_it = |other: &&Proxy<'t>| other.section.name() == pool && other.section.kind() == "backend";
        if let Some(backend) = proxies.iter().find(is_it) {
            self.own_deadlines(backend, keys);
        }
        let mut pages = proxies.iter().find(is_it).map(|backend| self.error_pages(backend)).unwrap_or_default();
        let more = self.error_pages(proxy);
        pages.extend(
            more.into_iter().filter(|(status, _)| !pages.iter().any(|(known, _)| known == status)).collect::<Vec<_>>(),
        );
        self.errors(pages, keys);
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
        Some(pool_keys(&made?))
    }
}

impl Rule<'_> {
    /// The pool to which it leads.
    fn pool(&self) -> Option<String> {
        let Act::End(keys) = &self.act else { return None };
        keys.get("pool").and_then(|pool| pool.text()).map(str::to_owned)
    }

    /// Closes what it leads to.
    fn shut(&mut self) {
        if let Act::End(keys) = &mut self.act {
            keys.set("deny", ALL.to_vec());
        }
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
