//! The content of a recorded request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::model::{Param, PostData, media_type};
use crate::journey::template::gaps;
use crate::journey::{Content, Part};

const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data";
const JSON: &str = "application/json";

/// A content, and the `Content-Type` that it needs beside it; none if it brings its own.
pub(super) struct Body {
    pub(super) content: Content,
    pub(super) content_type: Option<String>,
    /// Whether a file was sent whose bytes are not in the archive.
    pub(super) lacks_file: bool,
}

/// Reads what was sent; `content_type` is what the fields of the request say.
pub(super) fn read(post: &PostData, content_type: Option<&str>) -> Body {
    let full_type = content_type.unwrap_or(&post.mime_type);
    let whole = |content| Body { content, content_type: own_type(full_type), lacks_file: false };
    let text = post.text.as_deref().unwrap_or_default();
    if post.encoding.as_deref() == Some("base64") {
        return match STANDARD.decode(text) {
            Ok(bytes) => whole(Content::Bytes(bytes.into())),
            Err(_) => whole(Content::Text(text.to_owned())),
        };
    }
    let text = without_fields(text);
    let params = post.params.as_deref().unwrap_or_default();
    let found = match media_type(full_type).as_str() {
        FORM => form(text, params).map(|form| Body { content: form, content_type: None, lacks_file: false }),
        MULTIPART => multipart(text, params, full_type),
        kind if kind == JSON || kind.ends_with("+json") => serde_json::from_str(text).ok().map(|json| Body {
            content: Content::Json(json),
            content_type: own_type(full_type).filter(|_| kind != JSON),
            lacks_file: false,
        }),
        _ => None,
    };
    match found {
        Some(body) if !has_gaps(&body.content) => body,
        _ if text.is_empty() => whole(Content::None),
        // What looks like a gap would be filled.
        _ if gaps(text).next().is_some() => whole(Content::Bytes(text.as_bytes().to_vec().into())),
        _ => whole(Content::Text(text.to_owned())),
    }
}

fn own_type(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Older versions of Firefox write the fields of the content before it.
fn without_fields(text: &str) -> &str {
    let has_fields = text.get(..13).is_some_and(|start| start.eq_ignore_ascii_case("content-type:"));
    text.split_once("\r\n\r\n").filter(|_| has_fields).map_or(text, |(_, content)| content)
}

fn has_gaps(content: &Content) -> bool {
    match content {
        Content::None | Content::Text(_) | Content::Bytes(_) => false,
        Content::Json(json) => gaps(&json.to_string()).next().is_some(),
        Content::Form(form) => form.iter().any(|(_, value)| gaps(value).next().is_some()),
        Content::Multipart(parts) => {
            let texts = parts.iter().flat_map(|part| part.filename.iter().chain([&part.content]));
            texts.into_iter().any(|text| gaps(text).next().is_some())
        }
    }
}

/// The text is preferred: Chromium writes the parameters as they were sent, Firefox decoded.
fn form(text: &str, params: &[Param]) -> Option<Content> {
    if !text.is_empty() {
        return pairs(text).map(Content::Form);
    }
    let are_encoded = params.iter().any(|param| param.value.as_deref().unwrap_or_default().contains('%'))
        && params.iter().all(|param| is_encoded(&param.name) && is_encoded(param.value.as_deref().unwrap_or_default()));
    let form = params.iter().map(|param| {
        let (name, value) = (param.name.as_str(), param.value.as_deref().unwrap_or_default());
        if are_encoded { Some((decode(name)?, decode(value)?)) } else { Some((name.to_owned(), value.to_owned())) }
    });
    form.collect::<Option<_>>().map(Content::Form)
}

fn is_encoded(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"%+-_.*!'()~".contains(&byte)) && decode(text).is_some()
}

/// The pairs of a form or a query, decoded.
pub(super) fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode(name)?, decode(value)?))
    });
    pairs.collect()
}

