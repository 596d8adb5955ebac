//! What the access log says about a request.
//!
//! While the log is off this costs one look at the snapshot. What no line wants is neither looked up nor cloned, and
//! what it wants is mostly a counted reference.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderMap, HeaderName, REFERER, USER_AGENT};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, StatusCode, Version};

use super::cause::Cause;
use super::connection::Connection;
use crate::access_log::{AccessRecord, Layout};
use crate::config::address::Address;
use crate::config::model::AccessField;
use crate::fields::X_REQUEST_ID;
use crate::link::added::RequestId;
use crate::metrics::Outcome;
use crate::snapshot::Snapshot;

/// What is known once the head has been read. A request without one is not logged.
#[derive(Debug)]
pub(super) struct AccessDraft {
    layout: Arc<Layout>,
    client_ip: IpAddr,
    peer_ip: IpAddr,
    method: Option<Method>,
    target: Option<PathAndQuery>,
    authority: Option<Authority>,
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
pub(super) struct Ending<'a> {
    pub(super) pool: Option<&'a Arc<str>>,
    pub(super) endpoint: Option<&'a Address>,
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

impl Ending<'_> {
    /// Whether the request is logged whatever the sample is: a server error, a response that broke off, or a refusal of
    /// ours.
    fn is_error(&self) -> bool {
        let is_ours = matches!(self.origin, Some(Origin::Unstick(Some(_))));
        let is_failed = self.status.is_some_and(|status| status.is_server_error());
        is_ours || is_failed || matches!(self.outcome, Outcome::Cut)
    }
}

impl AccessDraft {
    /// Notes a request by its head as it came, if there is an access log.
    #[inline]
    pub(super) fn begin(snapshot: &Snapshot, connection: &Connection, parts: &Parts) -> Option<Box<Self>> {
        snapshot.access_log.as_ref().map(|layout| Self::of_head(layout, connection, parts))
    }

    /// Notes a request that no replica gets. Nobody has given it an identifier, so only that of a trusted proxy counts.
    pub(super) fn of_refused(snapshot: &Snapshot, connection: &Connection, parts: &Parts) -> Option<Box<Self>> {
        let mut draft = Self::begin(snapshot, connection, parts)?;
        draft.note_sent(&parts.headers, None);
        if let (None, Some(authority)) = (&draft.host, parts.uri.authority())
            && draft.layout.wants(AccessField::Host)
        {
            draft.host = HeaderValue::try_from(authority.as_str()).ok();
        }
        if !connection.is_trusted() {
            draft.request_id = None;
        }
        Some(draft)
    }

    /// Notes a head that could not be read; this is its first line, if that is known.
    pub(super) fn of_line(snapshot: &Snapshot, connection: &Connection, line: Option<Box<str>>) -> Option<Box<Self>> {
        let layout = Arc::clone(snapshot.access_log.as_ref()?);
        Some(Box::new(Self {
            client_ip: connection.peer,
            peer_ip: connection.peer,
            method: None,
            target: None,
            authority: None,
            line: line.filter(|_| layout.wants_line()),
            version: Version::HTTP_11,
            host: None,
            request_id: None,
            user_agent: None,
            referer: None,
            layout,
        }))
    }

    fn of_head(layout: &Arc<Layout>, connection: &Connection, parts: &Parts) -> Box<Self> {
        let peer_ip = connection.peer;
        let wants_client = layout.wants(AccessField::ClientIp);
        let target = if layout.wants_target() { parts.uri.path_and_query().cloned() } else { None };
        Box::new(Self {
            layout: Arc::clone(layout),
            client_ip: if wants_client { connection.client_address(&parts.headers) } else { peer_ip },
            peer_ip,
            method: Some(parts.method.clone()),
            authority: if target.is_none() { parts.uri.authority().cloned() } else { None },
            target,
            line: None,
            version: parts.version,
            host: None,
            request_id: None,
            user_agent: wanted(layout, AccessField::UserAgent, &parts.headers, &USER_AGENT),
            referer: wanted(layout, AccessField::Referer, &parts.headers, &REFERER),
        })
    }

    /// Notes the fields that the replica gets, and the identifier if it is one of ours.
    pub(super) fn note_sent(&mut self, headers: &HeaderMap, id: Option<&RequestId>) {
        self.host = wanted(&self.layout, AccessField::Host, headers, &HOST);
        self.request_id = match id {
            Some(id) if self.layout.wants(AccessField::RequestId) => Some(id.value()),
            _ => wanted(&self.layout, AccessField::RequestId, headers, &X_REQUEST_ID),
        };
    }

    /// Adds how the request ended. `None` if it is not in the sample.
    pub(super) fn finish(self: Box<Self>, ending: Ending<'_>) -> Option<AccessRecord> {
        if !ending.is_error() && !self.layout.takes(|| fastrand::u32(..1_000_000)) {
            return None;
        }
        let Ending { pool, endpoint, status, outcome, bytes, duration, attempts, origin, error } = ending;
        let cause = if let Some(Origin::Unstick(cause)) = origin { cause } else { None };
        Some(AccessRecord {
            finished: std::time::SystemTime::now(),
            client_ip: self.client_ip,
            peer_ip: self.peer_ip,
            method: self.method,
            target: self.target,
            authority: self.authority,
            line: self.line,
            version: self.version,
            host: self.host,
            request_id: self.request_id,
            user_agent: self.user_agent,
            referer: self.referer,
            pool: pool.filter(|_| self.layout.wants(AccessField::Pool)).cloned(),
            endpoint: endpoint.filter(|_| self.layout.wants(AccessField::Endpoint)).cloned(),
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
            layout: self.layout,
        })
    }
}

/// The value of a header field, if lines have it.
fn wanted(layout: &Layout, field: AccessField, headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    if layout.wants(field) { headers.get(name).cloned() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_logged_whatever_the_sample_is() {
        let (ok, failed) = (StatusCode::OK, StatusCode::BAD_GATEWAY);
        let refused = Some(Origin::Unstick(Some(Cause::NoRoute)));
        for (status, outcome, origin, expected) in [
            (Some(ok), Outcome::Answered(200), Some(Origin::Replica), false),
            (Some(StatusCode::NOT_FOUND), Outcome::Answered(404), Some(Origin::Replica), false),
            (Some(failed), Outcome::Answered(502), Some(Origin::Replica), true),
            (Some(StatusCode::NOT_FOUND), Outcome::Answered(404), refused, true),
            (Some(StatusCode::PERMANENT_REDIRECT), Outcome::Answered(308), Some(Origin::Unstick(None)), false),
            (Some(ok), Outcome::Cut, Some(Origin::Replica), true),
            (None, Outcome::ClientGone, None, false),
            (None, Outcome::ClientGone, Some(Origin::Replica), false),
        ] {
            let (bytes, duration, attempts, error) = (0, Duration::ZERO, 1, None);
            let ending =
                Ending { pool: None, endpoint: None, status, outcome, bytes, duration, attempts, origin, error };
            assert_eq!(ending.is_error(), expected, "{ending:?}");
        }
    }
}
