//! The attempts of one request, until one of them settles it. This is the only loop that repeats a request.

use std::rc::Rc;

use http::{HeaderMap, Request, Response};
use tokio::time::Instant;

use super::cause::Cause;
use super::client::Client;
use super::exchange::Exchange;
use super::retry::{self, Count, Decision, Failure, Key, Left, Reason};
use super::{grpc, queue, story};
use crate::deadlines::Wait;
use crate::fields;
use crate::link::WorkerEndpoint;
use crate::link::added::{Added, RequestId};
use crate::link::error::{Back, Failed, LinkError, Phase};
use crate::link::request_body::RequestBody;
use crate::link::response::LinkResponse;
use crate::link::timing::Timing;
use crate::link::waits::Waits;
use crate::link::wishes::{ClientAddresses, Sharing, Upgrade, Wishes};
use crate::pool::Tried;

/// The points that a failure counts towards an ejection.
const POINTS: u32 = 1;

/// The points of a failure to connect: it is the clearest sign that an endpoint is down.
const POINTS_NO_CONNECTION: u32 = 2;

/// A request that no attempt has settled.
#[derive(Debug)]
pub(super) struct GivenUp {
    /// Why the last attempt failed, or why none was made.
    pub(super) cause: Cause,
    /// What the system, or a library, says of it.
    pub(super) error: Option<Box<str>>,
    /// The header fields of the request, as far as they are still known.
    pub(super) headers: HeaderMap,
}

/// What is known about the attempts so far.
#[derive(Default)]
struct Attempts {
    tried: Tried,
    /// The attempts that count, see [`Failure::is_refusal`].
    counted: usize,
    /// Whether only a connection will do that has not carried a request before: a used one was stale, and others may be
    /// too.
    fresh: bool,
    /// The endpoint whose unused connection was closed before anything was sent: it gets the request again.
    same: Option<Rc<WorkerEndpoint>>,
    /// How the last one has failed, if there was one.
    failure: Option<Failure>,
    /// A response whose status the pool takes for a failure. It is still better than a response of the proxy.
    unwell: Option<Box<(LinkResponse, Rc<WorkerEndpoint>)>>,
}

/// What the connection must be like for the request of any attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needs {
    pub(super) upgrade: Upgrade,
    pub(super) sharing: Sharing,
}

/// Picks an endpoint and sends the request there, until an attempt settles it.
///
/// # Errors
/// The cause of the last failure, and the header fields for the response of the proxy.
///
/// # Cancel safety
/// Dropping the future cancels the attempt; `exchange` still counts it, and closes its books when it is dropped.
pub(super) async fn settle(
    exchange: &mut Exchange,
    request: &mut Request<RequestBody>,
    call: Option<grpc::Call>,
    needs: Needs,
) -> Result<LinkResponse, Box<GivenUp>> {
    let client = Rc::clone(exchange.client());
    let deadlines = &*client.deadlines;
    let limit = exchange.timeouts().request;
    if let Some(timeout) = limit.into_iter().chain(call.and_then(|call| call.timeout)).min() {
        deadlines.arm(Wait::Request, exchange.started + timeout);
    }
    let addresses = || client.connection.addresses();
    let interim = |head| client.leave_interim(head);
    let (mut attempts, mut now) = (Attempts::default(), exchange.started);
    loop {
        let endpoint = match exchange.attempt(&mut attempts.tried, attempts.same.take()) {
            Some(endpoint) => endpoint,
            None => match queue::wait(exchange, &mut attempts.tried, now).await {
                Ok(endpoint) => {
                    now = Instant::now();
                    endpoint
                }
                Err(cause) => return attempts.give_up(exchange, cause, None, std::mem::take(request.headers_mut())),
            },
        };
        attempts.failure.iter().for_each(|failure| exchange.pool_cell().retries(failure.index()).add(1));
        exchange.note_attempt(now);
        let told = (&exchange.added, exchange.timing());
        let make_room = || exchange.proxy().viewer.make_room();
        let wishes = attempts.wishes(needs, &client, (&addresses, &interim, &make_room), told);
        let waits = Waits::begin(deadlines, exchange.timeouts(), now, exchange.attempt_timeout());
        let result = endpoint.send(request, &wishes, &waits).await;
        let ended = Instant::now();
        let next = match result {
            Ok(response) => {
                let sent = response.waited_since(now);
                exchange.note_response(ended, sent);
                if let Some(since) = sent {
                    exchange.began_to_answer(&endpoint, ended.saturating_duration_since(since), ended);
                }
                if !exchange.is_unwell(response.response.status()) {
                    return Ok(response);
                }
                attempts.unwell(exchange, response, endpoint, request, ended)
            }
            Err(failed) => attempts.failed(exchange, *failed, ended),
        };
        *request = match next {
            Next::Again(request) => request,
            Next::Settled(settled) => return settled,
        };
        // The endpoint's count must not include this request when the next one is picked.
        exchange.release();
        now = ended;
    }
}

