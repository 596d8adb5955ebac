//! The keys of a route that say what becomes of its requests.

use http::{HeaderName, StatusCode};
use unstick_reading::{Section, Value};

use super::key::{Kind, Shown};
use super::kinds::{FilePath, list, quoted};
use super::model::{Content, ErrorPages, FieldEdits, Page, Redirect, Respond, Rewrite, Share, Target, Template};
use super::{path, values};

/// The largest weight of a pool in a split.
const WEIGHT_MAX: u64 = 1000;
/// The most characters of a response that stands in the file.
const BODY_MAX: usize = 64 * 1024;

/// `pool`, `split`, `respond` or `redirect`: one of them.
pub(super) struct TargetKeys;

impl Kind<Target> for TargetKeys {
    fn read(&self, section: &Section<'_>, _: &'static str) -> Option<Target> {
        let written: Vec<(&str, Value<'_>)> = ["pool", "split", "respond", "redirect"]
            .into_iter()
            .filter_map(|key| Some((key, section.get(key)?)))
            .collect();
        if let [(first, _), (_, second), ..] = written.as_slice() {
            second.report(
                format!("{} in a route that has {first}", second.key),
                Some("a route leads to one of pool, split, respond and redirect".to_owned()),
            );
        }
        match written.first()? {
            ("pool", value) => value.parsed(values::name).map(Target::Pool),
            ("split", value) => shares(value).map(Target::Split),
            ("respond", _) => respond(&section.section("respond")?).map(Target::Respond),
            _ => redirect(&section.section("redirect")?).map(Target::Redirect),
        }
    }

    fn show(&self, _: &str, target: &Target, shown: &mut Shown) {
        match target {
            Target::Pool(name) => shown.add("pool", quoted(name)),
            Target::Split(shares) => shown.within("split", |shown| {
                shares.iter().for_each(|share| shown.add(&share.pool, share.weight.to_string()));
            }),
            Target::Respond(Respond { status, content, content_type }) => shown.within("respond", |shown| {
                shown.add("status", status.as_u16().to_string());
                show_content(content, content_type, shown);
            }),
            Target::Redirect(Redirect { to, status }) => shown.within("redirect", |shown| {
                shown.add("to", quoted(&to.to_string()));
                shown.add("status", status.as_u16().to_string());
            }),
        }
    }
}

/// `{ app = 95, next = 5 }`.
fn shares(value: &Value<'_>) -> Option<Vec<Share>> {
    let mut shares = Vec::new();
    for (pool, weight) in value.entries()? {
        let number =
            weight.integer().and_then(|number| u64::try_from(number).ok()).filter(|number| *number <= WEIGHT_MAX);
        match number {
            Some(number) => shares.push(Share { pool: pool.to_owned(), weight: number as u32 }),
            None => weight.report(format!("{} must be a whole number from 0 to {WEIGHT_MAX}", weight.key), None),
        }
    }
    if shares.iter().all(|share| share.weight == 0) {
        let help = "write split = { app = 95, next = 5 }, with the names of pools and their weights";
        value.report(format!("{} has no pool with a weight", value.key), Some(help.to_owned()));
        return None;
    }
    Some(shares)
}

fn respond(section: &Section<'_>) -> Option<Respond> {
    let status = section.integer("status", 200..=599).unwrap_or(200);
    let status = StatusCode::from_u16(status as u16).ok()?;
    let Page { content, content_type } = page(section)?;
    section.finish();
    let has_content = content != Content::Text(String::new());
    if has_content && matches!(status.as_u16(), 204 | 205 | 304) {
        let message = format!("a response {} has no content", status.as_u16());
        section.sink.report(section.span.clone(), message, Some("leave out the body, or take another status".into()));
    }
    Some(Respond { status, content, content_type })
}

/// `body` or `body_file`, and `content_type`.
fn page(section: &Section<'_>) -> Option<Page> {
    let (text, file) = (section.parsed("body", body), FilePath.read(section, "body_file"));
    let content_type = section.parsed_or("content_type", "text/plain; charset=utf-8".to_owned(), media_type);
    if let (Some(_), Some(value)) = (&text, section.get("body_file")) {
        value.report(format!("{} beside body", value.key), Some("leave out one of the two".to_owned()));
    }
    let content = file.map_or_else(|| Content::Text(text.unwrap_or_default()), Content::File);
    Some(Page { content, content_type: content_type? })
}

fn show_content(content: &Content, content_type: &str, shown: &mut Shown) {
    match content {
        Content::Text(text) => shown.add("body", quoted(text)),
        Content::File(file) => FilePath.show("body_file", file, shown),
    }
    shown.add("content_type", quoted(content_type));
}

/// `errors = { 503 = { body_file = "maintenance.html", content_type = "text/html" } }`.
pub(super) struct Pages;

impl Kind<ErrorPages> for Pages {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<ErrorPages> {
        let mut pages = ErrorPages::new();
        for (status, value) in section.get(key)?.entries()? {
            let number = status.parse().ok().filter(|status| (400..=599).contains(status));
            if number.is_none() {
                let help = "write a status from 400 to 599, as in 503 = { body_file = \"sorry.html\" }";
                value.report(format!("`{status}` is not the status of an error"), Some(help.to_owned()));
            }
            let Some(table) = value.table() else { continue };
            let table = Section::new(&value.key, "errors.*", table, value.span.clone(), value.sink);
            let page = page(&table);
            table.finish();
            pages.extend(number.zip(page));
        }
        Some(pages)
    }

