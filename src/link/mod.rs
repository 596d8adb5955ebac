//! One worker's connections to one endpoint.
//!
//! A connection is a value, not a task: the request that uses it also drives it
//! ([`UpstreamConnection::poll_response`]), within the task of its client connection. That saves two task switches
//! and a queue per request, and cancelling needs no message: when the client leaves, the value is dropped, and the
//! connection is closed. An unused connection lies in a list and costs nothing. Whether it was closed meanwhile is
//! looked at right before the first byte of a request is sent.
//!
//! The most recently used connection is taken first, so that surplus ones grow old and are closed.

pub mod added;
pub mod client_body;
mod connect;
pub mod driver;
pub mod error;
pub mod framing;
pub mod h1;
mod h1_awaited;
mod h1_request;
mod h1_response;
mod h1_split;
mod h2;
mod h2_attempt;
mod h2_end;
mod h2_io;
mod hold;
mod in_flight;
mod interim;
pub mod private;
pub mod record;
mod replay;
pub mod request_body;
pub mod response;
pub mod send;
mod sending;
mod slot;
pub mod texts;
pub mod timing;
pub mod trace_context;
mod unused;
pub mod view;
pub mod waits;
pub mod wishes;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::model::ProxyVersion;
use crate::metrics::PoolCell;
use crate::net::outbox::Outbox;
use crate::pool::PoolShared;
use crate::pool::endpoint::{Endpoint, EndpointCell};
use crate::pool::protocol::ConnectSettings;
use h1::{Look, UpstreamConnection};
use h2::{Lease, Multiplexed};
pub use in_flight::InFlight;

/// A connection, or a part of one, that can carry a request to an endpoint.
#[derive(Debug)]
enum Link {
    /// An HTTP/1.1 connection for this request alone.
    Own(Box<UpstreamConnection>),
    /// A stream on an HTTP/2 connection.
    Multiplexed(Box<Lease>),
}

/// An endpoint as one worker sees it: its connections, and how it is spoken to.
#[derive(Debug)]
pub struct WorkerEndpoint {
    /// The part that all workers share.
    pub endpoint: Arc<Endpoint>,
    worker: usize,
    outbox: Rc<Outbox>,
    /// The state of its pool that outlives a reload.
    pool: Arc<PoolShared>,
    /// The protocol, TLS settings and PROXY version in use.
    settings: RefCell<ConnectSettings>,
    /// How often `settings` has changed. Connections of an earlier epoch get no new requests.
    epoch: Cell<u64>,
    /// The last TLS failure; empty since TLS was last established.
    last_tls_error: RefCell<String>,
    /// Whether the endpoint chose HTTP/1.1 when it was offered both.
    prefers_h1: Cell<bool>,
    /// Whether it has let the time pass by in which it should have said whether it wants a request body. The next 100
    /// (Continue) takes that back.
    ignores_expect: Cell<bool>,
    multiplexed: Multiplexed,
    #[expect(
        clippy::vec_box,
        reason = "the boxes come from and go to requests; moving the connections would cost more"
    )]
    idle: RefCell<Vec<Box<UpstreamConnection>>>,
    idle_max: Cell<usize>,
    draining_since: Cell<Option<Instant>>,
}

impl WorkerEndpoint {
    /// An endpoint without connections. At most `idle_max` unused ones will be kept.
    pub(crate) fn new(
        endpoint: Arc<Endpoint>,
        worker: usize,
        outbox: Rc<Outbox>,
        pool: Arc<PoolShared>,
        settings: ConnectSettings,
        idle_max: usize,
    ) -> Self {
        Self {
            endpoint,
            worker,
            outbox,
            pool,
            settings: RefCell::new(settings),
            epoch: Cell::default(),
            last_tls_error: RefCell::default(),
            prefers_h1: Cell::default(),
            ignores_expect: Cell::default(),
            multiplexed: Multiplexed::default(),
            idle: RefCell::default(),
            idle_max: Cell::new(idle_max),
            draining_since: Cell::default(),
        }
    }

    /// This worker's counters of the endpoint.
    pub fn cell(&self) -> &EndpointCell {
        self.endpoint.cell(self.worker)
    }

    /// This worker's counters of its pool.
    fn pool_cell(&self) -> &PoolCell {
        &self.pool.cells[self.worker]
    }

    /// A stream on a connection that other requests use as well, if there is one.
    fn lease(&self) -> Option<Box<Lease>> {
        self.multiplexed.lease()
    }

    /// The PROXY version, if connections to it begin with a PROXY header and so serve one client only.
    fn proxy_protocol(&self) -> Option<ProxyVersion> {
        self.settings.borrow().proxy_protocol
    }

    /// Sets how it is spoken to from now on. If that has changed, present connections get no new requests.
    pub(crate) fn reconnect_with(&self, settings: ConnectSettings) {
        if !self.settings.borrow().is_same(&settings) {
            *self.settings.borrow_mut() = settings;
            self.epoch.set(self.epoch.get() + 1);
            self.prefers_h1.set(false);
            self.idle.borrow_mut().clear();
            self.multiplexed.clear();
        }
    }

    /// Closes unused connections that are older than `idle_timeout` or were closed by the endpoint.
    pub fn reap(&self, idle_timeout: Duration, now: Instant) {
        let idle_limit = self.endpoint.idle_limit();
        let idle_timeout = idle_limit.at_most(idle_timeout, now);
        self.multiplexed.reap(idle_timeout, self.idle_max.get(), now);
        self.idle.borrow_mut().retain_mut(|connection| match connection.look(now) {
            Look::Open => {
                let age = connection.idle_for(now);
                age < idle_timeout && !connection.is_spent(age)
            }
            Look::Closed { known_open_for } => {
                idle_limit.observed(known_open_for, now);
                false
            }
        });
    }

    /// Sets whether it is draining: drained, down, or no longer part of its pool. The first such time is kept.
    pub fn set_draining(&self, is_draining: bool, now: Instant) {
        let since = self.draining_since.get().unwrap_or(now);
        self.draining_since.set(is_draining.then_some(since));
        self.endpoint.set_draining(is_draining);
    }

    /// When it began to drain, if it is draining.
    pub fn draining_since(&self) -> Option<Instant> {
        // An endpoint that came back may have a new worker's half by now, but responses begun earlier still hold this
        // one.
        self.draining_since.get().filter(|_| self.endpoint.is_draining())
    }

    /// Keeps at most `idle_max` unused connections from now on. It is 0 when the endpoint has left its pool.
    pub fn limit_idle(&self, idle_max: usize) {
        self.idle_max.set(idle_max);
        self.idle.borrow_mut().truncate(idle_max);
        if idle_max == 0 {
            self.multiplexed.clear();
        }
    }

    /// Whether TLS fails for another reason than before. The log need not repeat the same one for each request.
    fn is_news(&self, error: &str) -> bool {
        let mut known = self.last_tls_error.borrow_mut();
        let is_news = *known != error;
        error.clone_into(&mut known);
        is_news
    }

    /// TLS was established, so the next failure is news.
    fn clear_tls_error(&self) {
        self.last_tls_error.borrow_mut().clear();
    }
}

#[cfg(test)]
mod models;
