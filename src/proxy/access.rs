//! What the access log says about a request.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, REFERER, USER_AGENT};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode, Version};

use crate::access_log::AccessRecord;
use crate::config::address::Address;
use crate::fields::X_REQUEST_ID;
use crate::metrics::Outcome;
use crate::pool::Pool;

/// What is known once the head has been read. The log runs for every request, so everything here is a counted
/// reference, not a copy.
#[derive(Debug)]
pub(super) struct AccessDraft {
    peer: IpAddr,
    method: Method,
    target: Option<PathAndQuery>,
    version: Version,
    host: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
}

impl AccessDraft {
    /// Notes a request whose head has been prepared for the replica.
    pub(super) fn new(peer: IpAddr, parts: &Parts) -> Box<Self> {
        let field = |name| parts.headers.get(name).cloned();
        Box::new(Self {
            peer,
            method: parts.method.clone(),
            target: parts.uri.path_and_query().cloned(),
            version: parts.version,
            host: field(HOST),
            request_id: field(X_REQUEST_ID),
            user_agent: field(USER_AGENT),
            referer: field(REFERER),
        })
    }

    /// Adds how the request ended.
    #[expect(clippy::too_many_arguments, reason = "each is one column of the log")]
    pub(super) fn finish(
        self: Box<Self>,
        pool: &Arc<Pool>,
        endpoint: Option<Address>,
        status: Option<StatusCode>,
        outcome: Outcome,
        bytes: u64,
        duration: Duration,
        attempts: u32,
    ) -> AccessRecord {
        AccessRecord {
            finished: std::time::SystemTime::now(),
            peer: self.peer,
            method: self.method,
            target: self.target,
            version: self.version,
            host: self.host,
            request_id: self.request_id,
            user_agent: self.user_agent,
            referer: self.referer,
            pool: Arc::clone(&pool.name),
            endpoint,
            status: status.map(|status| status.as_u16()),
            outcome: match outcome {
                Outcome::Answered(_) => "answered",
                Outcome::Cut => "cut",
                Outcome::ClientGone => "client-gone",
            },
            bytes,
            duration,
            attempts,
        }
    }
}
