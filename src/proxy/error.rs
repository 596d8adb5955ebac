//! Every response that the proxy makes itself.
//!
//! Each of them carries `x-unstick-error: <name>`, so that it cannot be mistaken for a response of the application.

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use super::body::ResponseBody;
use super::busy::Busy;
use super::cause::Cause;
use super::closing;
use super::grpc::{self, GRPC_MESSAGE, GRPC_STATUS};
use super::malformed::Malformed;
use crate::config::model::Timeouts;
use crate::snapshot::plan::Local;

/// The header field that names the cause.
pub(crate) const ERROR_FIELD: HeaderName = HeaderName::from_static("x-unstick-error");

/// Builds the response for `cause`: as gRPC status for a call of gRPC, with the `page` of the config if it has one, as
/// JSON if the client asks for it, as text otherwise.
pub(crate) fn answer(
    cause: Cause,
    request_headers: &HeaderMap,
    page: Option<&Local>,
    timeouts: &Timeouts,
    busy: Busy,
) -> Response<ResponseBody> {
    busy.client().was_answered.set(true);
    let is_last = closing::is_last(busy.client(), timeouts) || closes_after(cause);
    let mut response = match grpc::is_call(request_headers) {
        true => grpc_response(cause, busy),
        false => plain_response(cause, request_headers, page, busy),
    };
    response.headers_mut().insert(ERROR_FIELD, HeaderValue::from_static(cause.name()));
    if is_last {
        closing::close(response.headers_mut());
    }
    response
}

/// After a malformed message we cannot know where it ends, so the connection is closed.
fn closes_after(cause: Cause) -> bool {
    match cause {
        Cause::BadRequest(rule) => rule != Malformed::PathAmbiguous,
        Cause::UnknownCoding => true,
        _ => false,
    }
}

/// With the page of the config, if it has one for this status; else as JSON if the client asks for it, as text
/// otherwise.
fn plain_response(
    cause: Cause,
    request_headers: &HeaderMap,
    page: Option<&Local>,
    busy: Busy,
) -> Response<ResponseBody> {
    let wants_json = request_headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/json") || accept.contains("+json"));
    if let Some(page) = page {
        let mut response = Response::new(ResponseBody::local(page.body.clone(), busy));
        *response.headers_mut() = page.headers.clone();
        return finished(cause, response);
    }
    // Names and sentences are our own, and contain nothing that JSON would have to escape.
    let (content_type, body) = if wants_json {
        let body = format!("{{\"error\":\"{}\",\"message\":\"{}\"}}\n", cause.name(), cause.explanation());
        ("application/json", body)
    } else {
        ("text/plain; charset=utf-8", format!("{}: {}\n", cause.name(), cause.explanation()))
    };
    let mut response = Response::new(ResponseBody::local(Bytes::from(body), busy));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    finished(cause, response)
}

/// Adds what every error response has, whatever its content is.
fn finished(cause: Cause, mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    *response.status_mut() = cause.status();
    let headers = response.headers_mut();
    #[cfg(feature = "sim")]
    headers.extend(crate::net::sim::date().map(|date| (http::header::DATE, date)));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match cause {
        Cause::MethodNotAllowed => {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        Cause::NoEndpoint | Cause::Overloaded | Cause::OutOfSockets | Cause::Maintenance => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    response
}

/// Tells a gRPC client what went wrong. The status is in the head, and nothing follows ("Trailers-Only").
pub(super) fn grpc_response(cause: Cause, busy: Busy) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::local(Bytes::new(), busy));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from_static(grpc_status(cause)));
    // Our sentences contain nothing that would have to be escaped.
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(cause.explanation()));
    response
}

fn grpc_status(cause: Cause) -> &'static str {
    match (cause, cause.status()) {
        (Cause::RequestTimeout, _) => "4", // DEADLINE_EXCEEDED
        // RESOURCE_EXHAUSTED
        (Cause::BodyTooLarge | Cause::HeadTooLarge | Cause::UriTooLong | Cause::RateLimited, _) => "8",
        (Cause::Forbidden, _) => "7",         // PERMISSION_DENIED
        (_, StatusCode::BAD_REQUEST) => "13", // INTERNAL
        // UNIMPLEMENTED
        (_, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED) => "12",
        _ => "14", // UNAVAILABLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::client::Client;

    fn busy() -> Busy {
        Busy::begin(&std::rc::Rc::new(Client::test()))
    }

    #[test]
    fn an_answer_speaks_the_client_s_language() {
        for (accept, content_type) in [
            (None, "text/plain; charset=utf-8"),
            (Some("text/html,*/*"), "text/plain; charset=utf-8"),
            (Some("application/json"), "application/json"),
            (Some("application/problem+json"), "application/json"),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, HeaderValue::from_static(accept));
            }
            let response = answer(Cause::NoEndpoint, &headers, None, &Timeouts::default(), busy());
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()[CONTENT_TYPE], content_type);
            assert_eq!(response.headers()[ERROR_FIELD], "no-endpoint");
        }
    }

    #[test]
    fn a_json_answer_is_json() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        for cause in [Cause::BadRequest(Malformed::HostMissing), Cause::NoRoute, Cause::UpstreamTimeout] {
            let body = answer(cause, &headers, None, &Timeouts::default(), busy()).into_body().into_local().unwrap();
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(value["error"], cause.name());
        }
    }
}
