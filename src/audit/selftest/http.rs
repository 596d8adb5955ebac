//! Requests as the applications read them, and their responses.

use std::io;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::store::is_name;

/// What an application responds with. An error is one of its store.
pub(super) type Responding = io::Result<Response<Full<Bytes>>>;

/// A request with its whole content.
pub(super) struct Asked(pub(super) Request<Bytes>);

impl Asked {
    pub(super) fn method(&self) -> &Method {
        self.0.method()
    }

    /// The parts of the path between slashes.
    pub(super) fn path(&self) -> Vec<&str> {
        self.0.uri().path().split('/').skip(1).collect()
    }

    /// A value of the query.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        pair(self.0.uri().query()?, '&', name).filter(|value| is_name(value))
    }

    /// A value of the form that was sent.
    pub(super) fn form(&self, name: &str) -> Option<&str> {
        pair(self.text()?, '&', name).filter(|value| is_name(value))
    }

    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        pair(self.field(COOKIE.as_str())?, ';', name).filter(|value| is_name(value))
    }

    pub(super) fn bearer(&self) -> Option<&str> {
        self.field(AUTHORIZATION.as_str())?.strip_prefix("Bearer ")
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name)?.to_str().ok()
    }

    /// The content, if it is text.
    pub(super) fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.0.body()).ok()
    }

    pub(super) fn content(&self) -> &[u8] {
        self.0.body()
    }
}

/// The value of a name in `name=value` pairs. Values are names, which need no encoding.
fn pair<'a>(pairs: &'a str, between: char, name: &str) -> Option<&'a str> {
    pairs.split(between).find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

pub(super) fn respond(
    status: StatusCode,
    media_type: &'static str,
    content: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(content.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

pub(super) fn text(status: StatusCode, content: impl Into<Bytes>) -> Responding {
    Ok(respond(status, "text/plain", content))
}

pub(super) fn data(status: StatusCode, value: &Value) -> Responding {
    Ok(respond(status, "application/json", value.to_string()))
}

pub(super) fn html(content: String) -> Response<Full<Bytes>> {
    respond(StatusCode::OK, "text/html", content)
}

pub(super) fn nothing() -> Responding {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

pub(super) fn error(status: StatusCode, why: &str) -> Responding {
    data(status, &json!({ "error": why }))
}

pub(super) fn no_such_page() -> Responding {
    error(StatusCode::NOT_FOUND, "there is no such page")
}

/// Adds a cookie, whose value needs no encoding.
pub(super) fn with_cookie(mut response: Response<Full<Bytes>>, name: &str, value: &str) -> Responding {
    let cookie = HeaderValue::try_from(format!("{name}={value}; Path=/; HttpOnly")).map_err(io::Error::other)?;
    response.headers_mut().append(SET_COOKIE, cookie);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_name() {
        let request = Request::get("/a/b?xsid=1&sid=s-1&bad=%2e");
        let request = request.header(COOKIE, "one=1; two=t-2").header(AUTHORIZATION, "Bearer u.1");
        let asked = Asked(request.body(Bytes::from("user=u-1&csrf=../x")).unwrap());
        assert_eq!(asked.path(), ["a", "b"]);
        assert_eq!((asked.query("sid"), asked.query("bad"), asked.query("none")), (Some("s-1"), None, None));
        assert_eq!((asked.form("user"), asked.form("csrf")), (Some("u-1"), None));
        assert_eq!((asked.cookie("one"), asked.cookie("two")), (Some("1"), Some("t-2")));
        assert_eq!(asked.bearer(), Some("u.1"));
    }
}