/// What follows an attempt that has settled nothing.
enum Next {
    /// Another attempt, with this request.
    Again(Request<RequestBody>),
    /// No further attempt; this is the result.
    Settled(Result<LinkResponse, Box<GivenUp>>),
}

/// What a connection may ask for: the addresses of its client, what becomes of an interim response, and room.
type Calls<'a> = (&'a dyn Fn() -> ClientAddresses, &'a dyn Fn(Response<()>), &'a dyn Fn() -> bool);

impl Attempts {
    fn wishes<'a>(
        &self,
        needs: Needs,
        client: &'a Client,
        (addresses, interim, make_room): Calls<'a>,
        (added, timing): (&'a Added, Option<&'a Timing>),
    ) -> Wishes<'a> {
        let Needs { upgrade, sharing } = needs;
        let private = &client.connection.private;
        Wishes { fresh: self.fresh, upgrade, sharing, private, interim, client: addresses, make_room, added, timing }
    }

    /// The endpoint responded with a status that the pool takes for a failure.
    fn unwell(
        &mut self,
        exchange: &mut Exchange,
        response: LinkResponse,
        endpoint: Rc<WorkerEndpoint>,
        request: &mut Request<RequestBody>,
        now: Instant,
    ) -> Next {
        let status = response.response.status().as_u16();
        let back = response.take_back(request);
        self.failure = Some(Failure::Unwell);
        self.count(exchange, Failure::Unwell);
        let reason = self.reason(exchange, Failure::Unwell, &back, now);
        let (decision, request) = (Decision::from(reason), Left::from(&back).name());
        let failed = story::Failed { why: None, status: Some(status), reused: false, request, decision: reason.name() };
        exchange.note_failure(now, &self.tried, failed);
        exchange.endpoint_failed(POINTS);
        let (pool, address) = (&endpoint.endpoint.pool, &endpoint.endpoint.address);
        tracing::debug!(%pool, endpoint = %address, status, ?decision, "the endpoint is unwell");
        self.unwell = Some(Box::new((response, endpoint)));
        self.next(exchange, decision, Cause::UpstreamClosed, None, back)
    }

    /// The attempt ended without a response.
    fn failed(&mut self, exchange: &mut Exchange, failed: Failed, now: Instant) -> Next {
        let Failed { why, back, reused } = failed;
        let (cause, is_connect) = (Cause::from(&why), is_connect(&why, reused));
        let failure = Failure::Unanswered(cause);
        self.failure = Some(failure);
        let was_closed = reused && matches!(why, LinkError::Closed(_) | LinkError::Tls(_));
        if self.fresh || !was_closed || why.spares_connection() {
            self.count(exchange, failure);
        } else {
            // The first time, it says nothing about the endpoint.
            self.tried.forget_last();
            if matches!(back, Back::Unsent(_)) {
                // Nobody has seen anything of the request.
                self.same = exchange.endpoint().cloned();
            }
        }
        let reason = self.reason(exchange, failure, &back, now);
        let decision = Decision::from(reason);
        let (why_told, request) = (Some((cause, &why)), Left::from(&back).name());
        let told = story::Failed { why: why_told, status: None, reused, request, decision: reason.name() };
        exchange.note_failure(now, &self.tried, told);
        let is_repeated = decision == Decision::Again;
        // If only the stream was refused, the connection is as good as before.
        self.fresh |= is_repeated && reused && !why.spares_connection();
        // Endpoints close unused connections as part of keep-alive. A reused connection that was closed is no failure.
        let is_stale = is_repeated && (was_closed || why.is_declined());
        if is_connect && let Some(endpoint) = exchange.endpoint() {
            // What its closes have taught was perhaps its end, and what comes back may have other limits.
            endpoint.endpoint.idle_limit().forget();
        }
        if failure.blames_endpoint() && !is_stale {
            exchange.endpoint_failed(if is_connect { POINTS_NO_CONNECTION } else { POINTS });
        }
        log_failure(exchange, failure, cause, &back, decision);
        self.next(exchange, decision, cause, Some(&why), back)
    }

    /// Counts the attempt, unless it was refused and there are endpoints left that may not refuse it.
    fn count(&mut self, exchange: &Exchange, failure: Failure) {
        self.counted += usize::from(!failure.is_refusal() || !exchange.pool().has_untried(&self.tried));
    }

    /// Decides what follows the attempt, and says why. A repetition of a request that an endpoint may have seen is paid
    /// from the pool's retry budget.
    fn reason(&self, exchange: &Exchange, failure: Failure, back: &Back, now: Instant) -> Reason {
        let (pool, left) = (exchange.pool(), Left::from(back));
        let (method, _, headers) = back.head();
        let key = if bears_key(headers) { Key::Borne } else { Key::None };
        let count = Count { made: self.counted, most: exchange.attempts_max() };
        let reason = retry::reason(failure, left, method, key, count);
        if reason == Reason::Again && left == Left::Sent && !pool.may_repeat(now) {
            exchange.pool_cell().retries_refused.add(1);
            tracing::warn!(pool = %pool.name, "a request is not repeated: the retry budget is used up");
            return Reason::BudgetUsedUp;
        }
        reason
    }

    fn next(
        &mut self,
        exchange: &mut Exchange,
        decision: Decision,
        cause: Cause,
        why: Option<&LinkError>,
        back: Back,
    ) -> Next {
        match (decision, back) {
            (Decision::Again, Back::Unsent(request) | Back::Sent(request)) => Next::Again(request),
            (_, back) => {
                let error = why.map(|why| why.root().into());
                Next::Settled(self.give_up(exchange, cause, error, back.into_headers()))
            }
        }
    }

    /// No attempt has settled the request. A response of the replica, if there was one, is better than one of the
    /// proxy.
    fn give_up(
        &mut self,
        exchange: &mut Exchange,
        cause: Cause,
        error: Option<Box<str>>,
        headers: HeaderMap,
    ) -> Result<LinkResponse, Box<GivenUp>> {
        let Some(unwell) = self.unwell.take() else { return Err(Box::new(GivenUp { cause, error, headers })) };
        let (response, endpoint) = *unwell;
        exchange.back_to(endpoint);
        Ok(response)
    }
}