    fn show(&self, key: &str, pages: &ErrorPages, shown: &mut Shown) {
        shown.within(key, |shown| {
            for (status, Page { content, content_type }) in pages {
                shown.within(&status.to_string(), |shown| show_content(content, content_type, shown));
            }
        });
    }
}

fn body(text: &str) -> Result<String, String> {
    if text.len() <= BODY_MAX {
        return Ok(text.to_owned());
    }
    Err(format!(
        "a text of {} bytes is too long to stand here; write it to a file and name that as body_file",
        text.len()
    ))
}

/// What can stand in `Content-Type`.
fn media_type(text: &str) -> Result<String, String> {
    let (kind, rest) = text.split_once('/').unwrap_or_default();
    let is_value = !kind.is_empty() && !rest.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_value { Ok(text.to_owned()) } else { Err(format!("`{text}` is not a media type; write \"text/html\"")) }
}

fn redirect(section: &Section<'_>) -> Option<Redirect> {
    let to = section.parsed("to", destination);
    let status = section.integer("status", 301..=308).unwrap_or(308);
    section.finish();
    section.missing(
        "to",
        section.span.clone(),
        "this redirect leads nowhere",
        "add to = \"https://{host}{path}{?query}\"",
    );
    if !matches!(status, 301 | 302 | 303 | 307 | 308)
        && let Some(value) = section.get("status")
    {
        value.report(
            format!("{status} is not the status of a redirect"),
            Some("308 and 307 keep the method, for good and for now; 301, 302 and 303 may not".to_owned()),
        );
    }
    Some(Redirect { to: to?, status: StatusCode::from_u16(status as u16).ok()? })
}

/// Where a redirect leads: a URL, or a path of the same host. A value that begins with the client's path could be
/// another host otherwise (`//evil.example`); see `proxy::local`.
fn destination(text: &str) -> Result<Template, String> {
    let template = field_value(text)?;
    let begins = ["http://", "https://", "{scheme}://", "/", "{path}"];
    if !begins.iter().any(|begin| text.starts_with(begin)) || text.starts_with("//") {
        return Err(format!(
            "`{text}` is no place to go to; write \"https://{{host}}{{path}}{{?query}}\" or \"/path\""
        ));
    }
    // A path begins with a slash, whatever it is.
    let end = |rest: &str| ["/", "?", "{path}", "{?query}"].iter().filter_map(|end| rest.find(end)).min();
    let authority = text.split_once("://").map(|(_, rest)| rest.get(..end(rest).unwrap_or(rest.len())).unwrap_or(rest));
    if authority.is_some_and(|authority| authority.is_empty() || authority.replace("{host}", "").contains('{')) {
        return Err(format!("`{text}` does not say which host; write \"https://{{host}}{{path}}{{?query}}\""));
    }
    if text.contains(' ') {
        return Err(format!("`{text}` has a space, which no URL may have; write \"%20\""));
    }
    Ok(template)
}

/// A value of a header field, with variables. Whatever a client sends, no variable can bring a control character.
fn field_value(text: &str) -> Result<Template, String> {
    if text.bytes().any(|byte| !(b' '..=b'~').contains(&byte) && byte != b'\t') {
        return Err("the value of a header field has visible ASCII characters only; encode others".to_owned());
    }
    if text.trim() != text {
        return Err("the value of a header field neither begins nor ends with a space; leave it out".to_owned());
    }
    Template::new(text)
}

/// `strip_prefix` or `replace_prefix`.
pub(super) struct RewriteKeys;

impl Kind<Option<Rewrite>> for RewriteKeys {
    fn read(&self, section: &Section<'_>, _: &'static str) -> Option<Option<Rewrite>> {
        let strip = section.get("strip_prefix");
        if let (Some(_), Some(value)) = (&strip, section.get("replace_prefix")) {
            value.report(format!("{} beside strip_prefix", value.key), Some("leave out one of the two".to_owned()));
        }
        if let Some(value) = strip {
            let from = value.parsed(prefix)?;
            return Some(Some(Rewrite { from, to: "/".to_owned() }));
        }
        let table = section.section("replace_prefix")?;
        let (from, to) = (table.parsed("from", prefix), table.parsed("to", prefix));
        table.finish();
        for (key, value) in [("from", &from), ("to", &to)] {
            if value.is_none() {
                let message = format!("{} has no {key}", table.name);
                table.missing(
                    key,
                    table.span.clone(),
                    &message,
                    "write replace_prefix = { from = \"/api\", to = \"/v1\" }",
                );
            }
        }
        Some(Some(Rewrite { from: from?, to: to? }))
    }

