//! What each rule does: a response, a redirect, another path, or an edit.

use super::grammar::Line;
use super::ladder::Act;
use super::order::split;
use super::sockets::Socket;
use super::template::template;
use super::test::{Excess, Test};
use super::{Importer, Proxy, fate_of, left, time};
use crate::fate::Fate;
use crate::imported::Keys;

/// What is said of a frontend that is closed.
pub(super) const CLOSING: &str = "; all routes of this frontend answer 403";

/// Refusals that are no responses in HAProxy.
const SILENT: [&str; 4] = ["reject", "silent-drop", "tarpit", "block"];

/// Whether a line keeps somebody out in a way that has no translation.
pub(super) fn is_guard(line: &Line) -> bool {
    matches!(fate_of(line), Some(Fate::Guard(..)))
}

impl<'t> Importer<'t> {
    /// What a rule does; nothing if that is noted elsewhere, or needs no route.
    pub(super) fn action(
        &mut self,
        proxy: &Proxy<'t>,
        line: &'t Line,
        words: &[String],
        sockets: &[Socket],
    ) -> Option<Act> {
        match (line.word(0), line.word(1)) {
            ("monitor-uri", _) => Some(Act::End(alive())),
            ("http-request", "return") => {
                let mut keys = self.response(line, words.get(2..).unwrap_or_default(), 200);
                self.own_page(proxy, &mut keys, 0);
                Some(Act::End(keys))
            }
            ("http-request", "deny") => {
                let mut keys = self.response(line, words.get(2..).unwrap_or_default(), 403);
                self.own_page(proxy, &mut keys, 400);
                Some(Act::Refuse(keys))
            }
            ("http-request", verb) if SILENT.contains(&verb) => Some(self.refusal(line)),
            ("tcp-request", _) if SILENT.contains(&line.word(2)) => Some(self.refusal(line)),
            ("tcp-request", _) if !line.word(2).starts_with("track-sc") => {
                self.out.leave_out(left(line, "connections are not tested", "use `allow` or `deny`"));
                None
            }
            ("block", _) => Some(self.refusal(line)),
            ("redirect", _) | ("http-request", "redirect") => self.redirect(line, words, sockets).map(Act::End),
            ("http-request", "replace-path" | "replace-uri" | "set-path" | "set-uri") => self.rewrite(line, words),
            ("http-request", "set-header" | "add-header" | "del-header") if !split(line).1.is_empty() => {
                (!super::edits::is_same(line, sockets)).then_some(Act::Edit)
            }
            _ => None,
        }
    }

    /// A refusal by silence is one with 403.
    fn refusal(&mut self, line: &Line) -> Act {
        let why = "a request is answered or refused: this one answers 403";
        self.out.leave_out(left(line, why, "nothing, unless clients must not learn of it"));
        let mut keys = Keys::default();
        keys.set_in("respond", "status", 403);
        Act::Refuse(keys)
    }

    /// The page of a response that has no body of its own. Only those of errors have one.
    fn own_page(&mut self, proxy: &Proxy<'t>, keys: &mut Keys, from: i64) {
        let Some(crate::value::Value::Table(respond)) = keys.get("respond").cloned() else { return };
        let Some(crate::value::Value::Number(status)) = respond.get("status").cloned() else { return };
        if from == 0 || status < from || respond.get("body").is_some() || respond.get("body_file").is_some() {
            return;
        }
        let page = self.error_pages(proxy).into_iter().find(|(known, _)| *known == status);
        for (key, value) in page.map(|(_, page)| page.0).unwrap_or_default() {
            keys.set_in("respond", &key, value);
        }
    }

    fn redirect(&mut self, line: &Line, words: &[String], sockets: &[Socket]) -> Option<Keys> {
        let word = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
        let has = |name: &str| words.iter().any(|word| word == name);
        let query = if has("drop-query") { "" } else { "{?query}" };
        let target = match (word("scheme"), word("prefix"), word("location")) {
            (Some(scheme), ..) => template(scheme, sockets).map(|scheme| format!("{scheme}://{{host}}{{path}}{query}")),
            (_, Some(prefix), _) => template(prefix, sockets).map(|prefix| {
                let prefix = if prefix == "/" { "" } else { prefix.as_str() };
                format!("{prefix}{{path}}{query}")
            }),
            (.., Some(location)) => template(location, sockets),
            _ => Err("this redirect has no translation"),
        };
        let more = ["append-slash", "set-cookie", "clear-cookie", "ignore-empty"].into_iter().find(|more| has(more));
        let target = more.map_or(target, |_| Err("this redirect does more than a route can"));
        let to = match target {
            Ok(to) => to,
            Err(why) => {
                self.out.leave_out(left(line, why, "write it, or let the application"));
                return None;
            }
        };
        let mut keys = Keys::default();
        keys.set_in("redirect", "to", to);
        keys.set_in("redirect", "status", word("code").and_then(|code| code.parse().ok()).unwrap_or(302_i64));
        Some(keys)
    }

