//! What came of a step, as far as it can be compared between runs. Pure.

pub mod mask;
mod parts;

use std::collections::BTreeSet;

use http::HeaderMap;
use http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE};
use serde::{Deserialize, Serialize};
use unstick_proof::trial::pairs::journey::Values;
use unstick_proof::trial::pairs::mask::named;

use crate::journey::{Ignored, PathPart, Step, fill};

/// What came of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A response, with names where values of the run stand.
    Response(Seen),
    /// No response: why.
    Failed(String),
    /// The step lacked this value, which no response had brought.
    Lacking(String),
    /// It was not played: the step was not to be repeated any more.
    Skipped,
}

/// What can be compared of a response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its status; that of the handshake for a WebSocket.
    pub status: u16,
    /// Where it redirects to.
    pub location: Option<String>,
    /// The names of the cookies it sets.
    pub cookies: BTreeSet<String>,
    /// Its media type.
    pub content_type: Option<String>,
    /// Why its body broke off, if it did, or what was awaited and did not come.
    pub broken_off: Option<String>,
    /// Texts that it should contain and does not.
    pub lacks: Vec<String>,
    /// Its body, or the message that was awaited; if it is no text or too long, its length and a hash.
    pub body: String,
}

/// A response as it was received.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its status.
    pub status: http::StatusCode,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Body,
    /// Why the body broke off, if it did.
    pub broken_off: Option<String>,
}

/// A body as it was received.
#[derive(Debug, Clone)]
pub enum Body {
    /// Bytes, all of them.
    Whole(bytes::Bytes),
    /// Too many to keep: the first ones, their number, and a hash over all.
    Long(bytes::Bytes, u64, u64),
}

impl Body {
    /// Its bytes, or the first of them.
    pub fn bytes(&self) -> &bytes::Bytes {
        match self {
            Self::Whole(bytes) | Self::Long(bytes, ..) => bytes,
        }
    }
}

impl Outcome {
    /// What can be compared of a response to this step.
    pub fn of(received: &Received, step: &Step, values: &Values) -> Self {
        let headers = &received.headers;
        let is_ignored = |name: &str| {
            step.ignore.iter().any(|ignored| matches!(ignored, Ignored::Header(header) if header.as_str() == name))
        };
        let field = |name: http::HeaderName| {
            let value = headers.get(&name).filter(|_| !is_ignored(name.as_str()))?;
            Some(values.unfill(&String::from_utf8_lossy(value.as_bytes())))
        };
        let text = String::from_utf8_lossy(received.body.bytes());
        let lacks = |template: &&String| filled(template, values).is_ok_and(|wanted| !text.contains(&wanted));
        Self::Response(Seen {
            status: received.status.as_u16(),
            location: field(LOCATION),
            cookies: cookies(headers, step),
            content_type: field(CONTENT_TYPE),
            broken_off: received.broken_off.clone(),
            lacks: step.must_contain.iter().filter(lacks).cloned().collect(),
            body: body(&received.body, step, values),
        })
    }

    /// Whether no response came, or none that ended.
    pub fn has_no_end(&self) -> bool {
        match self {
            Self::Response(seen) => seen.broken_off.is_some(),
            Self::Failed(_) => true,
            Self::Lacking(_) | Self::Skipped => false,
        }
    }

    /// In a few words: its status, or why there is none.
    pub fn in_short(&self) -> String {
        match self {
            Self::Response(seen) => match (&seen.broken_off, seen.lacks.first()) {
                (Some(why), _) => format!("{}, {why}", seen.status),
                (None, Some(text)) => format!("{}, without {text:?}", seen.status),
                (None, None) => seen.status.to_string(),
            },
            Self::Failed(why) => format!("failed: {why}"),
            Self::Lacking(name) => format!("not sent: no response has brought {name}"),
            Self::Skipped => "not sent".into(),
        }
    }