/// Whether a request bears an `Idempotency-Key` by which the application can recognise it. An empty one is none.
fn bears_key(headers: &HeaderMap) -> bool {
    headers.get(fields::IDEMPOTENCY_KEY).is_some_and(|key| !matches!(key.as_bytes(), b"" | b"\"\""))
}

/// Whether there was no connection, or one over which TLS was never established: in TLS 1.3 an endpoint may say so only
/// after the first request.
fn is_connect(why: &LinkError, reused: bool) -> bool {
    match why {
        LinkError::Refused(_) | LinkError::TimedOut(Phase::Connect) => true,
        LinkError::Tls(_) => !reused,
        _ => false,
    }
}

/// Logs an attempt that failed.
fn log_failure(exchange: &Exchange, failure: Failure, cause: Cause, back: &Back, decision: Decision) {
    let Some(endpoint) = exchange.endpoint() else { return };
    let (method, uri, headers) = back.head();
    let told = headers.get(fields::X_REQUEST_ID).and_then(|id| id.to_str().ok());
    let request_id = exchange.added.request_id.as_ref().map(RequestId::as_str).or(told);
    let (pool, address) = (&endpoint.endpoint.pool, &endpoint.endpoint.address);
    let (path, left, attempts) = (uri.path(), Left::from(back).name(), exchange.attempts());
    let (name, explanation) = (cause.name(), cause.explanation());
    if failure.blames_endpoint() && decision == Decision::GiveUp {
        tracing::warn!(%pool, endpoint = %address, cause = name, %method, path, request_id, request = left, attempts,
            "request failed: {explanation}");
    } else {
        tracing::debug!(%pool, endpoint = %address, cause = name, %method, path, request_id, "attempt failed, \
            trying again");
    }
}
