//! What is done with a request in its location: a fixed response, a replica, or a file.

use super::access::{Access, access};
use super::grammar::Directive;
use super::locations::{Found, Kind};
use super::rewriting::{Spot, URI_IS_DECODED};
use super::scope::Scope;
use super::text::target;
use super::{Draft, Importer, guard_of, left, pages};
use crate::imported::{At, LeftOut};
use crate::value::MARKS;

/// Everybody.
pub(super) const ALL: [&str; 2] = ["0.0.0.0/0", "::/0"];

impl<'t> Importer<'t> {
    /// The route of a `return`. nginx answers before it looks at addresses, rates and passwords.
    pub(super) fn answer(&mut self, item: &'t Directive, spot: &Spot, scope: &Scope<'t>) -> Draft {
        let mut draft = self.draft(spot, &spot.origin);
        let (status, text) = match item.arg(0).parse::<i64>() {
            Ok(status) => (status, item.args.get(1)),
            Err(_) => (302, item.args.first()),
        };
        match (status, text) {
            (301 | 302 | 303 | 307 | 308, Some(to)) => match target(to, scope).and_then(absolute) {
                Ok(target) => {
                    if to.contains("$uri") {
                        draft.left.push(left(item, URI_IS_DECODED, "nothing, unless paths have odd characters"));
                    }
                    let to = target;
                    draft.route.keys.set_in("redirect", "to", to);
                    draft.route.keys.set_in("redirect", "status", status);
                }
                Err(why) => {
                    draft.route.keys.set_in("respond", "status", 404);
                    let what_to_do = "write the redirect, or do it in the application; it answers 404 now";
                    draft.left.push(left(item, why, what_to_do));
                }
            },
            (444 | 499, _) => {
                draft.route.keys.set_in("respond", "status", 404);
                let why = "unstick closes no connection without a response; it answers 404";
                draft.left.push(left(item, why, "nothing, or `deny`"));
            }
            (_, text) => {
                draft.route.keys.set_in("respond", "status", status);
                let has_content = !matches!(status, 204 | 205 | 304);
                if text.is_none_or(|text| text.is_empty()) {
                    self.own_page(&mut draft, scope, status);
                }
                if let Some(text) = text.filter(|text| !text.is_empty() && has_content) {
                    self.fixed_body(&mut draft, item, text, scope);
                }
            }
        }
        self.response_fields(&mut draft, scope, Some(status));
        self.logging(&mut draft, scope);
        draft
    }

    fn fixed_body(&mut self, draft: &mut Draft, item: &Directive, text: &str, scope: &Scope<'t>) {
        let text = super::text::resolved(text, scope);
        if super::text::parts(&text).iter().any(|part| matches!(part, super::text::Part::Variable(_))) {
            draft.left.push(left(item, "a fixed body has no variables, so it is empty", "let a replica answer"));
            return;
        }
        draft.route.keys.set_in("respond", "body", text);
        let of_path = pages::content_type(draft.route.path.trim_start_matches('='), scope);
        draft.route.keys.set_in("respond", "content_type", of_path);
    }

    /// The route of a location without `return`.
    pub(super) fn content(
        &mut self,
        found: &Found<'t>,
        spot: &Spot,
        rewrite: Option<(String, String)>,
        is_closed: bool,
    ) -> Option<Draft> {
        let rules = found.scope.nearest_of(&["allow", "deny"]);
        self.content_for(found, spot, rewrite, is_closed, rules)
    }

    /// The same, for those whom these rules let in.
    pub(super) fn content_for(
        &mut self,
        found: &Found<'t>,
        spot: &Spot,
        rewrite: Option<(String, String)>,
        is_closed: bool,
        rules: Vec<&'t Directive>,
    ) -> Option<Draft> {
        let scope = &found.scope;
        let mut draft = self.draft(spot, &spot.origin);
        let guard = guard_of(scope);
        let access = self.access(&mut draft, &rules);
        if access == Some(Access::Closed) && guard.is_none() {
            draft.route.keys.set_in("respond", "status", 403);
            self.own_page(&mut draft, scope, 403);
            self.response_fields(&mut draft, scope, Some(403));
            self.logging(&mut draft, scope);
            return Some(draft);
        }
        self.handler(&mut draft, found, rewrite);
        if guard.is_some() || is_closed || access.is_none() || access == Some(Access::Closed) {
            draft.route.keys.remove("allow");
            draft.route.keys.set("deny", ALL.to_vec());
        }
        if let Some(guard) = guard.filter(|guard| !scope.own().iter().any(|own| std::ptr::eq(own, *guard))) {
            let what_to_do = "remove `deny` when something else asks";
            draft.left.push(left(guard, "it holds here too, so this route answers 403", what_to_do));
        }
        Some(draft)
    }

