//! What one directive does with a request: it changes something of it, or responds.

use super::flow::{Draft, Flow, Next, State};
use super::paths::Path;
use super::steps::Step;
use super::text::{Paths, fixed, template};
use super::words::{WORDS, is_guard};
use super::{ALL, units};
use crate::fate::{self, Fate};
use crate::imported::{Keys, LeftOut, Place};
use crate::value::Value;

/// What Caddy sends where nothing is said.
const TEXT: &str = "text/plain; charset=utf-8";

impl Flow<'_> {
    /// Does what a directive without a block of directives says.
    pub(super) fn leaf(&mut self, state: &mut State, step: &Step<'_>) -> Next {
        let (line, paths) = (step.line, state.paths());
        match step.name {
            "header" => {
                let left = state.edits.header(line, step.args, paths);
                state.left.extend(left);
            }
            "request_header" => self.request_field(state, line, step.args),
            "request_body" => self.request_body(state, step),
            "log_skip" | "skip_log" => state.is_logged = Some(false),
            "uri" => self.uri(state, step),
            "rewrite" => self.rewrite(state, step),
            "respond" => return Next::End(Box::new(self.respond(state, step))),
            "redir" => return Next::End(Box::new(self.redirect(state, step))),
            "error" => return Next::End(Box::new(self.error(state, step))),
            "abort" => {
                self.note(state, step, "unstick closes no connection without a response; it answers 403", "nothing");
                return Next::End(Box::new(self.fixed(state, step, respond(403))));
            }
            "reverse_proxy" => return Next::End(Box::new(self.proxy(state, step))),
            name if step.ends() => {
                let why = format!("{}; it answers 404", reason(name).0);
                self.note(state, step, why, reason(name).1);
                return Next::End(Box::new(self.fixed(state, step, respond(404))));
            }
            name if is_guard(name) => {
                state.is_closed = true;
                let why = format!("{}; what it protects answers 403", reason(name).0);
                self.note(state, step, why, reason(name).1);
            }
            name => match fate::find(WORDS, name) {
                Some(Fate::Taken(_) | Fate::Needless(_)) => {}
                _ => self.note(state, step, reason(name).0, reason(name).1),
            },
        }
        Next::On
    }

    /// `error`: what `handle_errors` has for its status.
    fn error(&self, state: &State, step: &Step<'_>) -> Draft {
        let mut keys = respond(step.status());
        if let Some(Value::Table(page)) = self.importer.errors.get(&step.status().to_string()) {
            page.0.iter().for_each(|(key, value)| keys.set_in("respond", key, value.clone()));
        }
        self.fixed(state, step, keys)
    }

    fn request_body(&self, state: &mut State, step: &Step<'_>) {
        for line in step.line.lines() {
            match (line.name.as_str(), units::size(line.arg(0))) {
                ("max_size", Some(size)) => state.body_max = Some(size),
                ("max_size", None) => state.left.push(super::left(line, "this is no size", "see limits.request_body")),
                _ => {
                    let why = "bodies of requests are bounded, and nothing else";
                    state.left.push(super::left(line, why, "see `timeouts.request_body`"));
                }
            }
        }
    }

    /// Takes a prefix off the path.
    pub(super) fn strip(&mut self, state: &mut State, step: &Step<'_>, prefix: &str) {
        let prefix = prefix.trim_end_matches('/');
        if prefix.is_empty() {
            return;
        }
        if step.name == "route" {
            let why = "Caddy runs both blocks of this path, and strips the prefix twice if it is there twice";
            self.note(state, step, why, "make one `handle_path` of both");
            return;
        }
        if prefix.contains(['{', '*', '%']) || state.is_rewritten || state.put.is_some() {
            let why = "a route strips one fixed prefix; the path is passed on as it is";
            state.is_rewritten = true;
            self.note(state, step, why, "write strip_prefix, or let the application know its path");
            return;
        }
        let all = format!("{}{prefix}", state.stripped.as_deref().unwrap_or_default());
        state.stripped = Some(all);
        if step.line.name == "handle_path" && step.line.arg(0) == format!("{prefix}*") {
            let why = format!("Caddy makes {prefix}x to x too, unstick strips whole segments");
            self.note(state, step, why, "nothing, if there are no such paths");
        }
    }

    fn uri(&mut self, state: &mut State, step: &Step<'_>) {
        let prefix = step.arg(1).trim_end_matches('/').to_owned();
        let stripped = state.stripped.clone().unwrap_or_default().to_ascii_lowercase();
        let whole = format!("{stripped}{}", prefix.to_ascii_lowercase());
        let has_prefix = match &state.test.path {
            Some(Path::Prefix(path)) => path.starts_with(&format!("{whole}/")),
            Some(Path::Exact(path)) => *path == whole || path.starts_with(&format!("{whole}/")),
            _ => false,
        };
        match step.arg(0) {
            "strip_prefix" if has_prefix => self.strip(state, step, &prefix),
            "strip_prefix" => {
                state.is_rewritten = true;
                let why = "a route strips a prefix that all of its paths have; the path is passed on as it is";
                self.note(state, step, why, "write a route for that prefix with strip_prefix");
            }
            _ => {
                state.is_rewritten = true;
                let why = "a route strips or replaces a prefix; the path is passed on as it is";
                self.note(state, step, why, "write strip_prefix or replace_prefix, or let the application do it");
            }
        }
    }

    /// `rewrite`: `/new{uri}` puts a prefix there, and a fixed path replaces one path.
    fn rewrite(&mut self, state: &mut State, step: &Step<'_>) {
        let target = step.args.last().map_or("", String::as_str);
        let is_first = state.put.is_none() && !state.is_rewritten;
        state.is_rewritten = true;
        let is_plain = |text: &str| text.starts_with('/') && !text.contains(['{', '?', '%', '#']);
        let prefix = ["{uri}", "{http.request.uri}", "{path}", "{http.request.uri.path}"]
            .iter()
            .find_map(|name| target.strip_suffix(name))
            .or_else(|| target.strip_suffix("{path}?{query}"));
        match (prefix, &state.test.path) {
            // It stays what it is.
            (Some(""), _) => state.is_rewritten = false,
            (Some(prefix), _) if is_first && is_plain(prefix) => state.put = Some(prefix.to_owned()),
            (None, Some(Path::Exact(from))) if is_first && is_plain(target) && state.stripped.is_none() => {
                state.stripped = Some(from.clone());
                state.put = Some(target.to_owned());
            }
            _ => {
                let why = "a route strips or replaces a prefix; the path is passed on as it is";
                self.note(state, step, why, "write strip_prefix or replace_prefix, or let the application do it");
            }
        }
    }

    fn respond(&self, state: &mut State, step: &Step<'_>) -> Draft {
        let status = step.status();
        if !(200..600).contains(&status) {
            self.note(
                state,
                step,
                format!("{status} is no status of a response here; it answers 500"),
                "write another",
            );
        }
        let mut keys = respond(status);
        let only_status = step.args.len() == 1 && step.arg(0) == status.to_string();
        let in_block = step.line.one("body").map(|line| line.arg(0));
        let body = in_block.or(Some(step.arg(0)).filter(|_| !only_status)).unwrap_or_default();
        match fixed(body) {
            Ok(body) if !body.is_empty() && !matches!(status, 204 | 205 | 304) => {
                keys.set_in("respond", "content_type", content_type(&body));
                keys.set_in("respond", "body", body);
            }
            Ok(_) => {}
            Err(why) => self.note(state, step, format!("{why}, so it is empty"), "let a replica answer"),
        }
        self.fixed(state, step, keys)
    }

    fn redirect(&self, state: &mut State, step: &Step<'_>) -> Draft {
        let (to, code) = (step.arg(0), step.arg(1));
        let status = match code {
            "" | "temporary" => 302,
            "permanent" => 301,
            "html" => {
                let why = "a redirect is one by its status, which is 302 here";
                self.note(state, step, why, "write `respond` with a page, if that matters");
                302
            }
            code => code.parse().unwrap_or_default(),
        };
        let keys = match template(to, state.paths()).and_then(absolute) {
            Ok(to) if matches!(status, 301 | 302 | 303 | 307 | 308) => {
                let mut keys = Keys::default();
                keys.set_in("redirect", "to", to);
                keys.set_in("redirect", "status", status);
                keys
            }
            Ok(_) => {
                let why = format!("{code} is no status of a redirect; it answers 404");
                self.note(state, step, why, "write the redirect, or do it in the application");
                respond(404)
            }
            Err(why) => {
                let what_to_do = "write the redirect, or do it in the application";
                self.note(state, step, format!("{why}; it answers 404"), what_to_do);
                respond(404)
            }
        };
        self.fixed(state, step, keys)
    }

    /// A response of unstick's own.
    fn fixed(&self, state: &State, step: &Step<'_>, keys: Keys) -> Draft {
        let status = step.status();
        let refuses = state.is_closed || matches!(step.name, "respond" | "error") && (400..500).contains(&status);
        let mut draft = self.draft(state, keys, step.line.written(), step.line.place.clone());
        state.edits.write_fixed(&mut draft.keys);
        draft.refuses = refuses || step.name == "abort";
        draft
    }

    /// What Caddy sends if no directive responds: nothing, and that is fine.
    pub(super) fn unanswered(&self, state: State) -> Draft {
        let origin = "what no directive responds to".to_owned();
        let mut draft = self.draft(&state, respond(200), origin, self.site.place.clone());
        state.edits.write_fixed(&mut draft.keys);
        draft.refuses = state.is_closed;
        draft
    }

    /// A route that lets nobody in.
    pub(super) fn closed(&self, state: State) -> Draft {
        let origin = "what keeps somebody out, and has no translation".to_owned();
        let mut draft = self.draft(&state, respond(403), origin, self.site.place.clone());
        draft.refuses = true;
        draft
    }

    /// A route with what was done on its way, but for the edits.
    pub(super) fn draft(&self, state: &State, mut action: Keys, origin: String, place: Place) -> Draft {
        let mut keys = Keys::default();
        state.test.write(&mut keys);
        if state.is_closed {
            keys.set("deny", ALL.to_vec());
        } else {
            if let Some(allow) = &state.allow {
                keys.set("allow", allow.clone());
            }
            if !state.deny.is_empty() {
                keys.set("deny", state.deny.clone());
            }
        }
        keys.0.append(&mut action.0);
        if state.is_logged == Some(false) {
            keys.set("access_log", false);
        }
        let left: Vec<LeftOut> = state.left.clone();
        Draft { test: state.test.clone(), keys, left, place, origin, refuses: state.is_closed }
    }
}