    fn show(&self, _: &str, value: &Option<Rewrite>, shown: &mut Shown) {
        match value {
            None => {}
            Some(Rewrite { from, to }) if to == "/" => shown.add("strip_prefix", quoted(from)),
            Some(Rewrite { from, to }) => shown.within("replace_prefix", |shown| {
                shown.add("from", quoted(from));
                shown.add("to", quoted(to));
            }),
        }
    }
}

/// A path in its normal form, without a final slash.
fn prefix(text: &str) -> Result<String, String> {
    let encoded = values::origin_form(text)?;
    if encoded.contains('?') {
        return Err(format!("a prefix has no query: `{text}`"));
    }
    let normal = path::normal(&encoded);
    let bare = normal.trim_end_matches('/');
    Ok(if bare.is_empty() { "/".to_owned() } else { bare.to_owned() })
}

/// Of which message the fields are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    Request,
    Response,
}

/// `{ set = {...}, add = {...}, remove = [...] }`.
pub(super) struct Edits(pub(super) Message);

impl Kind<FieldEdits> for Edits {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<FieldEdits> {
        let section = section.section(key)?;
        let [set, add] = ["set", "add"].map(|key| self.values(&section, key));
        let names = section.get("remove").and_then(|value| value.array()).unwrap_or_default();
        let remove = names.iter().filter_map(|name| name.parsed(|text| self.name(text, "remove"))).collect();
        section.finish();
        Some(FieldEdits { remove, set, add })
    }

    fn show(&self, key: &str, value: &FieldEdits, shown: &mut Shown) {
        let FieldEdits { remove, set, add } = value;
        shown.within(key, |shown| {
            if !remove.is_empty() {
                shown.add("remove", list(remove.iter().map(|name| quoted(name.as_str()))));
            }
            for (key, values) in [("set", set), ("add", add)] {
                shown.within(key, |shown| {
                    values.iter().for_each(|(name, value)| shown.add(name.as_str(), quoted(&value.to_string())));
                });
            }
        });
    }
}

impl Edits {
    fn values(&self, section: &Section<'_>, key: &'static str) -> Vec<(HeaderName, Template)> {
        let entries = section.get(key).and_then(|value| value.entries()).unwrap_or_default();
        let read = |(name, value): &(&str, Value<'_>)| {
            let name = value.checked(self.name(name, key));
            name.zip(value.parsed(field_value))
        };
        entries.iter().filter_map(read).collect()
    }

    /// A field that does not belong to the connection, or say where the message ends.
    fn name(&self, text: &str, key: &str) -> Result<HeaderName, String> {
        const OF_CONNECTION: [&str; 10] = [
            "connection",
            "transfer-encoding",
            "content-length",
            "te",
            "trailer",
            "upgrade",
            "keep-alive",
            "proxy-connection",
            "http2-settings",
            "expect",
        ];
        let name = values::field_name(text)?;
        if OF_CONNECTION.contains(&name.as_str()) {
            return Err(format!("`{name}` belongs to the connection, or says where the message ends; leave it out"));
        }
        if name == http::header::HOST && self.0 == Message::Request && key != "set" {
            return Err("a request has one `host`; write it in set".to_owned());
        }
        Ok(name)
    }
}
