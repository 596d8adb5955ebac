//! What the admin port answers, by path.

use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue, REFERRER_POLICY,
    RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::time::Instant;

use super::authority::{FETCH_SITE, Refusal};
use super::door::Door;
use super::feed::{Events, Feed};
use super::format::Format;
use super::page::{self, Page};
use super::places::Peer;
use super::renderer::{Kind, Made, Renderer};
use super::{metrics, requests, route, steer, view};
use crate::control::refused::Why;

const TEXT: &str = "text/plain; charset=utf-8";
const INDEX: &str = "unstick admin\n\n\
    /         for a browser: the dashboard\n\
    /healthz  the process lives\n\
    /readyz   it takes requests: 503 before the first health verdicts and while it drains\n\
    /status   listeners, pools, endpoints, last reloads, as JSON\n\
    /events   the same each second, as server-sent events\n\
    /metrics  for Prometheus\n\
    POST /v1/pools/POOL/endpoints/ENDPOINT/drain, ready, down, or weight with {\"weight\": 3}\n\
    POST /v1/reload\n\
    POST /v1/upgrade\n\
    /v1/route?url=https://a.test/x  what would become of a request\n\
    /openapi.json  all of this for programs\n\
    /v1/requests  recent requests: failed, retried, slow, and a sample; /v1/requests/ID has all that is known of one\n";

/// What there is, for programs.
const OPENAPI: &str = include_str!("openapi.json");

/// Tells browsers that no page of another site may have a response as its own part (Fetch, section 3.7).
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The body of a response: at once, or event by event.
pub(super) type Body = Either<Full<Bytes>, Events>;

/// A connection to the admin port, as far as responses depend on it.
pub(super) struct Caller {
    pub(super) feed: Rc<Feed>,
    pub(super) renderer: Rc<Renderer>,
    /// Who may change something depends on it.
    pub(super) door: Door,
    /// Ends when the admin port is given up.
    pub(super) closing: watch::Receiver<()>,
    pub(super) peer: Rc<Peer>,
    /// When events end; the page asks again.
    pub(super) events_until: Instant,
}

/// Whether somebody asks for health or readiness. That costs next to nothing, and must never wait for the others.
pub(super) fn is_probe<B>(request: &Request<B>) -> bool {
    matches!(request.uri().path(), "/healthz" | "/readyz")
}

/// The response to a request.
pub(super) async fn answer(request: Request<Incoming>, caller: &Caller) -> Response<Body> {
    let status = &caller.feed.status;
    let target = steer::target(request.uri().path());
    if target.is_none() && !matches!(*request.method(), Method::GET | Method::HEAD) {
        status.refused.count(Why::Method);
        let response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "this path takes only GET\n");
        return with(response, ALLOW, "GET, HEAD");
    }
    if let (false, Err((code, why))) = (is_probe(&request), for_this(&request, &status.state().admin_hosts)) {
        if target.is_some() {
            return steer::refuse(status, &Refusal::new(Why::Host, code, why));
        }
        status.refused.count(Why::Host);
        return respond(code, TEXT, why + "\n");
    }
    if let Some(target) = target {
        return steer::answer(request, caller, target).await;
    }
    match request.uri().path() {
        "/" => index(&request),
        "/healthz" => respond(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" if status.is_ready.load(Relaxed) => respond(StatusCode::OK, TEXT, "ready\n"),
        "/readyz" => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready\n"),
        "/status" => {
            let gather = || {
                let view = view::StatusView::of(status);
                move || {
                    let mut json = serde_json::to_vec_pretty(&view).map_err(words)?;
                    json.push(b'\n');
                    Ok(json.into())
                }
            };
            document(caller.renderer.render(Kind::Status, gather).await, "application/json")
        }
        "/events" => events(&request, caller),
        "/metrics" => {
            let format = Format::of(request.headers());
            let gather = || {
                let exposition = metrics::Exposition::of(status);
                move || exposition.render().map(|page| format.written(page).into()).map_err(words)
            };
            let kind = if format == Format::OpenMetrics { Kind::OpenMetrics } else { Kind::Metrics };
            with(document(caller.renderer.render(kind, gather).await, format.content_type()), VARY, "accept")
        }
        "/openapi.json" => respond(StatusCode::OK, "application/json", OPENAPI),
        "/v1/route" => match route::answer(request.uri().query().unwrap_or_default(), caller).await {
            Ok(json) => respond(StatusCode::OK, "application/json", json),
            Err(refusal) => steer::refusal(&refusal),
        },
        "/v1/requests" => told(requests::answer(status, None, request.uri().query())),
        path if let Some(id) = path.strip_prefix("/v1/requests/") => told(requests::answer(status, Some(id), None)),
        _ => respond(StatusCode::NOT_FOUND, TEXT, INDEX),
    }
}