impl State {
    /// Whether the path is still that of the client.
    pub(super) fn paths(&self) -> Paths {
        let is_same = self.stripped.is_none() && self.put.is_none() && !self.is_rewritten;
        if is_same { Paths::Same } else { Paths::Changed }
    }
}

/// A fixed response.
fn respond(status: i64) -> Keys {
    let mut keys = Keys::default();
    keys.set_in("respond", "status", if (200..600).contains(&status) { status } else { 500 });
    keys
}

/// The type that Caddy sends with a text.
pub(super) fn content_type(body: &str) -> &'static str {
    let trimmed = body.trim();
    let has_ends =
        trimmed.starts_with('{') && trimmed.ends_with('}') || trimmed.starts_with('[') && trimmed.ends_with(']');
    let is_json = trimmed.len() > 2 && has_ends && serde_json::from_str::<serde::de::IgnoredAny>(trimmed).is_ok();
    if is_json { "application/json" } else { TEXT }
}

/// Where a redirect leads: unstick wants a host of its own, or a path.
fn absolute(to: String) -> Result<String, String> {
    let begins = ["http://", "https://", "{scheme}://", "/", "{path}"];
    let is_place = begins.iter().any(|begin| to.starts_with(begin)) && !to.starts_with("//") && !to.contains(' ');
    let end = |rest: &str| ["/", "?", "{path}", "{?query}"].iter().filter_map(|end| rest.find(end)).min();
    let host = to.split_once("://").map(|(_, rest)| &rest[..end(rest).unwrap_or(rest.len())]);
    let is_host = host.is_none_or(|host| {
        let plain = host.replace("{host}", "h").replace("{$", "");
        !plain.is_empty() && !plain.contains('{')
    });
    if is_place && is_host { Ok(to) } else { Err(format!("{to} is no place that a redirect can lead to")) }
}

/// Why a word has no translation, and what to do.
fn reason(name: &str) -> (&'static str, &'static str) {
    match fate::find(WORDS, name) {
        Some(Fate::Left(why, what_to_do) | Fate::Guard(why, what_to_do)) => (why, what_to_do),
        _ => ("the importer does not know this directive", "see what it does, and whether unstick has it"),
    }
}
