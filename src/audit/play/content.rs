//! A request as it is sent, made from one of the journey and the values of the run.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, HOST};
use http::{HeaderValue, Request};
use unstick_proof::trial::pairs::journey::{UNIQUE, Unmade, Values};

use crate::journey::{self, Content, Part, fill_json, fill_target};
use crate::outcome::filled;

/// The request with its gaps filled, for a host, with the cookies of its actor.
///
/// # Errors
/// A value is missing, or does not fit where it stands.
pub(super) fn request(
    asked: &journey::Request,
    values: &Values,
    host: &str,
    cookie: Option<String>,
) -> Result<Request<Bytes>, Unmade> {
    let invalid = |what: &str, error: &dyn std::error::Error| Unmade::Invalid(format!("{what}: {error}"));
    let target = fill_target(&asked.target, |name| values.get(name).map(str::to_owned)).map_err(Unmade::Missing)?;
    let (body, media_type) = content(&asked.content, values)?;
    let mut request = Request::builder().method(&asked.method).uri(&target);
    request = request.header(HOST, host);
    for (name, value) in &asked.fields {
        let value = HeaderValue::try_from(fill(value, values)?).map_err(|error| invalid(name.as_str(), &error))?;
        request = request.header(name, value);
    }
    if let Some(media_type) = media_type.filter(|_| asked.fields.iter().all(|(name, _)| name != CONTENT_TYPE)) {
        request = request.header(CONTENT_TYPE, media_type);
    }
    if let Some(cookie) = cookie {
        request = request.header(COOKIE, cookie);
    }
    request.body(body).map_err(|error| invalid(&target, &error))
}

/// The bytes of a content, and their media type, if they bring one.
fn content(content: &Content, values: &Values) -> Result<(Bytes, Option<String>), Unmade> {
    Ok(match content {
        Content::None => (Bytes::new(), None),
        Content::Text(text) => (fill(text, values)?.into(), None),
        Content::Bytes(bytes) => (bytes.clone(), None),
        Content::Json(json) => {
            let json = fill_json(json, &|name: &str| values.get(name).map(str::to_owned)).map_err(Unmade::Missing)?;
            (json.to_string().into(), Some("application/json".into()))
        }
        Content::Form(pairs) => {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            for (name, value) in pairs {
                form.append_pair(name, &fill(value, values)?);
            }
            (form.finish().into(), Some("application/x-www-form-urlencoded".into()))
        }
        Content::Multipart(parts) => {
            let boundary = boundary(values)?;
            (multipart(parts, &boundary, values)?, Some(format!("multipart/form-data; boundary={boundary}")))
        }
    })
}

fn fill(template: &str, values: &Values) -> Result<String, Unmade> {
    filled(template, values).map_err(Unmade::Missing)
}

/// A line that no content contains: it is as long as may be, and different in every run (RFC 2046 section 5.1.1).
fn boundary(values: &Values) -> Result<String, Unmade> {
    let unique = values.get(UNIQUE).ok_or_else(|| Unmade::Missing(UNIQUE.to_owned()))?;
    let text = BASE64_STANDARD_NO_PAD.encode(unique).replace(['+', '/'], "-");
    Ok(format!("----unstick-{}", &text[..text.len().min(48)]))
}

fn multipart(parts: &[Part], boundary: &str, values: &Values) -> Result<Bytes, Unmade> {
    // As browsers do (HTML Standard, "multipart form data").
    let quoted = |text: &str| text.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
    let mut body = String::new();
    for part in parts {
        body.push_str(&format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", quoted(&part.name)));
        if let Some(name) = &part.filename {
            body.push_str(&format!("; filename=\"{}\"", quoted(&fill(name, values)?)));
        }
        if let Some(media_type) = part.media_type.as_deref().or(part.filename.as_ref().map(|_| "text/plain")) {
            body.push_str(&format!("\r\nContent-Type: {media_type}"));
        }
        body.push_str(&format!("\r\n\r\n{}\r\n", fill(&part.content, values)?));
    }
    body.push_str(&format!("--{boundary}--\r\n"));
    Ok(body.into())
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;

    fn made(content: Content) -> Request<Bytes> {
        let asked = journey::Request {
            method: Method::POST,
            target: "/of/{{unique}}".into(),
            fields: vec![("x-user".parse().unwrap(), "{{unique}}".into())],
            content,
            follow: false,
        };
        request(&asked, &Values::of_run("u\"1&"), "app.test", Some("sid=1".into())).unwrap()
    }

    #[test]
    fn contents_are_written_as_their_media_types_say() {
        let form = Content::Form(vec![("a b".into(), "{{unique}}=".into())]);
        let json = Content::Json(json!({"a": ["{{unique}}", 1]}));
        for (content, media_type, body) in [
            (Content::None, None, ""),
            (Content::Text("hi {{unique}}".into()), None, "hi u\"1&"),
            (form, Some("application/x-www-form-urlencoded"), "a+b=u%221%26%3D"),
            (json, Some("application/json"), r#"{"a":["u\"1&",1]}"#),
        ] {
            let asked = format!("{content:?}");
            let values = Values::of_run("u\"1&");
            let (bytes, found) = super::content(&content, &values).unwrap();
            assert_eq!((found.as_deref(), &bytes[..]), (media_type, body.as_bytes()), "{asked}");
        }
    }

    #[test]
    fn parts_of_a_form_are_told_apart_by_a_line_of_their_own() {
        let part = |name: &str, filename: Option<&str>| Part {
            name: name.into(),
            filename: filename.map(str::to_owned),
            media_type: None,
            content: "hello".into(),
        };
        let asked = Content::Multipart(vec![part("a\"b", None), part("files", Some("x.txt"))]);
        let (body, media_type) = content(&asked, &Values::of_run("u1")).unwrap();
        let media_type = media_type.unwrap();
        let boundary = media_type.strip_prefix("multipart/form-data; boundary=").unwrap();
        let expected = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"a%22b\"\r\n\r\nhello\r\n--{boundary}\r\n\
             Content-Disposition: form-data; name=\"files\"; filename=\"x.txt\"\r\nContent-Type: text/plain\r\n\r\n\
             hello\r\n--{boundary}--\r\n"
        );
        assert_eq!(body, expected);
    }

    #[test]
    fn a_request_has_its_host_its_fields_and_its_cookies() {
        let err = |target: &str, value: &str| {
            let asked = journey::Request {
                method: Method::GET,
                target: target.into(),
                fields: vec![("x-user".parse().unwrap(), value.into())],
                content: Content::None,
                follow: false,
            };
            request(&asked, &Values::of_run("u1"), "app.test", None).unwrap_err().to_string()
        };
        let values = Values::of_run("u1");
        let asked = journey::Request {
            method: Method::GET,
            target: "/of/{{unique}}".into(),
            fields: vec![("x-user".parse().unwrap(), "{{unique}}".into())],
            content: Content::None,
            follow: false,
        };
        let request = request(&asked, &values, "app.test", Some("sid=1".into())).unwrap();
        assert_eq!(request.uri(), "/of/u1");
        let field = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        assert_eq!([field("host"), field("x-user"), field("cookie")], ["app.test", "u1", "sid=1"]);
        assert!(err("/a b", "1").starts_with("no request: /a b"));
        assert!(err("/", "\n").starts_with("no request: x-user"));
        assert_eq!(err("/{{id}}", "1"), "no response has brought id");
        assert!(made(Content::None).headers().get(CONTENT_TYPE).is_none());
    }
}
