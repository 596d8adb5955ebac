//! One request with all that is known of it.

use std::time::Duration;

use serde::Serialize;

use super::{began, kinds, outcome};
use crate::config::address::Address;
use crate::proxy::cause::Cause;
use crate::proxy::story::{Attempt, AttemptFailure, Candidate, Candidates, Story};

/// A duration in microseconds.
pub(super) fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// All that is known of a request. Each `_us` of `phases` and `attempts` but those of a step by itself (`connect_us`,
/// `tls_us`) counts from `at`.
#[derive(Debug, Serialize)]
pub(super) struct Whole {
    id: String,
    /// Its trace, if its spans are exported.
    trace_id: Option<String>,
    at: String,
    kinds: Vec<&'static str>,
    listener: String,
    client: String,
    method: String,
    host: String,
    path: String,
    version: String,
    route: Option<RouteView>,
    pool: Option<String>,
    status: Option<u16>,
    outcome: &'static str,
    /// `replica` or `unstick`; `null` if there was no response.
    origin: Option<&'static str>,
    cause: Option<&'static str>,
    /// The rule that the request breaks, if it was not valid.
    rule: Option<&'static str>,
    /// A sentence about the cause.
    explanation: Option<&'static str>,
    error: Option<String>,
    bytes: u64,
    duration_us: u64,
    queue_us: u64,
    phases: PhasesView,
    candidates: Option<CandidatesView>,
    attempts_made: u32,
    attempts: Vec<AttemptView>,
}

#[derive(Debug, Serialize)]
struct RouteView {
    place: usize,
    conditions: String,
}

/// When each phase was over, counted from the request head. What was not reached, or not looked at, is `null`.
#[derive(Debug, Serialize)]
struct PhasesView {
    routed_us: Option<u64>,
    picked_us: Option<u64>,
    connected_us: Option<u64>,
    sent_us: Option<u64>,
    head_us: Option<u64>,
    end_us: u64,
}

#[derive(Debug, Serialize)]
struct CandidatesView {
    as_of: &'static str,
    pool: String,
    mode: &'static str,
    balance: &'static str,
    endpoints: Vec<CandidateView>,
    omitted: usize,
}

#[derive(Debug, Serialize)]
struct CandidateView {
    endpoint: Address,
    state: &'static str,
    admission: &'static str,
    wanted: &'static str,
    weight: u32,
    in_flight: u32,
    failure_load: u32,
    latency_us: u64,
    tried: bool,
}

#[derive(Debug, Serialize)]
struct AttemptView {
    endpoint: Address,
    pool: String,
    chosen: &'static str,
    connection: Option<&'static str>,
    protocol: Option<&'static str>,
    began_us: u64,
    connect_us: Option<u64>,
    tls_us: Option<u64>,
    connected_us: Option<u64>,
    sent_us: Option<u64>,
    head_us: Option<u64>,
    end_us: u64,
    status: Option<u16>,
    failure: Option<FailureView>,
}

#[derive(Debug, Serialize)]
struct FailureView {
    cause: &'static str,
    error: String,
    request: &'static str,
    decision: &'static str,
}

impl Whole {
    pub(super) fn of(story: &Story) -> Self {
        let origin = if story.is_ours { "unstick" } else { "replica" };
        Self {
            id: story.id.to_string(),
            trace_id: story.trace.as_ref().map(|trace| format!("{:032x}", trace.trace_id)),
            at: began(story),
            kinds: kinds(story.kinds),
            listener: story.listener.to_string(),
            client: story.client.to_string(),
            method: story.method.to_string(),
            host: story.host.to_string(),
            path: story.path.to_string(),
            version: format!("{:?}", story.version),
            route: story
                .route
                .as_ref()
                .map(|route| RouteView { place: route.place, conditions: route.conditions.to_string() }),
            pool: story.pool.as_ref().map(|pool| pool.to_string()),
            status: story.status,
            outcome: outcome(story.outcome),
            origin: story.status.map(|_| origin),
            cause: story.cause.map(Cause::name),
            rule: story.cause.and_then(Cause::rule),
            explanation: story.cause.map(Cause::explanation),
            error: story.error.as_ref().map(|error| error.to_string()),
            bytes: story.bytes,
            duration_us: us(story.ended),
            queue_us: us(story.queued),
            phases: PhasesView::of(story),
            candidates: story.candidates.as_ref().map(CandidatesView::of),
            attempts_made: story.attempts_made,
            attempts: story.attempts.iter().map(AttemptView::of).collect(),
        }
    }
}

impl PhasesView {
    fn of(story: &Story) -> Self {
        let last = story.attempts.last();
        let of_last = |step: fn(&Attempt) -> Option<Duration>| last.and_then(step).map(us);
        Self {
            routed_us: story.routed.map(us),
            picked_us: of_last(|attempt| Some(attempt.began)),
            connected_us: of_last(|attempt| attempt.ready),
            sent_us: of_last(|attempt| attempt.sent),
            head_us: story.head.map(us),
            end_us: us(story.ended),
        }
    }
}

impl CandidatesView {
    fn of(candidates: &Candidates) -> Self {
        let Candidates { pool, as_of, mode, balance, list, omitted } = candidates;
        Self {
            as_of: as_of.name(),
            pool: pool.to_string(),
            mode,
            balance,
            endpoints: list.iter().map(CandidateView::of).collect(),
            omitted: *omitted,
        }
    }
}

impl CandidateView {
    fn of(candidate: &Candidate) -> Self {
        let Candidate { endpoint, state, wanted, admission, weight, in_flight, failure_load, latency, tried } =
            candidate;
        Self {
            endpoint: endpoint.clone(),
            state,
            admission,
            wanted,
            weight: *weight,
            in_flight: *in_flight,
            failure_load: *failure_load,
            latency_us: us(*latency),
            tried: *tried,
        }
    }
}

impl AttemptView {
    fn of(attempt: &Attempt) -> Self {
        let Attempt { endpoint, pool, chosen, began, connection, opening, connected, secured, .. } = attempt;
        let between = |from: Option<Duration>, to: Option<Duration>| Some(us(to?.saturating_sub(from?)));
        Self {
            endpoint: endpoint.clone(),
            pool: pool.to_string(),
            chosen: chosen.name(),
            connection: connection.map(|used| used.name()),
            protocol: connection.map(|_| if attempt.is_h2 { "HTTP/2" } else { "HTTP/1.1" }),
            began_us: us(*began),
            connect_us: between(*opening, *connected),
            tls_us: between(*connected, *secured),
            connected_us: attempt.ready.map(us),
            sent_us: attempt.sent.map(us),
            head_us: attempt.head.map(us),
            end_us: us(attempt.ended),
            status: attempt.status,
            failure: attempt.failure.as_ref().map(FailureView::of),
        }
    }
}

impl FailureView {
    fn of(failure: &AttemptFailure) -> Self {
        let AttemptFailure { cause, error, request, decision } = failure;
        Self { cause, error: error.to_string(), request, decision }
    }
}