    /// What `allow` and `deny` say; nothing if it is not understood, and so closed.
    fn access(&mut self, draft: &mut Draft, rules: &[&'t Directive]) -> Option<Access> {
        let found = match access(rules) {
            Ok(found) => found,
            Err(rule) => {
                let why = "this is no network, so the route answers 403";
                draft.left.push(left(rule, why, "write `allow` or `deny`, and remove the 403"));
                return None;
            }
        };
        let shown = |networks: &[ipnet::IpNet]| networks.iter().map(ToString::to_string).collect::<Vec<_>>();
        match &found {
            Access::Only(networks) => draft.route.keys.set("allow", shown(networks)),
            Access::AllBut(networks) => draft.route.keys.set("deny", shown(networks)),
            Access::Open | Access::Closed => {}
        }
        Some(found)
    }

    fn handler(&mut self, draft: &mut Draft, found: &Found<'t>, rewrite: Option<(String, String)>) {
        let scope = &found.scope;
        let own = |name: &str| scope.own().iter().find(|item| item.name == name);
        // Only nginx itself goes there. A client gets what it gets where nothing is.
        if own("internal").is_some() {
            self.files(draft, found);
            return;
        }
        if let Some(pass) = own("proxy_pass").or_else(|| own("grpc_pass")) {
            self.proxied(draft, pass, found, rewrite);
            return;
        }
        if let Some(other) = scope.own().iter().find(|item| item.name.ends_with("_pass")) {
            draft.route.keys.set_in("respond", "status", 404);
            let why = "what serves this location is left out, so it answers 404";
            draft.left.push(left(other, why, "replace `respond` by a pool"));
            return;
        }
        if let Some(tried) = own("try_files") {
            let named = tried.args.last().filter(|last| last.starts_with('@'));
            let outer = self.named(found, named.map_or("", String::as_str));
            if let Some(named) = outer {
                draft.left.push(left(
                    tried,
                    "no files are tried: all requests go there",
                    "let the replicas serve them",
                ));
                self.note_left(named.scope.own(), &At::Route(self.out.routes.len()));
                // The options of the named location count, and the path of this one.
                let named = Found { kind: found.kind.clone(), ..named };
                self.handler(draft, &named, rewrite);
                let rules = named.scope.nearest_of(&["allow", "deny"]);
                if !matches!(access(&rules), Ok(Access::Open)) || guard_of(&named.scope).is_some() {
                    draft.route.keys.set("deny", ALL.to_vec());
                    let what_to_do = "write `allow` or `deny`, and remove the 403";
                    draft.left.push(left(
                        tried,
                        "the named location keeps somebody out, so this answers 403",
                        what_to_do,
                    ));
                }
                return;
            }
        }
        self.files(draft, found);
    }

    /// The named location of the same server.
    fn named(&self, found: &Found<'t>, name: &str) -> Option<Found<'t>> {
        let named = found.scope.clone().outer().and_then(|server| super::locations::find(&server, name));
        named.filter(|named| matches!(&named.kind, Kind::Named(known) if known == name))
    }

    /// A location of files: one file can be a fixed response.
    fn files(&mut self, draft: &mut Draft, found: &Found<'t>) {
        let scope = &found.scope;
        let item = found.item;
        let is_internal = scope.own().iter().any(|item| item.name == "internal");
        let has_try = scope.own().iter().find(|item| item.name == "try_files");
        if let (Kind::Exact(path), None, false) = (&found.kind, has_try, is_internal)
            && !path.ends_with('/')
            && let Some(file) = pages::file(scope, path)
        {
            draft.route.keys.set_in("respond", "status", 200);
            draft.route.keys.set_in("respond", "body_file", self.file(&file));
            draft.route.keys.set_in("respond", "content_type", pages::content_type(path, scope));
            self.response_fields(draft, scope, Some(200));
            self.logging(draft, scope);
            return;
        }
        draft.route.keys.set_in("respond", "status", 404);
        if is_internal {
            self.own_page(draft, scope, 404);
        } else {
            let said = scope.own().iter().find(|item| matches!(&*item.name, "try_files" | "alias" | "root"));
            let note = LeftOut {
                directive: said.unwrap_or(item).written(),
                place: said.unwrap_or(item).place.clone(),
                ..left(item, "unstick serves no files, so this answers 404", STATIC)
            };
            draft.left.push(note);
        }
        self.logging(draft, scope);
    }
}

/// A target that unstick takes: it has no relative ones.
fn absolute(to: String) -> Result<String, String> {
    let begins = ["http://", "https://", "{scheme}://", "/", "{path}"];
    let begins_well = begins.iter().any(|begin| to.starts_with(begin)) || to.starts_with(MARKS);
    let is_absolute = begins_well && !to.starts_with("//") && !to.contains(' ');
    is_absolute.then_some(to).ok_or_else(|| "a redirect to a relative address has no translation".to_owned())
}

const STATIC: &str = "replace `respond` by a pool whose replicas serve them, or put a CDN or nginx in front";
