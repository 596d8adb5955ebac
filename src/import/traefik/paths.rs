//! The tests of a path, which become one: a route has one path.

use super::except::{self, Except};
use super::hosts::braces;
use super::rule::Matcher;
use super::text::{encoded, is_found, is_regex};

/// The longest text that is excluded.
const EXCEPT_MAX: usize = 100;

/// Which paths fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Paths {
    /// As unstick writes it: `/x/`, `=/x`, `~^/x`.
    pub(super) written: String,
    /// What all of them begin with, character by character.
    pub(super) begin: String,
    /// Whether that is the whole path.
    pub(super) is_exact: bool,
    prefixes: Vec<String>,
    patterns: Vec<String>,
    excepts: Vec<Except>,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            written: "/".to_owned(),
            begin: "/".to_owned(),
            is_exact: false,
            prefixes: Vec::new(),
            patterns: Vec::new(),
            excepts: Vec::new(),
        }
    }
}

impl Paths {
    /// Adds a test; whether it can be said.
    pub(super) fn add(&mut self, matcher: Matcher, value: &str, is_negated: bool) -> bool {
        let pattern = match matcher {
            Matcher::PathRegexp => Some(value.to_owned()),
            // Version 2 has expressions in braces.
            _ => braces(value, "[^/]+").map(|pattern| match matcher {
                Matcher::PathPrefix => pattern.trim_end_matches('$').to_owned(),
                _ => pattern,
            }),
        };
        if let Some(pattern) = pattern {
            let comparable = comparable(&pattern).filter(|pattern| is_regex(pattern) && !is_negated);
            let is_taken = comparable.is_some();
            self.patterns.extend(comparable);
            return is_taken;
        }
        let text = encoded(value);
        if !has_known_codes(value) || is_negated && text.len() > EXCEPT_MAX {
            return false;
        }
        let is_prefix = matcher == Matcher::PathPrefix;
        // Both proxies take these away before they compare.
        let is_never = ["//", "/./", "/../"].iter().any(|odd| text.contains(odd));
        let is_other = self.is_exact && self.begin != text;
        match (is_negated, is_prefix) {
            (true, _) if is_never => {}
            (true, _) => self.excepts.push(Except { text, is_prefix }),
            (false, true) if !is_never => self.prefixes.push(text),
            (false, false) if !is_never && !is_other => {
                (self.begin, self.is_exact) = (text, true);
            }
            // Nothing fits: an exception that nothing passes.
            (false, _) => self.excepts.push(Except { text: String::new(), is_prefix: true }),
        }
        true
    }

    /// Whether they are all paths with a beginning, and no others.
    pub(super) fn is_prefix(&self) -> bool {
        self.patterns.is_empty() && self.excepts.is_empty()
    }

    /// Makes one of all; the tests that are lost come back. Nothing if no path fits.
    pub(super) fn settle(&mut self) -> Option<Vec<String>> {
        if self.is_exact {
            let path = &self.begin;
            let fits = self.prefixes.iter().all(|prefix| path.starts_with(prefix))
                && self.patterns.iter().all(|pattern| is_found(pattern, path))
                && !self.excepts.iter().any(|except| fits(except, path));
            self.written = format!("={path}");
            return fits.then(Vec::new);
        }
        self.prefixes.sort_by_key(String::len);
        if let Some(longest) = self.prefixes.last() {
            if !self.prefixes.iter().all(|prefix| longest.starts_with(prefix)) {
                return None;
            }
            self.begin.clone_from(longest);
        }
        let begin = self.begin.clone();
        if self.excepts.iter().any(|except| except.is_prefix && begin.starts_with(&except.text)) {
            return None;
        }
        let rest = |except: &Except| {
            let text = except.text.strip_prefix(&begin)?.to_owned();
            Some(Except { text, is_prefix: except.is_prefix })
        };
        let excepts: Vec<Except> = self.excepts.iter().filter_map(rest).collect();
        Some(if self.patterns.is_empty() { self.without_pattern(&excepts) } else { self.with_pattern(&excepts) })
    }

    fn without_pattern(&mut self, excepts: &[Except]) -> Vec<String> {
        let begin = &self.begin;
        // A prefix of characters that ends with a slash is one of segments, too.
        let is_plain = begin.ends_with('/') && !begin.contains(['*', '{', '?', '#']);
        if excepts.is_empty() {
            self.written = if is_plain { begin.clone() } else { format!("~^{}", regex::escape(begin)) };
            return Vec::new();
        }
        let rest = except::pattern(excepts).unwrap_or_default();
        let pattern = format!("^{}{rest}", regex::escape(begin));
        if is_regex(&pattern) {
            self.written = format!("~{pattern}");
            return Vec::new();
        }
        self.written = format!("~^{}", regex::escape(begin));
        self.excepts.iter().map(not).collect()
    }

    /// Of several tests, the first expression is kept. What it implies is not lost.
    fn with_pattern(&mut self, excepts: &[Except]) -> Vec<String> {
        let first = &self.patterns[0];
        self.written = format!("~{first}");
        let prefixes = self.prefixes.iter().filter(|prefix| !implies(first, prefix));
        let mut lost: Vec<String> = prefixes.map(|prefix| format!("PathPrefix(`{prefix}`)")).collect();
        lost.extend(
            self.patterns[1..].iter().filter(|other| *other != first).map(|other| format!("PathRegexp(`{other}`)")),
        );
        if !excepts.is_empty() {
            lost.extend(self.excepts.iter().map(not));
        }
        lost
    }
}

/// An expression as it compares paths in their normal form, in which a space is `%20`; nothing if it has no such form.
/// Traefik compares them with a space.
fn comparable(pattern: &str) -> Option<String> {
    let mut out = String::new();
    let mut is_class = false;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend([Some(c), chars.next()].into_iter().flatten()),
            ' ' if is_class => return None,
            c if !c.is_ascii() && is_class => return None,
            c if c == ' ' || !c.is_ascii() => out.push_str(&format!("(?:{})", encoded(&c.to_string()))),
            c => {
                is_class = (is_class || c == '[') && c != ']';
                out.push(c);
            }
        }
    }
    (!out.contains("//") && has_known_codes(pattern)).then_some(out)
}

/// Whether both proxies leave each of its percent-encodings as it is.
fn has_known_codes(text: &str) -> bool {
    let is_kept = |code: &str| ["2F", "3F", "23", "25", "5B", "5D"].contains(&&*code.to_ascii_uppercase());
    text.match_indices('%').all(|(at, _)| text.get(at + 1..at + 3).is_some_and(is_kept))
}

/// Whether an expression is found only in paths that begin with `prefix`, as far as can be seen.
fn implies(pattern: &str, prefix: &str) -> bool {
    let depth = |depth: i32, c: char| depth + i32::from(c == '(') - i32::from(c == ')');
    let is_one = !pattern.match_indices('|').any(|(at, _)| pattern[..at].chars().fold(0, depth) == 0);
    let after = pattern.strip_prefix('^').and_then(|rest| rest.strip_prefix(&regex::escape(prefix)));
    prefix == "/" || is_one && after.is_some_and(|after| !after.starts_with(['*', '?', '{']))
}

fn fits(except: &Except, path: &str) -> bool {
    if except.is_prefix { path.starts_with(&except.text) } else { path == except.text }
}

fn not(except: &Except) -> String {
    format!("!{}(`{}`)", if except.is_prefix { "PathPrefix" } else { "Path" }, except.text)
}
