//! What became of one request, for people: where it went and why, what was tried, and where its time went.
//!
//! A [`Draft`] travels with a request. It is taken from a stock of the worker, and what goes into it are instants that
//! are taken anyway, and counted references. Only at the end it is known whether the request is worth telling of: then
//! it becomes a [`Story`], which goes to the control thread through a bounded queue.
//!
//! A story has no header values and no query, because they may hold secrets, and no text of unbounded length.

mod candidates;
mod draft;
mod due;
mod refused;
mod size;
mod stories;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Version;

use super::cause::Cause;
use crate::config::address::Address;
use crate::metrics::Outcome;
pub(super) use draft::{Draft, End, Failed, Head};
pub(super) use due::Due;
pub(super) use refused::Refused;
pub(crate) use stories::{Outlet, Stories, channel};

/// The most bytes of each text of a story.
pub(crate) const TEXT_MAX: usize = 256;
/// The most candidates that a story names; the others are counted.
pub(crate) const CANDIDATES_MAX: usize = 16;
/// The most attempts that a story names; the last of them is always there.
pub(crate) const ATTEMPTS_MAX: usize = 16;

/// What became of one request; see the module. All times but the first count from the moment at which its head had been
/// read.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    /// When its head had been read.
    pub(crate) began: SystemTime,
    /// Why it is told.
    pub(crate) kinds: Kinds,
    /// `X-Request-Id` as the replica received it; empty if it was refused before it had one.
    pub(crate) id: Box<str>,
    /// Name of the listener.
    pub(crate) listener: Box<str>,
    /// The address of the client; behind a trusted proxy the one that it names.
    pub(crate) client: IpAddr,
    /// The method, which anybody may invent.
    pub(crate) method: Box<str>,
    /// The host that the client asked for.
    pub(crate) host: Box<str>,
    /// The path that the client asked for, without the query.
    pub(crate) path: Box<str>,
    /// The HTTP version that the client speaks.
    pub(crate) version: Version,
    /// The route that it matched.
    pub(crate) route: Option<MatchedRoute>,
    /// The pool from which its last endpoint was picked.
    pub(crate) pool: Option<Arc<str>>,
    /// The endpoints among which one was picked, if somebody has looked.
    pub(crate) candidates: Option<Candidates>,
    /// The attempts, the first one first.
    pub(crate) attempts: Vec<Attempt>,
    /// How many attempts there were in all.
    pub(crate) attempts_made: u32,
    /// How long it waited in the queue of its pool.
    pub(crate) queued: Duration,
    /// When it had been routed. Only requests of the sample have it.
    pub(crate) routed: Option<Duration>,
    /// When the head of the response had come that was passed on.
    pub(crate) head: Option<Duration>,
    /// When it was over.
    pub(crate) ended: Duration,
    /// The status of the response; `None` if there was none.
    pub(crate) status: Option<u16>,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// Whether the response is unstick's own.
    pub(crate) is_ours: bool,
    /// Why the response is unstick's own.
    pub(crate) cause: Option<Cause>,
    /// What the system, or a library, says of the failure.
    pub(crate) error: Option<Box<str>>,
    /// Bytes of the response body.
    pub(crate) bytes: u64,
    /// Its place in a trace, if it is traced.
    pub(crate) trace: Option<Box<Trace>>,
}

/// Why a request is told of. It may be for several reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Kinds {
    /// A status of 500 or more, or a response that broke off.
    pub(crate) failed: bool,
    /// There was more than one attempt.
    pub(crate) retried: bool,
    /// It took longer than `explain.slow`.
    pub(crate) slow: bool,
    /// It is one of the sample.
    pub(crate) sampled: bool,
}

impl Kinds {
    /// Whether there is any reason.
    pub(crate) fn any(self) -> bool {
        self.failed || self.retried || self.slow || self.sampled
    }
}

/// The route of a request, as `unstick route` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MatchedRoute {
    /// Its place in the file, counted from 1.
    pub(crate) place: usize,
    /// Its conditions, all of which the request has met.
    pub(crate) conditions: Box<str>,
    /// Those of its conditions that the path must meet.
    pub(crate) path: Box<str>,
}

/// The endpoints of a pool at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Candidates {
    /// The pool.
    pub(crate) pool: Arc<str>,
    /// At which moment.
    pub(crate) as_of: AsOf,
    /// Which endpoints get traffic: `healthy`, `fail-open`, `unknown`.
    pub(crate) mode: &'static str,
    /// The algorithm that picks one of them.
    pub(crate) balance: &'static str,
    /// The first [`CANDIDATES_MAX`] of them.
    pub(crate) list: Vec<Candidate>,
    /// How many more there are.
    pub(crate) omitted: usize,
}

/// When somebody has looked at the candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AsOf {
    /// Right before the first pick.
    Pick,
    /// Right after the first failure.
    Failure,
    /// At the end of the request.
    End,
}

impl AsOf {
    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pick => "pick",
            Self::Failure => "failure",
            Self::End => "end",
        }
    }
}

