//! Changes of the path, which become one: a route replaces a prefix by another.

use super::Importer;
use super::effects::{Effects, PathEdit};
use super::middlewares::Applied;
use super::paths::Paths;
use super::text::{encoded, refers};
use crate::imported::Keys;

/// A route of the paths of a rule, and what becomes of its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variant {
    /// Its path, as unstick writes it.
    pub(super) written: String,
    /// What its paths begin with.
    begin: String,
    is_exact: bool,
    /// What is taken off, and what is put there.
    from: String,
    to: String,
}

impl Variant {
    /// Writes what becomes of the path.
    pub(super) fn write(&self, keys: &mut Keys) {
        let (from, to) = self.segments();
        match (from, to) {
            (from, to) if from == to => {}
            (from, "/") => keys.set("strip_prefix", from),
            (from, to) => {
                keys.set_in("replace_prefix", "from", from);
                keys.set_in("replace_prefix", "to", to);
            }
        }
    }

    /// Whole segments, without a slash at the end.
    fn segments(&self) -> (&str, &str) {
        let [from, to] = [&self.from, &self.to].map(|text| text.trim_end_matches('/'));
        (if from.is_empty() { "/" } else { from }, if to.is_empty() { "/" } else { to })
    }

    /// Whether paths may begin with a part of a segment that Traefik takes off, as `/apix` does with `/api`.
    pub(super) fn cuts_segments(&self) -> bool {
        let rest = self.begin.strip_prefix(&self.from).unwrap_or_default();
        !self.from.is_empty() && !self.from.ends_with('/') && !self.is_exact && !rest.starts_with('/')
    }

    /// Takes off what paths begin with for sure; whether it did.
    fn strip(&mut self, prefix: &str) -> bool {
        let known = format!("{}{}", self.to, self.begin.strip_prefix(&self.from).unwrap_or_default());
        if !known.starts_with(prefix) {
            return false;
        }
        match self.to.strip_prefix(prefix) {
            Some(rest) => self.to = rest.to_owned(),
            None => {
                let rest = prefix.strip_prefix(&self.to).unwrap_or_default().to_owned();
                self.from.push_str(&rest);
                self.to = String::new();
            }
        }
        true
    }

    /// The same for those paths only that this prefix is taken off from; nothing if there are none, or none that can
    /// be said.
    fn narrowed(&self, prefix: &str, is_simple: bool) -> Option<Self> {
        let known = format!("{}{}", self.to, self.begin.strip_prefix(&self.from).unwrap_or_default());
        if self.is_exact || !is_simple || !prefix.starts_with(&known) {
            return None;
        }
        let begin = format!("{}{}", self.from, prefix.strip_prefix(&self.to)?);
        let is_plain = begin.ends_with('/') && !begin.contains(['*', '{', '?', '#']);
        let written = if is_plain { begin.clone() } else { format!("~^{}", regex::escape(&begin)) };
        let mut narrowed = Self { written, begin, ..self.clone() };
        narrowed.strip(prefix).then_some(narrowed)
    }
}

/// The routes of a rule's paths, with what all edits together do.
///
/// # Errors
/// Why that cannot be said.
pub(super) fn variants(paths: &Paths, edits: &[PathEdit]) -> Result<Vec<Variant>, &'static str> {
    let whole = Variant {
        written: paths.written.clone(),
        begin: paths.begin.clone(),
        is_exact: paths.is_exact,
        from: String::new(),
        to: String::new(),
    };
    let is_simple = paths.is_prefix();
    let mut variants = vec![whole];
    for edit in edits {
        let mut next = Vec::new();
        for variant in variants {
            next.extend(edited(variant, edit, is_simple)?);
        }
        variants = next;
        if variants.len() > 20 {
            return Err("these prefixes need too many routes");
        }
    }
    for Variant { from, to, .. } in &variants {
        if !to.is_empty() && from.ends_with('/') != to.ends_with('/') && !from.is_empty() {
            return Err("a route replaces whole segments of the path");
        }
    }
    Ok(variants)
}

fn edited(mut variant: Variant, edit: &PathEdit, is_simple: bool) -> Result<Vec<Variant>, &'static str> {
    let mut more = Vec::new();
    match edit {
        PathEdit::Add(prefix) => {
            let slash = if prefix.starts_with('/') { "" } else { "/" };
            variant.to = format!("{slash}{}{}", prefix.trim_end_matches('/'), variant.to);
        }
        PathEdit::Whole(path) if variant.is_exact => {
            variant.from.clone_from(&variant.begin);
            variant.to.clone_from(path);
        }
        PathEdit::Whole(_) => return Err("a route replaces a prefix, not the whole path"),
        PathEdit::Replace { from, to } => {
            if variant.strip(from) {
                variant.to = format!("{to}{}", variant.to);
            } else if let Some(mut narrowed) = variant.narrowed(from, is_simple) {
                narrowed.to = format!("{to}{}", narrowed.to);
                more.push(narrowed);
            } else if !is_simple {
                return Err("what a rule with regular expressions takes is not seen to begin with this prefix");
            }
        }
        PathEdit::Strip(prefixes) => {
            for prefix in prefixes {
                if variant.strip(prefix) {
                    break;
                }
                match variant.narrowed(prefix, is_simple) {
                    Some(narrowed) => more.push(narrowed),
                    None if !is_simple => {
                        return Err("what a rule with regular expressions takes is not seen to begin with this prefix");
                    }
                    None => {}
                }
            }
        }
    }
    more.push(variant);
    Ok(more)
}

