//! `/v1/route?url=...`: what would become of a request now, as `unstick route` says of a file. Nothing is sent.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};

use super::answer::Caller;
use super::authority::Refusal;
use super::steer::{CHANGE_WITHIN, ask};
use crate::control::ask::What;
use crate::control::explain::{Question, request};
use crate::control::refused::Why;

/// An address that nobody has (RFC 5737): that of the client, unless `from` says another one.
const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// The JSON.
///
/// # Errors
/// What is wrong with the question.
pub(super) async fn answer(query: &str, caller: &Caller) -> Result<String, Refusal> {
    let question = question(query).map_err(|error| Refusal::new(Why::Body, StatusCode::BAD_REQUEST, error))?;
    ask(&caller.feed.status, caller, What::Route(Box::new(question)), CHANGE_WITHIN).await
}

/// The question that a query asks: `url`, and if need be `method`, `header` (as often as there are some), `listen` and
/// `from`.
fn question(query: &str) -> Result<Question, String> {
    let (mut method, mut url, mut fields, mut listener, mut peer) = (Method::GET, None, Vec::new(), None, FROM);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let wrong = |what: &str| format!("{name}={value}: {what}");
        match &*name {
            "method" => method = value.parse().map_err(|_| wrong("this is no method"))?,
            "url" => url = Some(value.parse::<Uri>().map_err(|error| wrong(&error.to_string()))?),
            "header" => fields.push(field(&value).map_err(|error| wrong(&error))?),
            "listen" => listener = Some(value.into_owned()),
            "from" => peer = value.parse().map_err(|_| wrong("this is no IP address"))?,
            _ => return Err(wrong("there is no such parameter; known are url, method, header, listen and from")),
        }
    }
    let url = url.ok_or("add the parameter url, as in /v1/route?url=https://shop.example.com/api")?;
    Ok(Question { listener, peer, request: request(method, url, fields)? })
}

fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write it as `name: value`")?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| "this is not the name of a field")?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| "this is not the value of a field")?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_asks_a_question() {
        let query = "method=POST&url=https://a.test/x%3Fq%3D1&header=x-a:%201&header=x-b:2&from=10.0.0.1&listen=web";
        let Question { listener, peer, request } = question(query).unwrap();
        assert_eq!((listener.as_deref(), peer), (Some("web"), [10, 0, 0, 1].into()));
        let fields: Vec<_> = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!((request.method(), request.uri().to_string().as_str()), (&Method::POST, "https://a.test/x?q=1"));
        assert_eq!(fields, [("host", &b"a.test"[..]), ("x-a", b"1"), ("x-b", b"2")]);
        for (query, error) in [
            ("", "add the parameter url"),
            ("url=/x", "/x has no host"),
            ("url=http://a.test/&header=oops", "write it as `name: value`"),
            ("url=http://a.test/&header=a b: c", "not the name"),
            ("url=http://a.test/&from=home", "no IP address"),
            ("url=http://a.test/&method=", "no method"),
            ("url=http://a.test/&uri=", "known are url"),
            ("url=http://[", "url=http://["),
        ] {
            let said = question(query).unwrap_err();
            assert!(said.contains(error), "{query}: {said}");
        }
    }
}
