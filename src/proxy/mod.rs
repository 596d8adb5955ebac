//! One request: route it, prepare it, make attempts until it is settled, respond.
//!
//! This room knows nothing of TOML, listening sockets or threads. [`handle`] is called for each request.

mod access;
mod attempts;
#[cfg(feature = "bench")]
pub mod bench;
pub mod body;
mod busy;
pub(crate) mod cause;
pub mod client;
mod client_address;
mod closing;
pub mod connection;
mod credentials;
mod edits;
mod error;
pub(crate) mod exchange;
mod expect;
pub mod explain;
mod forwarding;
mod grpc;
mod headers;
mod identity;
mod interim;
mod local;
mod malformed;
mod planned;
mod queue;
mod redirect;
pub mod refusal;
mod request_id;
mod rest;
mod retry;
pub mod rules;
pub(crate) mod story;
mod target;
mod trace;
pub mod tunnel;
mod upgrade;
mod websocket;

use std::rc::Rc;

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use tokio::time::Instant;

use crate::config::address;
use crate::deadlines::Wait;
use crate::link::added::Added;
use crate::link::framing;
use crate::link::request_body::{Bounds, RequestBody};
use crate::link::response::EndpointBody;
use crate::link::view::View;
use crate::link::wishes::{Sharing, Upgrade};
use crate::snapshot::Snapshot;
use crate::snapshot::asked::Asked;
use crate::snapshot::plan::{Local, Plan};
use access::AccessDraft;
use attempts::{GivenUp, Needs, settle};
use body::{BodyWaits, Content, ResponseBody};
use busy::Busy;
use cause::Cause;
use client::{Client, Proxy, Received};
use connection::Connection;
use exchange::Exchange;
use headers::FieldsSeen;
pub use identity::{Identity, Proof};
use malformed::Malformed;
use planned::Planned;
use request_id::Identifier;
use target::Host;
use upgrade::Wanted;

/// Serves one request. It never fails: what goes wrong becomes a response, see `error`.
///
/// # Cancel safety
/// Dropping the future means that the client left: the attempt is cancelled, and the books are closed.
pub async fn handle(proxy: Rc<Proxy>, client: Rc<Client>, received: Received) -> Response<ResponseBody> {
    let started = Instant::now();
    let busy = Busy::begin(&client);
    let mut request = match received {
        Received::Request(request) => request,
        Received::Refused(head) => return refusal::refuse_head(&proxy, &client, *head, started, busy),
    };
    if client.has_many_rests() {
        Box::pin(client.wait_for_rests()).await;
    }
    client.connection.follow_rules();
    let view = proxy.viewer.current();
    let seen = FieldsSeen::of(request.headers());
    let wanted = Wanted::of(&mut request, seen);
    let (mut parts, incoming) = request.into_parts();
    let body = RequestBody::new(incoming, bounds(&view));
    let expects = seen.expect && expect::is_asked(&mut parts, &body);
    client.begin_upload(body.upload(), expects);
    client.begin_interims(parts.version);
    let mut planned = None;
    let routed = wanted.and_then(|wanted| {
        Ok((wanted, route(&mut parts, &body, &view, &client, (proxy.worker, started), &mut planned)?))
    });
    let (wanted, host, RouteAndPool { route, pool }) = match routed {
        Ok((wanted, Routed::Pool(host, found))) => (wanted, host, found),
        Ok((Some(wanted), Routed::Here(local))) if wanted.is_misled_by(local.status) => {
            // It would take the response for that of a tunnel.
            let cause = Cause::NoUpgrade;
            return refusal::refuse(&proxy, &client, &parts, cause, planned.as_deref_mut(), started, busy);
        }
        Ok((_, Routed::Here(local))) => {
            Box::pin(client.look_through_body()).await;
            return refusal::respond(&proxy, &client, &parts, local, planned.as_deref_mut(), started, busy);
        }
        Err(cause) => {
            Box::pin(client.look_through_body()).await;
            return refusal::refuse(&proxy, &client, &parts, cause, planned.as_deref_mut(), started, busy);
        }
    };
    let via = view.snapshot.pools[pool].config.via.then(|| headers::via(parts.version));
    let is_logged = planned.as_ref().is_none_or(|planned| planned.is_logged());
    let mut access = if is_logged { AccessDraft::begin(&view.snapshot, &client.connection, &parts) } else { None };
    let mut story = proxy.stories.begin(&view.snapshot, || story::Head {
        parts: &parts,
        host: &host.value,
        client: client.connection.client_address(&parts.headers),
        route,
    });
    let mut added = prepare(&mut parts, seen, via, host, wanted.as_deref(), &client.connection);
    if let Some(draft) = &mut story {
        draft.id = Identifier::of(&parts.headers, &added);
    }
    let https = client.connection.rules.redirect_to_https();
    match &mut planned {
        Some(planned) if https.is_some() => planned.look_at(&parts, &client.connection),
        Some(planned) => planned.edit_request(&mut parts, &mut added, &client.connection),
        None => {}
    }
    if let Some(traces) = &view.snapshot.traces {
        trace::begin(traces, &mut parts.headers, &client.connection, &mut added, story.as_deref_mut());
    }
    if let Some(draft) = &mut access {
        draft.note_sent(&parts.headers, added.request_id.as_ref());
    }
    let mut exchange = Exchange::open(&proxy, &client, view, (pool, planned, added), started, (access, story));
    if let Some(port) = https {
        Box::pin(client.look_through_body()).await;
        return redirect::to_https(exchange, &parts, port, busy);
    }
    let call = if seen.content_type { grpc::Call::of(&parts.headers) } else { None };
    let needs = needs(&parts.headers, seen, wanted.as_deref());
    // The extensions belong to the client's connection; the endpoint's must not see them.
    parts.extensions.clear();
    let mut request = Request::from_parts(parts, body);
    let settled = settle(&mut exchange, &mut request, call, needs).await;
    client.deadlines.disarm(Wait::Request);
    if let Some(timeout) = call.and_then(|call| call.timeout) {
        // The deadline of a call covers its response too.
        client.deadlines.arm(Wait::Request, started + timeout);
    }
    let response = match settled {
        Ok(settled) => {
            if expects {
                Box::pin(client.let_continue_out()).await;
            }
            settled.response
        }
        Err(given_up) => {
            let GivenUp { cause, error, headers } = *given_up;
            Box::pin(client.look_through_body()).await;
            return refusal::fail(&mut exchange, cause, error, &headers, busy);
        }
    };
    let status = response.status();
    let content = Content::of(request.method() == Method::HEAD, status);
    match wanted {
        Some(wanted) if status == StatusCode::SWITCHING_PROTOCOLS => upgrade::accept(exchange, response, *wanted, busy),
        Some(wanted) if wanted.is_misled_by(status) => upgrade::refuse(exchange, busy),
        _ => pass_on(exchange, response, call, content, busy),
    }
}