impl Importer<'_> {
    /// `replacePathRegex`, if it replaces a prefix.
    pub(super) fn replace_path_regex(&mut self, applied: &Applied<'_>, effects: &mut Effects) {
        let Applied { node, said, router } = applied;
        let [regex, replacement] = ["regex", "replacement"].map(|key| node.text_at(key).unwrap_or_default());
        match prefix_of(regex, replacement) {
            Some(edit) => effects.paths.push(edit),
            None => {
                let why = "a route replaces a prefix of the path, so the path stays as it is";
                let what_to_do = "write replace_prefix in a route for each case, or let the replicas do it";
                self.of_router(*router, &node.place, said.clone(), why, what_to_do);
            }
        }
    }
}

/// `^/api/(.*)` and `/v1/$1` replace a prefix.
fn prefix_of(regex: &str, replacement: &str) -> Option<PathEdit> {
    let regex = regex.replace("\\/", "/");
    let rest = regex.strip_prefix('^')?;
    let rest = rest.strip_suffix('$').unwrap_or(rest);
    let ends = [("/(.*)", "/"), ("(/.*)", ""), ("(.*)", "")];
    let (literal, slash) = ends.iter().find_map(|(end, slash)| Some((rest.strip_suffix(end)?, *slash)))?;
    let plain = literal.replace("\\.", ".").replace("\\-", "-");
    let is_plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.~".contains(&b));
    let to = ["$${1}", "${1}", "$1"].iter().find_map(|capture| replacement.strip_suffix(capture))?;
    if !is_plain(&plain) || !is_plain(to) || refers(to) {
        return None;
    }
    Some(PathEdit::Replace { from: encoded(&format!("{plain}{slash}")), to: encoded(to) })
}

#[cfg(test)]
mod tests {
    use super::super::conditions::test;
    use super::super::rule::alternatives;
    use super::*;

    fn shown(rule: &str, edits: &[PathEdit]) -> String {
        let test = test(&alternatives(rule).unwrap()[0]).unwrap();
        let show = |variant: &Variant| {
            let (from, to) = variant.segments();
            let cut = if variant.cuts_segments() { " cuts" } else { "" };
            let edit = if from == to { String::new() } else { format!(" {from} > {to}") };
            format!("{}{edit}{cut}", variant.written)
        };
        match variants(&test.paths, edits) {
            Ok(variants) => variants.iter().map(show).collect::<Vec<_>>().join(" | "),
            Err(why) => why.to_owned(),
        }
    }

    #[test]
    fn edits_become_one() {
        let strip = |prefixes: &[&str]| PathEdit::Strip(prefixes.iter().map(|prefix| (*prefix).to_owned()).collect());
        let add = |prefix: &str| PathEdit::Add(prefix.to_owned());
        let replace = |regex, replacement| prefix_of(regex, replacement).unwrap();
        for (rule, edits, expected) in [
            ("PathPrefix(`/api`)", vec![strip(&["/api"])], "~^/api /api > / cuts"),
            ("PathPrefix(`/api/`)", vec![strip(&["/api"])], "/api/ /api > /"),
            ("PathPrefix(`/api/v1`)", vec![strip(&["/api"])], "~^/api/v1 /api > /"),
            ("PathPrefix(`/`)", vec![strip(&["/a/", "/b/"])], "/a/ /a > / | /b/ /b > / | /"),
            ("PathPrefix(`/a/`)", vec![strip(&["/b", "/a"])], "/a/ /a > /"),
            ("Path(`/x`)", vec![strip(&["/a"])], "=/x"),
            ("PathPrefix(`/api/`)", vec![strip(&["/api"]), add("/v1")], "/api/ /api > /v1"),
            ("PathPrefix(`/`)", vec![add("/v1")], "/ / > /v1"),
            ("PathPrefix(`/`)", vec![add("/v1"), strip(&["/v1"])], "/"),
            ("Path(`/x`)", vec![PathEdit::Whole("/y".to_owned())], "=/x /x > /y"),
            (
                "PathPrefix(`/x`)",
                vec![PathEdit::Whole("/y".to_owned())],
                "a route replaces a prefix, not the whole path",
            ),
            ("PathPrefix(`/api/`)", vec![replace("^/api/(.*)", "/v1/$1")], "/api/ /api > /v1"),
            ("PathPrefix(`/api`)", vec![replace("^/api(.*)$", "/v1$1")], "~^/api /api > /v1 cuts"),
            ("PathPrefix(`/`)", vec![replace("^/(.*)", "/v1/$1")], "/ / > /v1"),
            ("PathPrefix(`/`)", vec![replace("^/api/(.*)", "/v1$1")], "a route replaces whole segments of the path"),
        ] {
            assert_eq!(shown(rule, &edits), expected, "{rule} {edits:?}");
        }
        assert_eq!(prefix_of("^/a/(.*)/b", "/$1"), None);
        assert_eq!(prefix_of("/a/(.*)", "/$1"), None);
    }
}
