//! What is noted of every request while it is served. It costs some stores and counted references.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Version};
use tokio::time::Instant;

use super::{
    ATTEMPTS_MAX, AsOf, Attempt, AttemptFailure, Candidates, Chosen, Kinds, MatchedRoute, Story, TEXT_MAX, Trace, Used,
    bounded,
};
use crate::config::address::Address;
use crate::link::error::LinkError;
use crate::link::timing::Timing;
use crate::metrics::Outcome;
use crate::pool::endpoint::Endpoint;
use crate::pool::{Pool, Tried};
use crate::proxy::access::Origin;
use crate::proxy::cause::Cause;
use crate::proxy::request_id::Identifier;
use crate::snapshot::routes::Routes;

/// What is known of a request when it has been routed.
#[derive(Clone, Copy)]
pub(in crate::proxy) struct Head<'a> {
    pub(in crate::proxy) parts: &'a Parts,
    pub(in crate::proxy) host: &'a HeaderValue,
    pub(in crate::proxy) client: IpAddr,
    /// The place of its route, counted from 0.
    pub(in crate::proxy) route: usize,
}

/// How a request ended.
pub(in crate::proxy) struct End<'a> {
    pub(in crate::proxy) started: Instant,
    pub(in crate::proxy) now: Instant,
    pub(in crate::proxy) kinds: Kinds,
    pub(in crate::proxy) listener: &'a str,
    pub(in crate::proxy) routes: &'a Routes,
    pub(in crate::proxy) pool: &'a Pool,
    /// The endpoint that responded, or the last one that was tried.
    pub(in crate::proxy) endpoint: Option<&'a Endpoint>,
    pub(in crate::proxy) status: Option<u16>,
    pub(in crate::proxy) outcome: Outcome,
    pub(in crate::proxy) origin: Option<Origin>,
    pub(in crate::proxy) error: Option<&'a str>,
    pub(in crate::proxy) bytes: u64,
    pub(in crate::proxy) attempts: u32,
}

/// How an attempt failed.
pub(in crate::proxy) struct Failed<'a> {
    /// `None` for a response whose status the pool takes for a failure.
    pub(in crate::proxy) why: Option<(Cause, &'a LinkError)>,
    /// The status of that response.
    pub(in crate::proxy) status: Option<u16>,
    /// Whether the connection had carried another request before.
    pub(in crate::proxy) reused: bool,
    /// What was left of the request.
    pub(in crate::proxy) request: &'static str,
    /// What was decided.
    pub(in crate::proxy) decision: &'static str,
}

/// The beginning of a story; see the module.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Draft {
    pub(in crate::proxy) is_sampled: bool,
    method: Method,
    path: Option<PathAndQuery>,
    host: Option<HeaderValue>,
    pub(in crate::proxy) id: Identifier,
    version: Version,
    client: Option<IpAddr>,
    /// The place of its route, counted from 0.
    route: usize,
    /// The name of the route, if the snapshot to which it belongs has been left.
    route_name: Option<MatchedRoute>,
    candidates: Option<Candidates>,
    /// The attempts that are over.
    attempts: Vec<Attempt>,
    /// Why the endpoint of the next attempt was chosen.
    pub(in crate::proxy) chosen: Chosen,
    /// The present attempt, if there is one.
    present: Option<Present>,
    /// When the steps of the present attempt were over.
    pub(in crate::proxy) timing: Timing,
    queued_since: Option<Instant>,
    queued: Duration,
    /// When it had been routed, if it is one of the sample.
    routed: Option<Instant>,
    /// When the head of the response had come that is passed on.
    pub(in crate::proxy) head: Option<Instant>,
    /// Whether the response is a stream, or a tunnel follows it: then it may last.
    pub(in crate::proxy) is_lasting: bool,
    /// Its place in a trace, if it is traced.
    pub(in crate::proxy) trace: Option<Box<Trace>>,
}

/// The attempt that is under way.
#[derive(Debug, Clone, Copy)]
struct Present {
    chosen: Chosen,
    began: Instant,
    sent: Option<Instant>,
    head: Option<Instant>,
}