/// The bounds of a request body, from the config.
fn bounds(view: &View) -> Bounds {
    let Snapshot { limits, timeouts, .. } = &*view.snapshot;
    let (bytes_max, trailers_max) = (limits.request_body.unwrap_or(u64::MAX), limits.request_head);
    Bounds { bytes_max, replay_max: limits.replay, trailers_max, read_timeout: timeouts.request_body }
}

/// Turns the head into the one that the replica gets. Returns what is to be added to its fields.
fn prepare(
    parts: &mut Parts,
    seen: FieldsSeen,
    via: Option<&'static str>,
    host: Host,
    wanted: Option<&Wanted>,
    connection: &Connection,
) -> Added {
    let added = headers::prepare_request(&mut parts.headers, seen, via, host, &connection.forwarding);
    if let Some(wanted) = wanted {
        wanted.ask(&mut parts.headers);
    }
    added
}

/// What the connection to the replica must be like.
fn needs(headers: &HeaderMap, seen: FieldsSeen, wanted: Option<&Wanted>) -> Needs {
    let is_private = seen.credentials && credentials::of_request(headers);
    Needs {
        upgrade: if wanted.is_some() { Upgrade::Wanted } else { Upgrade::Unwanted },
        sharing: if is_private { Sharing::Private } else { Sharing::Shared },
    }
}

/// Who responds to a request.
enum Routed {
    /// The endpoints of a pool; the host is the one that they hear.
    Pool(Host, RouteAndPool),
    /// The proxy.
    Here(Local),
}

/// A route and one of its pools, by their places in the snapshot.
struct RouteAndPool {
    route: usize,
    pool: usize,
}

