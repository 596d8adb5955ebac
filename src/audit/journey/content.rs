//! The content of a request: one of `form`, `json`, `body`, `base64` and `multipart`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;
use http::header::CONTENT_TYPE;
use serde_json::{Number, Value as Json};
use toml::de::DeValue;
use unstick_reading::{Section, Value};

use super::texts::{Use, note, pairs, template};
use super::{Content, Part};

/// The keys, of which a request has one.
const KEYS: [&str; 5] = ["form", "json", "body", "base64", "multipart"];

/// Reads the content; what is wrong was reported.
pub(super) fn read(section: &Section<'_>, fields: &[(HeaderName, String)], uses: &mut Vec<Use>) -> Content {
    let given: Vec<_> = KEYS.iter().filter_map(|key| Some((*key, section.get(key)?))).collect();
    let Some((key, value)) = given.first() else { return Content::None };
    for (other, value) in given.get(1..).unwrap_or_default() {
        let help = "a request has one content: remove one of the two".to_owned();
        value.report(format!("`{key}` and `{other}` are in one request"), Some(help));
    }
    match *key {
        "form" => Content::Form(pairs(value, uses).into_iter().map(|pair| (pair.name, pair.text)).collect()),
        "json" => Content::Json(whole(value, uses).unwrap_or_default()),
        "body" => template(value, uses).map_or(Content::None, Content::Text),
        "base64" => value.parsed(base64).map_or(Content::None, |bytes| Content::Bytes(bytes.into())),
        _ => {
            if fields.iter().any(|(name, _)| name == CONTENT_TYPE) {
                let help = "leave it out: it says where the parts end, which is drawn for each request".to_owned();
                value.report("`multipart` brings its own content-type", Some(help));
            }
            Content::Multipart(section.each("multipart").iter().filter_map(|part| self::part(part, uses)).collect())
        }
    }
}

fn base64(text: &str) -> Result<Vec<u8>, String> {
    let bare: String = text.split_whitespace().collect();
    STANDARD.decode(bare).map_err(|error| format!("not Base64: {error}; write body = \"...\" if it is text"))
}

fn part(section: &Section<'_>, uses: &mut Vec<Use>) -> Option<Part> {
    let name = section.get("name").and_then(|value| value.string().map(str::to_owned));
    let filename = section.get("filename").and_then(|value| template(&value, uses));
    let media_type = section.parsed("type", media_type);
    let content = section.get("content").and_then(|value| template(&value, uses));
    section.finish();
    let help = "write { name = \"field\", filename = \"a.txt\", type = \"text/plain\", content = \"...\" }";
    for key in ["name", "content"] {
        let message = format!("a part has no {key}");
        // An empty one is there.
        if section.get(key).is_none() {
            section.missing(key, section.span.clone(), &message, help);
        }
    }
    Some(Part { name: name?, filename, media_type, content: content? })
}

fn media_type(text: &str) -> Result<String, String> {
    let is_type = text.split_once('/').is_some_and(|(kind, rest)| !kind.is_empty() && !rest.is_empty());
    if is_type && text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Ok(text.to_owned());
    }
    Err("not a media type; write one such as \"text/plain\"".to_owned())
}

/// JSON as TOML says it, or as a string that holds it: TOML has no null, and no list of pairs in their order.
fn whole(value: &Value<'_>, uses: &mut Vec<Use>) -> Option<Json> {
    let DeValue::String(text) = value.value else { return json(value, uses) };
    let read: Result<Json, _> = serde_json::from_str(text);
    let read = value.checked(read.map_err(|error| {
        let help = "write a table, or the whole text of the JSON; for a gap without quotes write it as body";
        format!("not JSON: {error}; {help}")
    }))?;
    note_all(&read, value, uses);
    Some(read)
}

/// Remembers the gaps of all strings.
fn note_all(json: &Json, value: &Value<'_>, uses: &mut Vec<Use>) {
    match json {
        Json::String(text) => note(text, &value.span, uses),
        Json::Array(elements) => elements.iter().for_each(|element| note_all(element, value, uses)),
        Json::Object(map) => map.values().for_each(|inner| note_all(inner, value, uses)),
        _ => {}
    }
}

fn json(value: &Value<'_>, uses: &mut Vec<Use>) -> Option<Json> {
    Some(match value.value {
        DeValue::String(text) => {
            note(text, &value.span, uses);
            Json::String(text.to_string())
        }
        DeValue::Boolean(boolean) => Json::Bool(*boolean),
        DeValue::Integer(_) | DeValue::Float(_) => Json::Number(number(value)?),
        DeValue::Datetime(datetime) => Json::String(datetime.to_string()),
        DeValue::Array(_) => {
            Json::Array(value.array()?.iter().map(|element| json(element, uses)).collect::<Option<_>>()?)
        }
        DeValue::Table(_) => {
            let entries = value.entries()?.into_iter();
            let entries = entries.map(|(key, inner)| Some((key.to_owned(), json(&inner, uses)?)));
            Json::Object(entries.collect::<Option<_>>()?)
        }
    })
}

fn number(value: &Value<'_>) -> Option<Number> {
    let number = match value.value {
        DeValue::Integer(integer) => {
            let (text, radix) = (integer.as_str(), integer.radix());
            let signed = i64::from_str_radix(text, radix).ok().map(Number::from);
            signed.or_else(|| u64::from_str_radix(text, radix).ok().map(Number::from))
        }
        DeValue::Float(float) => float.as_str().parse().ok().and_then(Number::from_f64),
        _ => None,
    };
    if number.is_none() {
        value.report(format!("{} is a number that JSON does not have", value.key), Some("write it as a string".into()));
    }
    number
}