/// Decodes `+` and percent-encoding, if text comes of it.
pub(super) fn decode(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = rest.get(2..)?;
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

fn multipart(text: &str, params: &[Param], content_type: &str) -> Option<Body> {
    let parts: Vec<Part> =
        if text.is_empty() { params.iter().map(from_param).collect() } else { parts(text, boundary(content_type)?)? };
    // Bytes that are no text are lost in an archive, and Chromium leaves files out.
    let lacks_file = parts.iter().any(|part| {
        part.filename.as_deref().is_some_and(|name| !name.is_empty())
            && (part.content.is_empty() || part.content.contains('\u{fffd}'))
    });
    (!parts.is_empty()).then_some(Body { content: Content::Multipart(parts), content_type: None, lacks_file })
}

fn from_param(param: &Param) -> Part {
    Part {
        name: param.name.clone(),
        filename: param.file_name.clone(),
        media_type: param.content_type.clone().filter(|kind| kind.contains('/')),
        content: param.value.clone().unwrap_or_default(),
    }
}

fn boundary(content_type: &str) -> Option<&str> {
    let at = content_type.to_ascii_lowercase().find("boundary=")?;
    let rest = content_type.get(at + "boundary=".len()..)?;
    Some(rest.split(';').next()?.trim().trim_matches('"')).filter(|boundary| !boundary.is_empty())
}

/// The parts of a multipart text (RFC 2046 section 5.1.1), if it is whole.
fn parts(text: &str, boundary: &str) -> Option<Vec<Part>> {
    let delimiter = format!("--{boundary}");
    let mut sections = text.split(delimiter.as_str());
    sections.next()?;
    let mut found = Vec::new();
    for section in sections {
        if section.starts_with("--") {
            return Some(found);
        }
        let section = section.strip_prefix("\r\n").or_else(|| section.strip_prefix('\n'))?;
        let (head, content) = section.split_once("\r\n\r\n").or_else(|| section.split_once("\n\n"))?;
        let content = content.strip_suffix("\r\n").or_else(|| content.strip_suffix('\n'))?;
        found.push(part(head, content)?);
    }
    None
}

fn part(head: &str, content: &str) -> Option<Part> {
    let field = |name: &str| {
        head.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let disposition = field("content-disposition")?;
    Some(Part {
        name: parameter(disposition, "name")?,
        filename: parameter(disposition, "filename"),
        media_type: field("content-type").map(str::to_owned).filter(|kind| kind.contains('/')),
        content: content.to_owned(),
    })
}

/// A parameter in quotes. Browsers write `"` in it as `%22` (HTML, "multipart/form-data encoding algorithm").
fn parameter(disposition: &str, name: &str) -> Option<String> {
    let start = disposition.find(&format!("; {name}=\""))? + name.len() + 4;
    Some(disposition.get(start..)?.split('"').next()?.replace("%22", "\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn post(value: serde_json::Value) -> PostData {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn contents_are_read() {
        let text = "--xY\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n2\r\n--xY\r\nContent-Disposition: \
            form-data; name=\"f\"; filename=\"x%22.txt\"\r\nContent-Type: text/plain\r\n\r\n\r\n--xY--\r\n";
        let part = |name: &str, filename: Option<&str>, kind: Option<&str>, content: &str| Part {
            name: name.into(),
            filename: filename.map(Into::into),
            media_type: kind.map(Into::into),
            content: content.into(),
        };
        let pairs = |pairs: &[(&str, &str)]| {
            Content::Form(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
        };
        let form = "application/x-www-form-urlencoded";
        for (given, content, content_type, lacks_file) in [
            (
                json!({ "mimeType": form, "text": "a=1+2&b=%C3%A9&a=" }),
                pairs(&[("a", "1 2"), ("b", "é"), ("a", "")]),
                None,
                false,
            ),
            (
                json!({ "mimeType": form, "text": format!("Content-Type: {form}\r\nContent-Length: 3\r\n\r\na=1") }),
                pairs(&[("a", "1")]),
                None,
                false,
            ),
            (
                json!({ "mimeType": form, "params": [{ "name": "a", "value": "x%40y" }] }),
                pairs(&[("a", "x@y")]),
                None,
                false,
            ),
            (
                json!({ "mimeType": form, "params": [{ "name": "a", "value": "5 % z" }] }),
                pairs(&[("a", "5 % z")]),
                None,
                false,
            ),
            (json!({ "mimeType": form, "text": "a=%FF" }), Content::Text("a=%FF".into()), Some(form), false),
            (json!({ "mimeType": form, "text": "a={{b}}" }), Content::Bytes("a={{b}}".into()), Some(form), false),
            (
                json!({ "mimeType": "application/json; charset=utf-8", "text": "{\"a\":null}" }),
                Content::Json(json!({ "a": null })),
                None,
                false,
            ),
            (
                json!({ "mimeType": "application/vnd.api+json", "text": "[1]" }),
                Content::Json(json!([1])),
                Some("application/vnd.api+json"),
                false,
            ),
            (
                json!({ "mimeType": "application/json", "text": "{" }),
                Content::Text("{".into()),
                Some("application/json"),
                false,
            ),
            (json!({ "mimeType": "text/plain", "text": "x" }), Content::Text("x".into()), Some("text/plain"), false),
            (
                json!({ "mimeType": "image/png", "text": "AAH/", "encoding": "base64" }),
                Content::Bytes(vec![0, 1, 255].into()),
                Some("image/png"),
                false,
            ),
            (
                json!({ "mimeType": "multipart/form-data; boundary=xY", "text": text }),
                Content::Multipart(vec![
                    part("a", None, None, "1\r\n2"),
                    part("f", Some("x\".txt"), Some("text/plain"), ""),
                ]),
                None,
                true,
            ),
            (
                json!({ "mimeType": "multipart/form-data", "params": [{ "name": "f", "value": "z", "fileName": "f.txt",
                    "contentType": "text/plain" }] }),
                Content::Multipart(vec![part("f", Some("f.txt"), Some("text/plain"), "z")]),
                None,
                false,
            ),
            (json!({ "mimeType": "" }), Content::None, None, false),
        ] {
            let body = read(&post(given.clone()), None);
            assert_eq!(format!("{:?}", body.content), format!("{content:?}"), "{given}");
            assert_eq!((body.content_type.as_deref(), body.lacks_file), (content_type, lacks_file), "{given}");
        }
    }
}
