//! `errorfile`, and fixed responses: whole responses with their heads, of which unstick writes the head itself.

use std::path::Path;

use super::grammar::Line;
use super::{Importer, Proxy, left};
use crate::files;
use crate::imported::{At, Keys, LeftOut};
use crate::value::Value;

/// The longest text that may stand in unstick.toml, in bytes.
const BODY_MAX: usize = 64 << 10;

/// A response that a file holds.
#[derive(Debug, PartialEq, Eq)]
struct Page {
    status: i64,
    content_type: String,
    body: String,
}

/// The response in a text; nothing if it is none.
fn page(text: &str) -> Option<Page> {
    let (head, body) = text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n"))?;
    let mut lines = head.lines();
    let status = lines.next()?.strip_prefix("HTTP/")?.split(' ').nth(1)?.parse().ok()?;
    let content_type = lines.filter_map(|line| line.split_once(':'));
    let mut content_type = content_type.filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let content_type = content_type.next().map_or("text/html", |(_, value)| value.trim()).to_owned();
    (body.len() <= BODY_MAX).then(|| Page { status, content_type, body: body.to_owned() })
}

impl Page {
    /// `body` and `content_type`.
    fn keys(self) -> Keys {
        let mut keys = Keys::default();
        keys.set("body", self.body);
        keys.set("content_type", self.content_type);
        keys
    }
}

impl<'t> Importer<'t> {
    /// The pages of errors of a section, by status.
    pub(super) fn error_pages(&mut self, proxy: &Proxy<'t>) -> Vec<(i64, Keys)> {
        let mut pages: Vec<(i64, Keys)> = Vec::new();
        for line in proxy.all("errorfile") {
            let Some(page) = self.page_of(line, line.word(2)) else { continue };
            let status = line.word(1).parse().unwrap_or(page.status);
            pages.retain(|(known, _)| *known != status);
            pages.push((status, page.keys()));
        }
        pages
    }

    /// What clients see instead of errors of unstick, in a route to a pool.
    pub(super) fn errors(&mut self, pages: Vec<(i64, Keys)>, keys: &mut Keys) {
        let mut errors = Keys::default();
        let has_own = pages.iter().any(|(status, _)| *status == 502);
        for (status, page) in pages.into_iter().filter(|(status, _)| (400..600).contains(status)) {
            // A replica that accepts no connection is a 503 there, and a 502 here.
            if status == 503 && !has_own {
                errors.set("502", Value::Table(page.clone()));
            }
            errors.set(status.to_string(), Value::Table(page));
        }
        if !errors.is_empty() {
            keys.set("errors", Value::Table(errors));
        }
    }

    /// The page in a file, which is noted if there is none.
    fn page_of(&mut self, line: &Line, written: &str) -> Option<Page> {
        let text = files::read(&self.folder.join(Path::new(written)));
        let found = text.as_ref().ok().and_then(|text| page(text));
        if found.is_none() {
            let why = match text {
                Ok(_) => "this file is no response of HTTP that could stand in unstick.toml",
                Err(_) => "this file cannot be read here",
            };
            self.out.leave_out(left(line, why, "write its body to a file, and name that in [errors]"));
        }
        found
    }

    /// What `http-request return` and `deny` say of the response: `respond`, and `response_headers`.
    pub(super) fn response(&mut self, line: &Line, words: &[String], status: i64) -> Keys {
        let (mut respond, mut keys) = (Keys::default(), Keys::default());
        respond.set("status", status);
        let mut words = words.iter().map(String::as_str);
        let mut note = |why: &str| {
            let what_to_do = "write `respond` with what it says";
            self.out.leave_out(LeftOut { at: At::Top, ..left(line, why, what_to_do) });
        };
        let mut file = None;
        while let Some(word) = words.next() {
            let mut next = || words.next().unwrap_or_default();
            match word {
                "status" | "deny_status" => respond.set("status", next().parse::<i64>().unwrap_or(status)),
                "content-type" => respond.set("content_type", next()),
                "string" => respond.set("body", next()),
                "lf-string" => match next() {
                    text if text.contains('%') => note("a fixed body has no variables, so it is empty"),
                    text => respond.set("body", text),
                },
                "file" => file = Some(next().to_owned()),
                "errorfile" | "lf-file" | "errorfiles" => {
                    next();
                    note("the body of this response is not read, so it is empty");
                }
                "hdr" => {
                    let (name, value) = (next().to_ascii_lowercase(), words.next().unwrap_or_default());
                    match super::template::template(value, &[]) {
                        Ok(value) => keys.set_within("response_headers", "set", &name, &value),
                        Err(why) => note(why),
                    }
                }
                _ => {}
            }
        }
        if let Some(file) = file {
            respond.set("body_file", self.file(&file));
        }
        let has_body = respond.get("body").is_some_and(|body| body.text() != Some(""));
        if !has_body {
            respond.remove("body");
        }
        if !has_body && respond.get("body_file").is_none() {
            respond.remove("content_type");
        }
        keys.set("respond", Value::Table(respond));
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_taken_from_whole_responses() {
        let found =
            page("HTTP/1.0 503 Gone\r\nContent-Type: text/plain\r\nCache-Control: no-cache\r\n\r\nback\nsoon\n");
        let expected = Page { status: 503, content_type: "text/plain".to_owned(), body: "back\nsoon\n".to_owned() };
        assert_eq!(found, Some(expected));
        assert_eq!(page("HTTP/1.1 400 x\n\nno").map(|page| page.content_type).as_deref(), Some("text/html"));
        for text in ["", "<html>", "HTTP/1.1\n\nx", "HTTP/1.1 400 x\nno end"] {
            assert_eq!(page(text), None, "{text}");
        }
    }
}
