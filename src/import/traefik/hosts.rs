//! Hosts of rules as unstick names them: a name, `*.example.com` for every name below, or any.

use super::text::{is_regex, refers};

/// The most names that one expression may stand for.
const NAMES_MAX: usize = 20;
/// How deep its groups may be nested.
const DEPTH_MAX: usize = 5;

/// Which hosts fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hosts {
    /// These; nothing means any.
    pub(super) names: Option<Vec<String>>,
    /// Whether exactly these fit in Traefik too. Otherwise fewer do.
    pub(super) is_exact: bool,
}

/// The hosts of `Host`. A wildcard of Traefik stands for one label, and that of unstick for any number of them.
pub(super) fn plain(text: &str) -> Option<Hosts> {
    let name = text.trim_end_matches('.').to_ascii_lowercase();
    match name.strip_prefix("*.") {
        _ if name == "*" => Some(Hosts { names: None, is_exact: true }),
        // What the environment says keeps its letters.
        _ if refers(text) => Some(Hosts { names: Some(vec![text.to_owned()]), is_exact: !text.starts_with('*') }),
        Some(below) if is_name(below) => Some(Hosts { names: Some(vec![name]), is_exact: false }),
        None if is_name(&name) => Some(Hosts { names: Some(vec![name]), is_exact: true }),
        _ => None,
    }
}

/// The hosts of `HostRegexp`, as far as unstick has names for them.
pub(super) fn regexp(text: &str) -> Option<Hosts> {
    let text = braces(text, "[^.]+").unwrap_or_else(|| text.to_owned());
    if !is_regex(&text) || refers(&text) {
        return None;
    }
    let text = text.trim_start_matches("(?i)");
    let bare = text.trim_start_matches('^').trim_end_matches('$');
    if matches!(bare, ".+" | ".*" | "(.+)" | "(.*)") {
        return Some(Hosts { names: None, is_exact: true });
    }
    let is_open = [".+", ".*", "(.+", "(.*"].iter().any(|begin| text.starts_with(begin));
    let inner = text.strip_prefix('^').or(is_open.then_some(text))?.strip_suffix('$')?;
    let mut reader = Reader { rest: inner, is_exact: true };
    let mut names = reader.any(0)?;
    let is_host = |name: &String| is_name(name.strip_prefix("*.").unwrap_or(name));
    if !reader.rest.is_empty() || names.is_empty() || !names.iter().all(is_host) {
        return None;
    }
    names.iter_mut().for_each(|name| name.make_ascii_lowercase());
    names.dedup();
    Some(Hosts { names: Some(names), is_exact: reader.is_exact })
}

/// `{name:[a-z]+}` and `{name}` of version 2 as a regular expression; nothing if the text has none of these. `any` is
/// what the second form stands for.
pub(super) fn braces(text: &str, any: &str) -> Option<String> {
    let mut out = String::from("^");
    let mut rest = text;
    let mut is_found = false;
    while let Some((before, after)) = rest.split_once('{') {
        let mut depth = 1;
        let end = after.find(|c| {
            depth += match c {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            depth == 0
        })?;
        let (inner, next) = (&after[..end], &after[end + 1..]);
        let (name, pattern) = inner.split_once(':').unwrap_or((inner, any));
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(is_word) || before.ends_with('$') {
            return None;
        }
        out.push_str(&format!("{}({pattern})", regex::escape(before)));
        is_found = true;
        rest = next;
    }
    out.push_str(&regex::escape(rest));
    is_found.then(|| out + "$")
}

/// Whether it can be the name of a host.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let is_address = text.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
    is_address || text.len() <= 253 && text.split('.').all(is_label) && !is_number
}

/// Reads an expression that stands for a few names. `*` is what any label fits.
struct Reader<'r> {
    rest: &'r str,
    is_exact: bool,
}