/// Finds who responds. If the route wants more than its pool, that is left in `planned`.
///
/// # Errors
/// Why the request is refused.
fn route(
    parts: &mut Parts,
    body: &RequestBody,
    view: &Rc<View>,
    client: &Client,
    moment: (usize, Instant),
    planned: &mut Option<Box<Planned>>,
) -> Result<Routed, Cause> {
    let rules = &client.connection.rules;
    let mut host = target::take_target(parts)?;
    if parts.version == Version::HTTP_2 {
        headers::check_list_size(parts, host.as_ref(), view.snapshot.limits.request_head)?;
        headers::join_cookies(&mut parts.headers);
    }
    let is_added = host.as_mut().is_some_and(|host| host.become_field(&mut parts.headers));
    if parts.headers.len() > view.snapshot.limits.request_fields + usize::from(is_added) {
        return Err(Cause::HeadTooLarge);
    }
    let host_text = host.as_ref().and_then(|host| host.value.to_str().ok()).unwrap_or_default();
    let asked = Asked {
        listener: &rules.listener(),
        host: host_text,
        path: parts.uri.path(),
        query: parts.uri.query(),
        method: &parts.method,
        headers: &parts.headers,
    };
    let found = view.snapshot.routes.find(&asked)?;
    if let Some(others) = &found.others {
        planned::pass_guards(view, others, &client.connection, &parts.headers, moment)?;
    }
    let length = http_body::Body::size_hint(body);
    // A body with a length was not framed by a transfer coding.
    if length.exact().is_none() && !framing::is_plainly_chunked(&parts.headers) {
        return Err(Cause::UnknownCoding);
    }
    let pool = match view.snapshot.plans[found.route] {
        Plan::Pool(pool) => pool,
        Plan::More(_) => {
            let planned = planned.insert(Planned::new(view, &found, &client.connection, host.as_ref(), &parts.headers));
            match planned.admit(parts, body, &client.connection, moment)? {
                Some(pool) => pool,
                None => return planned.respond(parts, client).map(Routed::Here),
            }
        }
    };
    let body_max = planned.as_ref().map_or(view.snapshot.limits.request_body, |planned| planned.body_max());
    if body_max.is_some_and(|most| length.lower() > most) {
        return Err(Cause::BodyTooLarge);
    }
    if host.is_none() && rules.redirect_to_https().is_some() {
        // Nobody knows where to send the client.
        return Err(Cause::BadRequest(Malformed::HostMissing));
    }
    // Only an HTTP/1.0 client may leave out the host. The replica is sent HTTP/1.1, which needs one.
    let host = host.unwrap_or_else(|| {
        let first = view.snapshot.pools[pool].members.first();
        let value = first.and_then(|first| HeaderValue::try_from(&*address::host_field(&first.backend)).ok());
        Host { value: value.unwrap_or_else(|| HeaderValue::from_static("")), is_field: false }
    });
    Ok(Routed::Pool(host, RouteAndPool { route: found.route, pool }))
}

/// Turns an endpoint's response into the client's. A call is a conversation: either side may be silent for long.
fn pass_on(
    mut exchange: Exchange,
    mut response: Response<EndpointBody>,
    call: Option<grpc::Call>,
    content: Content,
    busy: Busy,
) -> Response<ResponseBody> {
    exchange.answered(response.status());
    let is_last = closing::is_last_of(exchange.client(), &response);
    let told = match response.status() {
        StatusCode::UPGRADE_REQUIRED if !exchange.client().is_stream() => {
            headers::prepare_upgrade_required(response.headers_mut())
        }
        _ => headers::prepare_response(response.headers_mut()),
    };
    if let Some(planned) = exchange.planned() {
        planned.edit_response(response.headers_mut());
    }
    if is_last {
        closing::close(response.headers_mut());
    }
    response.body_mut().set_idle_limit(told.idle_limit);
    if told.is_challenge && credentials::of_response(response.status(), response.headers()) {
        response.body_mut().set_private();
    }
    let is_conversation = call.is_some();
    if is_conversation || is_stream_of_events(&response) {
        exchange.note_lasting();
    }
    let timeouts = exchange.timeouts();
    let read_timeout = if is_conversation { timeouts.tunnel_idle } else { timeouts.response_body };
    let waits = BodyWaits { read_timeout, is_conversation };
    let mut response = response.map(|incoming| ResponseBody::upstream(incoming, exchange, waits, content, busy));
    // The client hears the version that it speaks, whatever the endpoint spoke.
    *response.version_mut() = Version::HTTP_11;
    response
}

/// Whether a response goes on for as long as there is news. Its length is not known then, and few others are looked at.
fn is_stream_of_events(response: &Response<EndpointBody>) -> bool {
    let kind = || response.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    response.body().size_hint().exact().is_none() && kind().starts_with(b"text/event-stream")
}
