//! One request: route, prepare, attempt until settled, answer.
//!
//! Knows nothing of TOML, listeners or threads. [`handle`] is the service that hyper calls for each request.

mod access;
mod attempt;
pub mod body;
mod cause;
pub mod client;
mod error;
mod exchange;
mod framing;
mod grpc;
mod headers;
mod identity;
mod queue;
mod redirect;
mod retry;
mod target;
pub mod tunnel;
mod upgrade;
mod websocket;

use std::convert::Infallible;
use std::rc::Rc;

use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::config::address;
use crate::deadlines::Wait;
use crate::fields;
use crate::link::h1::Link;
use crate::link::request_body::Bounds;
use crate::link::view::View;
use crate::pool::Tried;
use crate::snapshot::Snapshot;
use access::AccessDraft;
use attempt::{Answer, Outgoing, Waits, attempt};
use body::{Carrier, Driver, Pace, ResponseBody};
use cause::Cause;
use client::{Client, Connection, Proxy, Turn};
use exchange::Exchange;
use headers::Seen;
pub use identity::{Identity, Proof};
use retry::{Decision, Failure, Repeatable, Trouble};
use target::Host;
use upgrade::Wanted;

/// Serves one request. Never fails: what goes wrong becomes an answer.
pub async fn handle(
    proxy: Rc<Proxy>,
    client: Rc<Client>,
    mut request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let started = Instant::now();
    let turn = Turn::begin(&client);
    let view = proxy.viewer.current();
    let seen = Seen::of(request.headers());
    let wanted = Wanted::of(&mut request, seen);
    let wants_upgrade = matches!(wanted, Ok(Some(_)));
    let mut outgoing = Outgoing::new(request, bounds(&view), seen, wants_upgrade);
    client.begin_upload(outgoing.upload());
    let routed = wanted.and_then(|wanted| Ok((wanted, route(&mut outgoing, &view)?)));
    let (wanted, (host, pool)) = match routed {
        Ok(routed) => routed,
        Err(cause) => {
            proxy.cell().refused.add(1);
            tracing::debug!(client = %client.connection.peer, cause = cause.name(), "{}", cause.explanation());
            return Ok(error::answer(cause, &outgoing.parts.headers, turn));
        }
    };
    prepare(&mut outgoing, seen, host, wanted.as_deref(), &client.connection);
    let access = proxy.access_log.is_some().then(|| AccessDraft::new(client.connection.peer, &outgoing.parts));
    let mut exchange = Exchange::open(&proxy, &client, view, pool, started, access);
    if let Some(port) = client.connection.redirect_to_https {
        return Ok(redirect::to_https(exchange, &outgoing.parts, port, turn));
    }
    let settled = settle(&mut exchange, &mut outgoing).await;
    client.deadlines.disarm(Wait::Request);
    if let Some(timeout) = outgoing.call.and_then(|call| call.timeout) {
        // That of a call goes on to its end.
        client.deadlines.arm(Wait::Request, started + timeout);
    }
    let answer = match settled {
        Ok(answer) => answer,
        Err(cause) => {
            let answer = error::answer(cause, &outgoing.parts.headers, turn);
            exchange.answered(cause.status());
            exchange.finish_answered();
            return Ok(answer);
        }
    };
    let status = answer.response.status();
    Ok(match wanted {
        Some(wanted) if status == StatusCode::SWITCHING_PROTOCOLS => upgrade::accept(exchange, answer, *wanted, turn),
        Some(wanted) if wanted.is_misled_by(status) => upgrade::refuse(exchange, turn),
        _ => pass_on(exchange, answer, outgoing.call.is_some(), turn),
    })
}

/// The bounds of a request body.
fn bounds(view: &View) -> Bounds {
    let Snapshot { limits, timeouts, .. } = &*view.snapshot;
    let bytes_max = limits.request_body.unwrap_or(u64::MAX);
    Bounds { bytes_max, replay_max: limits.replay, read_timeout: timeouts.request_body }
}

