//! The first thing nginx does in a server and in a location: `if`, `return` and `rewrite`, in the order of the file.

use super::grammar::Directive;
use super::scope::Scope;
use super::servers::Target;
use super::text::target;
use super::{Draft, Importer, left};
use crate::imported::{LeftOut, Place};

/// What is different about a `$uri` in a redirect.
pub(super) const URI_IS_DECODED: &str = "$uri is decoded there, and {path} is as the client wrote it";

/// Where routes are being made.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub(super) target: Target,
    pub(super) path: String,
    pub(super) priority: i64,
    pub(super) place: Place,
    pub(super) origin: String,
}

/// What came of it.
pub(super) struct Phase {
    /// Routes for some of the requests, which come first.
    pub(super) before: Vec<Draft>,
    /// The response to all others, if nothing else is done.
    pub(super) answer: Option<Draft>,
    /// Where the others go on.
    pub(super) rest: Spot,
    /// Routes for those that do not go on there.
    pub(super) after: Vec<Draft>,
    /// The prefix that is replaced, and by what.
    pub(super) rewrite: Option<(String, String)>,
    /// Whether nobody is left to go on.
    pub(super) is_over: bool,
    /// A test that keeps somebody out and cannot be translated.
    pub(super) closed: bool,
    pub(super) left: Vec<LeftOut>,
}

impl Phase {
    /// Before anything was done.
    fn at(spot: &Spot) -> Self {
        Self {
            before: Vec::new(),
            answer: None,
            rest: spot.clone(),
            after: Vec::new(),
            rewrite: None,
            is_over: false,
            closed: false,
            left: Vec::new(),
        }
    }
}

impl<'t> Importer<'t> {
    /// Runs it for the directives of the innermost block.
    pub(super) fn rewrite_phase(&mut self, spot: &Spot, scope: &Scope<'t>, is_server: bool) -> Phase {
        let mut phase = Phase::at(spot);
        for item in scope.own() {
            match item.name.as_str() {
                "return" => phase.answer = Some(self.answer(item, &phase.rest, scope)),
                "rewrite" => self.rewrite(item, scope, is_server, &mut phase),
                "if" => self.branch(item, scope, is_server, &mut phase),
                _ => {}
            }
            if phase.answer.is_some() || phase.is_over {
                break;
            }
        }
        phase
    }

    fn rewrite(&mut self, item: &'t Directive, scope: &Scope<'t>, is_server: bool, phase: &mut Phase) {
        let (pattern, to, flag) = (item.arg(0), item.arg(1), item.arg(2));
        let is_redirect = matches!(flag, "permanent" | "redirect") || to.contains("://");
        let refuse = |phase: &mut Phase, why: &str| {
            phase.left.push(left(item, why, "write it as replace_prefix or redirect, or do it in the application"));
        };
        if !is_redirect {
            let path = &phase.rest.path;
            let is_below = |from: &str| {
                let begins = [format!("~^{from}/"), format!("~^{from}(/")];
                from == path.trim_end_matches('/') || begins.iter().any(|begin| path.starts_with(begin.as_str()))
            };
            match prefix_rewrite(pattern, to).filter(|_| !is_server && flag == "break") {
                Some(rewrite) if is_below(&rewrite.0) && !rewrite.0.is_empty() => phase.rewrite = Some(rewrite),
                _ => refuse(phase, "unstick replaces a prefix of the path, and looks for the route once"),
            }
            return;
        }
        let status = if flag == "permanent" { 301 } else { 302 };
        let is_all = matches!(pattern, "^" | ".*" | "^.*$" | "^/" | "^(.*)$" | "^(.*)" | "(.*)" | "^/(.*)$" | "^/(.*)");
        let (to, has_no_query) = to.strip_suffix('?').map_or((to, false), |to| (to, true));
        // `/$1` behind `^/(.*)$` is the path, and so is `$1` behind `^(.*)$`.
        let whole_path = if pattern.starts_with("^/") { "/$1" } else { "$1" };
        let has_query = to.contains("$request_uri") || to.contains("$args") || has_no_query;
        let found = match to.strip_suffix(whole_path).filter(|_| is_all) {
            Some(before) => target(before, scope).map(|before| before + "{path}"),
            None => target(to, scope),
        };
        let Ok(mut target) = found else {
            refuse(phase, "the target has parts of the path");
            return;
        };
        if to.contains("$uri") {
            phase.left.push(left(item, URI_IS_DECODED, "nothing, unless paths have odd characters"));
        }
        if !has_query {
            target.push_str("{?query}");
        }
        let mut spot = Spot { place: item.place.clone(), origin: item.written(), ..phase.rest.clone() };
        if !is_all {
            if !is_server || regex::Regex::new(pattern).is_err() {
                refuse(phase, "it tests a part of the path only");
                return;
            }
            spot.path = format!("~{pattern}");
        }
        let mut draft = self.draft(&spot, &item.written());
        draft.route.keys.set_in("redirect", "to", target);
        draft.route.keys.set_in("redirect", "status", status);
        self.response_fields(&mut draft, scope, Some(status));
        if is_all { phase.answer = Some(draft) } else { phase.before.push(draft) }
    }

    /// What is done in the block of an `if`.
    pub(super) fn body(&mut self, item: &'t Directive, spot: &Spot, inner: &Scope<'t>) -> Option<Draft> {
        let mut phase = Phase::at(spot);
        for inner_item in item.items() {
            match inner_item.name.as_str() {
                "return" => phase.answer = Some(self.answer(inner_item, spot, inner)),
                "rewrite" => self.rewrite(inner_item, inner, false, &mut phase),
                _ => {}
            }
            if phase.answer.is_some() {
                break;
            }
        }
        let mut answer = phase.answer?;
        answer.route.origin = item.written();
        answer.route.place = item.place.clone();
        Some(answer)
    }
}

/// `^/api/(.*)$` and `/v2/$1`: the prefix that is replaced, and by what.
pub(super) fn prefix_rewrite(pattern: &str, to: &str) -> Option<(String, String)> {
    let pattern = pattern.strip_prefix('^')?;
    let pattern = pattern.strip_suffix('$').unwrap_or(pattern);
    let (from, to) = match pattern.strip_suffix("(/.*)") {
        Some(from) => (from, to.strip_suffix("$1")?),
        None => {
            let ends = ["/(.*)", "/?(.*)", "/(.+)"];
            (ends.iter().find_map(|end| pattern.strip_suffix(end))?, to.strip_suffix("/$1")?)
        }
    };
    let is_plain = |path: &str| path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_".contains(&b));
    let is_whole = |path: &str| path.is_empty() || path.starts_with('/') && !path.ends_with('/');
    (is_plain(from) && is_plain(to) && is_whole(from) && is_whole(to)).then(|| (from.to_owned(), to.to_owned()))
}
