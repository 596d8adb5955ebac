//! Pages for errors, and the files and types of fixed responses.

use super::grammar::Directive;
use super::scope::Scope;
use super::text::{Part, parts, resolved};
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

/// What nginx sends for an error, where the status stays.
enum Page {
    File(String),
    Text(String),
}

impl<'t> Importer<'t> {
    /// What `error_page` says.
    pub(super) fn error_pages(&mut self, draft: &mut Draft, scope: &Scope<'t>) {
        let mut errors = Keys::default();
        for item in scope.nearest("error_page") {
            let statuses = item.args.split_last().map_or(&[][..], |(_, statuses)| statuses);
            for status in statuses.iter().filter(|status| !status.starts_with('=')) {
                match self.page(item, scope, status) {
                    Some(page) => errors.set(status.as_str(), Value::Table(page)),
                    None => {
                        let why = "pages are files or texts, and keep the status of the error";
                        let what_to_do = "write `errors`, or `fallback` if it names other replicas";
                        draft.left.push(left(item, why, what_to_do));
                        break;
                    }
                }
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
        let Some(item) = item else { return };
        match self.page(item, scope, &status) {
            Some(page) => page.0.into_iter().for_each(|(key, value)| draft.route.keys.set_in("respond", &key, value)),
            None => {
                let why = format!("nginx sends this instead of its own {status}, which has no body here");
                draft.left.push(left(item, why, "write `respond` or `redirect` in the routes that say so"));
            }
        }
    }

    /// The page that an `error_page` is for a status, if that stays: `body_file` or `body`, and `content_type`.
    fn page(&self, item: &Directive, scope: &Scope<'t>, status: &str) -> Option<Keys> {
        let uri = item.args.last()?;
        let server = scope.outer()?;
        let found = self.location_of(&server, uri);
        let within = found.map_or(server, |found| found.scope);
        let changed = item.args.iter().find_map(|arg| arg.strip_prefix('='));
        let mut keys = Keys::default();
        match page_of(&within, uri, status, changed)? {
            Page::File(file) => {
                keys.set("body_file", self.file(&file));
                keys.set("content_type", content_type(uri, &within));
            }
            Page::Text(text) => {
                keys.set("body", text);
                keys.set("content_type", content_type(uri, &within));
            }
        }
        Some(keys)
    }
}

/// What the location of a page sends. `changed` is what stands behind the `=` of its `error_page`: without one the
/// status of the error stays, with one that of the location counts.
fn page_of(within: &Scope<'_>, uri: &str, status: &str, changed: Option<&str>) -> Option<Page> {
    let own = |name: &str| within.own().iter().find(|item| item.name == name);
    if changed.is_some_and(|changed| !changed.is_empty() && changed != status)
        || within.own().iter().any(|item| item.name.ends_with("_pass") || matches!(&*item.name, "if" | "rewrite"))
    {
        return None;
    }
    let Some(answer) = own("return") else {
        let is_file = uri.starts_with('/') && changed.is_none();
        return file(within, uri).filter(|_| is_file).map(Page::File);
    };
    let text = resolved(answer.args.get(1)?, within);
    let is_error = answer.arg(0).parse::<u16>().is_ok_and(|own| own >= 400);
    let is_kept = is_error && (changed.is_none() || answer.arg(0) == status);
    let has_variables = parts(&text).iter().any(|part| matches!(part, Part::Variable(_)));
    (is_kept && !has_variables && !text.is_empty()).then_some(Page::Text(text))
}