/// Turns the head into the one that the replica gets.
fn prepare(outgoing: &mut Outgoing, seen: Seen, host: Host, wanted: Option<&Wanted>, connection: &Connection) {
    let Outgoing { parts, body, .. } = outgoing;
    headers::prepare_request(&mut parts.headers, seen, parts.version, host, &connection.forwarding);
    if let Some(wanted) = wanted {
        wanted.ask(&mut parts.headers);
    }
    if !body.is_empty() && http_body::Body::size_hint(body).exact().is_none() {
        framing::announce_chunks(&mut parts.headers);
    }
}

/// Finds the host and the pool.
fn route(outgoing: &mut Outgoing, view: &View) -> Result<(Host, usize), Cause> {
    let Outgoing { parts, body, .. } = outgoing;
    let host = target::take_target(parts)?;
    if parts.headers.len() > view.snapshot.limits.request_fields {
        return Err(Cause::HeadTooLarge);
    }
    let host_text = host.as_ref().and_then(|host| host.value.to_str().ok()).unwrap_or_default();
    let pool = view.snapshot.routes.find(host_text, parts.uri.path()).ok_or(Cause::NoRoute)?;
    let length = http_body::Body::size_hint(body);
    // Whatever has a length was not framed by a transfer coding.
    if length.exact().is_none() && !framing::is_plainly_chunked(&parts.headers) {
        return Err(Cause::UnknownCoding);
    }
    if view.snapshot.limits.request_body.is_some_and(|most| length.lower() > most) {
        return Err(Cause::BodyTooLarge);
    }
    // Only an HTTP/1.0 client may leave the host out; the replica's HTTP/1.1 needs one.
    let host = host.unwrap_or_else(|| {
        let first = view.snapshot.pools[pool].members.first();
        let value = first.and_then(|first| HeaderValue::try_from(address::host_field(&first.backend)).ok());
        Host { value: value.unwrap_or_else(|| HeaderValue::from_static("")), is_field: false }
    });
    Ok((host, pool))
}

/// The only loop that repeats a request: pick an endpoint, attempt, settled or again.
async fn settle(exchange: &mut Exchange, request: &mut Outgoing) -> Result<Answer, Cause> {
    let view = Rc::clone(exchange.view());
    let client = Rc::clone(exchange.client());
    let (deadlines, timeouts) = (&*client.deadlines, &view.snapshot.timeouts);
    if let Some(timeout) = timeouts.request.into_iter().chain(request.call.and_then(|call| call.timeout)).min() {
        deadlines.arm(Wait::Request, exchange.started + timeout);
    }
    let (mut tried, mut fresh, mut now, mut unwell) = (Tried::default(), false, exchange.started, None);
    let mut counted = 0;
    let cause = loop {
        let index = match exchange.pool().acquire(&tried) {
            Some(index) => index,
            None => match queue::wait(exchange.pool(), &tried, deadlines, now).await {
                Ok(index) => {
                    now = Instant::now();
                    index
                }
                Err(cause) => break cause,
            },
        };
        tried.add(index);
        let endpoint = exchange.attempt_on(index);
        let until = exchange.pool().retry.attempt_timeout.map(|timeout| now + timeout);
        let waits = Waits { deadlines, timeouts, until };
        let (trouble, cause) = match attempt(&endpoint, request, fresh, &client, waits, now).await {
            Ok(answer) => {
                let (answered, status) = (Instant::now(), answer.response.status());
                endpoint.endpoint.latency().record(answered.saturating_duration_since(now), answered);
                if !exchange.pool().retry.on_status.contains(&status.as_u16()) {
                    return Ok(answer);
                }
                request.take_back(&answer);
                unwell = Some((answer, endpoint));
                (Trouble::Answered(status), Cause::UpstreamClosed)
            }
            Err(failure) => (Trouble::Unanswered(failure), failure.cause),
        };
        now = Instant::now();
        counted += usize::from(!trouble.is_refusal() || !exchange.pool().has_untried(&tried));
        match decide(exchange, request, trouble, counted, now) {
            Decision::Again { fresh: only_fresh } => {
                // It must not stand in its own way.
                exchange.release();
                fresh |= only_fresh;
            }
            Decision::GiveUp => break cause,
        }
    };
    // Better the replica's own answer than one of ours.
    let (answer, endpoint) = unwell.ok_or(cause)?;
    exchange.back_to(endpoint);
    Ok(answer)
}

