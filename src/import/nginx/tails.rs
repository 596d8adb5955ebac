//! Prefixes that end within a segment: nginx takes `/adminx` for `location /admin`, unstick whole segments.

use super::locations::{Found, Kind, close, keeps_out};
use super::lookaround::not_beginning;
use super::{Draft, Importer, left};
use crate::imported::LeftOut;

impl<'t> Importer<'t> {
    /// nginx takes `/adminx` for `location /admin` too. Where that keeps somebody out, it is said by a route behind all
    /// others; else it is told.
    pub(super) fn tail(&mut self, found: &Found<'t>, all: &[Found<'t>], drafts: &[Draft]) -> Vec<Draft> {
        let (Kind::Prefix(path) | Kind::Final(path)) = &found.kind else { return Vec::new() };
        if path.ends_with('/') || drafts.iter().any(|draft| draft.route.path.starts_with('~')) {
            return Vec::new();
        }
        // What is below it, and longer locations, are routes of their own.
        let longer = |other: &'_ Found<'_>| match &other.kind {
            Kind::Prefix(other) | Kind::Final(other) => {
                other.strip_prefix(path.as_str()).filter(|rest| !rest.is_empty()).map(str::to_owned)
            }
            _ => None,
        };
        let mut others: Vec<String> = all.iter().filter_map(longer).filter(|rest| !rest.starts_with('/')).collect();
        others.push("/".to_owned());
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        let closes = keeps_out(found) || drafts.iter().any(|draft| draft.route.keys.get("deny").is_some());
        let rest = if others.len() == 1 { Some("[^/]".to_owned()) } else { not_beginning(&others).map(grouped) };
        let Some(rest) = rest.filter(|_| closes) else {
            self.bare.push((left(found.item, "", ""), path.clone()));
            return Vec::new();
        };
        let tail = |draft: &Draft| {
            let mut draft = Draft { left: Vec::new(), ..draft.clone() };
            draft.route.path = format!("~^{}{rest}", regex::escape(path));
            if draft.route.keys.get("strip_prefix").or_else(|| draft.route.keys.get("replace_prefix")).is_some() {
                draft.route.keys.remove("strip_prefix");
                draft.route.keys.remove("replace_prefix");
                close(&mut draft);
            }
            draft
        };
        drafts.iter().map(tail).collect()
    }

    /// Tells once of all prefixes that end within a segment.
    pub(super) fn tell_bare(&mut self) {
        let bare = std::mem::take(&mut self.bare);
        let Some((first, path)) = bare.first() else { return };
        let more: Vec<&str> = bare.iter().skip(1).map(|(_, path)| path.as_str()).collect();
        let others = if more.is_empty() { String::new() } else { format!("; so with {}", more.join(", ")) };
        let why = format!("nginx takes {path}x too, unstick only {path} and what is below it{others}");
        let what_to_do = format!("nothing, unless paths such as {path}x are asked for");
        self.out.leave_out(LeftOut { why, what_to_do, ..first.clone() });
    }
}

fn grouped(regex: String) -> String {
    format!("({regex})")
}
