//! Pages for errors, and the files and types of fixed responses.

use super::grammar::Directive;
use super::scope::Scope;
use super::{Draft, Importer, left};
use crate::imported::Keys;
use crate::value::Value;

/// Types of files, where no `types` says otherwise.
const TYPES: [(&str, &str); 16] = [
    ("html", "text/html"),
    ("htm", "text/html"),
    ("txt", "text/plain"),
    ("css", "text/css"),
    ("js", "application/javascript"),
    ("json", "application/json"),
    ("xml", "text/xml"),
    ("ico", "image/x-icon"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("svg", "image/svg+xml"),
    ("webp", "image/webp"),
    ("pdf", "application/pdf"),
    ("webmanifest", "application/manifest+json"),
];

/// The file that nginx would send for a path.
pub(super) fn file(scope: &Scope<'_>, uri: &str) -> Option<String> {
    let own = |name: &str| scope.own().iter().find(|item| item.name == name);
    let found = match own("alias") {
        Some(alias) => alias.arg(0).to_owned(),
        None => scope.one("root")?.arg(0).trim_end_matches('/').to_owned() + uri,
    };
    (!found.contains('$')).then_some(found)
}

/// The type of the response for a path.
pub(super) fn content_type(uri: &str, scope: &Scope<'_>) -> String {
    let name = uri.rsplit('/').next().unwrap_or_default();
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    let types = scope.one("types");
    let of_block = ending.as_ref().and_then(|ending| {
        let mut types = types?.items().iter();
        types.find(|item| item.args.iter().any(|known| known == ending)).map(|item| item.name.clone())
    });
    // Without `types` nginx knows three endings. Whoever has none includes mime.types, which may not be here.
    let usual =
        || TYPES.iter().find(|(known, _)| Some(*known) == ending.as_deref()).map(|(_, kind)| (*kind).to_owned());
    let of_usual = if types.is_some() { None } else { usual() };
    let default = scope.one("default_type").map_or("text/plain", |item| item.arg(0));
    of_block.or(of_usual).unwrap_or_else(|| default.to_owned())
}

impl<'t> Importer<'t> {
    /// What `error_page` says.
    pub(super) fn error_pages(&mut self, draft: &mut Draft, scope: &Scope<'t>) {
        let mut errors = Keys::default();
        for item in scope.nearest("error_page") {
            let Some((uri, statuses)) = item.args.split_last() else { continue };
            let Some(file) = self.page(item, scope) else {
                let why = "pages are files, and keep the status of the error";
                draft.left.push(left(item, why, "write `errors`, or `fallback` if it names other replicas"));
                continue;
            };
            for status in statuses {
                let mut page = Keys::default();
                page.set("body_file", self.file(&file));
                page.set("content_type", content_type(uri, scope));
                errors.set(status.as_str(), Value::Table(page));
            }
        }
        if !errors.is_empty() {
            draft.route.keys.set("errors", Value::Table(errors));
        }
    }

    /// What `error_page` says of a response without a body that nginx makes itself.
    pub(super) fn own_page(&mut self, draft: &mut Draft, scope: &Scope<'t>, status: i64) {
        let status = status.to_string();
        let pages = scope.nearest("error_page");
        let item = pages.into_iter().find(|item| item.args.iter().rev().skip(1).any(|known| *known == status));
        let Some((item, uri)) = item.and_then(|item| Some((item, item.args.last()?))) else { return };
        match self.page(item, scope) {
            Some(file) => {
                draft.route.keys.set_in("respond", "body_file", self.file(&file));
                draft.route.keys.set_in("respond", "content_type", content_type(uri, scope));
            }
            None => {
                let why = format!("nginx sends this instead of its own {status}, which has no body here");
                draft.left.push(left(item, why, "write `respond` or `redirect` in the routes that say so"));
            }
        }
    }

    /// The file that an `error_page` is, if it is one and the status stays.
    fn page(&self, item: &Directive, scope: &Scope<'t>) -> Option<String> {
        let (uri, statuses) = item.args.split_last()?;
        let server = scope.outer()?;
        let found = self.location_of(&server, uri);
        let is_proxied = found.as_ref().is_some_and(|found| {
            found.scope.own().iter().any(|item| item.name.ends_with("_pass") || item.name == "return")
        });
        let is_changed = statuses.iter().any(|status| status.starts_with('='));
        let within = found.map_or(server, |found| found.scope);
        file(&within, uri).filter(|_| !is_proxied && !is_changed && uri.starts_with('/'))
    }

    /// Pages that all routes to pools have are those of the whole file.
    pub(super) fn shared_errors(&mut self) {
        let is_proxied = |keys: &Keys| keys.get("pool").is_some();
        let mut all =
            self.out.routes.iter().filter(|route| is_proxied(&route.keys)).map(|route| route.keys.get("errors"));
        let Some(Some(Value::Table(first))) = all.next() else { return };
        if !all.all(|other| other == Some(&Value::Table(first.clone()))) {
            return;
        }
        self.out.errors = first.clone();
        self.out.routes.iter_mut().for_each(|route| route.keys.remove("errors"));
    }
}
