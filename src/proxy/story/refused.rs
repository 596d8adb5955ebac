//! The story of a request that reached no pool. It is told only if the status is 500 or more: other refusals are the
//! client's affair, and there may be very many.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use tokio::time::Instant;

use super::draft::route;
use super::due::Due;
use super::{Kinds, Story, Trace, bounded};
use crate::fields::X_REQUEST_ID;
use crate::metrics::Outcome;
use crate::proxy::cause::Cause;
use crate::proxy::client::{Client, Proxy};
use crate::proxy::trace;
use crate::snapshot::Snapshot;

/// What became of a request that the proxy has answered without a pool.
pub(in crate::proxy) struct Refused<'a> {
    pub(in crate::proxy) parts: &'a Parts,
    /// The place of its route, counted from 0, if it has one that does more than to name a pool.
    pub(in crate::proxy) route: Option<usize>,
    pub(in crate::proxy) status: StatusCode,
    pub(in crate::proxy) cause: Option<Cause>,
    /// Bytes of the response body.
    pub(in crate::proxy) bytes: u64,
    pub(in crate::proxy) started: Instant,
}

impl Refused<'_> {
    /// Tells of it, if it is worth that.
    #[inline]
    pub(in crate::proxy) fn tell(self, proxy: &Proxy, client: &Client, snapshot: &Snapshot) {
        if self.status.is_server_error() || snapshot.traces.is_some() {
            self.tell_if_due(proxy, client, snapshot);
        }
    }

    #[cold]
    fn tell_if_due(self, proxy: &Proxy, client: &Client, snapshot: &Snapshot) {
        let (headers, traces) = (&self.parts.headers, snapshot.traces.as_ref());
        let trace = traces.and_then(|traces| trace::of_refused(traces, headers, &client.connection));
        let is_told = self.status.is_server_error() && snapshot.explain.keep > 0;
        let due = Due { is_told, is_traced: trace.is_some() }.with_room(self.started, proxy);
        if due.any() {
            due.send(self.story(trace, client, snapshot), proxy);
        }
    }

    #[cold]
    fn story(self, trace: Option<Box<Trace>>, client: &Client, snapshot: &Snapshot) -> Story {
        let Self { parts, route: place, status, cause, bytes, started } = self;
        let (ended, connection) = (started.elapsed(), &client.connection);
        let field = |value: &HeaderValue| bounded(&String::from_utf8_lossy(value.as_bytes()));
        let host = parts.headers.get(HOST).map(field);
        // Nobody has given it an identifier, so only that of a trusted proxy counts.
        let id = parts.headers.get(X_REQUEST_ID).filter(|_| connection.is_trusted()).map(field);
        let client: IpAddr = connection.client_address(&parts.headers);
        Story {
            began: SystemTime::now().checked_sub(ended).unwrap_or(SystemTime::UNIX_EPOCH),
            kinds: Kinds { failed: status.is_server_error(), ..Kinds::default() },
            id: id.unwrap_or_default(),
            listener: bounded(&connection.rules.listener()),
            client,
            method: bounded(parts.method.as_str()),
            host: host.or_else(|| parts.uri.authority().map(|host| bounded(host.as_str()))).unwrap_or_default(),
            path: bounded(parts.uri.path()),
            version: parts.version,
            route: place.and_then(|place| route(&snapshot.routes, place)),
            pool: None,
            candidates: None,
            attempts: Vec::new(),
            attempts_made: 0,
            queued: Duration::ZERO,
            routed: None,
            head: None,
            ended,
            status: Some(status.as_u16()),
            outcome: Outcome::Answered(status.as_u16()),
            is_ours: true,
            cause,
            error: None,
            bytes,
            trace,
        }
    }
}
