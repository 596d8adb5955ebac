//! What the access log says about a request.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, REFERER, USER_AGENT};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode, Version};

use super::cause::Cause;
use crate::access_log::AccessRecord;
use crate::config::address::Address;
use crate::fields::X_REQUEST_ID;
use crate::metrics::Outcome;

/// What is known once the head has been read. The log runs for every request, so everything here is a counted
/// reference, not a copy.
#[derive(Debug)]
pub(super) struct AccessDraft {
    client: IpAddr,
    method: Option<Method>,
    target: Option<PathAndQuery>,
    line: Option<Box<str>>,
    version: Version,
    host: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
}

/// Who made a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The endpoint.
    Replica,
    /// The proxy, for this cause. A redirect has none.
    Unstick(Option<Cause>),
}

/// How a request ended.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) pool: Option<Arc<str>>,
    pub(super) endpoint: Option<Address>,
    pub(super) status: Option<StatusCode>,
    pub(super) outcome: Outcome,
    pub(super) bytes: u64,
    pub(super) duration: Duration,
    pub(super) attempts: u32,
    /// `None` if no response had begun.
    pub(super) origin: Option<Origin>,
    /// What the system, or a library, says of the failure.
    pub(super) error: Option<Box<str>>,
}

impl AccessDraft {
    /// Notes a request.
    pub(super) fn new(client: IpAddr, parts: &Parts) -> Box<Self> {
        let field = |name| parts.headers.get(name).cloned();
        Box::new(Self {
            client,
            method: Some(parts.method.clone()),
            target: parts.uri.path_and_query().cloned(),
            line: None,
            version: parts.version,
            host: field(HOST),
            request_id: field(X_REQUEST_ID),
            user_agent: field(USER_AGENT),
            referer: field(REFERER),
        })
    }

    /// Notes a head that could not be read; this is its first line, if that is known.
    pub(super) fn of_line(client: IpAddr, line: Option<Box<str>>) -> Box<Self> {
        Box::new(Self {
            client,
            method: None,
            target: None,
            line,
            version: Version::HTTP_11,
            host: None,
            request_id: None,
            user_agent: None,
            referer: None,
        })
    }

    /// Adds how the request ended.
    pub(super) fn finish(self: Box<Self>, ending: Ending) -> AccessRecord {
        let Ending { pool, endpoint, status, outcome, bytes, duration, attempts, origin, error } = ending;
        let cause = if let Some(Origin::Unstick(cause)) = origin { cause } else { None };
        AccessRecord {
            finished: std::time::SystemTime::now(),
            client: self.client,
            method: self.method,
            target: self.target,
            line: self.line,
            version: self.version,
            host: self.host,
            request_id: self.request_id,
            user_agent: self.user_agent,
            referer: self.referer,
            pool,
            endpoint,
            status: status.map(|status| status.as_u16()),
            outcome: match outcome {
                Outcome::Answered(_) => "answered",
                Outcome::Cut => "cut",
                Outcome::ClientGone => "client-gone",
            },
            origin: origin.map(|origin| match origin {
                Origin::Replica => "replica",
                Origin::Unstick(_) => "unstick",
            }),
            cause: cause.map(Cause::name),
            rule: cause.and_then(Cause::rule),
            error,
            bytes,
            duration,
            attempts,
        }
    }
}