impl Reader<'_> {
    /// Alternatives.
    fn any(&mut self, depth: usize) -> Option<Vec<String>> {
        if depth > DEPTH_MAX {
            return None;
        }
        let mut names = self.all(depth)?;
        while let Some(rest) = self.rest.strip_prefix('|') {
            self.rest = rest;
            names.extend(self.all(depth)?);
        }
        (names.len() <= NAMES_MAX).then_some(names)
    }

    /// One part after the other.
    fn all(&mut self, depth: usize) -> Option<Vec<String>> {
        let mut names = vec![String::new()];
        while !self.rest.is_empty() && !self.rest.starts_with(['|', ')']) {
            let parts = self.part(depth)?;
            names = names.iter().flat_map(|name| parts.iter().map(move |part| format!("{name}{part}"))).collect();
            if names.len() > NAMES_MAX {
                return None;
            }
        }
        Some(names)
    }

    fn part(&mut self, depth: usize) -> Option<Vec<String>> {
        if let Some(rest) = self.rest.strip_prefix(".+").or_else(|| self.rest.strip_prefix(".*")) {
            self.rest = rest;
            return Some(vec!["*".to_owned()]);
        }
        if let Some(label) = self.label() {
            self.is_exact = false;
            self.rest = &self.rest[label..];
            return Some(vec!["*".to_owned()]);
        }
        let mut parts = match self.rest.strip_prefix('(') {
            Some(rest) => {
                let named = rest.strip_prefix("?P<").or_else(|| rest.strip_prefix("?<"));
                let named = named.and_then(|named| named.split_once('>')).map(|(_, rest)| rest);
                self.rest = named.or_else(|| rest.strip_prefix("?:")).unwrap_or(rest);
                let parts = self.any(depth + 1)?;
                self.rest = self.rest.strip_prefix(')')?;
                parts
            }
            None => {
                let (c, rest) = match self.rest.strip_prefix('\\') {
                    Some(rest) => (rest.chars().next().filter(|c| matches!(c, '.' | '-'))?, rest),
                    None => (
                        self.rest.chars().next().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c))?,
                        self.rest,
                    ),
                };
                self.rest = &rest[1..];
                vec![c.to_string()]
            }
        };
        if let Some(rest) = self.rest.strip_prefix('?') {
            self.rest = rest;
            parts.push(String::new());
        }
        (!self.rest.starts_with(['*', '+', '{', '?'])).then_some(parts)
    }

    /// The length of what fits the characters of a label: `[a-z0-9-]+`, `\w+`.
    fn label(&self) -> Option<usize> {
        let class = match self.rest.strip_prefix('[') {
            Some(inner) => 2 + inner.find(']')?,
            None => self.rest.starts_with("\\w").then_some(2)?,
        };
        let after = &self.rest[class..];
        match after.chars().next()? {
            '+' | '*' => Some(class + 1),
            '{' => Some(class + 1 + after.find('}')?),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(hosts: Option<Hosts>) -> String {
        hosts.map_or("-".to_owned(), |Hosts { names, is_exact }| {
            let sign = if is_exact { '=' } else { '+' };
            format!("{sign} {}", names.map_or("any".to_owned(), |names| names.join(" ")))
        })
    }

    #[test]
    fn names_of_rules() {
        for (text, expected) in [
            ("A.test", "= a.test"),
            ("a.test.", "= a.test"),
            ("*.a.test", "+ *.a.test"),
            ("*", "= any"),
            ("*a.test", "-"),
            ("a.test:80", "-"),
            ("${DOMAIN}", "= ${DOMAIN}"),
            ("[::1]", "= [::1]"),
        ] {
            assert_eq!(shown(plain(text)), expected, "{text}");
        }
    }

    #[test]
    fn expressions_that_stand_for_names() {
        for (text, expected) in [
            ("^.+$", "= any"),
            (".*", "= any"),
            (r"^a\.test$", "= a.test"),
            (r"^(a|b)\.test$", "= a.test b.test"),
            (r"^(?:www\.)?a\.test$", "= www.a.test a.test"),
            (r"^.+\.a\.test$", "= *.a.test"),
            (r".+\.a\.test$", "= *.a.test"),
            (r"^[a-z0-9-]+\.a\.test$", "+ *.a.test"),
            (r"^(?P<x>\w+)\.a\.test$", "+ *.a.test"),
            (r"^(.+\.)?a\.test$", "= *.a.test a.test"),
            ("{sub:[a-z]+}.a.test", "+ *.a.test"),
            ("{sub}.a.test", "+ *.a.test"),
            (r"^a.test$", "-"),
            (r"a\.test", "-"),
            (r"^a\.test", "-"),
            (r"^a[0-9]\.test$", "-"),
            (r"^x.+\.test$", "-"),
            (r"^(a|b)+\.test$", "-"),
            ("(", "-"),
        ] {
            assert_eq!(shown(regexp(text)), expected, "{text}");
        }
    }
}