impl Draft {
    /// Notes what is known when the request has been routed.
    #[inline]
    pub(super) fn begin(&mut self, head: Head<'_>) {
        let Head { parts, host, client, route } = head;
        self.method = bounded_method(&parts.method);
        self.path = parts.uri.path_and_query().cloned();
        self.host = Some(host.clone());
        self.version = parts.version;
        self.client = Some(client);
        self.route = route;
        if self.is_sampled {
            self.routed = Some(Instant::now());
        }
    }

    /// Forgets the request, so that nothing of it is kept from being freed.
    #[inline]
    pub(super) fn clear(&mut self) {
        (self.path, self.host, self.present, self.head, self.routed) = (None, None, None, None, None);
        if let Identifier::Given(_) = self.id {
            self.id = Identifier::None;
        }
        (self.queued_since, self.queued, self.is_lasting) = (None, Duration::ZERO, false);
        if self.candidates.is_some() || self.route_name.is_some() || self.trace.is_some() {
            (self.candidates, self.route_name, self.trace) = (None, None, None);
        }
        self.attempts.clear();
    }

    /// The request will last, and the buffer with its head is to be freed: what is a part of it is copied.
    #[cold]
    pub(in crate::proxy) fn outlive_head(&mut self) {
        let copied = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).ok();
        self.host = self.host.as_ref().and_then(copied);
        if let Identifier::Given(id) = &self.id {
            self.id = copied(id).map(Identifier::Given).unwrap_or_default();
        }
        let path = self.path.as_ref().map(|path| Bytes::copy_from_slice(bounded(path.path()).as_bytes()));
        self.path = path.and_then(|path| PathAndQuery::from_maybe_shared(path).ok());
    }

    /// Whether somebody is to look at the candidates before the first pick.
    #[inline]
    pub(in crate::proxy) fn wants_candidates(&self) -> bool {
        self.is_sampled && self.candidates.is_none()
    }

    /// Looks at the candidates, unless that was done before.
    #[cold]
    pub(in crate::proxy) fn see(&mut self, pool: &Pool, tried: &Tried, as_of: AsOf) {
        self.candidates.get_or_insert_with(|| Candidates::of(pool, tried, as_of));
    }

    /// The snapshot is left with which the request began.
    #[cold]
    pub(in crate::proxy) fn leave(&mut self, routes: &Routes) {
        if self.route_name.is_none() {
            self.route_name = route(routes, self.route);
        }
    }

    /// The request waits for an endpoint with room.
    #[cold]
    pub(in crate::proxy) fn queue(&mut self, now: Instant) {
        self.queued_since = Some(now);
    }

    /// The wait is over.
    #[cold]
    pub(in crate::proxy) fn leave_queue(&mut self, now: Instant) {
        if let Some(since) = self.queued_since.take() {
            self.queued += now.saturating_duration_since(since);
        }
    }

    /// An endpoint was chosen for an attempt, which began at `now`.
    #[inline]
    pub(in crate::proxy) fn attempt(&mut self, now: Instant) {
        let began = if self.is_sampled { Instant::now() } else { now };
        self.present = Some(Present { chosen: self.chosen, began, sent: None, head: None });
        self.timing.reset();
    }

    /// The head of a response has come. The whole request had been `sent` at that time, if it had been.
    #[inline]
    pub(in crate::proxy) fn respond(&mut self, head: Instant, sent: Option<Instant>) {
        self.head = Some(head);
        if let Some(present) = &mut self.present {
            (present.head, present.sent) = (Some(head), sent);
        }
    }

    /// The present attempt has failed.
    #[cold]
    pub(in crate::proxy) fn fail(&mut self, started: Instant, now: Instant, endpoint: &Endpoint, failed: Failed<'_>) {
        let Failed { why, status, reused, request, decision } = failed;
        let failure = AttemptFailure {
            cause: why.map_or("unwell", |(cause, _)| cause.name()),
            error: why.map(|(_, why)| bounded(&why.root())).unwrap_or_default(),
            request,
            decision,
        };
        self.end_attempt(started, now, endpoint, status, reused, Some(failure));
    }

    fn end_attempt(
        &mut self,
        started: Instant,
        now: Instant,
        endpoint: &Endpoint,
        status: Option<u16>,
        reused: bool,
        failure: Option<AttemptFailure>,
    ) {
        let Some(Present { chosen, began, sent, head }) = self.present.take() else { return };
        let since = |at: Instant| at.saturating_duration_since(started);
        let timing = &self.timing;
        let connection = match (timing.connected.get(), timing.ready.get()) {
            (Some(_), _) => Some(Used::New),
            (None, Some(_)) => Some(Used::Joined),
            (None, None) => (reused || head.is_some()).then_some(Used::Kept),
        };
        let attempt = Attempt {
            endpoint: Address::clone(&endpoint.address),
            pool: Arc::clone(&endpoint.pool),
            chosen,
            began: since(began),
            connection,
            opening: timing.opening.get().map(since),
            connected: timing.connected.get().map(since),
            secured: timing.secured.get().map(since),
            ready: timing.ready.get().map(since),
            is_h2: timing.is_h2.get(),
            sent: sent.map(since),
            head: head.map(since),
            ended: since(now),
            status,
            failure,
        };
        if self.attempts.len() >= ATTEMPTS_MAX {
            self.attempts.pop();
        }
        self.attempts.push(attempt);
    }

    /// The whole story.
    #[cold]
    pub(in crate::proxy) fn tell(&mut self, end: End<'_>) -> Story {
        let End { started, now, kinds, pool, status, outcome, .. } = end;
        if kinds.failed {
            self.see(pool, &Tried::default(), AsOf::End);
        }
        self.leave(end.routes);
        self.leave_queue(now);
        if let Some(endpoint) = end.endpoint {
            let status = if let Some(Origin::Replica) = end.origin { status } else { None };
            self.end_attempt(started, now, endpoint, status, false, None);
        }
        let since = |at: Instant| at.saturating_duration_since(started);
        let ended = since(now);
        let field = |value: &HeaderValue| bounded(&String::from_utf8_lossy(value.as_bytes()));
        Story {
            began: SystemTime::now().checked_sub(ended).unwrap_or(SystemTime::UNIX_EPOCH),
            kinds,
            id: bounded(&self.id.text()),
            listener: bounded(end.listener),
            client: self.client.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
            method: bounded(self.method.as_str()),
            host: self.host.as_ref().map(field).unwrap_or_default(),
            path: bounded(self.path.as_ref().map_or("*", PathAndQuery::path)),
            version: self.version,
            route: self.route_name.take(),
            pool: Some(Arc::clone(&pool.name)),
            candidates: self.candidates.take(),
            attempts: std::mem::take(&mut self.attempts),
            attempts_made: end.attempts,
            queued: self.queued,
            routed: self.routed.map(since),
            head: self.head.filter(|_| end.origin == Some(Origin::Replica)).map(since),
            ended,
            status,
            outcome,
            is_ours: matches!(end.origin, Some(Origin::Unstick(_))),
            cause: if let Some(Origin::Unstick(cause)) = end.origin { cause } else { None },
            error: end.error.map(bounded),
            bytes: end.bytes,
            trace: self.trace.take(),
        }
    }
}

/// The method as far as it is told of: a client may invent one that is as long as a head may be.
#[inline]
fn bounded_method(method: &Method) -> Method {
    let name = method.as_str();
    if name.len() <= TEXT_MAX {
        return method.clone();
    }
    Method::from_bytes(bounded(name).as_bytes()).unwrap_or_default()
}

/// A route by its place, which counts from 0 here and from 1 for people.
pub(super) fn route(routes: &Routes, place: usize) -> Option<MatchedRoute> {
    let route = routes.list().get(place)?;
    let (conditions, path) = (bounded(&route.to_string()), bounded(&route.path.to_string()));
    Some(MatchedRoute { place: place + 1, conditions, path })
}
