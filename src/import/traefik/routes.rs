//! The routes of a router: one for each alternative of its rule, and more where a redirect or a change of the path is
//! for some of its requests only.

use super::Importer;
use super::conditions::{self, Test};
use super::effects::{Effects, PathEdit, Redirect};
use super::order::Candidate;
use super::rewriting::{self, Variant};
use super::routers::{Group, Router};
use super::services::Target;
use crate::imported::Keys;
use crate::value::one_or_more;

/// A router on a group of entry points.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way<'a, 't> {
    pub(super) router: &'a Router<'t>,
    /// As it was said, as in `http.routers.app`.
    pub(super) said: &'a str,
    pub(super) group: &'a Group,
}

impl Way<'_, '_> {
    fn candidate(&self, hosts: Option<Vec<String>>, path: String, keys: Keys) -> Candidate {
        let Self { router, group, .. } = self;
        let origin = match router.redirect {
            Some(_) => router.name.clone(),
            None => format!("router {}: {}", router.name, router.rule),
        };
        let (place, listen) = (router.place.clone(), group.entries.clone());
        Candidate { router: group.router, place, origin, listen, hosts, path, keys }
    }
}

impl<'t> Importer<'t> {
    /// The routes of one alternative.
    pub(super) fn routes_of(
        &mut self,
        way: &Way<'_, 't>,
        test: &Test,
        effects: &Effects,
        target: &Target,
    ) -> Vec<Candidate> {
        let mut routes = Vec::new();
        let Some(effects) = self.guarded(way, test, effects, target) else { return routes };
        let variants = self.variants(way, test, &effects, target);
        for redirect in effects.redirects.iter().filter(|redirect| redirect.host.is_some()) {
            let host = redirect.host.clone().unwrap_or_default();
            if test.hosts.as_ref().is_none_or(|hosts| hosts.iter().any(|known| conditions::is_within(&host, known))) {
                let keys = route_keys(test, &effects, Some(redirect), target, None);
                routes.push(way.candidate(Some(vec![host]), test.paths.written.clone(), keys));
            }
        }
        let all = effects.redirects.iter().find(|redirect| redirect.host.is_none());
        // What no replica gets has the whole path of the rule, which comes last.
        let count = if all.is_some() || !target.is_pool() { 1 } else { variants.len() };
        for variant in variants.iter().skip(variants.len().saturating_sub(count)) {
            let keys = route_keys(test, &effects, all, target, Some(variant));
            routes.push(way.candidate(test.hosts.clone(), variant.written.clone(), keys));
        }
        routes
    }

    /// The effects with what the alternative itself keeps out; nothing if there is no route for it.
    fn guarded(&mut self, way: &Way<'_, 't>, test: &Test, effects: &Effects, target: &Target) -> Option<Effects> {
        let Way { router, said, group } = *way;
        let mut effects = effects.clone();
        let said = format!("{said}.rule");
        let place = router.node.and_then(|node| node.get("rule")).map_or(&router.place, |node| &node.place);
        let mut note =
            |why: String, what_to_do: &str| self.of_router(group.router, place, said.clone(), why, what_to_do);
        for wider in &test.wider {
            note(format!("{wider}: unstick's wildcard is for names with more labels, too"), "name the hosts");
        }
        if test.allow.is_some() || !test.deny.is_empty() {
            let (why, what_to_do) = ask_client(test, group, &mut effects);
            note(why.to_owned(), what_to_do);
        }
        if test.lost.is_empty() {
            return Some(effects);
        }
        let lost = test.lost.join(", ");
        // A router without a pool may be there to keep requests from those behind it.
        let is_dead_end = router.redirect.is_none() && !effects.redirects_all() && !target.is_pool();
        let keeps_out = effects.is_closed || effects.allow.is_some() || !effects.deny.is_empty() || is_dead_end;
        if keeps_out {
            effects.is_closed = true;
            let why =
                format!("unstick does not test {lost}; without that it takes more requests, and answers 403 to all");
            note(why, "write a route with other conditions, then remove `deny`");
            return Some(effects);
        }
        note(
            format!("unstick does not test {lost}, so there is no route for it"),
            "write a route with other conditions",
        );
        None
    }

    /// What becomes of the path.
    fn variants(&mut self, way: &Way<'_, 't>, test: &Test, effects: &Effects, target: &Target) -> Vec<Variant> {
        let Way { router, said, group } = *way;
        let mut edits = effects.paths.clone();
        edits.extend(target.prefix.clone().map(PathEdit::Add));
        let mut note = |why: &str, what_to_do: &str| {
            self.of_router(group.router, &router.place, format!("{said}.middlewares"), why, what_to_do);
        };
        let found = rewriting::variants(&test.paths, &edits);
        let variants = found.or_else(|why| {
            note(&format!("{why}; the path stays as it is"), "write strip_prefix or replace_prefix");
            rewriting::variants(&test.paths, &[])
        });
        let variants = variants.unwrap_or_default();
        if target.is_pool() && !effects.redirects_all() && variants.iter().any(Variant::cuts_segments) {
            let why = "Traefik takes a prefix off a longer segment too (`/api` off `/apix`), unstick off whole ones";
            note(why, "see that nobody asks for such a path");
        }
        variants
    }
}

/// Lets in those that `ClientIP` names, or nobody if it means others in Traefik. Why that is different, and what to do.
fn ask_client(test: &Test, group: &Group, effects: &mut Effects) -> (&'static str, &'static str) {
    if group.trusts {
        effects.is_closed = true;
        let why = "ClientIP is the address of the proxy in front of Traefik, and here that of the client behind it; \
                   this answers 403";
        return (why, "write `allow` or `deny` as it is meant");
    }
    test.allow.iter().for_each(|networks| effects.let_in(networks));
    effects.deny.extend(&test.deny);
    let why = "clients that do not fit ClientIP get a 403 here; Traefik would ask the next router";
    (why, "see that no other route is for them")
}

/// The keys of a route.
fn route_keys(
    test: &Test,
    effects: &Effects,
    redirect: Option<&Redirect>,
    target: &Target,
    variant: Option<&Variant>,
) -> Keys {
    let mut keys = Keys::default();
    if !test.method.is_empty() {
        keys.set("method", one_or_more(&test.method));
    }
    for (table, tests) in [("header", &test.header), ("query", &test.query)] {
        tests.iter().for_each(|(name, expected)| keys.set_in(table, name, expected.as_str()));
    }
    effects.write_guards(&mut keys);
    let (mut request, is_pool) = (effects.request.clone(), redirect.is_none() && target.is_pool());
    match redirect {
        Some(redirect) => {
            keys.set_in("redirect", "to", redirect.to.as_str());
            keys.set_in("redirect", "status", redirect.status);
        }
        None => {
            keys.0.extend(target.keys.0.clone());
            target.write(variant, &mut keys);
        }
    }
    if is_pool {
        if let Some(host) = &target.host {
            request.put("host", Some(host.clone()));
        }
        request.write("request_headers", &mut keys);
    }
    effects.response.write("response_headers", &mut keys);
    let of_pools = ["limits", "retry"];
    keys.0.extend(effects.keys.0.iter().filter(|(key, _)| is_pool || !of_pools.contains(&key.as_str())).cloned());
    keys
}