    /// `replace-path ^/api/(.*) /\1` and `set-path %[path,regsub(^/api/,/)]`.
    fn rewrite(&mut self, line: &Line, words: &[String]) -> Option<Act> {
        let found = match line.word(1) {
            "replace-path" | "replace-uri" => replaced(line.word(2), line.word(3)),
            _ => words.get(2).and_then(|expression| substituted(expression)),
        };
        if found.is_some() && line.words.iter().any(|word| word.contains("/?")) {
            let why = "HAProxy replaces what begins so, unstick whole segments";
            self.out.leave_out(left(line, why, "nothing, unless a longer segment begins so"));
        }
        if found.is_none() {
            let why = "a route replaces a prefix of the path, by another one";
            self.out.leave_out(left(line, why, "write strip_prefix or replace_prefix"));
        } else if line.word(1).starts_with("replace") && !line.word(2).contains('^') {
            let why = "HAProxy replaces this wherever it is in the path, unstick at its begin";
            self.out.leave_out(left(line, why, "nothing, unless it is elsewhere"));
        }
        found.map(|(from, to)| Act::Rewrite { from, to })
    }

    /// Notes what is different about a refusal that depends on an address or a counter.
    pub(super) fn note_effect(&mut self, line: &Line, test: &Test, act: &Act) {
        let Act::Refuse(keys) = act else { return };
        let status = keys.get("respond").map_or_else(String::new, ToString::to_string);
        if test.source.is_some() && !status.contains("status = 403") {
            self.out.leave_out(left(line, "who is kept out by `allow` or `deny` gets a 403", "nothing"));
        }
        if test.excess.is_some() {
            let why = "HAProxy counts refused requests too; unstick lets one in as soon as the rate has room, answers \
                       429 to the others, and each route counts for itself";
            self.out.leave_out(left(line, why, "a smaller number, if it matters"));
        }
    }

    /// By what a counter counts, and for how long.
    pub(super) fn counted(&self, proxy: &Proxy<'t>, excess: &Excess) -> Option<(String, String)> {
        let track = track(proxy, excess)?;
        let at = track.words.iter().position(|word| word.starts_with("track-sc"))?;
        let per = match track.words.get(at + 1)?.as_str() {
            "src" => "address".to_owned(),
            key => {
                let header = key.strip_prefix("req.").unwrap_or(key).strip_prefix("hdr(")?.strip_suffix(')')?;
                format!("header:{}", header.to_ascii_lowercase())
            }
        };
        let named = track.words.iter().position(|word| word == "table").and_then(|at| track.words.get(at + 1));
        let table = excess.table.as_ref().or(named);
        let section = match table {
            Some(name) => self.proxies.iter().find(|proxy| proxy.section.name() == name)?,
            None => proxy,
        };
        let stored = section.one("stick-table")?.words.iter().find_map(|word| {
            let rate = word.split(',').find_map(|stored| stored.strip_prefix("http_req_rate("))?;
            time(rate.strip_suffix(')')?)
        });
        Some((per, stored?))
    }
}

/// The line that tells a counter what to count.
pub(super) fn track<'t>(proxy: &Proxy<'t>, excess: &Excess) -> Option<&'t Line> {
    let verb = |word: &str| match excess.counter {
        's' => word.starts_with("track-sc"),
        counter => word.strip_prefix("track-sc") == Some(&counter.to_string()),
    };
    proxy.lines.iter().copied().find(|line| line.words.iter().take(3).any(|word| verb(word)))
}

/// What HAProxy answers to who asks whether it is there.
fn alive() -> Keys {
    let mut keys = Keys::default();
    keys.set_in("respond", "status", 200);
    keys.set_in("respond", "body", "<html><body><h1>200 OK</h1>\nService ready.\n</body></html>\n");
    keys.set_in("respond", "content_type", "text/html");
    keys
}

/// The prefix that a pattern and its replacement exchange.
fn replaced(pattern: &str, to: &str) -> Option<(String, String)> {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    let pattern = pattern.strip_suffix('$').unwrap_or(pattern);
    let from = ["/(.*)", "/?(.*)", "(/.*)"].iter().find_map(|end| pattern.strip_suffix(end))?;
    let to = to.strip_suffix("\\1").map(|to| to.trim_end_matches('/'))?;
    (is_plain(from) && from.starts_with('/') && is_plain(to)).then(|| (from.to_owned(), slashed(to)))
}

/// `%[path,regsub(^/api/,/)]`, and `/v2%[path]`: the same.
fn substituted(expression: &str) -> Option<(String, String)> {
    if let Some(to) = expression.strip_suffix("%[path]").filter(|to| to.starts_with('/') && is_plain(to)) {
        return Some(("/".to_owned(), to.trim_end_matches('/').to_owned()));
    }
    let inner = expression.strip_prefix("%[path,regsub(")?.strip_suffix(")]")?;
    let unquoted = inner.replace(['"', '\''], "");
    let (pattern, to) = unquoted.split_once(',')?;
    let from = pattern.strip_prefix('^')?;
    let from = from.strip_suffix("/?").or_else(|| from.strip_suffix('/'))?;
    let to = to.strip_suffix('/')?;
    (is_plain(from) && from.starts_with('/') && is_plain(to)).then(|| (from.to_owned(), slashed(to)))
}

fn is_plain(path: &str) -> bool {
    path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_".contains(&b))
}

fn slashed(path: &str) -> String {
    if path.is_empty() { "/".to_owned() } else { path.to_owned() }
}
