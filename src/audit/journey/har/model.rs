//! What is read of an HTTP Archive (HAR 1.2), as Chromium and Firefox write it. Everything else in it is passed over.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, Visitor};

/// The most bytes of a body that are looked at; of a longer one none.
const BODY_BYTES_MAX: usize = 4 << 20;

#[derive(Deserialize)]
pub(super) struct Archive {
    pub(super) log: Log,
}

#[derive(Deserialize)]
pub(super) struct Log {
    pub(super) entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    #[serde(default)]
    pub(super) started_date_time: Option<String>,
    pub(super) request: Request,
    pub(super) response: Response,
    /// Chromium: `document`, `xhr`, `fetch`, `websocket`, `preflight`, `image`...
    #[serde(default, rename = "_resourceType")]
    pub(super) resource_type: Option<String>,
    /// Chromium: `memory` or `disk` if the request was never sent.
    #[serde(default, rename = "_fromCache")]
    pub(super) from_cache: Option<IgnoredAny>,
    /// Chromium: what was said on a WebSocket.
    #[serde(default, rename = "_webSocketMessages")]
    pub(super) messages: Option<Vec<Message>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) url: String,
    #[serde(default)]
    pub(super) headers: Vec<Field>,
    #[serde(default)]
    pub(super) post_data: Option<PostData>,
}

#[derive(Deserialize)]
pub(super) struct Field {
    pub(super) name: String,
    #[serde(default)]
    pub(super) value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PostData {
    #[serde(default)]
    pub(super) mime_type: String,
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) params: Option<Vec<Param>>,
    /// Not in HAR 1.2, but written by some: `base64`.
    #[serde(default, alias = "_encoding")]
    pub(super) encoding: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Param {
    pub(super) name: String,
    #[serde(default)]
    pub(super) value: Option<String>,
    #[serde(default)]
    pub(super) file_name: Option<String>,
    #[serde(default)]
    pub(super) content_type: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Response {
    /// 0 if there was none.
    #[serde(default)]
    pub(super) status: i64,
    #[serde(default)]
    pub(super) headers: Vec<Field>,
    #[serde(default)]
    pub(super) content: Content,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Content {
    #[serde(default)]
    pub(super) mime_type: Option<String>,
    #[serde(default)]
    pub(super) text: Text,
    #[serde(default)]
    pub(super) encoding: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Message {
    /// `send` or `receive`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// 1 for text.
    #[serde(default)]
    pub(super) opcode: f64,
    #[serde(default)]
    pub(super) data: String,
}

/// The text of a body, if it has at most [`BODY_BYTES_MAX`]: an archive with videos in it takes no more memory.
#[derive(Default)]
pub(super) struct Text(pub(super) Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Bounded)
    }
}

struct Bounded;

impl Visitor<'_> for Bounded {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text of a body")
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text((text.len() <= BODY_BYTES_MAX).then(|| text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Text, E> {
        Ok(Text(None))
    }
}

impl Request {
    /// The first field of this name.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        field(&self.headers, name)
    }
}

impl Response {
    /// The media type without its parameters, in small letters. A response that was not read has none.
    pub(super) fn media_type(&self) -> String {
        let known = self.content.mime_type.as_deref().filter(|kind| !kind.is_empty() && *kind != "x-unknown");
        media_type(known.or_else(|| field(&self.headers, "content-type")).unwrap_or_default())
    }
}

/// A media type without its parameters, in small letters.
pub(super) fn media_type(text: &str) -> String {
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn field<'a>(fields: &'a [Field], name: &str) -> Option<&'a str> {
    fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value.as_str())
}