/// One endpoint that could have been picked.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// Its address.
    pub(crate) endpoint: Address,
    /// The verdict of its health check: `healthy`, `unhealthy`, `unchecked`.
    pub(crate) state: &'static str,
    /// What the config wants it to do: `ready`, `drain`, `down`, `held`.
    pub(crate) wanted: &'static str,
    /// The share that live traffic allows it: `full`, `returning`, `ejected`.
    pub(crate) admission: &'static str,
    /// Its weight.
    pub(crate) weight: u32,
    /// Requests in flight on it, over all workers.
    pub(crate) in_flight: u32,
    /// Recent failures, which count as load.
    pub(crate) failure_load: u32,
    /// Recent time to its response heads.
    pub(crate) latency: Duration,
    /// Whether the request had been tried on it before.
    pub(crate) tried: bool,
}

/// One attempt.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    /// The endpoint.
    pub(crate) endpoint: Address,
    /// Its pool: that of the route, or its fallback.
    pub(crate) pool: Arc<str>,
    /// Why this endpoint.
    pub(crate) chosen: Chosen,
    /// When it began: at the pick for a request of the sample, else when the head had been read, or when the wait or
    /// the attempt before was over.
    pub(crate) began: Duration,
    /// Whether the connection had carried requests before; `None` if there was none.
    pub(crate) connection: Option<Used>,
    /// When the opening of a connection was begun.
    pub(crate) opening: Option<Duration>,
    /// When a new connection was established.
    pub(crate) connected: Option<Duration>,
    /// When TLS was established over it.
    pub(crate) secured: Option<Duration>,
    /// When a connection that was not there before could take the request.
    pub(crate) ready: Option<Duration>,
    /// Whether it was HTTP/2.
    pub(crate) is_h2: bool,
    /// When the whole request, body and all, had been handed to the connection. It is known only if there was a
    /// response, and not before that.
    pub(crate) sent: Option<Duration>,
    /// When the response head had come.
    pub(crate) head: Option<Duration>,
    /// When it was over: with the end of the response for the last one.
    pub(crate) ended: Duration,
    /// The status of its response.
    pub(crate) status: Option<u16>,
    /// Why it has not settled the request.
    pub(crate) failure: Option<AttemptFailure>,
}

/// The connection of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Used {
    /// It was opened for this attempt.
    New,
    /// It was there already.
    Kept,
    /// Another request was opening it, and shares it.
    Joined,
}

impl Used {
    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Kept => "kept",
            Self::Joined => "joined",
        }
    }
}

/// Why an attempt was made on its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Chosen {
    /// The algorithm of the pool has picked it.
    #[default]
    Balance,
    /// The client has a connection of its own to it, over which it may be authenticating itself.
    OwnConnection,
    /// Its unused connection had been closed before anything was sent, so the request goes to the same endpoint.
    Again,
    /// It had room when the request was at the head of the queue.
    Queue,
}

impl Chosen {
    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Balance => "balance",
            Self::OwnConnection => "own-connection",
            Self::Again => "again",
            Self::Queue => "queue",
        }
    }
}

/// How an attempt failed, and what followed.
#[derive(Debug, Clone)]
pub(crate) struct AttemptFailure {
    /// The name of its cause; `unwell` for a response whose status the pool takes for a failure.
    pub(crate) cause: &'static str,
    /// What the system, or a library, says of it.
    pub(crate) error: Box<str>,
    /// What was left of the request: `unsent`, `sent`, `lost`.
    pub(crate) request: &'static str,
    /// What was decided: `again`, or why there is no further attempt.
    pub(crate) decision: &'static str,
}

/// The place of a request in a trace (W3C Trace Context).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace {
    /// The trace.
    pub(crate) trace_id: u128,
    /// The span of this request.
    pub(crate) span_id: u64,
    /// The span of the client, if it has named one.
    pub(crate) parent_id: Option<u64>,
    /// `tracestate`, as it came.
    pub(crate) state: Option<Box<str>>,
    /// Whether the client speaks TLS to unstick.
    pub(crate) is_tls: bool,
}

/// The beginning of a text, as long as it may be.
fn bounded(text: &str) -> Box<str> {
    text[..text.floor_char_boundary(TEXT_MAX)].into()
}

/// A story for tests.
#[cfg(test)]
pub(crate) fn test_story(kinds: Kinds, id: &str, path: &str) -> Story {
    Story {
        began: SystemTime::UNIX_EPOCH,
        kinds,
        id: id.into(),
        listener: "web".into(),
        client: [127, 0, 0, 1].into(),
        method: "GET".into(),
        host: "a".into(),
        path: path.into(),
        version: Version::HTTP_11,
        route: None,
        pool: None,
        candidates: None,
        attempts: Vec::new(),
        attempts_made: 0,
        queued: Duration::ZERO,
        routed: None,
        head: None,
        ended: Duration::ZERO,
        status: None,
        outcome: Outcome::ClientGone,
        is_ours: false,
        cause: None,
        error: None,
        bytes: 0,
        trace: None,
    }
}