/// Decides what follows an attempt that settled nothing, when so many count as made; counts and logs it.
fn decide(exchange: &Exchange, request: &Outgoing, trouble: Trouble, counted: usize, now: Instant) -> Decision {
    let Parts { method, headers, .. } = &request.parts;
    let has_key = headers.contains_key(fields::IDEMPOTENCY_KEY);
    let repeatable = Repeatable { method, has_key, whole: request.whole };
    let pool = exchange.pool();
    let decision = retry::decide(trouble, repeatable, counted, pool.retry.attempts.get());
    let decision = if decision != Decision::GiveUp && trouble.was_sent() && !pool.may_repeat(now) {
        exchange.pool_cell().retries_refused.add(1);
        tracing::warn!(pool = %pool.name, "a request is not repeated: the retry budget is used up");
        Decision::GiveUp
    } else {
        decision
    };
    match trouble {
        Trouble::Unanswered(failure) => log_failure(exchange, request, failure, decision),
        Trouble::Answered(status) => log_unwell(exchange, status, decision),
    }
    decision
}

/// Counts and logs an answer that the pool takes for a failure.
fn log_unwell(exchange: &Exchange, status: StatusCode, decision: Decision) {
    let Some(endpoint) = exchange.endpoint() else { return };
    exchange.endpoint_failed(1);
    let (pool, address) = (&endpoint.endpoint.pool, &endpoint.endpoint.address);
    let is_repeated = decision != Decision::GiveUp;
    tracing::debug!(%pool, endpoint = %address, status = status.as_u16(), is_repeated, "the endpoint is unwell");
}

/// Counts and logs an attempt that came to nothing.
fn log_failure(exchange: &Exchange, request: &Outgoing, failure: Failure, decision: Decision) {
    let Some(endpoint) = exchange.endpoint() else { return };
    let is_upstream_s = retry::is_upstream_s(failure.cause);
    // A reused connection that the endpoint closed meanwhile is the way of keep-alive, not a failure of anybody.
    let is_stale =
        failure.reused && failure.cause == Cause::UpstreamClosed && matches!(decision, Decision::Again { .. });
    if is_upstream_s && !is_stale {
        exchange.endpoint_failed(if failure.is_connect() { 2 } else { 1 });
    }
    let request_id = request.parts.headers.get(fields::X_REQUEST_ID).and_then(|id| id.to_str().ok());
    let (pool, address) = (&endpoint.endpoint.pool, &endpoint.endpoint.address);
    let cause = failure.cause.name();
    let (method, path) = (&request.parts.method, request.parts.uri.path());
    if is_upstream_s && decision == Decision::GiveUp {
        let attempts = exchange.attempts();
        tracing::warn!(%pool, endpoint = %address, cause, %method, path, request_id, sent = failure.sent, attempts,
            "request failed: {}", failure.cause.explanation());
    } else {
        tracing::debug!(%pool, endpoint = %address, cause, %method, path, request_id, "attempt failed, trying again");
    }
}

/// Turns an endpoint's answer into the client's; that of a call is a conversation, in which either side may be silent.
fn pass_on(mut exchange: Exchange, answer: Answer, is_call: bool, turn: Turn) -> Response<ResponseBody> {
    let Answer { mut response, link, rest } = answer;
    exchange.answered(response.status());
    let announced = headers::prepare_response(response.headers_mut());
    if let (Some(timeout), Some(endpoint)) = (announced, exchange.endpoint()) {
        endpoint.endpoint.idle_limit().announced(timeout);
    }
    let carrier = match link {
        Link::Own(connection) if rest.is_some() => Carrier::Task(Driver::spawn(*connection)),
        Link::Own(connection) => Carrier::Inline(connection),
        Link::Multiplexed(lease) => Carrier::Stream(lease),
    };
    let timeouts = &exchange.view().snapshot.timeouts;
    let read_timeout = if is_call { timeouts.tunnel_idle } else { timeouts.response_body };
    let pace = Pace { read_timeout, is_conversation: is_call };
    let mut response = response.map(|incoming| ResponseBody::upstream(incoming, carrier, exchange, pace, rest, turn));
    // hyper writes the version its client speaks, whatever the endpoint spoke.
    *response.version_mut() = Version::HTTP_11;
    response
}
