//! Responses of a route that leads to no replica: a fixed one, or a redirect.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{HeaderValue, LOCATION};
use http::{HeaderMap, Response};

use super::body::ResponseBody;
use super::busy::Busy;
use super::cause::Cause;
use super::client::Client;
use super::closing;
use super::malformed::Malformed;
use crate::config::model::{Piece, Redirect, Timeouts, Variable};
use crate::snapshot::plan::Local;

/// The longest URL that a redirect leads to, in bytes. A client could have its query sent back to it.
const LOCATION_BYTES_MAX: usize = 8 * 1024;

/// Sends a client elsewhere. `value` tells what is known of its request.
///
/// # Errors
/// Why it cannot be sent there.
pub(super) fn redirect<'v>(redirect: &Redirect, value: impl Fn(Variable) -> Cow<'v, str>) -> Result<Local, Cause> {
    let Redirect { to, status } = redirect;
    if to.pieces().contains(&Piece::Of(Variable::Host)) && value(Variable::Host).is_empty() {
        // Nobody knows where to send the client.
        return Err(Cause::BadRequest(Malformed::HostMissing));
    }
    let location = to.fill(value);
    if location.len() > LOCATION_BYTES_MAX {
        return Err(Cause::UriTooLong);
    }
    // `//evil.example` would lead to another host, and so would a backslash in some browsers.
    let location = match location.strip_prefix('/') {
        Some(rest) => format!("/{}", rest.trim_start_matches(['/', '\\'])),
        None => location,
    };
    let location = HeaderValue::try_from(location).map_err(|_| Cause::BadRequest(Malformed::TargetForm))?;
    let headers = HeaderMap::from_iter([(LOCATION, location)]);
    Ok(Local { status: *status, body: Bytes::new(), headers })
}

/// Turns the response of a route into that of its client.
pub(super) fn send(local: Local, client: &Client, timeouts: &Timeouts, busy: Busy) -> Response<ResponseBody> {
    let Local { status, body, headers } = local;
    client.was_answered.set(true);
    let is_last = closing::is_last(client, timeouts);
    let mut response = Response::new(ResponseBody::local(body, busy));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    if is_last {
        closing::close(response.headers_mut());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Template;

    #[test]
    fn a_redirect_leads_where_it_was_meant_to() {
        let long = "/a".repeat(5000);
        for (to, path, host, expected) in [
            ("https://{host}{path}{?query}", "/a", "a.test", Ok("https://a.test/a?q=%0d%0a")),
            ("https://b.test/", "/a", "", Ok("https://b.test/")),
            ("{path}/", "//evil.example/x", "a.test", Ok("/evil.example/x/")),
            ("{path}", "/\\/evil.example", "a.test", Ok("/evil.example")),
            ("/x{path}", "//y", "a.test", Ok("/x//y")),
            ("https://{host}/", "/", "", Err(Cause::BadRequest(Malformed::HostMissing))),
            ("https://{host}{path}", &long, "a.test", Err(Cause::UriTooLong)),
        ] {
            let value = |variable| match variable {
                Variable::Host => host.into(),
                Variable::Path => path.into(),
                Variable::Query => "?q=%0d%0a".into(),
                _ => Cow::default(),
            };
            let wanted = Redirect { to: Template::new(to).unwrap(), status: http::StatusCode::FOUND };
            let found = redirect(&wanted, value).map(|local| local.headers[LOCATION].clone());
            assert_eq!(found, expected.map(HeaderValue::from_static), "{to} {path}");
        }
    }

    #[test]
    fn a_media_type_is_told_of_content_only() {
        let local = Local::new(http::StatusCode::OK, Bytes::from_static(b"x"), "text/html");
        assert_eq!(local.headers[http::header::CONTENT_TYPE], "text/html");
        assert!(Local::new(http::StatusCode::NO_CONTENT, Bytes::new(), "text/html").headers.is_empty());
    }
}
