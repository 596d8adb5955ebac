//! Exchanges that a proxy has seen, instead of an archive.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode};

use super::choose::choose;
use super::model::{Content, Entry, Field, Message, PostData, Request, Response, Text};
use super::{Imported, imported};

/// A request and its response, as a proxy has seen them.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// The method of the request.
    pub method: Method,
    /// Its target in origin form.
    pub target: String,
    /// Its fields.
    pub fields: HeaderMap,
    /// Its content.
    pub content: Bytes,
    /// Texts that were sent on it, if it opened a WebSocket.
    pub sent: Vec<String>,
    /// The status of the response.
    pub status: StatusCode,
    /// Its fields.
    pub response_fields: HeaderMap,
    /// Its content, not compressed.
    pub response_content: Bytes,
}

/// Makes a journey of what was recorded at `host`, in the order of time, as of an archive. `None` if nothing of it
/// makes a step.
pub fn from_recorded(name: &str, host: &str, exchanges: Vec<Recorded>) -> Option<Imported> {
    imported(name, "", choose(exchanges.into_iter().map(|exchange| entry(host, exchange)).collect())?)
}

fn entry(host: &str, exchange: Recorded) -> Entry {
    let Recorded { method, target, fields, content, sent, status, response_fields, response_content } = exchange;
    let mime_type = fields.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (text, encoding) = text(&content);
    let post = PostData { mime_type, text: Some(text), params: None, encoding };
    let message = |data| Message { kind: "send".to_owned(), opcode: 1.0, data };
    let messages: Vec<_> = sent.into_iter().map(message).collect();
    let (text, encoding) = text_of_response(&response_content);
    Entry {
        started_date_time: None,
        request: Request {
            method: method.to_string(),
            url: format!("http://{host}{target}"),
            headers: self::fields(&fields),
            post_data: (!content.is_empty()).then_some(post),
        },
        response: Response {
            status: i64::from(status.as_u16()),
            headers: self::fields(&response_fields),
            content: Content { mime_type: None, text, encoding },
        },
        resource_type: None,
        from_cache: None,
        messages: (!messages.is_empty()).then_some(messages),
    }
}

/// A content as an archive has it: text, or Base64.
fn text(content: &Bytes) -> (String, Option<String>) {
    match std::str::from_utf8(content) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (STANDARD.encode(content), Some("base64".to_owned())),
    }
}

fn text_of_response(content: &Bytes) -> (Text, Option<String>) {
    let (text, encoding) = text(content);
    (Text(Some(text)), encoding)
}

fn fields(map: &HeaderMap) -> Vec<Field> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    map.iter().map(|(name, value)| Field { name: name.to_string(), value: text(value.as_bytes()) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journey::{Remarks, read, write};

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_proxy_can_record() {
        let html = fields(&[("content-type", "text/html"), ("set-cookie", "sid=abc1234; Path=/")]);
        let form = fields(&[("content-type", "application/x-www-form-urlencoded"), ("cookie", "sid=abc1234")]);
        let exchanges = vec![
            Recorded {
                target: "/login".into(),
                response_fields: html,
                response_content: "<input name=\"csrf\" value=\"t0k-99\">".into(),
                ..Recorded::default()
            },
            Recorded {
                method: Method::POST,
                target: "/login".into(),
                fields: form,
                content: "csrf=t0k-99".into(),
                status: StatusCode::FOUND,
                ..Recorded::default()
            },
            Recorded {
                method: Method::PUT,
                target: "/photo".into(),
                fields: fields(&[("content-type", "image/png")]),
                content: Bytes::from_static(&[0, 255]),
                ..Recorded::default()
            },
            Recorded {
                target: "/ws".into(),
                fields: fields(&[("upgrade", "websocket"), ("sec-websocket-key", "x")]),
                sent: vec!["hello".into()],
                status: StatusCode::SWITCHING_PROTOCOLS,
                ..Recorded::default()
            },
        ];
        let imported = from_recorded("journey.toml", "127.0.0.1:3000", exchanges).unwrap();
        let text = write(&imported.journey, &Remarks::default());
        let expected = r#"name = "journey"

[[step]]
name = "GET /login"
request = "GET /login"
capture = { csrf = 'regex:name="csrf" value="([^"]+)"' }

[[step]]
name = "POST /login"
request = "POST /login"
form = { csrf = "{{csrf}}" }

[[step]]
name = "PUT /photo"
request = "PUT /photo"
headers = { content-type = "image/png" }
base64 = "AP8="

[[step]]
name = "WebSocket /ws"
websocket = "/ws"
send = ["hello"]
"#;
        assert_eq!((text.as_str(), imported.host.as_str()), (expected, "127.0.0.1:3000"));
        assert_eq!(imported.remarks.head.first().map(String::as_str), Some("recorded at 127.0.0.1:3000"));
        assert!(read("journey.toml", &text).is_ok());
        assert!(from_recorded("journey.toml", "a.b", Vec::new()).is_none());
    }
}