    /// Everything that is compared, as text, for a comparison side by side.
    pub fn in_full(&self) -> String {
        let Self::Response(seen) = self else { return self.in_short() };
        let mut lines = vec![seen.status.to_string()];
        lines.extend(seen.location.as_ref().map(|location| format!("location: {location}")));
        lines.extend(seen.content_type.as_ref().map(|media_type| format!("content-type: {media_type}")));
        lines.extend(seen.cookies.iter().map(|name| format!("set-cookie: {name}")));
        lines.extend(seen.lacks.iter().map(|text| format!("(without {text:?})")));
        lines.push(String::new());
        lines.push(seen.body.clone());
        lines.extend(seen.broken_off.as_ref().map(|why| format!("({why})")));
        lines.join("\n")
    }
}

/// A text with the values of a run in its gaps.
///
/// # Errors
/// The name of a value that there is not.
pub fn filled(template: &str, values: &Values) -> Result<String, String> {
    fill(template, |name| values.get(name).map(str::to_owned))
}

/// The names of the cookies that a response sets.
fn cookies(headers: &HeaderMap, step: &Step) -> BTreeSet<String> {
    let fields = headers.get_all(SET_COOKIE).iter().filter_map(|field| field.to_str().ok());
    // A cookie that is taken back is not one that is set.
    let is_taken_back = |field: &str| {
        let field = field.to_ascii_lowercase();
        field.contains("max-age=0") || field.contains("expires=thu, 01 jan 1970")
    };
    let names = fields.filter_map(|field| {
        let name = field.split_once('=')?.0.trim();
        Some(if is_taken_back(field) { format!("{name} (taken back)") } else { name.to_owned() })
    });
    let is_ignored = |name: &String| {
        step.ignore
            .iter()
            .any(|ignored| matches!(ignored, Ignored::Cookie(cookie) if name.split(' ').next() == Some(cookie)))
    };
    names.filter(|name| !is_ignored(name)).collect()
}

/// A body with names where values of the run stand, and without what is ignored.
fn body(body: &Body, step: &Step, values: &Values) -> String {
    if step.ignore.iter().any(|ignored| matches!(ignored, Ignored::Body)) {
        return String::new();
    }
    let bytes = match body {
        Body::Whole(bytes) => bytes,
        Body::Long(_, length, hash) => return format!("{length} bytes, {hash:016x}"),
    };
    let Ok(text) = std::str::from_utf8(bytes) else { return digest(bytes) };
    let mut text = text.to_owned();
    for ignored in &step.ignore {
        match ignored {
            Ignored::Json(path) => {
                if let Ok(mut json) = serde_json::from_str(&text) {
                    remove(&mut json, &path.0);
                    text = json.to_string();
                }
            }
            Ignored::Regex(regex) => text = regex.replace_all(&text, "").into_owned(),
            Ignored::Header(_) | Ignored::Cookie(_) | Ignored::Body => {}
        }
    }
    named(&text, values)
}

/// Takes everything at a path out of JSON.
fn remove(json: &mut serde_json::Value, path: &[PathPart]) {
    use serde_json::Value;
    let Some((part, rest)) = path.split_first() else {
        *json = Value::Null;
        return;
    };
    match (json, part) {
        (Value::Object(map), PathPart::Key(key)) if rest.is_empty() => _ = map.remove(key),
        (Value::Object(map), PathPart::Key(key)) => map.get_mut(key).into_iter().for_each(|json| remove(json, rest)),
        (Value::Object(map), PathPart::Any) => map.values_mut().for_each(|json| remove(json, rest)),
        (Value::Array(all), PathPart::Index(index)) => {
            all.get_mut(*index).into_iter().for_each(|json| remove(json, rest));
        }
        (Value::Array(all), PathPart::Any) => all.iter_mut().for_each(|json| remove(json, rest)),
        _ => {}
    }
}

/// The length of bytes, and a hash.
fn digest(bytes: &[u8]) -> String {
    let mut hash = Hash::default();
    hash.add(bytes);
    format!("{} bytes, {:016x}", bytes.len(), hash.value())
}

/// A hash over bytes that come in parts: FNV-1a, which is the same however they are cut.
#[derive(Debug, Clone, Copy)]
pub struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    /// Goes on with these bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    }

    /// The hash so far.
    pub fn value(self) -> u64 {
        self.0
    }
}
