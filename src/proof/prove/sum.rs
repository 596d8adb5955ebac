//! Sums over requests and responses: the one who sends adds one as a field, the one who receives checks it. So whatever
//! is changed on the way is noticed, whether or not anything follows from it.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher as _};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};

use super::ledger::KEY;
use super::shop::STEP;

/// The field with the sum.
pub(super) const SUM: &str = "x-sum";
/// Fields of a request that are part of it.
const OF_REQUESTS: [&str; 3] = [STEP, KEY, "cookie"];
/// Fields of a response that are part of it.
const OF_RESPONSES: [&str; 3] = ["x-replica", "x-store-trips", "set-cookie"];

/// The sum of a request.
pub(super) fn of_request(method: &Method, target: &str, headers: &HeaderMap, body: &Bytes) -> String {
    sum(&[method.as_str(), target], &OF_REQUESTS, headers, body)
}

/// The sum of a response to a step.
pub(super) fn of_response(step: &str, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> String {
    sum(&[step, status.as_str()], &OF_RESPONSES, headers, body)
}

/// A response to a request with the sum that says how it was sent.
pub(super) async fn seal(request: &Request<Bytes>, response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let (mut head, body) = response.into_parts();
    let Ok(body) = body.collect().await;
    let body = body.to_bytes();
    let step = request.headers().get(STEP).and_then(|step| step.to_str().ok()).unwrap_or_default();
    let sum = of_response(step, head.status, &head.headers, &body);
    head.headers.extend(HeaderValue::try_from(sum).ok().map(|sum| (HeaderName::from_static(SUM), sum)));
    Response::from_parts(head, Full::from(body))
}

/// Whether a message bears this sum.
pub(super) fn is_borne(headers: &HeaderMap, sum: &str) -> bool {
    headers.get(SUM).is_some_and(|borne| borne.as_bytes() == sum.as_bytes())
}

fn sum(words: &[&str], names: &[&str], headers: &HeaderMap, body: &Bytes) -> String {
    let mut text = String::new();
    for word in words {
        let _ = writeln!(text, "{word}");
    }
    for name in names {
        for value in headers.get_all(*name) {
            let _ = writeln!(text, "{name}: {value:?}");
        }
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.write(body);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use http::header::SET_COOKIE;

    use super::*;

    #[test]
    fn whatever_is_changed_changes_the_sum() {
        let mut headers = HeaderMap::new();
        headers.insert(STEP, HeaderValue::from_static("7-2"));
        headers.insert(SET_COOKIE, HeaderValue::from_static("session=a"));
        let body = Bytes::from("[1]");
        let request = of_request(&Method::GET, "/cart", &headers, &body);
        let response = of_response("7-2", StatusCode::OK, &headers, &body);
        assert_eq!(request, of_request(&Method::GET, "/cart", &headers, &body));
        assert_ne!(request, of_request(&Method::POST, "/cart", &headers, &body));
        assert_ne!(request, of_request(&Method::GET, "/book/1", &headers, &body));
        assert_ne!(response, of_response("7-3", StatusCode::OK, &headers, &body), "that of another step");
        assert_ne!(response, of_response("7-2", StatusCode::OK, &headers, &Bytes::from("[1][1]")));
        headers.insert("x-forwarded-for", HeaderValue::from_static("127.0.0.1"));
        assert_eq!(response, of_response("7-2", StatusCode::OK, &headers, &body), "what a proxy adds is no matter");
        headers.insert(KEY, HeaderValue::from_static("k"));
        assert_ne!(request, of_request(&Method::GET, "/cart", &headers, &body));
        headers.remove(SET_COOKIE);
        assert_ne!(response, of_response("7-2", StatusCode::OK, &headers, &body));
        headers.insert(SUM, HeaderValue::try_from(&response).unwrap());
        assert!(is_borne(&headers, &response) && !is_borne(&headers, &request));
        assert!(!is_borne(&HeaderMap::new(), &response));
    }
}