/// A document, or that there is none.
fn document(made: Made, content_type: &'static str) -> Response<Body> {
    match made {
        Ok(bytes) => respond(StatusCode::OK, content_type, bytes),
        Err(why) => respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, why + "\n"),
    }
}

fn words(error: impl fmt::Display) -> String {
    error.to_string()
}

/// A status and a JSON text.
fn told((code, json): (StatusCode, String)) -> Response<Body> {
    respond(code, "application/json", json)
}

/// The dashboard for a browser, the list of paths for everybody else.
fn index(request: &Request<Incoming>) -> Response<Body> {
    if !page::is_wanted(request.headers()) {
        return with(respond(StatusCode::OK, TEXT, INDEX), VARY, "accept");
    }
    let Page { html, policy } = Page::get();
    let mut response = respond(StatusCode::OK, "text/html; charset=utf-8", html.as_str());
    let headers = response.headers_mut();
    headers.extend(HeaderValue::from_str(policy).ok().map(|policy| (CONTENT_SECURITY_POLICY, policy)));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    with(response, VARY, "accept")
}

/// Events for as long as the listener likes. Each holds one of a few places, so a page of another site gets none.
fn events(request: &Request<Incoming>, caller: &Caller) -> Response<Body> {
    const EVENTS: &str = "text/event-stream";
    if request.headers().get(FETCH_SITE).is_some_and(|site| site == "cross-site") {
        return respond(StatusCode::FORBIDDEN, TEXT, "no events for pages of other sites\n");
    }
    if request.method() == Method::HEAD {
        return respond(StatusCode::OK, EVENTS, "");
    }
    match caller.feed.listen(caller) {
        Ok(events) => respond(StatusCode::OK, EVENTS, "").map(|_| Either::Right(events)),
        Err(why) => with(respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, why + "\n"), RETRY_AFTER, "5"),
    }
}

/// Whether a request is for the admin port, which also has these names.
///
/// # Errors
/// The status, and why.
fn for_this(request: &Request<Incoming>, names: &[String]) -> Result<(), (StatusCode, String)> {
    match host(request) {
        Err(why) => Err((StatusCode::BAD_REQUEST, why.to_owned())),
        Ok(Some(host)) if !is_own_name(&host, names) => {
            let why =
                format!("the admin port is not called `{host}`: use its address, or add this name to admin.hosts");
            Err((StatusCode::MISDIRECTED_REQUEST, why))
        }
        Ok(_) => Ok(()),
    }
}

/// The host that a request is for, in lower case, without its port; none in a request of HTTP/1.0 that names none.
///
/// # Errors
/// Why it is not clear (RFC 9112, section 3.2).
fn host<B>(request: &Request<B>) -> Result<Option<String>, &'static str> {
    let mut fields = request.headers().get_all(HOST).iter();
    let field = fields.next().map(|field| String::from_utf8_lossy(field.as_bytes()).to_ascii_lowercase());
    if fields.next().is_some() {
        return Err("the request has several Host fields: send one");
    }
    let authority = request.uri().authority();
    if authority.is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("the target of the request names a user: leave that out");
    }
    let field = field.as_deref().map(without_port).filter(|host| !host.is_empty());
    if field.is_none() && request.version() >= Version::HTTP_11 {
        return Err("the request has no Host field: send one");
    }
    let host = authority.map(|authority| authority.host().to_ascii_lowercase()).or(field.map(str::to_owned));
    Ok(host.map(|host| host.trim_end_matches('.').to_owned()))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((bare, port)) if !port.contains(']') => bare,
        _ => host,
    }
}

/// Whether the admin port answers to this host. A web page can have a name of its own point here (DNS rebinding), but
/// it cannot make a browser send an address or `localhost` for it.
fn is_own_name(host: &str, names: &[String]) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok() || names.iter().any(|name| name == host)
}

pub(super) fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(body.into())));
    *response.status_mut() = status;
    let response = with(response, CONTENT_TYPE, content_type);
    let response = with(response, CACHE_CONTROL, "no-store");
    let response = with(response, RESOURCE_POLICY, "same-origin");
    with(response, X_CONTENT_TYPE_OPTIONS, "nosniff")
}

pub(super) fn with(mut response: Response<Body>, name: HeaderName, value: &'static str) -> Response<Body> {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admin_port_answers_to_addresses_localhost_and_its_names() {
        let names = ["admin.test".to_owned()];
        for (host, expected) in [
            ("127.0.0.1", true),
            ("[::1]", true),
            ("192.168.1.7", true),
            ("localhost", true),
            ("admin.test", true),
            ("evil.test", false),
            ("admin.test.evil.test", false),
            ("127.0.0.1.evil.test", false),
            ("localhost.evil.test", false),
        ] {
            assert_eq!(is_own_name(host, &names), expected, "{host}");
        }
    }
}
